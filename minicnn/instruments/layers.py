"""Layer by layer: how large the gradients of the weights are, and how blocks refine what the stage will say."""

from typing import Any, NamedTuple

import numpy as np

from minicnn import ops
from minicnn.context import enable_grad, no_grad
from minicnn.instruments.looking import looking, outputs_at
from minicnn.instruments.residual import residual_blocks
from minicnn.tensor import Tensor


def gradient_norms(model: Any, images: Any, labels: Any) -> dict[str, float]:
    """Euclidean norm of the cross-entropy's gradient by each weight with more than one axis, from input to output.

    The pass is one of training; gradients, running statistics and modes are afterwards what they were.
    """
    parameters = list(model.named_parameters())
    before = [parameter.grad for _, parameter in parameters]
    buffers = [(buffer, np.array(buffer.numpy())) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.zero_grad()
        with enable_grad():
            ops.cross_entropy(model.train()(Tensor(np.asarray(images))), Tensor(np.asarray(labels))).backward()
        wanted = [(name, parameter) for name, parameter in parameters if parameter.ndim > 1]
        return {name: float(np.linalg.norm(p.grad.numpy())) for name, p in wanted if p.grad is not None}
    finally:
        for (_, parameter), grad in zip(parameters, before, strict=True):
            parameter.grad = grad
        for buffer, values in buffers:
            buffer.copy_(values)
        for module, mode in modes:
            module.training = mode


class Estimate(NamedTuple):
    """How far what a block puts out is from what its stage puts out in the end, over all values of a batch."""

    block: str
    mean: float  # of the difference, in deviations of the stage's output
    deviation: float


def estimation_errors(model: Any, images: Any) -> dict[str, list[Estimate]]:
    """By stage, after each of its blocks: mean and deviation of ``output - last output``.

    If blocks refine one estimate, the mean stays near 0 and the deviation falls from block to block.
    **See** Greff, Srivastava and Schmidhuber, "Highway and Residual Networks learn Unrolled Iterative
    Estimation", 2017.
    """
    stages: dict[str, list[str]] = {}
    for path in residual_blocks(model):
        stages.setdefault(path.rpartition(".")[0], []).append(path)
    with looking(model), no_grad():
        _, outputs = outputs_at(
            model, [path for paths in stages.values() for path in paths], Tensor(np.asarray(images))
        )
    values = {path: output.numpy().astype(np.float64) for path, output in outputs.items()}
    return {stage: _estimates(paths, values) for stage, paths in stages.items()}


def _estimates(paths: list[str], values: dict[str, np.ndarray]) -> list[Estimate]:
    last = values[paths[-1]]
    scale = last.std() or 1.0
    differences = ((path, (values[path] - last) / scale) for path in paths if values[path].shape == last.shape)
    return [Estimate(path, float(d.mean()), float(d.std())) for path, d in differences]
