"""FractalNet: the wiring of the authors' generator, columns that work alone, joins, and what drop-path leaves."""

from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.fractalnet import Fractal, FractalBlock, FractalNet, Join
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
F = torch.nn.functional

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 8, 8))


def tiny(columns=3, **options):
    """Two blocks of a few channels, with batch norms that do something."""
    options = {"filters": (4, 6), "dropout": (0.0, 0.0), "num_classes": 5, **options}
    net = FractalNet(columns=columns, **options, generator=Generator(0)).double()
    for number, (name, value) in enumerate((*net.named_parameters(), *net.named_buffers())):
        if ".bn." in name and value.ndim:
            nn.init.uniform_(value, 0.5, 1.5, Generator(number))
    return net


def unit_path(column, index):
    """Where the ``index``-th unit of a column is: first or second half of every fractal around it."""
    halves = [("first.", "second.")[index >> bit & 1] for bit in reversed(range(column))]
    return "".join(halves) + "unit"


def grid(x, columns, unit, pool, join):
    """A block as the authors' generator draws it: row by row, each column where it has a convolution that ends."""
    outputs, used, rows = [x] * columns, [0] * columns, 2 ** (columns - 1)
    for row in range(1, rows + 1):
        ending = [c for c in range(columns) if row % 2 ** (columns - 1 - c) == 0]
        for c in ending:
            outputs[c] = unit(c, used[c], outputs[c])
            used[c] += 1
            if row == rows:
                outputs[c] = pool(outputs[c])
        if len(ending) > 1:
            joined = join([outputs[c] for c in ending])
            for c in ending:
                outputs[c] = joined
    return outputs[-1]


def torch_net(net, x, column=None):
    """The same network in PyTorch, from the weights by their paths."""
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in net.state_dict().items()}

    def unit(block, c, index, y):
        at = f"blocks.{block}.fractal.{unit_path(c, index)}"
        y = F.conv2d(y, state[f"{at}.conv.weight"], state.get(f"{at}.conv.bias"), padding=1)
        norm = [state.get(f"{at}.bn.{name}") for name in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(y, *norm).relu()

    for block in range(len(net.blocks)):
        if column is None:
            options = {"pool": lambda y: F.max_pool2d(y, 2), "join": lambda ys: torch.stack(ys).mean(0)}
            x = grid(x, net.columns, lambda c, i, y, block=block: unit(block, c, i, y), **options)
        else:
            for index in range(2**column):
                x = unit(block, column, index, x)
            x = F.max_pool2d(x, 2)
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("affine", [True, False])
def test_outputs_and_gradients_are_those_of_the_authors_grid_in_torch(columns, affine):
    net = tiny(columns, affine=affine).eval()
    for column in (None, *range(columns)):
        x, theirs = minicnn.Tensor(IMAGE, requires_grad=True), torch.tensor(IMAGE, requires_grad=True)
        y, expected = net(x, column), torch_net(net, theirs, column)
        assert_close(y.numpy(), expected.detach().numpy(), 1e-12)
        slope = np.random.default_rng(1).standard_normal(y.shape)
        (y * slope).sum().backward()
        expected.backward(torch.from_numpy(slope))
        assert_close(x.grad.numpy(), theirs.grad.numpy(), 1e-11)


class Wire(nn.Module):
    """A unit that leads over ``rows``, or with none a join: each different thing it makes of its input has a number."""

    def __init__(self, made, *rows):
        super().__init__()
        self.made, self.rows = made, rows

    def forward(self, x):
        if not self.rows and len(x) == 1:
            return x[0]
        return self.made.setdefault((*self.rows, x) if self.rows else tuple(x), len(self.made))


@pytest.mark.parametrize("columns", range(1, 8))
def test_the_expansion_rule_draws_the_authors_grid(columns):
    made, rows = {}, 2 ** (columns - 1)

    def unit(column, index, x):
        step = rows // 2**column
        return made[index * step, (index + 1) * step, x]

    fractal = Fractal(partial(Wire, made), columns, partial(Wire, made))
    found, count = Wire(made)(fractal.branches("z")), len(made)
    assert count == 2**columns - 1 + rows // 2  # each convolution and each join once
    assert grid("z", columns, unit, lambda y: y, lambda ys: made[tuple(ys)]) == found
    units = [module for module in fractal.modules() if isinstance(module, Wire) and module.rows]
    assert len(units) == 2**columns - 1


@pytest.mark.parametrize("columns", range(1, 7))
def test_convolutions_of_a_block_and_the_depth_of_its_columns(columns):
    with minicnn.abstract():
        net = FractalNet(columns=columns)
        run = []
        for path, module in net.named_modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda *_, path=path: run.append(path))
        x = minicnn.Tensor(minicnn.ShapeArray((1, 3, 32, 32), "float32"))
        for column in (None, *range(columns)):
            run.clear()
            net(x, column)
            assert len(run) == len(set(run)) == 5 * (2**columns - 1 if column is None else 2**column)


