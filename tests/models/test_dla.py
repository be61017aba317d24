"""DLA: leaves and roots of a tree and what each is given, two kinds of roots, unused projections, timm's names."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn
from minicnn.errors import ArgumentError
from minicnn.models.dla import BasicLeaf, BottleneckLeaf, Leaf, Root, Tree
from minicnn.models.res2net_dla import Bottle2neckLeaf
from minicnn.models.senet import squeeze_and_excite
from minicnn.models.stochastic_depth import linear_decay
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.catalog import rows
from tests.models.test_res2net import block as bottle2neck
from tests.models.test_res2net import lively
from tests.models.test_resnet import batch_norm


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def leaf(in_channels, out_channels, stride):
    return BasicLeaf(in_channels, out_channels, stride, generator=Generator(in_channels + stride))


def tree(depth, in_channels=4, out_channels=8, stride=2, **options):
    return lively(Tree(depth, leaf, in_channels, out_channels, stride, generator=Generator(0), **options))


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def of(kind, net):
    return [module for module in net.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_a_tree_doubles_with_its_depth(depth):
    with minicnn.abstract():
        net = Tree(depth, leaf, 4, 8, 2)
    assert (len(of(Leaf, net)), len(of(Root, net))) == (2**depth, 2 ** (depth - 1))
    assert [inner.conv1.stride for inner in of(Leaf, net)] == [2] + [1] * (2**depth - 1)


def watched(net, x):
    """Every leaf and root in the order they run: its name, and the names of what it is given."""
    names, seen, kept = {id(x): "x"}, [], []
    counts = {Leaf: 0, Root: 0}

    def look(module, args, y):
        kind = Root if isinstance(module, Root) else Leaf
        counts[kind] += 1
        name = f"{'root' if kind is Root else 'leaf'}{counts[kind]}"
        seen.append((name, [names.get(id(given), "pooled or projected") for given in args]))
        names[id(y)] = name
        kept.append(y)

    for module in net.modules():
        if isinstance(module, (Leaf, Root)):
            module.register_forward_hook(look)
    net(x)
    return seen


EIGHT_LEAVES = [
    ("leaf1", ["x", "pooled or projected"]),
    ("leaf2", ["leaf1"]),
    ("root1", ["leaf2", "leaf1"]),
    ("leaf3", ["root1", "root1"]),
    ("leaf4", ["leaf3"]),
    ("root2", ["leaf4", "leaf3", "root1"]),
    ("leaf5", ["root2", "root2"]),
    ("leaf6", ["leaf5"]),
    ("root3", ["leaf6", "leaf5"]),
    ("leaf7", ["root3", "root3"]),
    ("leaf8", ["leaf7"]),
    ("root4", ["leaf8", "leaf7", "root2", "root3"]),
]


@pytest.mark.parametrize("keeps_input", [False, True])
def test_what_every_node_of_eight_leaves_is_given(keeps_input):
    """By hand: a half ends in a root that feeds the next half and its last root; the input goes to the very last."""
    expected = [(name, list(given)) for name, given in EIGHT_LEAVES]
    if keeps_input:
        expected[-1][1].insert(2, "pooled or projected")
    assert watched(tree(3, keeps_input=keeps_input), Tensor(image(1, 4, 8, 8))) == expected
    if not keeps_input:
        pair = watched(tree(1), Tensor(image(1, 4, 8, 8)))
        assert pair == EIGHT_LEAVES[:3]


def test_the_kept_input_is_the_pooled_one():
    net, x = tree(2, keeps_input=True), image(2, 4, 8, 8)
    given = []
    of(Root, net)[-1].register_forward_hook(lambda module, args, y: given.extend(args))
    net(Tensor(x))
    assert [y.shape[1] for y in given] == [8, 8, 4, 8]
    assert np.array_equal(given[2].numpy(), x.reshape(2, 4, 4, 2, 4, 2).max((3, 5)))


@pytest.mark.parametrize("residual", [False, True])
def test_a_root_is_the_formula(residual):
    root = lively(Root(7, 3, residual, Generator(0))).eval()
    parts = [image(2, channels, 4, 4, seed=channels) for channels in (3, 1, 3)]
    weights = np.split(root.conv.weight.numpy()[:, :, 0, 0], (3, 4), 1)
    mixed = sum(np.einsum("oc,nchw->nohw", w, part) for w, part in zip(weights, parts, strict=True))
    scale, shift = (p.numpy().reshape(-1, 1, 1) for p in (root.bn.weight, root.bn.bias))
    expected = mixed / np.sqrt(1 + 1e-5) * scale + shift + (parts[0] if residual else 0)
    assert_close(root(*(Tensor(part) for part in parts)).numpy(), np.maximum(expected, 0), 1e-12)


def torch_tree(torch, weights, x):
    """A tree of depth 2 that strides and keeps its input, written out; in training mode."""
    functional = torch.nn.functional

    def unit(y, conv, bn, stride=1):
        kernel = weights[f"{conv}.weight"]
        y = functional.conv2d(y, kernel, stride=stride, padding=kernel.shape[2] // 2)
        return functional.batch_norm(y, None, None, weights[f"{bn}.weight"], weights[f"{bn}.bias"], training=True)

    def block(y, path, shortcut, stride=1):
        inner = unit(y, f"{path}.conv1", f"{path}.bn1", stride).relu()
        return (unit(inner, f"{path}.conv2", f"{path}.bn2") + shortcut).relu()

    def root(path, *parts):
        return (unit(torch.cat(parts, 1), f"{path}.conv", f"{path}.bn") + parts[0]).relu()

    pooled = functional.max_pool2d(x, 2)
    a = block(x, "tree1.tree1", unit(pooled, "tree1.project.0", "tree1.project.1"), 2)
    b = block(a, "tree1.tree2", a)
    half = root("tree1.root", b, a)
    c = block(half, "tree2.tree1", half)
    d = block(c, "tree2.tree2", c)
    return root("tree2.root", d, c, pooled, half)


def test_a_tree_is_that_of_torchs_functions():
    torch = pytest.importorskip("torch")
    net = tree(2, keeps_input=True, residual_root=True)
    weights = {name: torch.from_numpy(np.array(p.numpy())).requires_grad_() for name, p in net.named_parameters()}
    x = image(2, 4, 8, 8)
    given, theirs = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    y, expected = net(given), torch_tree(torch, weights, theirs)
    assert_close(y.numpy(), expected.detach().numpy(), 1e-12)
    seed = image(*y.shape, seed=1)
    (y * seed).sum().backward()
    (expected * torch.from_numpy(seed)).sum().backward()
    assert_close(given.grad.numpy(), theirs.grad.numpy(), 1e-11)
    for name, parameter in net.named_parameters():
        assert_close(parameter.grad.numpy(), weights[name].grad.numpy(), 1e-10, name)


@pytest.mark.parametrize("name", ["dla34", "dla46_c", "dla60", "dla60x", "dla102x2"])
def test_the_name_counts_the_layers(name):
    """Convolutions of leaves and roots, three before the trees and the last; projections are no layers."""
    convs = [path for path, module in abstractly(name).named_modules() if isinstance(module, nn.Conv2d)]
    assert len([path for path in convs if ".project." not in path]) == int(name[3:].rstrip("cx_").split("x")[0])


def test_deep_nets_have_residual_roots():
    residual = {name: {root.residual for root in of(Root, abstractly(name))} for name in models.names("dla*")}
    deep = ("dla102", "dla102x", "dla102x2", "dla169")
    assert residual == {name: {name in deep} for name in residual} and len(residual) == 10


def test_widths_of_the_leaves():
    """Half the channels in a bottleneck; DLA-X has 32 groups, DLA-X2 64 of the same width, 46-C a quarter in all."""
    widths = {}
    for name in ("dla60", "dla60x", "dla102x2", "dla46x_c"):
        first = [level.tree1 for level in (abstractly(name).level2, abstractly(name).level5)]
        convs = [(stage.conv2 if isinstance(stage, Leaf) else stage.tree1.conv2) for stage in first]
        widths[name] = [(conv.out_channels, conv.groups) for conv in convs]
    assert widths == {
        "dla60": [(64, 1), (512, 1)],
        "dla60x": [(128, 32), (1024, 32)],
        "dla102x2": [(256, 64), (2048, 64)],
        "dla46x_c": [(64, 32), (256, 32)],
    }


@pytest.mark.parametrize("levels", [(1, 1, 1, 2, 2, 1), (2, 3, 1, 1, 1, 1)])
def test_stages(levels):
    """Of several convolutions in a level only the first strides."""
    net = abstractly("dla34", levels=levels)
    assert [(stage.stride, stage.channels) for stage in net.stages] == [
        *((1, 16), (1, 16), (2, 32), (4, 64), (8, 128), (16, 256), (32, 512)),
    ]
    assert [len(of(nn.Conv2d, level)) for level in (net.level0, net.level1)] == list(levels[:2])


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("res2net_dla60", (21_145_544, 4_199_751_680)), ("res2next_dla60", (17_330_456, 3_535_822_848))],
)
def test_the_authors_code_has_projections_that_nothing_uses(name, theirs):
    """Those of trees of trees: two halves of level 3's, and of level 4's the tree and its first half."""
    dead = [(128, 256, 28), (256, 512, 14), (256, 512, 14)]
    params = sum(a * b + 2 * b for a, b, _ in dead)
    macs = sum(a * b * side * side for a, b, side in dead)
    assert np.add(models.counts(name), (params, macs)).tolist() == list(theirs)


def test_a_file_of_the_authors_loads_without_them():
    options = {"channels": (2, 4, 8, 12, 16, 20), "num_classes": 3}
    net = models.dla60(**options, generator=Generator(0))
    own = net.state_dict()
    file = own | {f"{path}.project.0.weight": np.zeros((1, 1, 1, 1)) for path in ("level3", "level4", "level4.tree1")}
    file["level4.project.1.running_mean"] = np.zeros(1)
    assert list(net.adapt_state(file)) == list(own) and "level5.project.0.weight" in own
    other = models.dla60(**options, generator=Generator(1))
    assert other.load_state_dict(other.adapt_state(file)) == ([], [])


def bottleneck_state(path, before, after):
    half = after // 2
    state = []
    for i, shape in enumerate([(half, before, 1, 1), (half, half, 3, 3), (after, half, 1, 1)], 1):
        state += [(f"{path}.conv{i}.weight", shape), *batch_norm(f"{path}.bn{i}", shape[0])]
    return state


def pair_state(path, before, after, seen):
    """Two bottlenecks, the projection of the first, and a root that sees ``seen`` channels."""
    state = []
    if before != after:
        state = [(f"{path}.project.0.weight", (after, before, 1, 1)), *batch_norm(f"{path}.project.1", after)]
    state += bottleneck_state(f"{path}.tree1", before, after) + bottleneck_state(f"{path}.tree2", after, after)
    return [*state, (f"{path}.root.conv.weight", (after, seen, 1, 1)), *batch_norm(f"{path}.root.bn", after)]


def test_weight_names_and_shapes_are_timms():
    """DLA-60 written out: what a root sees is its pair, its tree's input, and the halves before."""
    state = [("base_layer.0.weight", (16, 3, 7, 7)), *batch_norm("base_layer.1", 16)]
    state += [("level0.0.weight", (16, 16, 3, 3)), *batch_norm("level0.1", 16)]
    state += [("level1.0.weight", (32, 16, 3, 3)), *batch_norm("level1.1", 32)]
    state += pair_state("level2", 32, 128, 2 * 128)
    state += pair_state("level3.tree1", 128, 256, 2 * 256)
    state += pair_state("level3.tree2", 256, 256, 2 * 256 + 128 + 256)
    state += pair_state("level4.tree1.tree1", 256, 512, 2 * 512)
    state += pair_state("level4.tree1.tree2", 512, 512, 2 * 512 + 512)
    state += pair_state("level4.tree2.tree1", 512, 512, 2 * 512)
    state += pair_state("level4.tree2.tree2", 512, 512, 2 * 512 + 256 + 512 + 512)
    state += pair_state("level5", 512, 1024, 2 * 1024 + 512)
    state += [("fc.weight", (1000, 1024, 1, 1)), ("fc.bias", (1000,))]
    assert [(path, value.shape) for path, value in abstractly("dla60").state_dict().items()] == state
    assert all(models.info(name).timm == rows()[name].timm for name in (*models.names("dla*"), "res2net_dla60"))


