"""Checkpoints whose digest is right and whose content is not: states of wrong types, arrays that do not fit, NaN."""

import copy

import numpy as np
import pytest

from minicnn.errors import CheckpointError
from minicnn.train import RunFolder, load_checkpoint, new_run
from minicnn.train.checkpoint import save_checkpoint
from tests.train.hostile import refused


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A trainer whose folder is to be broken, and what its checkpoint held; shared by the tests of a module."""
    return {"folder": tmp_path_factory.mktemp("hostile") / "run"}


@pytest.fixture
def hostile(tiny, made):
    """Asks for a broken checkpoint: ``hostile(change)``, where ``change(arrays, state)`` breaks it."""
    if "trainer" not in made:
        trainer = new_run(tiny, made["folder"], quiet=True)
        trainer.fit()
        made |= {"trainer": trainer, "good": load_checkpoint(trainer.run.last)}
        for path in made["folder"].iterdir():
            if path.name not in ("args.toml", "last.safetensors"):
                path.unlink()

    def check(change):
        arrays, state = copy.deepcopy(made["good"])
        change(arrays, state)
        path = RunFolder(made["folder"]).last
        path.unlink(missing_ok=True)
        save_checkpoint(path, arrays, state)
        return refused(made["trainer"].resume, CheckpointError, path)

    return check


def test_the_good_one_is_taken(hostile, made):
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        hostile(lambda arrays, state: None)


def test_one_that_knows_nothing_of_waiting_is_taken(hostile, made):
    """As those were that were written before runs counted what they wait for their images."""

    def forget(arrays, state):
        for table in (state["part"], *state["rows"]):
            del table["waited"]

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        hostile(forget)
    assert [row["waited"] for row in made["trainer"].rows] == [0.0, 0.0] and made["trainer"].part.waited == 0


WRONG = [None, True, -1, 1.5, "1", [], {}, [1], {"a": 1}, 2**70]
COUNTS = [None, True, -1, 1.5, "1", [], {}, 2**70]


@pytest.mark.parametrize("value", [value for value in WRONG if value != 2] + [3, 1, 0], ids=repr)
def test_epochs_of_another_kind(hostile, value):
    hostile(lambda arrays, state: state.update(epoch=value))


@pytest.mark.parametrize(
    "value",
    [*WRONG, [[], []], [{}, {}], [None, None], "rows", [{"epoch": 1}, {"epoch": 2}], {"0": {}, "1": {}}],
    ids=repr,
)
def test_rows_of_another_kind(hostile, value):
    hostile(lambda arrays, state: state.update(rows=value))


@pytest.mark.parametrize("value", [None, "0.5", [0.5], {}, True, float("nan"), float("inf"), -float("inf")], ids=repr)
@pytest.mark.parametrize("name", ["val_accuracy", "lr"])
def test_rows_with_something_else_than_numbers(hostile, name, value):
    hostile(lambda arrays, state: state["rows"][1].update({name: value}))


@pytest.mark.parametrize("value", [*WRONG, {"position": 0}], ids=repr)
def test_parts_of_another_kind(hostile, value):
    hostile(lambda arrays, state: state.update(part=value))


@pytest.mark.parametrize("value", [*COUNTS, 6, 10**6], ids=repr)
def test_positions_outside_the_epoch(hostile, value):
    hostile(lambda arrays, state: state["part"].update(position=value))


@pytest.mark.parametrize("value", [None, True, -(2**70), "1", [], {}, float("nan"), float("inf")], ids=repr)
@pytest.mark.parametrize("name", ["loss_sum", "seconds", "waited", "seen"])
def test_sums_that_are_no_numbers(hostile, name, value):
    hostile(lambda arrays, state: state["part"].update({name: value}))


@pytest.mark.parametrize("name", ["args", "epoch", "rows", "part", "random", "optimizer"])
def test_entries_that_are_missing(hostile, name):
    hostile(lambda arrays, state: state.pop(name))


@pytest.mark.parametrize("name", ["position", "seen", "correct", "loss_sum", "seconds"])
def test_sums_that_are_missing(hostile, name):
    hostile(lambda arrays, state: state["part"].pop(name))


@pytest.mark.parametrize(
    "value",
    [
        *(*WRONG, {"seed": 0}, {"seed": 0, "drawn": -1}, {"seed": "0", "drawn": 1}, {"seed": 2**64, "drawn": 0}),
        *({"seed": 0, "drawn": 0.5}, {"seed": 0, "drawn": 1, "more": 1}),
    ],
    ids=repr,
)
def test_random_states_of_another_kind(hostile, value):
    hostile(lambda arrays, state: state.update(random=value))


OTHERS = [
    *(("model", "resnet20"), ("data", "shapes"), ("size", 32), ("batch_size", 64), ("optimizer", "adam")),
    *(
        ("momentum", 0.8),
        ("weight_decay", 0.0),
        ("ema", 0.0),
        ("seed", 1),
        ("seed", "0"),
        ("model", None),
        ("size", []),
    ),
]


@pytest.mark.parametrize(("name", "value"), OTHERS)
def test_checkpoints_of_another_run(hostile, name, value):
    text = hostile(lambda arrays, state: state["args"].update({name: value}))
    assert f"was trained with {name}={value!r}, but args.toml says" in text and "fix: put" in text


@pytest.mark.parametrize(
    "value",
    [
        *(*WRONG, {"optimizer": "SGD", "groups": [], "steps": []}, {"optimizer": "SGD", "groups": 1, "steps": []}),
        *({"optimizer": "SGD", "groups": [{}], "steps": [1]}, {"optimizer": 1, "groups": [], "steps": [[]]}),
    ],
    ids=repr,
)
def test_optimizers_of_another_kind(hostile, value):
    hostile(lambda arrays, state: state.update(optimizer=value))


OPTIONS = [
    *(("lr", -1.0), ("lr", None), ("lr", "fast"), ("lr", float("nan")), ("momentum", "0.9"), ("momentum", [0.9, 0.9])),
    *(("nesterov", 1), ("nesterov", "yes"), ("weight_decay", -0.1), ("form", "pytorch"), ("form", None), ("params", 3)),
    *(("dampening", 2.0), ("maximize", {}), ("params", "2"), ("params", -2)),
]


@pytest.mark.parametrize(("name", "value"), OPTIONS)
def test_options_of_the_optimizer_out_of_range(hostile, name, value):
    hostile(lambda arrays, state: state["optimizer"]["groups"][0].update({name: value}))


@pytest.mark.parametrize("name", ["params", "lr", "momentum", "nesterov", "weight_decay"])
def test_options_of_the_optimizer_that_are_missing(hostile, name):
    hostile(lambda arrays, state: state["optimizer"]["groups"][0].pop(name))


@pytest.mark.parametrize(
    "steps", [[], [10], [10] * 7, [10, -1, 10, 10, 10, 10], [None] * 6, [1.5] * 6, 10, "10"], ids=repr
)
def test_steps_of_the_optimizer_that_do_not_fit(hostile, steps):
    hostile(lambda arrays, state: state["optimizer"].update(steps=steps))


def names_of_arrays():
    weights = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "5.weight", "5.bias"]
    slots = [f"optimizer/{index}/momentum" for index in range(6)]
    return [*(f"{kind}/{name}" for kind in ("model", "average") for name in weights), *slots, "average/updates"]


@pytest.mark.parametrize("name", names_of_arrays())
def test_arrays_that_are_missing(hostile, name):
    hostile(lambda arrays, state: arrays.pop(name))


@pytest.mark.parametrize("name", names_of_arrays())
def test_arrays_of_another_shape(hostile, name):
    hostile(lambda arrays, state: arrays.update({name: np.concatenate([arrays[name].reshape(-1), [1]]).astype("f4")}))


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8"])
@pytest.mark.parametrize("name", ["model/0.weight", "average/5.bias", "optimizer/1/momentum", "model/1.running_var"])
def test_arrays_of_another_dtype(hostile, name, dtype):
    hostile(lambda arrays, state: arrays.update({name: arrays[name].astype(dtype)}))


@pytest.mark.parametrize(
    "name",
    ["model/9.weight", "model/", "average/more", "optimizer/99/momentum", "optimizer/x/momentum", "optimizer/0/"],
)
def test_arrays_too_many(hostile, name):
    hostile(lambda arrays, state: arrays.update({name: np.zeros(3, np.float32)}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["model/5.weight", "model/1.running_var", "optimizer/0/momentum", "average/0.weight"])
def test_arrays_with_values_that_are_no_numbers(hostile, name, value):
    def change(arrays, state):
        arrays[name].reshape(-1)[-1] = value

    assert f"{name} has values that are NaN or infinite" in hostile(change)


def test_checkpoints_without_what_resuming_needs(hostile):
    text = hostile(lambda arrays, state: [state.pop(name) for name in ("part", "optimizer", "random")])
    assert "holds weights only, as best does" in text