def inputs_of_joins(net):
    found = []
    for module in net.modules():
        if isinstance(module, Join):
            module.register_forward_hook(lambda module, args, y: found.append(len(args[0])))
    return found


def test_how_many_columns_meet_at_each_join():
    net = tiny(4)
    found = inputs_of_joins(net)
    net.eval()(IMAGE)
    assert [count for count in found if count > 1] == [2, 3, 2, 4] * 2


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_column_alone_is_the_net_whose_other_columns_are_dropped(column, monkeypatch):
    net = tiny(3, drop_path=0.5, global_drop=0.0).train()
    alone = net(IMAGE, column).numpy()
    for kept in range(3):
        monkeypatch.setattr(Join, "alive", lambda self, count, kept=kept: [max(kept - (3 - count), 0)])
        off = np.abs(net(IMAGE).numpy() - alone).max()
        assert off < 1e-13 if kept == column else off > 0.01


@pytest.mark.parametrize(("count", "p"), [(2, 0.15), (3, 0.5), (4, 0.9), (3, 1.0), (1, 0.9)])
def test_a_join_is_the_mean_of_those_alive_and_never_of_none(count, p):
    """Inputs are unit vectors: the output says what share each has."""
    join, draws = Join(p, Generator(3)), 600
    inputs = [minicnn.Tensor(row) for row in np.eye(count)[:, None]]
    shares = np.array([join(inputs).numpy()[0] for _ in range(draws)])
    living = (shares > 0).sum(1)
    assert living.min() >= 1
    assert_close(shares, (shares > 0) / living[:, None], 1e-15)
    expected = (1 - p) + p**count / count  # alive itself, or the one that stays
    wobble = 4 * np.sqrt(expected * (1 - expected) / draws)
    assert np.all(np.abs((shares > 0).mean(0) - expected) <= wobble)
    assert np.all(np.abs(shares.mean(0) - 1 / count) <= 4 * shares.std(0) / np.sqrt(draws))
    assert_close(join.eval()(inputs).numpy()[0], np.full(count, 1 / count), 1e-15)


def test_a_mini_batch_shares_what_is_dropped():
    join = Join(0.5, Generator(0))
    for _ in range(20):
        y = join([minicnn.Tensor(np.ones((8, 1))), minicnn.Tensor(np.zeros((8, 1)))]).numpy()
        assert np.all(y == y[0])


def columns_that_ran(net, x):
    """The column and block of every unit that ran; the column is how often the path says first or second."""
    ran, handles = [], []
    for path, module in net.named_modules():
        if path.endswith("unit"):
            place = path.count("first") + path.count("second"), path.split(".")[1]
            handles.append(module.register_forward_hook(lambda *_, place=place: ran.append(place)))
    net(x)
    for handle in handles:
        handle.remove()
    return ran


def test_global_drop_path_keeps_one_and_the_same_column_of_every_block():
    net, seen = tiny(3, global_drop=1.0).train(), set()
    for _ in range(30):
        ran = columns_that_ran(net, IMAGE)
        (column,) = {column for column, _ in ran}
        assert sorted(ran) == [(column, block) for block in "01" for _ in range(2**column)]
        seen.add(column)
    assert seen == {0, 1, 2}
    assert len(columns_that_ran(net.eval(), IMAGE)) == 2 * 7


def test_half_of_the_steps_are_global():
    net = FractalNet(filters=(1,), dropout=(0.0,), columns=4, generator=Generator(0))
    net.train()
    steps = [net._step() for _ in range(800)]
    assert abs(np.mean([step is None for step in steps]) - 0.5) < 4 * 0.5 / np.sqrt(800)
    counts = np.bincount([step for step in steps if step is not None], minlength=4)
    assert np.all(np.abs(counts - 100) < 4 * np.sqrt(100))
    assert {net.eval()._step() for _ in range(20)} == {None}


def learning(net, x, **options):
    """The names of the parameters that a step gives a gradient, without the linear layer."""
    net.zero_grad()
    ops.cross_entropy(net(x, **options), np.array([0, 1])).backward()
    assert all(p.grad is None or np.abs(p.grad.numpy()).max() > 0 for p in net.parameters())
    return {name for name, p in net.named_parameters() if p.grad is not None and not name.startswith("fc")}


