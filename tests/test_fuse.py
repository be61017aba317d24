"""``fuse``: the same answers with fewer layers, wherever a norm is alone in following a layer, and only there."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minicnn
from minicnn import Tensor, fuse, models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.kernels import fused as K
from minicnn.random import Generator
from tests.emulator import emulated_gpu
from tests.fused import answers, check, images, lived_in, norms

# ---- layers


def one(layer, norm):
    return nn.Sequential(layer, norm, nn.ReLU())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        lambda bias: nn.Conv2d(4, 6, 3, padding=1, bias=bias),
        lambda bias: nn.Conv2d(4, 6, (2, 3), stride=2, padding="valid", dilation=(1, 2), groups=2, bias=bias),
        lambda bias: nn.Conv2d(4, 8, 3, groups=4, bias=bias),
        lambda bias: nn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=1, bias=bias),
        lambda bias: nn.ConvTranspose2d(4, 6, 3, groups=2, output_padding=1, stride=2, bias=bias),
        lambda bias: nn.ConvTranspose2d(4, 8, 3, groups=4, bias=bias),
    ],
)
def test_convolutions(layer, bias, affine):
    made = layer(bias)
    net = one(made, nn.BatchNorm2d(made.out_channels, eps=1e-2, affine=affine)).double()
    fused = check(net, images(4, 7), 1e-12, (4, 7, 7))
    assert type(fused[1]) is nn.Identity and fused[0].bias.shape == (made.out_channels,)
    assert list(fused.state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    net = one(nn.Linear(5, 7, bias=bias), nn.BatchNorm1d(7)).double()
    fused = check(net, np.random.default_rng(0).standard_normal((6, 5)), 1e-12, (1, 5))
    assert not norms(fused)


class Rows(nn.Module):
    """(N, 35) -> (N, 7, 5)."""

    def forward(self, x):
        return x.reshape(-1, 7, 5)


def test_a_linear_layer_of_sequences_has_its_channels_elsewhere():
    net = nn.Sequential(Rows(), one(nn.Linear(5, 7), nn.BatchNorm1d(7))).double()  # the norm's channels are the rows
    assert len(norms(check(net, np.random.default_rng(0).standard_normal((4, 35)), 1e-12, (1, 35)))) == 1


def test_float32_is_rounded_once():
    """Float64 arithmetic on the float32 weights, and the result in float32 to the last bit."""
    net = lived_in(one(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), images(3, 5, "float32"))
    conv, norm = net[0], net[1]
    scale = norm.weight.numpy().astype("d") / (norm.running_var.numpy().astype("d") + norm.eps) ** 0.5
    fused = fuse(net, (3, 5, 5))[0]
    weight = np.stack([scale[k] * conv.weight.numpy()[k] for k in range(4)]).astype("f")
    bias = (conv.bias.numpy().astype("d") - norm.running_mean.numpy()) * scale + norm.bias.numpy()
    assert fused.weight.dtype == np.float32 and np.array_equal(fused.weight.numpy(), weight)
    np.testing.assert_array_max_ulp(fused.bias.numpy(), bias.astype("f"), 1)


# ---- who reads what: forward passes in plain Python


class Net(nn.Module):
    """Two layers, two norms, and a forward pass given as a function."""

    def __init__(self, run, conv=nn.Conv2d):
        super().__init__()
        self.a, self.b = (conv(3, 3, 3, padding=1, bias=False) for _ in range(2))
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.drop, self.run = nn.Dropout(), run

    def forward(self, x):
        return self.run(self, x)


def both(y):
    return y[0] + 2 * y[1]


class Returning(Net):
    """Returns what its function does, so that the answer of the network is several tensors."""

    def forward(self, x):
        return both(super().forward(x))


class Padded(nn.Conv2d):
    """A convolution with a forward pass of its own that uses its weights as they are."""

    def forward(self, x):
        return ops.conv2d(ops.pad(x, (1, 0, 1, 0)), self.weight, self.bias, padding=(0, 0))


class Standardised(nn.Conv2d):
    """A convolution that scales its weights, so that a scale in them would be lost."""

    def forward(self, x):
        return ops.conv2d(x, self.weight / self.weight.sum((1, 2, 3), keepdim=True), self.bias)


class Turned(nn.Conv2d):
    """A convolution that runs backwards, so that its output channels lie in dimension 1 of the weights."""

    def forward(self, x):
        return ops.conv_transpose2d(x, self.weight, self.bias)


class Deaf(nn.Conv2d):
    """A convolution that would not add a bias if it had one."""

    def forward(self, x):
        return ops.conv2d(x, self.weight)


FOLDED = {
    "one after the other": (lambda n, x: n.other(n.b(ops.relu(n.norm(n.a(x))))), 0),
    "the norm of another function": (lambda n, x: n.norm(n.a(x)) + x, 1),
    "into and out of a tuple": (lambda n, x: next(n.norm(y) for y in (n.a(x),)), 1),
    "the pair twice, always together": (lambda n, x: n.norm(n.a(ops.relu(n.norm(n.a(x))))), 1),
    "after a pre-activation": (lambda n, x: n.other(n.b(ops.relu(n.norm(x)))), 1),
    "the answer of a branch is not used": (lambda n, x: (n.b(x), n.norm(n.a(x)))[1], 1),
}
KEPT = {
    "norm before": lambda n, x: n.a(n.norm(x)),
    "added elsewhere": lambda n, x: (lambda y: n.norm(y) + y)(n.a(x)),
    "added elsewhere first": lambda n, x: (lambda y: y + n.norm(y))(n.a(x)),
    "a mask of it": lambda n, x: (lambda y: n.norm(y) * (y > 0).astype("float64"))(n.a(x)),
    "detached": lambda n, x: (lambda y: n.norm(y) + y.detach())(n.a(x)),
    "raw array": lambda n, x: (lambda y: n.norm(y) + Tensor(y.data))(n.a(x)),
    "a view": lambda n, x: n.norm(n.a(x)[:, :, 1:]),
    "two norms": lambda n, x: (lambda y: n.norm(y) + n.other(y))(n.a(x)),
    "the norm twice": lambda n, x: n.norm(n.a(x)) + n.norm(n.b(x)),
    "the norm on the input too": lambda n, x: n.norm(n.a(x)) + n.norm(x),
    "the convolution twice": lambda n, x: n.norm(n.a(x)) + n.other(n.a(x)),
    "the convolution once without": lambda n, x: n.norm(n.a(x)) + n.a(2 * x),
    "the convolution once on one image": lambda n, x: n.norm(n.a(x)) + n.a(x[0]),
    "dropout between": lambda n, x: n.norm(n.drop(n.a(x))),
    "excited between": lambda n, x: (lambda y: n.norm(y * ops.sigmoid(y.mean((2, 3), keepdim=True))))(n.a(x)),
    "relu between": lambda n, x: n.norm(ops.relu(n.a(x))),
    "an operation, no layer": lambda n, x: n.norm(ops.conv2d(x, n.a.weight)),
    "forward by name": lambda n, x: n.norm.forward(n.a.forward(x)),
    "the weights used elsewhere": lambda n, x: n.norm(n.a(x)) + n.a.weight.sum(),
    "the scale used elsewhere": lambda n, x: n.norm(n.a(x)) * n.norm.weight.mean(),
    "the statistics used elsewhere": lambda n, x: n.norm(n.a(x)) * n.norm.running_var.mean(),
}


def check_net(net, left):
    fused = check(net.double(), images(3, 6), 1e-12, (3, 6, 6))
    assert len(norms(fused)) == left
    return fused


@pytest.mark.parametrize("case", FOLDED)
def test_folded(case):
    check_net(Net(FOLDED[case][0]), FOLDED[case][1])


@pytest.mark.parametrize("case", KEPT)
def test_kept(case):
    check_net(Net(KEPT[case]), 2)


def test_what_is_returned_or_stored_is_kept():
    def returned(net, x):
        y = net.a(x)
        return net.norm(y), y

    check_net(Returning(returned), 2)
    net = lived_in(Returning(returned).double(), images(3, 6))
    net.__class__ = Net  # now the network itself returns both
    x = images(3, 6)
    for before, after in zip(net(x), fuse(net, (3, 6, 6))(x), strict=True):
        assert np.array_equal(before.numpy(), after.numpy())

    def stored(net, x):
        net.seen = net.a(x)
        return net.norm(net.seen)

    check_net(Net(stored), 2)


def test_layers_with_their_own_forward():
    run = FOLDED["the norm of another function"][0]
    check_net(Net(lambda n, x: n.norm(n.a(x)), Padded), 1)
    check_net(Net(lambda n, x: n.norm(n.a(x)), Standardised), 2)
    check_net(Net(lambda n, x: n.norm(n.a(x)), Turned), 2)
    check_net(Net(lambda n, x: n.norm(n.a(x)), Deaf), 2)

    class Doubled(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    net = Net(run)
    net.norm = Doubled(3)
    check_net(net, 2)


def test_tied_weights_hooks_and_batch_statistics_stay():
    run = FOLDED["one after the other"][0]
    tied = Net(run)
    tied.b.weight = tied.a.weight
    check_net(tied, 2)
    half = Net(run)
    half.other.weight = half.norm.weight
    check_net(half, 2)
    for part in ("a", "norm"):
        for register in ("register_forward_hook", "register_forward_pre_hook"):
            net = Net(run)
            getattr(getattr(net, part), register)(lambda *_: None)
            check_net(net, 1)
    net = Net(run)
    net.norm = nn.BatchNorm2d(3, track_running_stats=False)
    check_net(net, 1)


def test_a_norm_that_its_model_puts_into_training_mode_stays():
    net = Net(lambda n, x: n.norm.train()(n.a(x)))
    assert len(norms(fuse(net, (3, 6, 6)))) == 2


def test_a_tied_layer_that_does_not_run_keeps_its_weights():
    net = Net(FOLDED["the norm of another function"][0])
    net.b.weight = net.a.weight
    fused = check_net(net, 1)
    assert np.array_equal(fused.b.weight.numpy(), net.a.weight.numpy())


def test_a_norm_that_the_model_also_holds_in_a_list():
    net = Net(lambda n, x: n._order[1](n._order[0](x)))
    net._order = [net.a, net.norm]
    check_net(net, 1)


# ---- the copy


def test_its_file_loads_into_a_fused_model(tmp_path):
    x, run = images(3, 6), FOLDED["one after the other"][0]
    fused = fuse(lived_in(Net(run).double(), x), (3, 6, 6))
    save_file(fused.state_dict(), tmp_path / "fused.safetensors")
    other = fuse(Net(run).double(), (3, 6, 6))
    assert not np.array_equal(answers(other, x), answers(fused, x))
    other.load_state_dict(load_file(tmp_path / "fused.safetensors"))
    assert np.array_equal(answers(other, x), answers(fused, x))


def test_the_copy_is_its_own():
    """It shares no memory, keeps what is frozen frozen, has no gradients, and fusing it again changes nothing."""
    net = Net(FOLDED["one after the other"][0])
    net.a.weight.requires_grad_(False)
    net.more = nn.Conv2d(3, 3, 1)  # stays as it is
    net.more(net(images(3, 6, "float32"))).sum().backward()
    fused = fuse(net, (1, 3, 6, 6))
    assert net.training and not any(module.training for module in fused.modules())
    theirs = [parameter.data for parameter in net.parameters()]
    assert not any(np.shares_memory(parameter.data, data) for parameter in fused.parameters() for data in theirs)
    assert net.more.weight.grad is not None and all(parameter.grad is None for parameter in fused.parameters())
    assert not fused.a.weight.requires_grad and not fused.a.bias.requires_grad and fused.b.bias.requires_grad
    again = fuse(fused, (3, 6, 6)).state_dict()
    assert all(np.array_equal(again[path], array) for path, array in fused.state_dict().items())
    assert repr(fused).count("Identity()") == 2 and "BatchNorm" not in repr(fused)


def test_on_the_gpu():
    net = lived_in(one(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), images(3, 5, "float32"))
    expected = fuse(net, (3, 5, 5)).state_dict()
    with emulated_gpu():
        fused = fuse(net.to("gpu"), (3, 5, 5))
        assert {parameter.device for parameter in fused.parameters()} == {"cuda:0"}
        assert all(np.array_equal(array, expected[path]) for path, array in fused.state_dict().items())
        half = fuse(net.astype("float16"), (3, 5, 5)).state_dict()
        for path, array in half.items():
            assert array.dtype == np.float16 and abs(array - expected[path]).max() < 2e-3 * abs(expected[path]).max()


def test_other_channels_and_without_gradients():
    with minicnn.no_grad():
        net = models.create("elu_resnet20_cifar10", in_channels=1, num_classes=3, generator=Generator(0)).double()
        assert not norms(check(net, images(1, 8), 1e-9))


def test_activations_and_sums_write_over_what_convolutions_put_out(monkeypatch):
    """Inference after fusing: a convolution, and one pass in place for the sum and the ReLU that follow."""
    net, seen = models.create("resnet20_cifar10", generator=Generator(0)), []

    def watched(x, other, low, high, out=None):
        seen.append((out is x or (out is not None and out is other), other is not None))
        return bounded_forward(x, other, low, high, out)

    bounded_forward = K.bounded_forward
    fused = fuse(net)
    monkeypatch.setattr(K, "bounded_forward", watched)
    answers(fused, images(3, 8, "float32"))
    assert seen.count((True, False)) == 10 and seen.count((True, True)) == 9 and len(seen) == 19


def test_the_input_of_a_network():
    net = models.create("resnet20_cifar10", in_channels=1)
    assert net.input_shape == (1, 32, 32) and models.create("lenet5").input_shape == (1, 32, 32)
    with pytest.raises(ArgumentError, match=r"ResNetCifar.input_shape: built by hand.*fix: models.create"):
        type(net)().input_shape  # noqa: B018


def test_what_cannot_be_fused():
    net = Net(FOLDED["one after the other"][0])
    with pytest.raises(ArgumentError, match=r"model is a function, expected a Module"):
        fuse(lambda x: x)
    with pytest.raises(ArgumentError, match=r"not of the catalog.*fix: fuse\(model, input_shape="):
        fuse(net)
    with pytest.raises(ArgumentError, match=r"input_shape=3, expected a shape"):
        fuse(net, 3)
    with pytest.raises(ArgumentError, match=r"input_shape"):
        fuse(net, (3, 0, 8))
    with pytest.raises(ArgumentError, match=r"fails on an input of shape \(1, 4, 8, 8\).*a: conv2d.*fix: "):
        fuse(net, (4, 8, 8))
    with pytest.raises(ArgumentError, match=r"without values.*no values"):
        fuse(Net(lambda n, x: n.a(x) * n.norm(x).sum().item()), (3, 8, 8))
