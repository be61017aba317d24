"""The same computation on the CPU and on the GPU."""

import os
from typing import Any

import numpy as np

import minicnn
from minicnn import Tensor
from tests.ops.case import Case, Geometry, arrays_of, tensors_of
from tests.ops.test_ops import CASES

EMULATED = os.environ.get("MINICNN_GPU") == "emulated"
DEVICES = ("cpu", "gpu")
DIFFERENTIABLE = [case for case in CASES if case.gradient]


def results(
    case: Case, geometry: Geometry, device: str, dtype: Any, seed: int = 1, inputs: Any = None
) -> dict[str, np.ndarray]:
    """Outputs, and gradients for a random upstream gradient, by name. ``inputs``: the arrays, else drawn."""
    arrays = arrays_of(geometry, seed, dtype) if inputs is None else inputs
    tensors = tensors_of(geometry, arrays, requires_grad=case.gradient, device=device)
    rng = np.random.default_rng(seed + 1)
    with minicnn.conv_plan("exact"):  # no tensor cores, which round float32 to TF32
        outputs = case.run(**tensors)
        for y in outputs:
            if y.node is not None:
                upstream = rng.standard_normal(y.shape).astype(y.dtype)
                y.backward(Tensor(upstream, device=y.device).data, retain_graph=True)
    found = {f"output {position}": y.numpy() for position, y in enumerate(outputs)}
    leaves = {
        f"gradient of {name} {position}": tensor.grad.numpy()
        for name, value in tensors.items()
        for position, tensor in enumerate(value if isinstance(value, list) else [value])
        if isinstance(tensor, Tensor) and tensor.grad is not None
    }
    return found | leaves
