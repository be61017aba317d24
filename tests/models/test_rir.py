"""RiR: the joined unit is four convolutions between two streams, of which only one has a shortcut."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.gradcheck import gradcheck
from minicnn.models.rir import GeneralizedResidual
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def lively(unit):
    nn.init.uniform_(unit.bn.weight, 0.5, 1.5, Generator(1))
    nn.init.uniform_(unit.bn.bias, -0.5, 0.5, Generator(2))
    return unit.double()


@pytest.mark.parametrize(("channels", "stride"), [(3, 1), (5, 2)])
def test_a_unit_is_two_streams_that_exchange_features(channels, stride):
    """Four convolutions and two batch norms, as the paper draws them."""
    unit = lively(GeneralizedResidual(3, channels, stride, generator=Generator(0)))
    x = image(2, 6, 6, 6)
    r, t = torch.from_numpy(x[:, :3]), torch.from_numpy(x[:, 3:])
    weight = torch.from_numpy(unit.conv.weight.numpy())
    to_r, to_t = weight[:channels], weight[channels:]

    def conv(stream, filters):
        return functional.conv2d(stream, filters, stride=stride, padding=1)

    def sigma(stream, half):
        gamma, beta = (torch.from_numpy(p.numpy())[half] for p in (unit.bn.weight, unit.bn.bias))
        return functional.relu(functional.batch_norm(stream, None, None, gamma, beta, training=True))

    projected = r
    if stride == 2:
        projected = functional.conv2d(r, torch.from_numpy(unit.shortcut.weight.numpy()), stride=2)
    new_r = sigma(conv(r, to_r[:, :3]) + conv(t, to_r[:, 3:]) + projected, slice(None, channels))
    new_t = sigma(conv(r, to_t[:, :3]) + conv(t, to_t[:, 3:]), slice(channels, None))
    assert_close(unit(x).numpy(), torch.cat([new_r, new_t], 1).numpy(), 1e-12)


def test_only_the_residual_stream_keeps_what_it_has():
    unit = GeneralizedResidual(3, 3)
    nn.init.zeros_(unit.conv.weight)
    x = np.abs(image(2, 6, 5, 5)).astype(np.float32)
    y = unit.eval()(x).numpy()
    assert_close(y[:, :3], x[:, :3] / np.sqrt(1 + unit.bn.eps), 1e-6)
    assert not y[:, 3:].any()


def test_without_transient_filters_the_streams_do_not_meet():
    """What is left is a residual net of one convolution a block and, beside it, nothing of the transient stream."""
    unit = GeneralizedResidual(3, 3, generator=Generator(0)).double()
    weight = unit.conv.weight.numpy().copy()
    weight[:3, 3:] = weight[3:, :3] = 0
    unit.load_state_dict({**unit.state_dict(), "conv.weight": weight})
    x = image(2, 6, 5, 5)
    other = x.copy()
    other[:, 3:] += 1 + image(2, 3, 5, 5, seed=1)
    y, changed = unit(x).numpy(), unit(other).numpy()
    assert np.array_equal(y[:, :3], changed[:, :3]) and np.abs(y[:, 3:] - changed[:, 3:]).max() > 0.1
    other = x.copy()
    other[:, :3] += 1 + image(2, 3, 5, 5, seed=1)
    assert np.array_equal(y[:, 3:], unit(other).numpy()[:, 3:])


def test_gradients_of_a_unit():
    unit = lively(GeneralizedResidual(2, 3, 2, generator=Generator(0)))
    assert gradcheck(unit, minicnn.Tensor(image(2, 4, 5, 5, seed=3), requires_grad=True))


def test_parameters_of_the_streams():
    """9 C C' for each pair of streams, C C' for the shortcut of one of them, two norms."""
    with minicnn.abstract():
        same, changed = GeneralizedResidual(48, 48), GeneralizedResidual(48, 96, 2)
    assert sum(p.size for p in same.parameters()) == 4 * 9 * 48 * 48 + 2 * 2 * 48
    assert sum(p.size for p in changed.parameters()) == (4 * 9 + 1) * 48 * 96 + 2 * 2 * 96


def test_18_layers():
    with minicnn.abstract():
        net = models.rir_cifar10()
    units = [[unit.in_channels for unit in stage] for stage in (net.stage1, net.stage2, net.stage3)]
    assert units == [[48] * 4, [48] + [96] * 5, [96] + [192] * 5]  # 16 units, the stem, the classifier
    assert [(stage.stride, stage.channels) for stage in net.stages] == [(1, 96), (1, 96), (2, 192), (4, 384)]
    kept = [type(unit.shortcut) is nn.Identity for stage in (net.stage1, net.stage2, net.stage3) for unit in stage]
    assert kept == [True] * 4 + [False] + [True] * 5 + [False] + [True] * 5


def test_the_classes_see_both_streams():
    net = models.rir_cifar10(depths=(1, 1, 1), channels=2, num_classes=3, generator=Generator(0)).double().eval()
    x = net.stage_outputs(image(2, 3, 16, 16))["stage3"].numpy()
    scores = np.einsum("kc,nchw->nk", net.classifier.weight.numpy()[:, :, 0, 0], x) / 16 / np.sqrt(1 + net.bn.eps)
    assert_close(net(image(2, 3, 16, 16)).numpy(), scores, 1e-12)


def test_weights_start_with_the_fan_in_of_their_stream():
    net = models.rir_cifar10(depths=(1, 1, 1), generator=Generator(0))
    fans = [(net.stage2[0].conv, 9 * 48), (net.stage2[0].shortcut, 48), (net.stem[0], 9 * 3), (net.classifier, 384)]
    for conv, fan_in in fans:
        bound = np.sqrt(6 / fan_in)
        assert 0.98 * bound < np.abs(conv.weight.numpy()).max() <= bound


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depths": (4, 6)}, r"RiRCifar: depths=\(4, 6\), expected the numbers of units of three stages"),
        ({"depths": (4, 0, 6)}, "RiRCifar: depths="),
        ({"channels": 0}, "RiRCifar: channels=0 is too small"),
    ],
)
def test_mistakes(options, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        models.rir_cifar10(**options)
