"""DenseNet: what its layers see, the order of features, recomputed concatenations, torch's block with our weights."""

import re

import numpy as np
import pytest

import minicnn
from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.models.densenet import DenseBlock, DenseLayer, DenseNetCifar
from minicnn.random import Generator


def small(**options):
    return DenseNetCifar(depth=10, growth=4, bottleneck=True, generator=Generator(0), **options)


def image(n=2, size=8, dtype=np.float64):
    return np.random.default_rng(0).standard_normal((n, 3, size, size)).astype(dtype)


def test_every_layer_sees_all_features_before_it_old_ones_first():
    with minicnn.abstract():
        net = models.densenet121()
    block = net.features.denseblock2
    assert [layer.conv1.in_channels for layer in block.children()] == [128 + 32 * i for i in range(12)]
    block = (
        DenseBlock(3, 2, 3, bottleneck=False, dropout=0.0, memory_efficient=False, generator=Generator(0))
        .double()
        .eval()
    )
    x = image()
    assert np.array_equal(block(minicnn.Tensor(x)).numpy()[:, :3], x)


def test_half_the_channels_pass_a_transition_of_bc_and_all_of_a_plain_one():
    with minicnn.abstract():
        bc, plain = models.densenet_bc100_k12_cifar10(), models.densenet40_k12_cifar10()
    assert bc.features.transition1.conv.weight.shape == (108, 216, 1, 1)
    assert plain.features.transition1.conv.weight.shape == (160, 160, 1, 1)
    assert not hasattr(plain.features.denseblock1.denselayer1, "conv2")


def test_recomputed_concatenations_give_the_same_gradients_and_statistics():
    results = []
    for efficient in (False, True):
        net = small(dropout=0.2, memory_efficient=efficient).double()
        net.generator = None
        minicnn.manual_seed(3)
        minicnn.ops.cross_entropy(net(minicnn.Tensor(image())), np.array([1, 7])).backward()
        arrays = [p.grad.numpy() for p in net.parameters()] + [b.numpy() for b in net.buffers()]
        results.append(arrays)
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_dropout_follows_each_convolution_but_the_first():
    with minicnn.abstract():
        net = models.densenet_bc100_k12_cifar10(dropout=0.2)
    layer = net.features.denseblock1.denselayer1
    assert layer.drop.p == 0.2 and net.features.transition1.drop.p == 0.2 and not hasattr(net.features, "drop")


def test_logits_of_torch_layers_with_the_same_weights():
    torch = pytest.importorskip("torch")

    class Layer(torch.nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.norm1, self.conv1 = torch.nn.BatchNorm2d(channels), torch.nn.Conv2d(channels, 16, 1, bias=False)
            self.norm2, self.conv2 = torch.nn.BatchNorm2d(16), torch.nn.Conv2d(16, 4, 3, padding=1, bias=False)

        def forward(self, features):
            y = self.conv1(torch.relu(self.norm1(torch.cat(features, 1))))
            return self.conv2(torch.relu(self.norm2(y)))

    ours = DenseLayer(6, 4, bottleneck=True, dropout=0.0, memory_efficient=False, generator=Generator(1)).double()
    theirs = Layer(6).double()
    theirs.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in ours.state_dict().items()})
    x = [np.random.default_rng(i).standard_normal((2, 3, 5, 5)) for i in (1, 2)]
    expected = theirs([torch.from_numpy(part) for part in x]).detach().numpy()
    assert np.allclose(ours([minicnn.Tensor(part) for part in x]).numpy(), expected, rtol=0, atol=1e-12)


def test_old_names_of_torchvision_files_load():
    net = small()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", k): v for k, v in net.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    small().load_state_dict(net.adapt_state(old))


def test_every_parameter_learns():
    net = small()
    minicnn.ops.cross_entropy(net(minicnn.Tensor(image(dtype=np.float32))), np.array([1, 7])).backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in net.parameters())


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.densenet40_k12_cifar10(depth=41), r"depth=41, expected 3n \+ 4"),
        (lambda: models.densenet_bc100_k12_cifar10(depth=99), r"depth=99, expected 6n \+ 4"),
        (lambda: models.densenet121(layers=()), r"layers=\(\), expected"),
        (lambda: models.densenet121(compression=0), "compression=0, expected above 0"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