def test_a_leaf_of_res2net_is_its_block():
    """Half the channels make four splits; only the block that strides is a first one."""
    inner = bottle2neck(32, 16)
    with minicnn.abstract():
        leaf = Bottle2neckLeaf(32, 32, scale=4, base_width=16)
    assert [p.shape for p in leaf.parameters() if p.ndim == 4][1:4] == [p.shape for p in inner.convs.parameters()]
    net = abstractly("res2net_dla60")
    firsts = [path for path, module in net.named_modules() if isinstance(module, Leaf) and module.first]
    assert firsts == ["level2.tree1", "level3.tree1.tree1", "level4.tree1.tree1.tree1", "level5.tree1"]
    assert len(of(Bottle2neckLeaf, net)) == 2 + 4 + 8 + 2 and net.level5.tree1.convs[0].out_channels == 8 * 28
    grouped = abstractly("res2next_dla60").level2.tree1.convs[0]
    assert (grouped.groups, grouped.out_channels) == (8, 32)


def test_the_shortcut_comes_from_outside_or_is_the_input():
    for kind in (BasicLeaf, BottleneckLeaf, Bottle2neckLeaf):
        net = lively(kind(32, 32, generator=Generator(0))).eval()
        x, shortcut = Tensor(image(1, 32, 5, 5)), Tensor(image(1, 32, 5, 5, seed=1))
        branch = net.branch(x).numpy()
        assert net.downsample is None
        assert_close(net(x).numpy(), np.maximum(branch + x.numpy(), 0), 1e-13)
        assert_close(net(x, shortcut).numpy(), np.maximum(branch + shortcut.numpy(), 0), 1e-13)


