"""An inverted residual block written with torch's functions, for MobileNetV2, V3, MnasNet and EfficientNet."""

from collections.abc import Callable

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
F = torch.nn.functional

Function = Callable[[torch.Tensor], torch.Tensor]


def inverted_residual(
    x: torch.Tensor,
    parameters: list[torch.Tensor],
    *,
    expands: bool,
    stride: int,
    activation: Function,
    gates: tuple[Function, Function] | None = None,
    residual: bool,
    eps: float,
) -> torch.Tensor:
    """While training; ``parameters`` in the order of the state dict; ``gates``: the two activations of a gate."""
    left = iter(parameters)

    def convolved(x: torch.Tensor, stride: int = 1, depthwise: bool = False) -> torch.Tensor:
        weight, gamma, beta = next(left), next(left), next(left)
        groups = x.shape[1] if depthwise else 1
        y = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, unbiased=False)
        return (y - mean) / (var + eps).sqrt() * gamma.view(-1, 1, 1) + beta.view(-1, 1, 1)

    y = activation(convolved(x)) if expands else x
    y = activation(convolved(y, stride, depthwise=True))
    if gates is not None:
        inner, outer = gates
        first, first_bias, second, second_bias = (next(left) for _ in range(4))
        means = y.mean((2, 3))
        hidden = inner(means @ first[:, :, 0, 0].T + first_bias)
        y = y * outer(hidden @ second[:, :, 0, 0].T + second_bias)[:, :, None, None]
    y = convolved(y)
    assert next(left, None) is None
    return x + y if residual else y


def livened(block: nn.Module, scale: float = 1.5) -> nn.Module:
    """``block`` in float64, with batch norms and biases that do something and activations that reach their bends."""
    for number, parameter in enumerate(block.double().parameters()):
        if parameter.ndim == 1:
            nn.init.normal_(parameter, scale, 1.0, Generator(number + 1))
    return block


def assert_equals_the_twin(block: nn.Module, shape: tuple[int, ...], tol: float = 1e-11, **options) -> None:
    """Outputs and all gradients of ``block`` while training are those of the function above."""
    image = 2 * np.random.default_rng(0).standard_normal(shape)
    x, theirs = minicnn.Tensor(image, requires_grad=True), torch.tensor(image, requires_grad=True)
    parameters = [torch.tensor(p.numpy(), requires_grad=True) for p in block.parameters()]
    y, expected = block.train()(x), inverted_residual(theirs, parameters, **options)
    assert_close(y.numpy(), expected.detach().numpy(), tol)
    factor = np.random.default_rng(1).standard_normal(y.shape)
    (y * factor).sum().backward()
    (expected * torch.tensor(factor)).sum().backward()
    assert_close(x.grad.numpy(), theirs.grad.numpy(), tol, "gradient of the input")
    for (name, ours), parameter in zip(block.named_parameters(), parameters, strict=True):
        assert np.abs(ours.grad.numpy()).max() > 0, name
        assert_close(ours.grad.numpy(), parameter.grad.numpy(), tol, name)
