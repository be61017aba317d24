"""Module: what it finds, saves, loads, converts, prints, and how its call names the place of an error."""

import copy
import pickle

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.errors import ArgumentError, CheckpointError, IndexRangeError


class Scale(nn.Module):
    def __init__(self, size=3):
        super().__init__()
        self.weight = nn.Parameter(np.arange(size, dtype=np.float32))
        self.register_buffer("count", np.zeros((), np.int64))
        self.register_buffer("scratch", np.zeros(2, np.float32), persistent=False)
        self.bias = None

    def forward(self, x):
        return x if x is not None else 1 / 0

    def extra_repr(self):
        return f"size={self.weight.size}"


def net():
    return nn.Sequential(Scale(), nn.Sequential(inner=Scale(2), last=nn.Identity()))


def test_names_follow_the_order_of_assignment():
    model = net()
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "1.inner", "1.last"]
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "1.inner.weight"]
    assert [name for name, _ in model.named_buffers()] == ["0.count", "0.scratch", "1.inner.count", "1.inner.scratch"]
    assert list(model.state_dict()) == ["0.weight", "0.count", "1.inner.weight", "1.inner.count"]
    assert [type(child) for child in model.children()] == [Scale, nn.Sequential]
    assert model[0].weight.name == "weight"
    assert model.get_submodule("1.inner") is model[1].inner and model.get_submodule("") is model


def test_a_shared_module_is_walked_once_and_found_at_both_paths():
    inner = nn.Sequential(deep=Scale())
    model = nn.Sequential(nn.Sequential(a=inner, b=Scale()), inner)
    assert [name for name, _ in model.named_modules("net")] == ["net", "net.0", "net.0.a", "net.0.a.deep", "net.0.b"]
    assert model.get_submodule("1.deep") is model.get_submodule("0.a.deep") is inner.deep


def test_a_tied_parameter_counts_once_and_is_saved_under_both_paths():
    model = net()
    model[1].inner.weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight"]
    assert "1.inner.weight" in model.state_dict()


def test_state_dict_copies_and_loads_back():
    model, other = net(), net()
    model[0].weight.data[...] = 7
    saved = model.state_dict()
    model[0].weight.data[...] = 8
    version = other[0].weight.version[0]
    assert other.load_state_dict(
        {name: value.astype(np.float64) for name, value in saved.items() if "count" not in name}
        | {"0.count": np.int64(4), "1.inner.count": minicnn.Tensor(np.int32(5))}
    ) == ([], [])
    assert other[0].weight.numpy().tolist() == [7, 7, 7] and other[0].weight.dtype == np.float32
    assert other[0].count.item() == 4 and other[1].inner.count.item() == 5 and other[0].count.dtype == np.int64
    assert other[0].weight.version[0] > version


def test_a_misfit_lists_everything_and_writes_nothing():
    model = net()
    wrong = model.state_dict()
    wrong["0.weight"] = wrong["0.weight"] + 1
    wrong["1.inner.weigth"] = wrong.pop("1.inner.weight")
    wrong["0.count"] = np.zeros(5, np.int64)
    with pytest.raises(CheckpointError) as caught:
        model.load_state_dict(wrong)
    text = str(caught.value)
    assert "missing '1.inner.weight' (nearest: '1.inner.weigth')" in text
    assert "unexpected '1.inner.weigth'" in text
    assert "0.count: has shape (5,), expected ()" in text
    assert model[0].weight.numpy().tolist() == [0, 1, 2]
    with pytest.raises(CheckpointError, match=r"0.count: has shape \(5,\), expected \(\)"):
        model.load_state_dict(wrong, strict=False)
    wrong["0.count"] = np.float32(1.5)
    with pytest.raises(CheckpointError, match=r"0\.count: has dtype float32, expected int64"):
        model.load_state_dict(wrong, strict=False)
    del wrong["0.count"]
    report = model.load_state_dict(wrong, strict=False)
    assert report.missing_keys == ["0.count", "1.inner.weight"] and report.unexpected_keys == ["1.inner.weigth"]
    assert model[0].weight.numpy().tolist() == [1, 2, 3]
    with pytest.raises(ArgumentError, match="values is a list"):
        model.load_state_dict([])


def test_modes_dtypes_and_gradients():
    model = net()
    assert model.eval() is model and not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())
    model[0].weight.grad = minicnn.Tensor(np.ones(3, np.float32))
    assert model.double() is model and model[0].weight.dtype == model[0].weight.grad.dtype == np.float64
    assert model[0].scratch.dtype == np.float64 and model[0].count.dtype == np.int64
    assert model.float()[0].weight.dtype == np.float32
    assert model.to("cpu") is model
    model.zero_grad()
    assert model[0].weight.grad is None
    assert not any(p.requires_grad for p in model.requires_grad_(False).parameters())
    names = []
    assert model.apply(lambda module: names.append(type(module).__name__)) is model
    assert names[-1] == "Sequential" and len(names) == 5


def test_hooks_replace_and_are_removed():
    layer = nn.Identity()
    with layer.register_forward_pre_hook(lambda module, args: args[0] + 1):
        handle = layer.register_forward_hook(lambda module, args, y: (args, y * 10))
        assert layer(1) == ((2,), 20)
    handle.remove()
    handle.remove()
    assert layer(1) == 1


