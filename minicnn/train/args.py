"""``TrainArgs``: every choice of a training run, checked once, saved with the run as ``args.toml``."""

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "constant", "step")


@dataclass(frozen=True)
class TrainArgs:
    """The choices of a run. ``size`` is the side of the images in pixels (0: what the model was published for)."""

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

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        for name, low in (
            ("epochs", 1),
            ("batch_size", 1),
            ("size", 0),
            ("seed", 0),
            ("workers", 0),
            ("warmup_epochs", 0),
        ):
            if getattr(self, name) < low:
                raise ArgumentError(f"train: {name}={getattr(self, name)} is too small, expected at least {low}")
        if not self.lr > 0:
            raise ArgumentError(f"train: lr={self.lr} must be positive")
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(f"train: {name}={getattr(self, name)} must be in [0, 1)")
        if self.weight_decay < 0:
            raise ArgumentError(f"train: weight_decay={self.weight_decay} must not be negative")

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
            return cls.of(tomllib.loads(path.read_text(encoding="utf-8"))["args"])
        except FileNotFoundError:
            raise ArgumentError(f"{path.parent} is not a run folder: it has no {path.name}") from None
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise ArgumentError(f"{path}: cannot be read as the options of a run ({error})") from error


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ArgumentError(f"train: {name}={value!r} is unknown, expected one of {', '.join(allowed)}")
