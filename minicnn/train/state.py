"""What a run is between two steps, as a checkpoint holds it: taken from a trainer, checked, put back."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import minicnn
from minicnn import random
from minicnn.data import Dataset
from minicnn.errors import CheckpointError, MinicnnError
from minicnn.kernels.arrays import is_float
from minicnn.train.checkpoint import Arrays, Checkpoint, of_prefix, with_prefix
from minicnn.train.run import COLUMNS, LATER

if TYPE_CHECKING:
    from minicnn.train.loop import Trainer

# Options that decide what the arrays of a checkpoint mean, or which numbers come next.
FIXED = (
    *(
        "model",
        "data",
        "size",
        "options",
        "batch_size",
        "optimizer",
        "momentum",
        "weight_decay",
        "decay",
        "ema",
        "seed",
    ),
    *("accumulate", "mix", "augmentation", "freeze", "lr_groups", "precision"),
)
# What a run did that is older than the option.
BEFORE: dict[str, Any] = {
    **{"decay": "weights", "accumulate": 1, "precision": "float32"},
    **dict.fromkeys(("options", "mix", "augmentation", "freeze", "lr_groups"), ""),
}


@dataclass
class PartOfEpoch:
    """How far the running epoch is, and its sums so far."""

    position: int = 0  # batches done
    seen: int = 0
    correct: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0  # of them for batches

    def add(self, loss: float, correct: int, count: int) -> None:
        """The figures of one step, once they are read back."""
        self.seen += count
        self.correct += correct
        self.loss_sum += loss * count


def weights_of(trainer: "Trainer") -> Checkpoint:
    """What ``best`` holds: the weights, and what it takes to classify a picture with them."""
    state = {
        "minicnn": minicnn.__version__,
        "args": trainer.args.as_dict(),
        "epoch": trainer.epoch,
        "rows": trainer.rows,
        "data": _facts(trainer.data["train"]),
    }
    return Checkpoint(with_prefix("model", trainer.model.state_dict()), state)


def state_of(trainer: "Trainer") -> Checkpoint:
    """What ``last`` holds: all that it takes to go on with the same bits."""
    arrays, state = weights_of(trainer)
    state["part"] = asdict(trainer.part)
    state["random"] = random.default_generator().state()
    state["optimizer"], slots = trainer.optimizer.state_dict()
    arrays |= with_prefix("optimizer", slots)
    state |= trainer.precision.state()
    if trainer.average is not None:
        arrays |= with_prefix("average", trainer.average.state_dict())
    return Checkpoint(arrays, state)


def restore(trainer: "Trainer", saved: Checkpoint) -> None:
    """Put back what ``state_of`` took. **Raises** CheckpointError for anything that does not fit."""
    arrays, state = saved
    if "part" not in state:
        raise CheckpointError("holds weights only, as best does; a run goes on from its last")
    _check_state(state)
    _check_options(trainer, state["args"])
    bad = not_finite(arrays)
    if bad:
        raise CheckpointError(f"{bad} has values that are NaN or infinite; fix: use another checkpoint of the run")
    load_weights(trainer.model, arrays)
    try:
        trainer.optimizer.load_state_dict(state["optimizer"], of_prefix("optimizer", arrays))
        if trainer.average is not None:
            trainer.average.load_state_dict(of_prefix("average", arrays))
        random.default_generator().set_state(state["random"])
        trainer.precision.restore(state)
    except MinicnnError as error:
        raise CheckpointError(str(error)) from error
    trainer.rows = [LATER | row for row in state["rows"]]
    trainer.epoch, trainer.part = state["epoch"], PartOfEpoch(**state["part"])
    if trainer.part.position > len(trainer.loader):
        raise CheckpointError(
            f"stands at step {trainer.part.position} of an epoch of {len(trainer.loader)}; is it of another dataset?"
        )


def not_finite(arrays: Arrays) -> str:
    """The name of the first array with a value that is NaN or infinite; empty when all are finite."""
    return next((name for name, a in arrays.items() if is_float(a.dtype) and not np.isfinite(a).all()), "")


def load_weights(model: Any, arrays: Arrays) -> None:
    """Put a checkpoint's weights into ``model``; every name and shape must fit."""
    weights = of_prefix("model", arrays)
    if not weights:
        raise CheckpointError("checkpoint: it holds no model weights; expected arrays named 'model/...'")
    model.load_state_dict(weights)


def _facts(dataset: Dataset) -> dict[str, Any]:
    """What `minicnn predict` must know to prepare a picture."""
    return {
        "name": dataset.name.split()[0],
        "shape": list(dataset.shape),
        "classes": list(dataset.classes),
        "mean": dataset.mean.ravel().tolist(),
        "std": dataset.std.ravel().tolist(),
    }


def _check_options(trainer: "Trainer", was: dict[str, Any]) -> None:
    for name in FIXED:
        then = was.get(name, BEFORE.get(name))
        if then != getattr(trainer.args, name):
            raise CheckpointError(
                f"was trained with {name}={then!r}, but {trainer.run.args.name} says "
                f"{getattr(trainer.args, name)!r}; fix: put {then!r} back, or start a new run"
            )


# ---- the JSON part: the digest says that nobody altered it, not that it was ever right


def _check_state(state: dict[str, Any]) -> None:
    """**Raises** CheckpointError unless every entry has its type and range."""
    for name, check, expected in (
        ("args", _is_dict, "a table of options"),
        ("epoch", _is_count, "a count"),
        ("rows", _are_rows, f"a list of tables with {', '.join(COLUMNS)}"),
        ("part", _is_part, f"the counts and sums {', '.join(asdict(PartOfEpoch()))}"),
        ("optimizer", _is_optimizer, "the optimiser's name, groups and steps"),
        ("random", _is_dict, "a table with seed and drawn"),
    ):
        if name not in state:
            raise CheckpointError(f"its state has no {name!r}; expected {expected}")
        if not check(state[name]):
            raise CheckpointError(f"its state's {name!r} is {_short(state[name])}, expected {expected}")
    if len(state["rows"]) != state["epoch"]:
        raise CheckpointError(
            f"its state has {len(state['rows'])} rows after {state['epoch']} epochs, expected a row each"
        )


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _is_number(value: Any) -> bool:
    return _is_count(value) or (isinstance(value, float) and math.isfinite(value))


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict) and set(COLUMNS) <= set(LATER | row) and all(map(_is_number, row.values()))
        for row in value
    )


def _is_part(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(LATER | value) == set(asdict(PartOfEpoch()))
        and all(_is_count(value[name]) for name in ("position", "seen", "correct"))
        and all(_is_number((LATER | value)[name]) for name in ("loss_sum", "seconds", "waited"))
    )


def _is_optimizer(value: Any) -> bool:
    if not isinstance(value, dict) or not {"optimizer", "groups", "steps"} <= set(value):
        return False
    groups, steps = value["groups"], value["steps"]
    return (
        isinstance(groups, list)
        and all(isinstance(group, dict) and _is_count(group.get("params")) for group in groups)
        and isinstance(steps, list)
        and all(map(_is_count, steps))
    )


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, (dict, list)) else f"a {type(value).__name__}: {value!r}"
    return text if len(text) <= 80 else f"{text[:77]}..."