def test_repr_is_a_tree():
    assert repr(net()) == (
        "Sequential(\n  (0): Scale(size=3)\n  (1): Sequential(\n"
        "    (inner): Scale(size=2)\n    (last): Identity()\n  )\n)"
    )


def test_a_deep_copy_shares_nothing():
    model = net()
    twin = copy.deepcopy(model)
    twin[0].weight.data[...] = 9
    assert model[0].weight.numpy().tolist() == [0, 1, 2] and twin[0].weight.name == "weight"


def test_a_copied_or_pickled_module_goes_on_drawing_by_itself():
    layer = nn.Dropout(generator=minicnn.Generator(3))
    layer.generator.next_seed()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.generator.state() == {"seed": 3, "drawn": 1}
        twin.generator.next_seed()
    assert layer.generator.state()["drawn"] == 1


def test_sequential_slices_appends_and_names():
    model = nn.Sequential({"a": nn.Identity()}, b=Scale())
    assert [name for name, _ in model.named_children()] == ["a", "b"]
    tail = net()[1:]
    assert [name for name, _ in tail.named_children()] == ["1"] and len(tail) == 1
    assert [name for name, _ in tail.append(Scale()).named_children()] == ["1", "2"]
    model[0] = nn.Flatten()
    assert isinstance(model.a, nn.Flatten) and model[-1] is model.b
    with pytest.raises(IndexRangeError, match=r"Sequential\[2\]: it has 2 modules"):
        model[2]
    assert nn.Sequential()(5) == 5


def test_lists_and_dictionaries():
    layers = nn.ModuleList([Scale(), Scale(2)]).extend([nn.Identity()])
    assert len(layers) == 3 and [name for name, _ in layers[1:].named_children()] == ["0", "1"]
    heads = nn.ModuleDict({"cat": Scale()})
    heads["dog"] = Scale(2)
    assert "dog" in heads and "weight" not in heads and list(heads) == list(heads.keys()) == ["cat", "dog"]
    assert heads["dog"].weight.size == 2 and [name for name, _ in heads.items()] == ["cat", "dog"]
    with pytest.raises(ArgumentError, match=r"ModuleDict\['bird'\]: it has \['cat', 'dog'\]"):
        heads["bird"]
    with pytest.raises(ArgumentError, match="ModuleList: has no forward"):
        layers(1)


def test_a_foreign_exception_gets_the_path_as_a_note_once():
    with pytest.raises(ZeroDivisionError) as caught:
        nn.Sequential(net())(None)
    assert caught.value.__notes__ == ["in layer 0.0: Scale.forward"]


class Forgetful(nn.Module):
    def __init__(self):
        self.size = 3
        self.layer = nn.Identity()


class Silent(nn.Module):
    def __init__(self):
        pass


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: Forgetful(), r"Forgetful.layer: .*call super\(\).__init__\(\) first"),
        (lambda: Silent()(1), r"Silent\..*call super\(\).__init__\(\) first"),
        (lambda: setattr(nn.Identity(), "layers", [nn.Identity()]), "plain list hides its Identity.*ModuleList"),
        (lambda: setattr(nn.Identity(), "layers", {"a": nn.Identity()}), "ModuleDict"),
        (lambda: nn.Module()(1), "Module: has no forward"),
        (lambda: nn.Sequential(nn.Identity(), nn.Flatten), "add_module: '1' is a type, expected a Module"),
        (lambda: nn.Sequential({"a.b": nn.Identity()}), "'a.b' must be non-empty, without dots"),
        (lambda: nn.Sequential(forward=nn.Identity()), "'forward' is taken by the class itself"),
        (lambda: net().get_submodule("1.iner"), r"no module at '1.iner'; nearest: \['1.inner'"),
        (lambda: net().get_submodule("0.weight"), "no module at '0.weight'"),
    ],
)
def test_mistakes(mistake, match):
    with pytest.raises(ArgumentError, match=match):
        mistake()


def test_a_misspelt_attribute_names_the_nearest():
    with pytest.raises(AttributeError, match="Scale has no attribute 'wieght'; did you mean 'weight'"):
        _ = Scale().wieght


def test_a_buffer_assigned_an_array_stays_a_buffer():
    layer = Scale()
    layer.count = np.int64(3)
    assert isinstance(layer.count, minicnn.Tensor) and dict(layer.named_buffers())["count"].item() == 3


def test_an_abstract_module_has_shapes_only():
    with minicnn.abstract():
        layer = Scale()
    assert layer.state_dict()["weight"].shape == (3,) and isinstance(layer.weight.data, minicnn.ShapeArray)


def test_names_of_python_itself_are_no_spelling_mistakes(monkeypatch):
    """Copying asks every module for several; looking for close names took most of the time of ``fuse``."""
    monkeypatch.setattr("difflib.get_close_matches", lambda *_: pytest.fail("looked for a close name"))
    assert not hasattr(nn.ReLU(), "__deepcopy__")
    copy.deepcopy(nn.Sequential(nn.ReLU()))
