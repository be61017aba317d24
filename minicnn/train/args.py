"""``TrainArgs``: every choice of a training run, checked once, saved with the run as ``args.toml``."""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.files import write_atomically
from minicnn.train.cadence import Cadence
from minicnn.train.observer import OBSERVERS, names_of

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "constant", "step", "milestones", "exponential", "poly", "plateau")
SGD_FORMS = ("torch", "caffe")
DECAYS = ("weights", "all")
PRECISIONS = ("float32", "float16", "bfloat16")
COUNTS = {
    "epochs": (1, 10**6),
    "batch_size": (1, 10**6),
    "size": (0, 4096),
    "seed": (0, 2**63 - 1),
    "workers": (0, 256),
    "warmup_epochs": (0, 10**6),
    "accumulate": (1, 10**6),
    "patience": (0, 10**6),
}
FROM_ZERO_TO_ONE = ("momentum", "label_smoothing", "ema", "alpha")
NOT_NEGATIVE = ("weight_decay", "eps", "clip_norm", "clip_value", "power", "aux_weight")
POSITIVE = ("gamma", "decay_epochs")
HUGE = 1e38  # float32 ends there
LONGEST = 1000  # characters of a text


@dataclass(frozen=True)
class TrainArgs:
    """The choices of a run. ``size`` is the side of the images in pixels (0: what the model was published for);
    ``checkpoint_every`` is a number of steps, or of seconds such as ``"60s"`` (see `minicnn.train.cadence`).

    The warm-up takes at most a fifth of the run. Texts that are lists part their entries by commas: ``options`` of the
    model (``"dropout=0.3, aux_logits=true"``, as in TOML), ``milestones`` in epochs, patterns of ``freeze`` and
    ``lr_groups`` (see `minicnn.train.groups`), ``augmentation`` and ``mix`` (see `minicnn.data.augment.parse`).
    docs/recipes.md has what each does. **Raises** ArgumentError for a value out of range or of another type.
    """

    model: str = "lenet5"
    data: str = "digits"
    size: int = 0
    options: str = ""
    epochs: int = 60
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.03
    momentum: float = 0.9
    nesterov: bool = True
    sgd_form: str = "torch"
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 5e-4
    decay: str = "weights"
    accumulate: int = 1
    clip_norm: float = 0.0
    clip_value: float = 0.0
    schedule: str = "cosine"
    milestones: str = ""
    gamma: float = 0.1
    decay_epochs: float = 1.0
    power: float = 1.0
    patience: int = 5
    warmup_epochs: int = 3
    label_smoothing: float = 0.0
    aux_weight: float = 0.3
    ema: float = 0.0
    augment: bool = True
    augmentation: str = ""
    mix: str = ""
    init: str = ""
    freeze: str = ""
    lr_groups: str = ""
    sync_bn: bool = False
    seed: int = 0
    workers: int = 1
    checkpoint_every: str = "60s"
    device: str = "auto"
    precision: str = "float32"
    log: str = "csv,steps,report"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), type(field.default))
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("sgd_form", self.sgd_form, SGD_FORMS)
        _one_of("decay", self.decay, DECAYS)
        _one_of("precision", self.precision, PRECISIONS)
        for name in names_of(self.log):
            _one_of("log", name, tuple(OBSERVERS))
        Cadence(self.checkpoint_every)
        for name, (low, high) in COUNTS.items():
            if not low <= getattr(self, name) <= high:
                wrong, bound = (
                    ("small", f"at least {low}") if getattr(self, name) < low else ("large", f"at most {high}")
                )
                raise ArgumentError(f"train: {name}={_shown(getattr(self, name))} is too {wrong}, expected {bound}")
        if not 0 < self.lr < HUGE:
            raise ArgumentError(
                f"train: lr={_shown(self.lr)} is no learning rate, expected a positive number such as 0.03"
            )
        for name in FROM_ZERO_TO_ONE:
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(f"train: {name}={_shown(getattr(self, name))}, expected at least 0 and less than 1")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < HUGE:
                raise ArgumentError(f"train: {name}={_shown(getattr(self, name))}, expected 0 or a positive number")
        for name in POSITIVE:
            if not 0 < getattr(self, name) < HUGE:
                raise ArgumentError(f"train: {name}={_shown(getattr(self, name))}, expected a positive number")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def write(self, path: Path, origin: Mapping[str, str] | None = None, **facts: Any) -> None:
        """Save as TOML, with tables for ``origin``, where each value came from, and ``facts``, such as versions."""
        import tomli_w

        tables = {"args": self.as_dict(), **({"from": dict(origin)} if origin else {}), "facts": facts}
        write_atomically(path, [tomli_w.dumps(tables).encode()])

    @classmethod
    def of(cls, values: dict[str, Any]) -> "TrainArgs":
        """From a dict; an unknown name is an error that names the nearest one."""
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name[:LONGEST], known, 1)
                raise ArgumentError(
                    f"train: unknown option {name[:LONGEST]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
                )
        return cls(**values)

    @classmethod
    def read(cls, path: Path) -> "TrainArgs":
        """From the ``args.toml`` of a run."""
        values = read_options(path)
        try:
            return cls.of(values)
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from error


def read_options(path: Path) -> dict[str, Any]:
    """The table ``[args]`` of a TOML file, its entries not checked."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))["args"]
    except FileNotFoundError:
        raise ArgumentError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror}); fix: its permissions") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, too long a number, too deep
        raise ArgumentError(f"{path}: is not TOML ({error}); fix: correct it, or start a new run") from error
    except KeyError:
        raise ArgumentError(f"{path}: has no table [args]; fix: correct it, or start a new run") from None
    if not isinstance(values, dict):
        raise ArgumentError(f"{path}: args is a {type(values).__name__}, expected a table [args]")
    return values


def _shown(value: Any) -> str:
    """The value, unless it has more digits than anybody reads (and Python prints)."""
    return str(value) if not isinstance(value, int) or abs(value) < 10**30 else "a number of more than 30 digits"


def _check_type(name: str, value: Any, expected: type) -> None:
    fits = isinstance(value, (int, float) if expected is float else expected)
    if not fits or (isinstance(value, bool) and expected is not bool):
        shown = repr(value)[:LONGEST]
        raise ArgumentError(f"train: {name}={shown} is a {type(value).__name__}, expected {expected.__name__}")
    if isinstance(value, str) and len(value) > LONGEST:
        raise ArgumentError(f"train: {name} has {len(value)} characters, expected at most {LONGEST}")
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):  # so Python shows such bytes
        raise ArgumentError(f"train: {name}={value!r} is not UTF-8, as all of args.toml must be; fix: rename the file")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ArgumentError(f"train: {name}={value!r} is unknown, expected one of {', '.join(allowed)}{hint}")
