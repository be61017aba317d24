"""PolyNet: modules as polynomials of blocks, what a poly shares, and where the net has which module."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.polynet import MPoly, Poly, Way, poly_inception
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def matrix_block(matrix):
    """A block that is a matrix over the channels."""
    conv = nn.Conv2d(*matrix.shape, 1, bias=False).double()
    conv.load_state_dict({"weight": matrix[:, :, None, None]})
    return nn.Sequential(conv)


def batch_block(seed=0):
    return nn.Sequential(
        conv=nn.Conv2d(4, 4, 3, padding=1, bias=False, generator=Generator(seed)), bn=nn.BatchNorm2d(4)
    )


@pytest.mark.parametrize("kind", ["poly-3", "mpoly-3", "3-way", "poly-1"])
def test_a_module_is_its_polynomial(kind):
    """With positive matrices for blocks no ReLU cuts anything off."""
    rng = np.random.default_rng(0)
    f, g, h = (rng.uniform(0, 1, (3, 3)) for _ in range(3))
    polynomial = {
        "poly-3": f + f @ f + f @ f @ f,
        "mpoly-3": f + g @ f + h @ g @ f,
        "3-way": f + g + h,
        "poly-1": f,
    }[kind]
    blocks = iter([matrix_block(m) for m in (f, g, h)])
    module = poly_inception(kind, lambda: next(blocks), 0.5)
    x = rng.uniform(0, 1, (2, 3, 4, 4))
    expected = np.einsum("kc,nchw->nkhw", np.eye(3) + 0.5 * polynomial, x)
    assert_close(module(x).numpy(), expected, 1e-14)


def test_poly_2_against_pytorch():
    """x + F x + F F x, with a ReLU after each sum and between the orders, and norms of its own for each order."""
    module = Poly([batch_block(0), batch_block(1)]).double()
    for number, parameter in enumerate(module.parameters()):
        nn.init.normal_(parameter, 0.0, 1.0, Generator(number))
    state = {name: torch.from_numpy(value) for name, value in module.state_dict().items()}
    x = image(3, 4, 5, 5)

    def f(y, order):
        y = functional.conv2d(y, state["blocks.0.conv.weight"], padding=1)
        gamma, beta = state[f"blocks.{order}.bn.weight"], state[f"blocks.{order}.bn.bias"]
        return functional.batch_norm(y, None, None, gamma, beta, training=True)

    first = f(torch.from_numpy(x), 0)
    expected = functional.relu(torch.from_numpy(x) + first + f(functional.relu(first), 1))
    assert_close(module(x).numpy(), expected.numpy(), 1e-12)
    assert np.abs(module.blocks[0].bn.running_mean.numpy() - module.blocks[1].bn.running_mean.numpy()).max() > 0.01


def size(module):
    return sum(p.size for p in module.parameters())


def test_what_modules_cost():
    """A poly has the convolutions of one block, the others those of three."""
    one = size(batch_block())
    sizes = {kind: size(poly_inception(kind, batch_block)) for kind in ("poly-3", "mpoly-3", "3-way", "1-way")}
    assert sizes == {"poly-3": one + 2 * (4 + 4), "mpoly-3": 3 * one, "3-way": 3 * one, "1-way": one}


def test_an_mpoly_of_equal_blocks_is_the_poly_and_the_gradient_of_what_is_shared_is_the_sum():
    poly = Poly(batch_block(seed) for seed in range(3)).double()
    mpoly = MPoly(batch_block(seed) for seed in range(3)).double()
    assert mpoly.load_state_dict(poly.state_dict()) == ([], [])
    x, upstream = image(2, 4, 5, 5), image(2, 4, 5, 5, seed=1)
    for module in (poly, mpoly):
        (module(minicnn.Tensor(x)) * upstream).sum().backward()
    assert np.array_equal(poly.eval()(x).numpy(), mpoly.eval()(x).numpy())
    shares = [block.conv.weight.grad.numpy() for block in mpoly.blocks]
    assert_close(poly.blocks[0].conv.weight.grad.numpy(), sum(shares), 1e-12)
    assert poly.blocks[0].conv is poly.blocks[2].conv and np.abs(shares[2]).max() > 0


def test_orders_differ_where_blocks_do():
    """The proof above would see an mpoly that ran its blocks side by side, or in another order."""
    blocks = [batch_block(seed) for seed in range(3)]
    x = image(2, 4, 5, 5).astype(np.float32)
    outputs = [module(x).numpy() for module in (MPoly(blocks), MPoly(blocks[::-1]), Way(blocks))]
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1 and np.abs(outputs[0] - outputs[2]).max() > 0.1
    assert_close(Way(blocks[::-1])(x).numpy(), outputs[2], 1e-6)


@pytest.mark.parametrize("kind", ["poly-3", "mpoly-2", "3-way"])
def test_without_its_blocks_a_module_is_the_identity(kind):
    module = poly_inception(kind, batch_block)
    for block in module.blocks:
        nn.init.zeros_(block.bn.weight)
    x = np.abs(image(2, 4, 5, 5)).astype(np.float32)
    assert np.array_equal(module(x).numpy(), x)


def test_a_part_can_be_shared():
    shared = poly_inception("poly-2", lambda: nn.Sequential(a=batch_block(), b=batch_block()), shared="a")
    first, second = shared.blocks
    assert first.a.conv is second.a.conv and first.b.conv is not second.b.conv and first.a.bn is not second.a.bn


def abstract_net(**options):
    with minicnn.abstract():
        return models.polynet(**options)


def test_the_modules_of_the_net():
    """10 2-ways; 10 and 5 pairs of poly-3 and 2-way, whose 1x1s to the full width are not shared."""
    net = abstract_net()
    names = {Way: "way", Poly: "poly"}
    stages = [[f"{names[type(m)]}{len(m.blocks)}" for m in stage] for stage in (net.stage_a, net.stage_b, net.stage_c)]
    assert stages == [["way2"] * 10, ["poly3", "way2"] * 10, ["poly3", "way2"] * 5]
    for stage in (net.stage_b, net.stage_c):
        first, *others = stage[0].blocks
        assert all(other.branches.branch0[1].conv is first.branches.branch0[1].conv for other in others)
        assert all(other.conv is not first.conv for other in others)
    assert net.stage_b[1].blocks[0].branches.branch1.conv is not net.stage_b[1].blocks[1].branches.branch1.conv


def test_the_scales_of_the_caffe_model():
    net = abstract_net()
    scales = [module.scale for stage in (net.stage_a, net.stage_b, net.stage_c) for module in stage]
    printed = [1.0, 0.992308, 0.984615, 0.976923, 0.969231, 0.961538, 0.953846, 0.946154, 0.938462, 0.930769]
    printed += [0.923077, 0.915385, 0.907692, 0.9, 0.892308, 0.884615, 0.876923, 0.869231, 0.861538, 0.853846]
    printed += [0.846154, 0.838462, 0.830769, 0.823077, 0.815385, 0.807692, 0.8, 0.792308, 0.784615, 0.776923]
    printed += [0.769231, 0.761538, 0.753846, 0.746154, 0.738462, 0.730769, 0.723077, 0.715385, 0.707692, 0.7]
    assert [round(scale, 6) for scale in scales] == printed


def test_maps_of_the_net():
    with minicnn.abstract():
        net = models.polynet().eval()
        outputs = net.stage_outputs(minicnn.Tensor(minicnn.ShapeArray((1, 3, 331, 331), "float32")))
    shapes = [y.shape[1:] for y in outputs.values()]
    assert shapes == [(64, 163, 163), (192, 79, 79), (384, 39, 39), (1152, 19, 19), (2048, 9, 9)]


def test_a_poly_net_is_smaller_than_one_of_mpolys_that_does_the_same_work():
    """IR 1-1-1 with each module: a poly's parameters are those of I + F and a few, its multiply-adds an mpoly's."""
    kinds = ("1-way", "poly-2", "mpoly-2", "2-way")
    plain, poly, mpoly, way = (size(abstract_net(mixes=((kind,),) * 3, depths=(1, 1, 1))) for kind in kinds)
    assert plain < poly < mpoly == way
    projections = 128 * 384 + 384 * 1152 + 448 * 2048  # not shared
    norms = sum(2 * widths for widths in (32 + 48 + 64 + 64 + 32, 128 + 160 + 192 + 192, 192 + 224 + 256 + 192))
    assert poly - plain == projections + norms + 2 * (384 + 1152 + 2048)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mixes": (("poly-0",),) * 3}, "PolyNet: 'poly-0' is no module, expected a name such as 'poly-3'"),
        ({"mixes": (("way-2",),) * 3}, "PolyNet: 'way-2' is no module"),
        ({"mixes": (("2-way",),)}, "PolyNet: mixes=.*expected one of each for three stages"),
        ({"mixes": ((), ("2-way",), ("2-way",))}, "PolyNet: mixes="),
        ({"depths": (10, 0, 5)}, "PolyNet: depths=0 is too small"),
        ({"last_scale": 1.5}, r"PolyNet: last_scale=1\.5 is out of range"),
    ],
)
def test_mistakes(options, match):
    with pytest.raises(ArgumentError, match=match):
        abstract_net(**options)