def test_gradients_reach_all_columns_or_those_alive(monkeypatch):
    net = tiny(3, drop_path=0.15, global_drop=0.0)
    every = {name for name, _ in net.named_parameters() if not name.startswith("fc")}
    assert learning(net.eval(), IMAGE) == every
    for column in range(3):
        found = learning(net.train(), IMAGE, column=column)
        assert {path.count("first") + path.count("second") for path in found} == {column}
        assert len(found) == 2 * 3 * 2**column
    monkeypatch.setattr(Join, "alive", lambda self, count: list(range(count))[1:] or [0])  # the shallowest dies
    assert learning(net, IMAGE) == {
        name for name in every if ".fractal.unit" not in name and "first.unit" not in name
    } | {name for name in every if "first.first.unit" in name or "second.first.unit" in name}


def test_anytime_gives_every_depth_when_it_is_ready():
    net = tiny(3).eval()
    answers = net.anytime(IMAGE)
    assert_close(next(answers).numpy(), net(IMAGE, 0).numpy(), 1e-15)
    rest = [answer.numpy() for answer in answers]
    assert len(rest) == 3
    for answer, column in zip(rest, (1, 2, None), strict=True):
        assert_close(answer, net(IMAGE, column).numpy(), 1e-15)


def test_a_training_step_repeats_with_its_generator():
    nets = [tiny(3, dropout=(0.2, 0.2)).train() for _ in range(2)]
    steps = [[net(IMAGE).numpy() for _ in range(4)] for net in nets]
    assert all(np.array_equal(a, b) for a, b in zip(*steps, strict=True))
    assert len({y.tobytes() for y in steps[0]}) == 4


def test_units_and_first_weights_are_those_of_the_caffe_files():
    """Convolution, dropout, batch norm, ReLU; "xavier" has variance 1 / fan_in, and biases start at 0."""
    block = FractalBlock(8, 32, dropout=0.3, affine=False, generator=Generator(0))
    assert list(dict(block.fractal.unit.named_children())) == ["conv", "dropout", "bn", "relu"]
    assert block.fractal.first.unit.dropout.p == 0.3 and block.fractal.unit.bn.weight is None
    net = FractalNet(filters=(32, 64), dropout=(0.0, 0.1), affine=False, generator=Generator(0))
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight, fan_in = module.weight.numpy(), module.weight.numpy()[0].size
            bound = np.sqrt(3 / fan_in)
            assert np.abs(weight).max() <= bound and abs(weight.std() * np.sqrt(fan_in) - 1) < 0.1
            assert not module.bias.numpy().any()
    assert [block.fractal.unit.dropout.p for block in net.blocks] == [0.0, 0.1]


def test_published_forms_differ_by_the_biases_and_scales():
    """The other form of each net has the parameters that the reference notes."""
    for name, options, count in (
        ("fractalnet20_cifar10", {"affine": False}, 33_714_314),
        ("fractalnet40_c4_cifar10", {"affine": True}, 76_106_634),
    ):
        with minicnn.abstract():
            assert sum(p.size for p in models.create(name, **options).parameters()) == count


def test_layers_of_the_imagenet_net():
    with minicnn.abstract():
        net = models.fractalnet34_imagenet()
    assert 1 + len(net.blocks) * 2 ** (net.columns - 1) + 1 == 34
    assert [(stage.stride, stage.channels) for stage in net.stages] == [
        *((4, 64), (8, 128), (16, 256), (32, 512), (32, 1024)),
    ]
    assert net.cam_layer is net.blocks[3]
    with minicnn.abstract():
        small = models.fractalnet20_cifar10()
    assert [stage.stride for stage in small.stages] == [2, 4, 8, 16, 32] and small.cam_layer is small.blocks[3]
    assert isinstance(models.create("fractalnet40_c4_avgpool_cifar10", filters=(1,) * 5).blocks[0].pool, nn.AvgPool2d)


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: FractalNet(columns=0), "FractalNet: columns=0 is too small, expected at least 1"),
        (lambda: FractalNet(filters=()), r"FractalNet: filters=\(\), expected the channels of each block"),
        (lambda: FractalNet(dropout=(0.1,)), r"FractalNet: dropout=\(0.1,\), expected 5 numbers, one a block"),
        (lambda: FractalNet(pooling="min"), r"FractalNet: pooling='min' is unknown, expected one of \('max', 'mean'\)"),
        (lambda: FractalNet(global_drop=2.0), "FractalNet: global_drop=2.0 is out of range, expected a probability"),
        (lambda: FractalNet(drop_path=-1), "Join: drop_path=-1 is out of range, expected a probability"),
        (lambda: tiny()(IMAGE, column=3), "FractalNet: column=3 does not exist, expected 0 to 2 or None"),
        (lambda: tiny()(IMAGE, column=-1), "FractalNet: column=-1 is too small"),
    ],
)
def test_mistakes(mistake, match):
    with pytest.raises(ArgumentError, match=match):
        mistake()
