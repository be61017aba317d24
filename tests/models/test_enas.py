"""ENAS: the arcs of the authors' scripts, the layers of the macro network, the cells of the micro network."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models import enas
from minicnn.models.enas import MacroLayer, PlainReductions, parse_macro, parse_micro
from minicnn.models.nas_cells import Cell
from minicnn.models.nas_operations import FactorizedReduction, Operations
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
F = torch.nn.functional
SMALL = "0\n3 0\n1 1 0\n2 0 1 0\n0 0 0 1 1\n3 1 0 0 0 1"


def test_a_macro_arc_says_the_filters_and_the_maps_that_are_read_besides():
    assert parse_macro(SMALL) == ((3, ()), (5, ()), (3, (0,)), (5, (1,)), (3, (2, 3)), (5, (0, 4)))
    layers = parse_macro(enas.MACRO)
    assert len(layers) == 24 and [kernel for kernel, _ in layers].count(5) == 14
    assert layers[7] == (5, (1, 2, 4, 5, 6)) and layers[23] == (3, (0, 1, 5, 6, 7, 9, 13, 15, 18, 19))


def test_every_halved_map_of_the_arc_is_read():
    """So none of the 9 + 17 reductions is dead."""
    layers = parse_macro(enas.MACRO)
    read = [{*skips, k} for k, (_, skips) in enumerate(layers)]  # layer k reads map k, the last one, too
    late = set().union(*read[16:])
    assert set(range(17)) <= late and set(range(9)) <= late.union(*read[8:16])
    with minicnn.abstract():
        net = models.enas_macro_cifar10()
    assert [len(maps) for maps in net.reductions] == [9, 17]
    assert [layer.conv_kxk.conv.out_channels for layer in net.layers] == [96] * 8 + [192] * 8 + [384] * 8


@pytest.mark.parametrize("first", [True, False])
def test_a_macro_layer_joins_by_a_1x1(first):
    layer = MacroLayer(3, 5, () if first else (0, 2), first, Operations(same=True, generator=Generator(0)))
    layer.double().eval()
    state = {name: torch.from_numpy(np.array(value)) for name, value in layer.state_dict().items()}
    maps = [np.random.default_rng(seed).standard_normal((2, 3, 6, 6)) for seed in range(4)]

    def unit(y, path, padding=0):
        return F.conv2d(F.relu(y), state[f"{path}.conv.weight"], padding=padding) / np.sqrt(1 + 1e-5)

    y = unit(unit(torch.from_numpy(maps[3]), "conv_1x1"), "conv_kxk", 2)
    if not first:
        y = unit(torch.cat([torch.from_numpy(maps[0]), torch.from_numpy(maps[2]), y], 1), "join")
    assert_close(layer([minicnn.Tensor(x) for x in maps]).numpy(), y.numpy(), 1e-12)


def test_every_stored_map_is_halved_by_its_own_weights():
    with minicnn.abstract():
        net = models.enas_macro_cifar10(arc=SMALL, channels=4)
        made, read, kept = {}, {}, []

        def keep(name):
            def hook(module, args, output):
                read[name] = made.get(id(args[0]))
                made[id(output)] = name
                kept.append(output)  # so that no other map gets its id

            return hook

        net.stem.register_forward_hook(keep("stem"))
        for k, layer in enumerate(net.layers):
            layer.register_forward_hook(keep(f"layer{k}"))
        for third, maps in enumerate(net.reductions):
            for i, halve in enumerate(maps):
                halve.register_forward_hook(keep(f"half{third}.{i}"))
        net(minicnn.Tensor(minicnn.ShapeArray((1, 3, 8, 8), "float32")))
    assert [read[f"half0.{i}"] for i in range(3)] == ["stem", "layer0", "layer1"]
    assert [read[f"half1.{i}"] for i in range(5)] == ["half0.0", "half0.1", "half0.2", "layer2", "layer3"]


def test_separable_operations_of_the_macro_script_are_full_convolutions():
    with minicnn.abstract():
        net = models.enas_macro_cifar10(arc=SMALL, channels=4)
    assert [layer.conv_kxk.conv.weight.shape for layer in net.layers] == [
        *((4, 4, 3, 3), (4, 4, 5, 5), (8, 8, 3, 3), (8, 8, 5, 5), (16, 16, 3, 3), (16, 16, 5, 5)),
    ]


def test_a_micro_arc_is_a_genotype():
    cell = parse_micro(enas.REDUCTION)
    assert cell.pairs[1] == (("max_3x3", 0), ("avg_3x3", 0)) and cell.pairs[3] == (("sep_3x3", 1), ("skip", 0))
    assert cell.concat == (2, 4, 5, 6)  # the second pair is read by the third
    assert parse_micro(enas.NORMAL).concat == (2, 3, 4, 5, 6)


def test_the_micro_network_has_15_normal_cells_and_two_reductions():
    with minicnn.abstract():
        net = models.enas_micro_cifar10()
    cells = [getattr(net, name) for name in net.cell_names]
    assert len(cells) == 17 and [i for i, cell in enumerate(cells) if cell.stride == 2] == [5, 11]
    assert [cell.out_channels for cell in cells] == [180] * 5 + [288] + [360] * 5 + [576] + [720] * 5
    halved = [i for i, cell in enumerate(cells) if isinstance(cell.conv_prev_1x1, FactorizedReduction)]
    assert halved == [6, 12]
    assert all(
        [part.conv.out_channels for part in cell.conv_1x1] == [cell.out_channels // n] * 2
        for cell, n in zip(cells, [5] * 5 + [4] + [5] * 5 + [4] + [5] * 5, strict=True)
    )
    assert net.drop_path == 0.4 and net.dropout.p == 0.2


def test_a_skip_is_halved_without_a_relu():
    skip = PlainReductions(same=True, generator=Generator(0))("skip", 2, 2, 2).double().eval()
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4))
    assert_close(skip(-x).numpy(), -skip(x).numpy(), 1e-12)
    usual = Operations(same=True, generator=Generator(0))("skip", 2, 2, 2).double().eval()
    assert np.abs(usual(-x).numpy() + usual(x).numpy()).max() > 0.1


@pytest.mark.parametrize("name", ["enas_macro_cifar10", "enas_micro_cifar10"])
def test_every_parameter_learns(name):
    options = {"arc": SMALL} if "macro" in name else {"layers": 3}
    net = models.create(name, channels=4, num_classes=3, generator=Generator(0), **options)
    x = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([0, 1, 2, 0])).backward()
    silent = {path[:14] for path, p in net.named_parameters() if p.grad is None or not p.grad.numpy().any()}
    assert silent == ({"reductions.1.1"} if "macro" in name else set())  # nothing of the small arc reads that map
    assert all(np.isfinite(p.grad.numpy()).all() for p in net.parameters() if p.grad is not None)


def test_how_they_start():
    with minicnn.abstract():
        nets = models.enas_macro_cifar10(), models.enas_micro_cifar10()
    for net in nets:
        norms = {(module.eps, module.momentum) for module in net.modules() if isinstance(module, nn.BatchNorm2d)}
        assert norms == {(1e-5, 0.1)} and net.fc.bias is None
        assert not any(isinstance(module, nn.Conv2d) and module.bias is not None for module in net.modules())
    assert {cell.drop_path.p for cell in nets[1].modules() if isinstance(cell, Cell)} == {0.0}


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (
            lambda: models.enas_macro_cifar10(arc="0\n4 0"),
            "row 1 is '4 0', expected an operation from 0 to 3",
        ),
        (lambda: models.enas_macro_cifar10(arc="0\n1"), "parse_macro: row 1 is '1', .* and 1 skips"),
        (lambda: models.enas_macro_cifar10(arc="0\n1 0"), "ENASMacro: arc has 2 layers, expected 3 or more"),
        (lambda: models.enas_micro_cifar10(normal="0 1 0"), "parse_micro: arc='0 1 0', expected four numbers a pair"),
        (lambda: models.enas_micro_cifar10(normal="0 1 0 7"), "operation from 0 to 4"),
        (lambda: models.enas_micro_cifar10(normal="0 1 2 1"), "state 2 reads state 2"),
        (lambda: models.enas_micro_cifar10(layers=2), "ENASMicro: layers=2 is too small"),
        (lambda: models.enas_micro_cifar10(drop_path=2), "ENASMicro: drop_path=2 is out of range"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
