"""AlexNet: two GPUs, the order of pool and normalisation, Section 5's start, torchvision's names."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.alexnet import response_norm
from minicnn.random import Generator

SMALL = {"hidden": 8, "num_classes": 3, "generator": Generator(0)}


def order(net, side):
    """The layers in the order they run, by shapes alone."""
    names = []
    with minicnn.abstract():
        for name, layer in net.named_modules():
            if name and not list(layer.children()):
                layer.register_forward_hook(lambda module, args, y, name=name: names.append((name, tuple(y.shape[1:]))))
        net(minicnn.Tensor(minicnn.ShapeArray((1, 3, side, side), "float32")))
    return names


@pytest.mark.parametrize("name", ["alexnet", "caffenet", "alexnet_cs231n"])
def test_the_maps_of_the_lecture_table(name):
    with minicnn.abstract():
        shapes = dict(order(models.create(name), 227))
    maps = {"conv1": (96, 55), "pool1": (96, 27), "conv2": (256, 27), "pool2": (256, 13), "conv3": (384, 13)}
    maps |= {"conv4": (384, 13), "conv5": (256, 13), "pool5": (256, 6)}
    assert {layer: shapes[layer][:2] for layer in maps} == maps
    assert shapes["fc6"] == shapes["fc7"] == (4096,) and shapes["fc8"] == (1000,)


def test_layers_on_two_gpus_see_half_of_the_maps():
    """Section 3.5: 256 kernels of 5x5x48, 384 of 3x3x256, 384 of 3x3x192, 256 of 3x3x192."""
    with minicnn.abstract():
        net, whole = models.alexnet(), models.alexnet_cs231n()
    assert [net.get_submodule(f"conv{i}").weight.shape[1] for i in (1, 2, 3, 4, 5)] == [3, 48, 256, 192, 192]
    assert [whole.get_submodule(f"conv{i}").weight.shape[1] for i in (1, 2, 3, 4, 5)] == [3, 96, 256, 384, 384]
    other_half = 256 * 48 * 25 + 384 * 192 * 9 + 256 * 192 * 9
    assert models.counts("alexnet_cs231n").params - models.counts("alexnet").params == other_half


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet", ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2", "conv3"]),
        ("caffenet", ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2", "conv3"]),
        ("alexnet_cs231n", ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2", "conv3"]),
    ],
)
def test_the_order_of_pool_and_normalisation(name, expected):
    with minicnn.abstract():
        names = [layer for layer, _ in order(models.create(name), 227)]
    assert names[:9] == expected
    assert names[-8:] == ["flatten", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]


def test_normalisation_of_the_paper_and_of_caffe():
    x = np.ones((1, 6, 1, 1))
    paper, caffe = (response_norm(form)(minicnn.Tensor(x)).numpy().ravel() for form in ("paper", "caffe"))
    squares = np.array([3, 4, 5, 5, 4, 3])  # five maps, fewer at the ends
    assert np.allclose(paper, (2 + 1e-4 * squares) ** -0.75, rtol=1e-12)
    assert np.allclose(caffe, (1 + 1e-4 / 5 * squares) ** -0.75, rtol=1e-12)


def test_weights_and_biases_start_as_in_section_5():
    net = models.alexnet(**SMALL)
    biases = {name: layer.bias.numpy() for name, layer in net.named_children() if hasattr(layer, "bias")}
    assert {name for name, bias in biases.items() if (bias == 1).all()} == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert all((biases[name] == 0).all() for name in ("conv1", "conv3", "fc8"))
    assert [net.fc6.weight.numpy().std(), net.conv1.weight.numpy().std()] == pytest.approx([0.01, 0.01], rel=0.05)
    assert models.caffenet(**SMALL).fc6.weight.numpy().std() == pytest.approx(0.005, rel=0.05)


@pytest.mark.parametrize(("name", "side"), [("alexnet", 227), ("alexnet_owt", 95)])
def test_every_parameter_learns(name, side):
    net = models.create(name, **SMALL, dropout=0.0)
    x = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([1])).backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in grads)


def test_dropout_before_the_hidden_layers_of_torchvision():
    with minicnn.abstract():
        kinds = [type(layer) for layer in models.alexnet_owt().classifier]
    assert kinds == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Linear]


def test_logits_of_torch_layers_under_torchvisions_names():
    torch = pytest.importorskip("torch")
    t = torch.nn

    class Theirs(t.Module):
        def __init__(self):
            super().__init__()
            layers = [t.Conv2d(3, 64, 11, 4, 2), t.ReLU(), t.MaxPool2d(3, 2)]
            layers += [t.Conv2d(64, 192, 5, padding=2), t.ReLU(), t.MaxPool2d(3, 2)]
            for i, o in ((192, 384), (384, 256), (256, 256)):
                layers += [t.Conv2d(i, o, 3, padding=1), t.ReLU()]
            self.features = t.Sequential(*layers, t.MaxPool2d(3, 2))
            hidden = [t.Dropout(), t.Linear(9216, 8), t.ReLU(), t.Dropout(), t.Linear(8, 8), t.ReLU()]
            self.classifier = t.Sequential(*hidden, t.Linear(8, 3))

        def forward(self, x):
            return self.classifier(t.functional.adaptive_avg_pool2d(self.features(x), 6).flatten(1))

    ours, theirs = models.alexnet_owt(**SMALL).double().eval(), Theirs().double().eval()
    theirs.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in ours.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, 3, 127, 95))
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(ours(minicnn.Tensor(x)).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.alexnet(groups=3), r"groups=3, expected 2 \(two GPUs\) or 1"),
        (lambda: models.alexnet(norm="batch"), "norm='batch' is unknown, expected one of"),
        (lambda: models.create("alexnet_owt", groups=2), "alexnet_owt has no option 'groups'"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
