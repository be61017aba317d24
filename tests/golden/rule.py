"""Weights, inputs and directions made of names and positions alone, and what is measured of a network that has them.

Integers are mixed, so that every machine and every library starts from the same bits. ``write.py`` measures
torchvision's networks, ``tests/models/test_goldens.py`` ours.
"""

import ast
import hashlib
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import models
from tests.models.catalog import distinct_networks

FOLDER = Path(__file__).parent / "torchvision"

# torchvision's call -> (N, C, H, W), where 66x100 is too small: AlexNet's third pool, Inception's last stage, and its
# auxiliary head, which needs maps of 17x17.
INPUTS = {
    "alexnet": (2, 3, 95, 127),
    "inception_v3(aux_logits=False)": (2, 3, 128, 160),
    "inception_v3": (2, 3, 299, 299),
}


def input_of(call: str) -> np.ndarray:
    """Sides that differ, and that pools and strides do not divide."""
    shape = INPUTS.get(call, (2, 3, 66, 100))
    return math.sqrt(3) * uniform("input", shape)  # variance 1


def uniform(name: str, shape: Sequence[int]) -> np.ndarray:
    """Numbers in [-1, 1): MurmurHash3's last mixing of the position and the name's checksum."""
    bits = np.arange(math.prod(shape), dtype=np.uint32)
    bits *= np.uint32(0x9E3779B9)
    bits += np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits ^= bits >> np.uint32(shift)
        bits *= np.uint32(factor)
    bits ^= bits >> np.uint32(16)
    values = bits * 2.0**-31
    values -= 1
    return values.reshape(shape)


def value(name: str, shape: Sequence[int]) -> np.ndarray:
    """The entry ``name`` of a state dict: He et al.'s variance for weights, batch norms that change a little."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    values = uniform(name, shape)
    if len(shape) > 1:
        values *= math.sqrt(6 / math.prod(shape[1:]))
        return values
    if name.endswith("running_var"):
        return 1 + 0.3 * values
    if name.endswith("weight"):  # halved towards the end of a residual block: sums of fifty blocks stay of order 1
        return (0.9 + 0.1 * values) * (0.5 if name.endswith(("bn2.weight", "bn3.weight")) else 1)
    return 0.1 * values


def group(name: str) -> str:
    """Names are measured together by the first two parts of their module's path: ``layer1.0``."""
    return ".".join(name.split(".")[:-1][:2])


def groups(names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(group(name), []).append(name)
    return found


def signature(shapes: Mapping[str, Sequence[int]]) -> str:
    """A few digits of a hash of names and shapes in their order."""
    lines = "".join(f"{name} {tuple(shape)}\n" for name, shape in shapes.items())
    return f"{len(shapes)}:{hashlib.sha256(lines.encode()).hexdigest()[:12]}"


def measure(arrays: Mapping[str, np.ndarray]) -> list[float]:
    """[Euclidean norm, product with a direction] of all arrays together."""
    squares = sum(float(np.vdot(array, array)) for array in arrays.values())
    product = sum(float(np.vdot(array, uniform(f"direction {name}", array.shape))) for name, array in arrays.items())
    return [math.sqrt(squares), product]


def by_group(arrays: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {key: measure({name: arrays[name] for name in names}) for key, names in groups(list(arrays)).items()}


def outputs(result: Any) -> list[Any]:
    """The logits and, while training, those of auxiliary heads."""
    return list(result) if isinstance(result, tuple) else [result]


def weights_of_loss(shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """What each logit is multiplied by in the sum that is differentiated."""
    return [uniform(f"loss {number}", shape) for number, shape in enumerate(shapes)]


def networks() -> dict[str, str]:
    """torchvision's call -> our name, one row of each network that has a call. Rows that differ in the picture alone
    are one network, measured once: under the call of the first of them."""
    return {models.info(name).torchvision: name for name in distinct_networks(of_torchvision=True)}


def parsed(call: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of ``MobileNetV2(width_mult=1.4)``; options are literals with keywords."""
    node = ast.parse(call, mode="eval").body
    if isinstance(node, ast.Name):
        return node.id, {}
    keywords = {keyword.arg: keyword.value for keyword in getattr(node, "keywords", ())}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args or None in keywords:
        raise ValueError(f"{call!r} is no name(option=value, ...)")
    return node.func.id, {str(name): ast.literal_eval(value) for name, value in keywords.items()}


def path_of(call: str) -> Path:
    """``googlenet(aux_logits=True)`` is measured in ``googlenet-aux_logits-True.json``."""
    return FOLDER / ("-".join(re.findall(r"[\w.]+", call)) + ".json")
