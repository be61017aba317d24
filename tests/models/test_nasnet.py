"""Searched cells: the graph as data, its operations, drop-path; NASNet and PNASNet made of them."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn
from minicnn.errors import ArgumentError
from minicnn.models import darts, enas, nasnet, pnasnet
from minicnn.models.nas_cells import Cell, CellOutputs, Genotype
from minicnn.models.nas_operations import FactorizedReduction, Operations, Pool3x3
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.catalog import rows

torch = pytest.importorskip("torch")
F = torch.nn.functional

# the cells, and what they put side by side although an operation reads it
CELLS = {
    "NASNet-A normal": (nasnet.NORMAL, {0}),
    "NASNet-A reduction": (nasnet.REDUCTION, {3}),
    "PNASNet-5": (pnasnet.CELL, {4}),
    "DARTS normal": (darts.NORMAL, {2}),
    "DARTS reduction": (darts.REDUCTION, {2}),
    "ENAS normal": (enas.parse_micro(enas.NORMAL), set()),
    "ENAS reduction": (enas.parse_micro(enas.REDUCTION), set()),
}


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def shuffled(module, seed=0):
    """``module`` in float64, in eval mode, with batch norms that do something."""
    rng = np.random.default_rng(seed)
    state = module.double().eval().state_dict()
    for name, value in state.items():
        array = np.asarray(value)
        if array.dtype.kind == "f":
            state[name] = rng.uniform(0.5, 1.5, array.shape) if "var" in name else rng.standard_normal(array.shape) / 2
    module.load_state_dict(state)
    return module


def tensors(module):
    """The state of ``module`` as torch tensors."""
    return {name: torch.from_numpy(np.array(value)) for name, value in module.state_dict().items()}


def norm(y, state, path, eps=1e-5):
    part = [state[f"{path}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(y, *part, eps=eps)


def tensorflow_pad(x, kernel, stride, value=0.0):
    """SAME, written out: what is missing, the odd pixel at the end."""
    sides = []
    for size in (x.shape[3], x.shape[2]):
        missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides += [missing // 2, missing - missing // 2]
    return F.pad(x, sides, value=value)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_an_acyclic_graph_and_what_nothing_reads_is_put_out(name):
    genotype, read_too = CELLS[name]
    readers = {state: set() for state in range(len(genotype.pairs) + 2)}
    for k, pair in enumerate(genotype.pairs):
        for _, state in pair:
            assert state < k + 2  # so the states are in topological order
            readers[state].add(k + 2)
    ends = {state for state, by in readers.items() if not by}
    assert set(genotype.unused) == ends and set(genotype.concat) == ends | read_too
    assert all(readers[state] for state in (0, 1)) and all(readers[state] for state in read_too)
    alive = set(genotype.concat)
    for state in sorted(readers, reverse=True):
        assert readers[state] & alive or state in alive, f"state {state} does not reach the output"
        alive.add(state)


@pytest.mark.parametrize("size", [6, 7])
def test_a_factorized_reduction_is_two_strided_1x1s_on_shifted_pixels(size):
    module = shuffled(FactorizedReduction(3, 8))
    state, x = tensors(module), np.maximum(image(2, 3, size, size), 0)
    half = -(-size // 2)
    shifted = np.zeros((2, 3, 2 * half, 2 * half))
    shifted[:, :, : size - 1, : size - 1] = x[:, :, 1:, 1:]
    paths = [
        np.einsum("kc,nchw->nkhw", state[f"path_{i}.conv.weight"].numpy()[:, :, 0, 0], pixels[:, :, ::2, ::2])
        for i, pixels in ((1, x), (2, shifted))
    ]
    expected = norm(torch.from_numpy(np.concatenate(paths, 1)), state, "final_path_bn").numpy()
    assert expected.shape == (2, 8, half, half)
    assert_close(module(x).numpy(), expected, 1e-12)


def test_a_factorized_reduction_reads_every_row_and_column_but_half_of_the_pixels():
    module = FactorizedReduction(1, 2, relu=False, generator=Generator(0)).double().eval()
    quiet = module(np.zeros((1, 1, 6, 6))).numpy()
    reached = np.zeros((6, 6), bool)
    for i, j in np.ndindex(6, 6):
        impulse = np.zeros((1, 1, 6, 6))
        impulse[0, 0, i, j] = 1
        reached[i, j] = not np.array_equal(module(impulse).numpy(), quiet)
    i, j = np.indices((6, 6))
    assert np.array_equal(reached, i % 2 == j % 2)
    assert reached.any(0).all() and reached.any(1).all() and reached.sum() == 18


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 1, 6), (5, 2, 8), (7, 2, 8), (5, 2, 7)])
def test_a_separable_convolution_is_depthwise_and_pointwise_twice(same, kernel, stride, size):
    module = shuffled(Operations(same=same, generator=None)(f"sep_{kernel}x{kernel}", 3, 4, stride))
    state, y = tensors(module), torch.from_numpy(image(2, 3, size, size))
    for layer, step in ((1, stride), (2, 1)):
        y = F.relu(y)
        y = tensorflow_pad(y, kernel, step) if same else F.pad(y, [kernel // 2] * 4)
        path = f"separable_{layer}"
        y = F.conv2d(y, state[f"{path}.depthwise_conv2d.weight"], stride=step, groups=y.shape[1])
        y = norm(F.conv2d(y, state[f"{path}.pointwise_conv2d.weight"]), state, f"bn_sep_{layer}")
    assert y.shape == (2, 4, -(-size // stride), -(-size // stride))
    assert_close(module(image(2, 3, size, size)).numpy(), y.numpy(), 1e-12)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 7), (8, 6), (7, 7)])
def test_pools_leave_their_padding_out(same, stride, size):
    x = image(2, 3, *size)
    t = torch.from_numpy(x)
    if same:
        largest = F.max_pool2d(tensorflow_pad(t, 3, stride, -np.inf), 3, stride)
        sums, there = (F.avg_pool2d(tensorflow_pad(y, 3, stride), 3, stride) for y in (t, torch.ones_like(t)))
        mean = sums / there
    else:
        largest = F.max_pool2d(t, 3, stride, 1)
        mean = F.avg_pool2d(t, 3, stride, 1, count_include_pad=False)
    assert np.array_equal(Pool3x3("max", stride, same)(x).numpy(), largest.numpy())
    assert_close(Pool3x3("avg", stride, same)(x).numpy(), mean.numpy(), 1e-13)


def transparent(genotype):
    """A cell of two channels whose calibrations let positive numbers pass."""
    cell = Cell(genotype, (2, 2), 2, operations=Operations(same=True, generator=None)).double().eval()
    for unit in (cell.conv_prev_1x1, cell.conv_1x1):
        unit.bn.eps = 0.0
        unit.conv.load_state_dict({"weight": np.eye(2).reshape(2, 2, 1, 1)})
    return cell


def test_a_cell_of_skips_returns_sums_of_its_inputs():
    a, b = np.abs(image(1, 2, 3, 3)), np.abs(image(1, 2, 3, 3, seed=1))
    skips = Genotype(((("skip", 0), ("skip", 1)), (("skip", 2), ("skip", 2)), (("skip", 2), ("skip", 1))), (3, 4))
    expected = np.concatenate([2 * (a + b), a + 2 * b], 1)
    assert_close(transparent(skips)(a, b).numpy(), expected, 1e-15)
    pools = Genotype(((("max_3x3", 0), ("skip", 1)),), (0, 2))
    largest = F.max_pool2d(torch.from_numpy(a), 3, 1, 1).numpy()
    assert_close(transparent(pools)(a, b).numpy(), np.concatenate([a, largest + b], 1), 1e-15)


def test_a_calibration_is_relu_1x1_norm():
    unit = shuffled(Operations(same=True, generator=None).unit(3, 4))
    x, state = image(2, 3, 4, 4), tensors(unit)
    expected = norm(F.conv2d(F.relu(torch.from_numpy(x)), state["conv.weight"]), state, "bn")
    assert_close(unit(x).numpy(), expected.numpy(), 1e-12)


@pytest.mark.parametrize("size", [7, 8])
def test_the_normal_cell_keeps_and_the_reduction_cell_halves(size):
    with minicnn.abstract():
        make = Operations(same=True, generator=None)
        older, newer = (Tensor(minicnn.ShapeArray((2, 6, size, size), "float32")) for _ in range(2))
        normal, strided = (Cell(pnasnet.CELL, (6, 6), 4, operations=make, stride=s) for s in (1, 2))
        reduction = Cell(nasnet.REDUCTION, (6, 6), 4, operations=make, stride=2)
        larger = Tensor(minicnn.ShapeArray((2, 6, 2 * size - 1, 2 * size - 1), "float32"))
        after = Cell(nasnet.NORMAL, (6, 6), 4, operations=make, older="reduce")
        half = -(-size // 2)
        assert normal(older, newer).shape == (2, 20, size, size)
        assert strided(older, newer).shape == (2, 20, half, half)
        assert reduction(older, newer).shape == (2, 16, half, half)
        assert after(larger, newer).shape == (2, 24, size, size)


def test_gradients_of_a_reduction_cell():
    make = Operations(same=True, generator=Generator(0))
    cell = Cell(nasnet.REDUCTION, (2, 2), 2, operations=make, stride=2, generator=Generator(0)).double()
    older, newer = (Tensor(image(2, 2, 4, 4, seed=seed), requires_grad=True) for seed in (3, 4))
    assert minicnn.gradcheck(cell, older, newer)


def test_drop_path_leaves_out_operations_and_never_a_skip():
    cell = Cell(nasnet.NORMAL, (2, 2), 2, operations=Operations(same=True, generator=Generator(0))).double()
    older, newer = image(4, 2, 5, 5), image(4, 2, 5, 5, seed=1)
    whole = cell.eval()(older, newer).numpy()
    cell.drop_path.p = 1.0
    assert np.array_equal(cell(older, newer).numpy(), whole)  # eval mode has all
    y = cell.train()(older, newer).numpy().reshape(4, 6, 2, 5, 5)
    first, second = cell.conv_prev_1x1(older).numpy(), cell.conv_1x1(newer).numpy()
    nothing = np.zeros_like(first)
    expected = np.stack([first, nothing, nothing, first, nothing, second], 1)
    assert_close(y, expected, 1e-12)


def test_drop_path_is_drawn_for_each_image_and_keeps_the_mean():
    pool = Genotype(((("avg_3x3", 1), ("skip", 0)),), (2,))
    cell = transparent(pool)
    ones = np.ones((400, 2, 3, 3))
    for module in (cell.conv_prev_1x1, cell.conv_1x1):
        module.eval()
    cell.training = cell.drop_path.training = True
    cell.drop_path.p, cell.drop_path.generator = 0.25, Generator(0)
    y = cell(ones, ones).numpy()
    assert np.array_equal(np.unique(y.round(12)), [1.0, round(1 + 1 / 0.75, 12)])
    assert (y == y[:, :1, :1, :1]).all() and abs(y.mean() - 2) < 0.1


def test_drop_path_grows_with_depth_and_with_training():
    with minicnn.abstract():
        net = models.nasnet_a_large(penultimate=96)
        cells = [module for module in net.modules() if isinstance(module, Cell)]
        assert [cell.drop_path.p for cell in cells] == [0.0] * (18 + 2 + 2)  # a new network
        net.set_progress(0.5)
        assert_close([cell.drop_path.p for cell in cells], 0.15 * np.arange(1, 23) / 22, 1e-12)
        net.set_progress(1.0)
        assert abs(cells[-1].drop_path.p - 0.3) < 1e-12
    order = [cells.index(getattr(net, name)) for name in ("cell_stem_0", "cell_0", "reduction_cell_0", "cell_17")]
    assert order == [0, 2, 8, 21]


@pytest.mark.parametrize(
    ("name", "cells", "filters", "penultimate"),
    [
        ("nasnet_a_mobile", 4, 44, 1056),
        ("nasnet_a_large", 6, 168, 4032),
        ("pnasnet5_large", 4, 216, 4320),
    ],
)
def test_repeats_and_filters_are_those_of_the_name(name, cells, filters, penultimate):
    """NASNet-A (4 @ 1056) and (6 @ 4032), PNASNet-5 (4, 216)."""
    with minicnn.abstract():
        net = models.create(name)
    assert net.last_linear.in_features == penultimate == net.stages[-1].channels
    assert [stage.stride for stage in net.stages] == [2, 4, 8, 16, 32]
    assert [cell for cell in net.cell_names if cell.startswith("cell_")] == [f"cell_{i}" for i in range(3 * cells)]
    widths = [net.get_submodule(cell).conv_1x1.conv.out_channels for cell in net.cell_names]
    strides = [net.get_submodule(cell).stride for cell in net.cell_names]
    stage = [(filters, 1)] * cells
    if name.startswith("pnasnet"):
        expected = [*stage, (2 * filters, 2), *[(2 * filters, 1)] * 3, (4 * filters, 2), *[(4 * filters, 1)] * 3]
    else:
        expected = [(w * filters, s) for w in (2, 4) for s in (2, *[1] * cells)]
        expected = stage + expected
    assert list(zip(widths, strides, strict=True)) == expected
    assert [net.cell_stem_0.conv_1x1.conv.out_channels, net.cell_stem_1.conv_1x1.conv.out_channels] == [
        *(filters // 4, filters // 2),
    ]


@pytest.mark.parametrize(("skips", "older"), [(False, "cell_1"), (True, "cell_0")])
def test_what_the_cell_after_a_reduction_reads(skips, older):
    with minicnn.abstract():
        net = models.nasnet_a_mobile(penultimate=96, repeats=2, skip_reduction_input=skips)
        read, made = {}, {}

        def keep(name):
            def hook(module, args, output):
                read[name], made[id(output)] = [made.get(id(x)) for x in args], name
                kept.append(output)

            return hook

        kept = []
        for name, module in net.named_children():
            if isinstance(module, Cell) or name == "conv0":
                module.register_forward_hook(keep(name))
        net(Tensor(minicnn.ShapeArray((1, 3, 64, 64), "float32")))
    assert read["cell_stem_0"] == ["conv0", "conv0"] and read["cell_stem_1"] == ["conv0", "cell_stem_0"]
    assert read["cell_0"] == ["cell_stem_0", "cell_stem_1"] and read["cell_1"] == ["cell_stem_1", "cell_0"]
    assert read["reduction_cell_0"] == ["cell_0", "cell_1"]
    assert read["cell_2"] == [older, "reduction_cell_0"] and read["cell_3"] == ["reduction_cell_0", "cell_2"]


@pytest.mark.parametrize("skips", [False, True])
def test_one_cell_between_reductions(skips):
    """Then the older input of the cell after a reduction has another width and size with each choice."""
    with minicnn.abstract():
        net = models.nasnet_a_mobile(penultimate=96, repeats=1, skip_reduction_input=skips)
        assert net(Tensor(minicnn.ShapeArray((2, 3, 96, 96), "float32"))).shape == (2, 1000)
        widths = [net.cell_1.conv_prev_1x1.path_1.conv.in_channels, net.cell_2.conv_prev_1x1.path_1.conv.in_channels]
    assert widths == ([8, 32] if skips else [24, 48])


def test_multiply_adds_with_what_is_cut_off():
    """The reference pads even maps by a row and a column, also where there is no stride, and cuts the first row and
    column of each first separable convolution off: (n + 1)^2 places for n^2."""
    cut_off = 0
    for filters, n in ((22, 28), (88, 14), (176, 7)):
        for kernel in (5, 7, 7, 5, 3):
            cut_off += (kernel**2 * filters + filters**2) * ((n + 1) ** 2 - n**2)
    ours = models.counts("nasnet_a_mobile").macs
    assert ours + cut_off == rows()["nasnet_a_mobile"].macs
    assert round(ours / 1e6) == 564  # as the paper prints


def test_auxiliary_heads_are_for_training():
    with minicnn.abstract():
        net, bare = models.nasnet_a_mobile(aux=4), models.nasnet_a_mobile()
        x = Tensor(minicnn.ShapeArray((2, 3, 224, 224), "float32"))
        outputs = net.train()(x)
        assert isinstance(outputs, CellOutputs) and [y.shape for y in outputs] == [(2, 1000)] * 2
        assert net.eval()(x).shape == (2, 1000) and not isinstance(net(x), tuple)
        large = Tensor(minicnn.ShapeArray((2, 3, 331, 331), "float32"))
        assert models.pnasnet5_large(aux=6).train()(large).aux_logits.shape == (2, 1000)
    more = sum(p.size for p in net.parameters()) - sum(p.size for p in bare.parameters())
    assert more == 528 * 128 + 2 * 128 + 128 * 16 * 768 + 2 * 768 + 769 * 1000
    assert net.aux.features[2].in_channels == net.cell_7.out_channels


def test_weight_names_are_timms():
    """Some of its names and shapes, those of NASNet's factorized paths translated."""
    with minicnn.abstract():
        large, pnas = models.nasnet_a_large(), models.pnasnet5_large()
    theirs = {
        "conv0.conv.weight": (96, 3, 3, 3),
        "cell_stem_0.comb_iter_0_right.separable_1.pointwise_conv2d.weight": (42, 96, 1, 1),
        "cell_stem_1.path_1.conv.weight": (42, 96, 1, 1),
        "cell_0.final_path_bn.running_var": (168,),
        "cell_17.comb_iter_4_left.bn_sep_2.weight": (672,),
        "reduction_cell_1.conv_prev_1x1.conv.weight": (672, 2016, 1, 1),
        "last_linear.bias": (1000,),
    }
    adapted = large.adapt_state(theirs)
    state = {name: value.shape for name, value in large.state_dict().items()}
    assert all(state[name] == shape for name, shape in adapted.items()) and len(adapted) == len(theirs)
    assert large.adapt_state(state) == state
    state = {name: value.shape for name, value in pnas.state_dict().items()}
    assert state["cell_stem_0.comb_iter_0_right.conv.weight"] == (54, 96, 1, 1)
    assert state["cell_4.comb_iter_4_right.conv.weight"] == (432, 432, 1, 1)
    assert state["cell_5.conv_prev_1x1.path_2.conv.weight"] == (216, 1080, 1, 1)
    assert state["conv_0.bn.weight"] == (96,)


