"""``TrainArgs``: every choice of a training run, checked once, saved with the run as ``args.toml``."""

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.train.observer import OBSERVERS, names_of

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "constant", "step")
LOWEST = {"epochs": 1, "batch_size": 1, "size": 0, "seed": 0, "workers": 0, "warmup_epochs": 0}


@dataclass(frozen=True)
class TrainArgs:
    """The choices of a run. ``size`` is the side of the images in pixels (0: what the model was published for).

    The warm-up takes at most a fifth of the run. **Raises** ArgumentError for a value out of range or of another type.
    """

    model: str = "lenet5"
    data: str = "digits"
    size: int = 0
    epochs: int = 60
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup_epochs: int = 3
    label_smoothing: float = 0.0
    ema: float = 0.0
    augment: bool = True
    seed: int = 0
    workers: int = 1
    device: str = "auto"
    log: str = "csv,steps,report"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), type(field.default))
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        for name in names_of(self.log):
            _one_of("log", name, tuple(OBSERVERS))
        for name, low in LOWEST.items():
            if getattr(self, name) < low:
                raise ArgumentError(f"train: {name}={getattr(self, name)} is too small, expected at least {low}")
        if not 0 < self.lr < math.inf:
            raise ArgumentError(f"train: lr={self.lr} is no learning rate, expected a positive number such as 0.03")
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(f"train: {name}={getattr(self, name)}, expected at least 0 and less than 1")
        if not 0 <= self.weight_decay < math.inf:
            raise ArgumentError(f"train: weight_decay={self.weight_decay}, expected 0 or a small positive number")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def write(self, path: Path, **facts: Any) -> None:
        """Save as TOML; ``facts`` (versions, dataset) go into a table of their own."""
        import tomli_w

        path.write_bytes(tomli_w.dumps({"args": self.as_dict(), "facts": facts}).encode())

    @classmethod
    def of(cls, values: dict[str, Any]) -> "TrainArgs":
        """From a dict; an unknown name is an error that names the nearest one."""
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise ArgumentError(
                    f"train: unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
                )
        return cls(**values)

    @classmethod
    def read(cls, path: Path) -> "TrainArgs":
        """From the ``args.toml`` of a run."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))["args"]
        except FileNotFoundError:
            raise ArgumentError(f"{path.parent} is not a run folder: it has no {path.name}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ArgumentError(f"{path}: is not TOML ({error}); fix: correct it, or start a new run") from error
        except KeyError:
            raise ArgumentError(f"{path}: has no table [args]; fix: correct it, or start a new run") from None
        try:
            return cls.of(values)
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from error


def _check_type(name: str, value: Any, expected: type) -> None:
    fits = isinstance(value, (int, float) if expected is float else expected)
    if not fits or (isinstance(value, bool) and expected is not bool):
        raise ArgumentError(f"train: {name}={value!r} is a {type(value).__name__}, expected {expected.__name__}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ArgumentError(f"train: {name}={value!r} is unknown, expected one of {', '.join(allowed)}{hint}")