SMALL = {"levels": (1, 2, 1, 2, 1, 1), "channels": (8, 8, 32, 32, 32, 64), "num_classes": 3}


@pytest.mark.parametrize("name", ["dla34", "dla60x", "dla102", "res2net_dla60"])
def test_every_parameter_learns(name):
    options = {"groups": 2, "base_width": 32} if "x" in name else {}
    net = models.create(name, **SMALL, **options, generator=Generator(0))
    minicnn.ops.cross_entropy(net(image(4, 3, 64, 64).astype(np.float32)), np.array([0, 1, 2, 0])).backward()
    silent = [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]
    assert not silent and all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())


def test_gates_and_stochastic_depth_find_the_leaves():
    net = squeeze_and_excite(models.dla34(**SMALL, generator=Generator(0)), 8)
    leaves = of(Leaf, net)
    assert len(leaves) == 10 and all(inner.se is not None for inner in leaves)
    linear_decay(net, 0.5)
    assert [leaves[0].survival, leaves[-1].survival] == [0.95, 0.5]


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.dla34(levels=(1, 1, 1)), r"DLA: levels=\(1, 1, 1\), expected six numbers, one a level"),
        (lambda: models.dla34(levels=(1, 1, 0, 2, 2, 1)), "DLA: levels=0 is too small, expected at least 1"),
        (lambda: models.dla60(channels=(16,)), r"DLA: channels=\(16,\), expected six"),
        (lambda: models.dla60(block="split"), "DLA: block='split' is unknown"),
        (lambda: models.dla34(groups=32), "DLA: groups=32 needs block='bottleneck'"),
        (lambda: models.dla60x(base_width=0), "DLA: base_width=0"),
        (lambda: models.res2net_dla60(scale=0), "Res2NetDLA: scale=0"),
        (lambda: models.res2next_dla60(channels=()), "Res2NetDLA: channels"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
