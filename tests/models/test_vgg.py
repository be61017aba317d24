"""VGG: Table 1, the lectures' memory column, dense evaluation, torchvision's names."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.vgg import CONFIGURATIONS, VGG
from minicnn.random import Generator

NAMES = {"A": "vgg11", "A-LRN": "vgg11_lrn", "B": "vgg13", "C": "vgg16_c", "D": "vgg16", "E": "vgg19"}


def small(configuration="A", **options):
    return VGG(configuration=configuration, hidden=8, num_classes=3, generator=Generator(0), **options)


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_configuration_has_as_many_weight_layers_as_its_name_says(configuration):
    with minicnn.abstract():
        net = models.create(NAMES[configuration])
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(NAMES[configuration][3:5])
    assert sum(isinstance(m, nn.MaxPool2d) for m in net.modules()) == 5
    assert [stage.channels for stage in net.stages] == [64, 128, 256, 512, 512]
    assert net.cam_layer is list(net.features)[-2]


def test_c_ends_its_last_three_stages_with_a_1x1():
    with minicnn.abstract():
        convs = [m for m in models.vgg16_c().features if isinstance(m, nn.Conv2d)]
    assert [i for i, conv in enumerate(convs, 1) if conv.kernel_size == (1, 1)] == [7, 10, 13]
    assert all(conv.padding == (conv.kernel_size[0] // 2) for conv in convs)


def test_a_lrn_normalises_after_its_first_relu_only():
    with minicnn.abstract():
        kinds = [type(m) for m in models.vgg11_lrn().features]
    assert kinds[:4] == [nn.Conv2d, nn.ReLU, nn.LocalResponseNorm, nn.MaxPool2d]
    assert kinds.count(nn.LocalResponseNorm) == 1


def test_three_3x3_need_27_weights_where_a_7x7_needs_49():
    with minicnn.abstract():
        convs = [m for m in models.vgg16().features if isinstance(m, nn.Conv2d)]
    assert sum(conv.weight.size for conv in convs[-3:]) == 27 * 512**2 < 49 * 512**2


def test_the_lectures_table_of_vgg16():
    """Maps of the input, the convolutions, the pools and the linear layers: 61 MB an image, not the 96 MB printed."""
    with minicnn.abstract():
        net = models.vgg16()
        sizes = [3 * 224 * 224]
        for m in net.modules():
            if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.Linear):
                m.register_forward_hook(lambda module, args, y: sizes.append(y.size))
        net(minicnn.Tensor(minicnn.ShapeArray((1, 3, 224, 224), "float32")))
    assert sizes[1] == 3_211_264 and sum(sizes) == 15_237_608
    biases = sum(p.size for p in net.parameters() if p.ndim == 1)
    assert (sum(p.size for p in net.parameters()) - biases, biases) == (138_344_128, 13_416)
    assert net.classifier[0].weight.size == 102_760_448


def test_dense_evaluation_slides_the_classifier():
    """Section 3.2: each place of the dense logits is the classifier on its 7x7 window of the features."""
    net = small().double().eval()
    net.features = nn.Identity()
    x = image(2, 512, 8, 9)
    dense = net.dense(minicnn.Tensor(x)).numpy()
    assert dense.shape == (2, 3, 2, 3)
    for i in range(2):
        for j in range(3):
            window = net(minicnn.Tensor(x[:, :, i : i + 7, j : j + 7])).numpy()
            assert np.allclose(dense[:, :, i, j], window, rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_of_torch_layers_under_torchvisions_names(batch_norm):
    torch = pytest.importorskip("torch")
    t = torch.nn

    class Theirs(t.Module):
        def __init__(self):
            super().__init__()
            layers, channels = [], 3
            for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
                if width:
                    layers += [t.Conv2d(channels, width, 3, padding=1), *[t.BatchNorm2d(width)] * batch_norm, t.ReLU()]
                    channels = width
                else:
                    layers.append(t.MaxPool2d(2, 2))
            self.features, hidden = t.Sequential(*layers), [t.Linear(25088, 8), t.ReLU(), t.Dropout()]
            self.classifier = t.Sequential(*hidden, t.Linear(8, 8), t.ReLU(), t.Dropout(), t.Linear(8, 3))

        def forward(self, x):
            return self.classifier(t.functional.adaptive_avg_pool2d(self.features(x), 7).flatten(1))

    ours, theirs = small(batch_norm=batch_norm).double().eval(), Theirs().double().eval()
    theirs.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in ours.state_dict().items()})
    x = image(2, 3, 32, 64)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(ours(minicnn.Tensor(x)).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"configuration": "A-LRN"}, {"batch_norm": True}])
def test_every_parameter_learns(options):
    net = small(dropout=0.0, **options)
    x = image(2, 3, 32, 32).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([0, 2])).backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in grads)


def test_weights_start_as_glorots_or_as_torchvisions():
    plain, normed = small(), small(batch_norm=True)
    bound = np.sqrt(6 / (9 * 512 + 9 * 512))
    assert 0.99 * bound < np.abs(plain.features[-3].weight.numpy()).max() <= bound
    assert normed.features[-4].weight.numpy().std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01)
    assert normed.classifier[0].weight.numpy().std() == pytest.approx(0.01, rel=0.01)
    assert not any(m.bias.numpy().any() for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear))


def test_mistakes():
    with minicnn.abstract(), pytest.raises(ArgumentError, match="configuration='F' is unknown, expected one of"):
        models.vgg16(configuration="F")
