"""Models as they are after training, and the question that every fused one has to answer."""

from contextlib import ExitStack

import numpy as np

import minicnn
from minicnn import fuse, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def norms(net):
    return [module for module in net.modules() if isinstance(module, NORMS)]


def answers(net, x):
    with minicnn.no_grad():
        return net(x).numpy()


def apart(net, x):
    """The answer with every layer done by itself: hooks hold what each puts out."""
    held = []
    with ExitStack() as stack:
        for module in net.modules():
            stack.enter_context(module.register_forward_hook(lambda module, args, output: held.append(output)))
        return answers(net, x)


def lived_in(net, x):
    """Statistics near those of ``x`` but not quite, scales and shifts as if learned; eval mode."""
    rng = np.random.default_rng(3)
    net.eval()
    for norm in norms(net):
        norm.train().momentum = 1.0
        if norm.weight is not None:
            norm.weight.copy_(rng.uniform(0.5, 1.5, norm.weight.shape))
            norm.bias.copy_(0.2 * rng.standard_normal(norm.bias.shape))
    answers(net, x)
    for norm in norms(net):
        if norm.running_var is not None:
            deviation = np.sqrt(norm.running_var.numpy())
            norm.running_mean.data[...] += 0.2 * deviation * rng.standard_normal(deviation.shape)
            variance = np.maximum(deviation**2, 0.1 * np.mean(deviation**2))  # channels that ``x`` leaves dead wake up
            norm.running_var.data[...] = variance * rng.uniform(0.7, 1.5, deviation.shape)
    return net.eval()


def check(net, x, tolerance, input_shape=None):
    """Fuse a lived-in ``net``: the same answers as layer by layer, also a second time, and not a bit of the original or
    of ``x`` changed. Returns the fused one."""
    lived_in(net, x)
    before, text, given = net.state_dict(), repr(net), x.copy()
    expected = apart(net, x)
    fused = fuse(net, input_shape)
    result = answers(fused, x)
    assert np.array_equal(answers(fused, x), result) and np.array_equal(x, given)
    assert np.isfinite(expected).all() and expected.std() > 1e-3 * abs(expected).max()
    assert result.dtype == expected.dtype and abs(result - expected).max() <= tolerance * abs(expected).max()
    after = net.state_dict()
    assert repr(net) == text and list(after) == list(before)
    assert all(np.array_equal(after[path], before[path]) for path in before)
    assert not any(module.training for module in fused.modules())
    return fused


def images(channels, side, dtype="float64", count=3):
    return np.random.default_rng(0).standard_normal((count, channels, side, side)).astype(dtype)