def test_how_weights_start():
    net = models.nasnet_a_mobile(penultimate=192, repeats=1, num_classes=50, generator=Generator(0))
    again = models.nasnet_a_mobile(penultimate=192, repeats=1, num_classes=50, generator=Generator(0))
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(module.eps, round(module.momentum, 6)) for module in norms} == {(1e-3, 0.0003)}
    sep = net.cell_2.comb_iter_0_left.separable_1
    assert abs(sep.depthwise_conv2d.weight.numpy().std() / np.sqrt(2 / 25) - 1) < 0.1
    assert abs(sep.pointwise_conv2d.weight.numpy().std() / np.sqrt(2 / 32) - 1) < 0.1
    assert (
        abs(net.last_linear.weight.numpy().std() / np.sqrt(2 / 50) - 1) < 0.05
        and not net.last_linear.bias.numpy().any()
    )


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.nasnet_a_mobile(penultimate=1000), "NASNet: penultimate=1000, expected a multiple of 96"),
        (lambda: models.nasnet_a_mobile(repeats=0), "NASNet: repeats=0 is too small"),
        (lambda: models.nasnet_a_mobile(drop_path=1.5), "NASNet: drop_path=1.5 is out of range"),
        (lambda: models.nasnet_a_mobile(aux=-1), "NASNet: aux=-1 is too small"),
        (lambda: models.pnasnet5_large(filters=6), "PNASNet: filters=6, expected a multiple of 4"),
        (lambda: models.nasnet_a_mobile(penultimate=96).set_progress(2), "NASNet: progress=2 is out of range"),
        (lambda: FactorizedReduction(4, 3), "FactorizedReduction: out_channels=3 is odd"),
        (lambda: small(Genotype(((("sep_9x9", 0), ("skip", 1)),), (2,))), "operation 'sep_9x9' is unknown"),
        (
            lambda: small(Genotype(((("skip", 2), ("skip", 1)),), (2,))),
            "state 2 reads state 2, expected one from 0 to 1",
        ),
        (
            lambda: small(Genotype(((("skip", 0), ("skip", 1)),) * 2, (3,))),
            r"concat=\(3,\), .* nothing reads: \(2, 3\)",
        ),
        (lambda: small(Genotype(((("skip", 0), ("skip", 1)),), (0, 2)), stride=2), "expected states from 2 to 2"),
        (lambda: small(pnasnet.CELL, older="twice"), "Cell: older='twice' is unknown"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()


def pair(operation, state):
    return Genotype((((operation, state), ("skip", 1)),), (2,))


def small(genotype, **options):
    return Cell(genotype, (4, 4), 4, operations=Operations(same=True, generator=None), **options)
