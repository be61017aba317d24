"""Which container a file of weights is, told by its first bytes and not by its name."""

from pathlib import Path
from typing import Any

import numpy as np

from minicnn.errors import CheckpointError
from minicnn.weights.torch_file import is_torch_stream, load_torch

# Dictionaries that training scripts wrap round the weights.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")


def load(path: Any) -> dict[str, np.ndarray]:
    """Names and arrays of the file at ``path``: safetensors, or what ``torch.save`` wrote (either of its containers).

    A checkpoint that holds the weights under ``"state_dict"`` or the like is unpacked, and the ``module.`` that data
    parallel training puts before every name is taken off. **Raises** CheckpointError naming what the file is instead.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            head = opened.read(64)
    except OSError as error:
        raise CheckpointError(f"weights: cannot read {file}: {error.strerror or error}") from None
    if head[:4] == b"PK\x03\x04" or is_torch_stream(head):
        return _named_arrays(load_torch(file), file)
    if head[8:9] == b"{":
        return _safetensors(file)
    raise CheckpointError(f"weights: {file} is {_looks_like(head)}, expected safetensors or a file of torch.save")


def _safetensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    arrays = {}
    try:
        with safe_open(file, framework="numpy") as opened:
            for name in opened.keys():  # noqa: SIM118  # not a dict
                arrays[name] = opened.get_tensor(name)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"weights: {file} is a damaged safetensors file: {error}") from None
    return arrays


def _named_arrays(content: Any, file: Path) -> dict[str, np.ndarray]:
    """The state dict inside what was pickled."""
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise CheckpointError(f"weights: {file} holds a {type(content).__name__}, expected a dict: name -> tensor")
    arrays = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
    if not arrays or not all(isinstance(name, str) for name in arrays):
        raise CheckpointError(f"weights: {file} holds no named tensors; it has {[str(key) for key in content][:8]}")
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): value for name, value in arrays.items()}
    return arrays


def _looks_like(head: bytes) -> str:
    if not head:
        return "empty"
    kinds = {
        b"\x1f\x8b": "gzip data",
        b"<": "a web page (was a download refused?)",
        b"version https://git-lfs": "a Git LFS pointer: the file itself was not fetched",
        b"\x89HDF": "HDF5 (Keras)",
        b"\x93NUMPY": "a NumPy array",
        b"\x80": "a pickle that torch.save did not write",
    }
    return next((text for start, text in kinds.items() if head.lstrip().startswith(start)), "of an unknown kind")
