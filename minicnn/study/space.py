"""What a study may choose: for each option of a run a list of values or a range, read from TOML.

[space]
lr = { low = 0.003, high = 0.3, log = true, points = 5 }  # points: how many a grid takes
batch_size = [32, 64, 128]

[args]                                                    # the same in every trial
model = "lenet5"
epochs = 5
"""

import itertools
import math
import tomllib
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from minicnn.errors import ArgumentError
from minicnn.train.args import TrainArgs

MOST_TRIALS = 10_000


class Trial(Protocol):
    """What Optuna's trial is asked."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


class Choice(NamedTuple):
    """One of ``values``."""

    values: tuple[Any, ...]

    def suggest(self, trial: Trial, name: str) -> Any:
        return trial.suggest_categorical(name, self.values)

    def grid(self, name: str) -> list[Any]:
        return list(self.values)


class Range(NamedTuple):
    """A number from ``low`` to ``high``; whole where both are, evenly spread over its logarithm where ``log``."""

    low: float
    high: float
    log: bool = False
    points: int = 0

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Trial, name: str) -> Any:
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, float(self.low), float(self.high), log=self.log)

    def grid(self, name: str) -> list[Any]:
        """**Raises** ArgumentError for a range of fractions without ``points``."""
        count = self.points or (int(self.high - self.low) + 1 if self.whole and not self.log else 0)
        if not 2 <= count <= MOST_TRIALS:
            raise ArgumentError(f"study: a grid over the range of {name} needs its points; fix: points = 5, or a list")
        low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
        inner = [low + (high - low) * k / (count - 1) for k in range(1, count - 1)]
        values = [self.low, *(math.exp(v) if self.log else v for v in inner), self.high]
        return list(dict.fromkeys(round(v) for v in values)) if self.whole else [float(v) for v in values]


Entry = Choice | Range


class Space(NamedTuple):
    """The options a study chooses, and those it leaves alone."""

    entries: dict[str, Entry]
    args: dict[str, Any]

    @classmethod
    def of(cls, tables: dict[str, Any]) -> "Space":
        """From the tables ``space`` and ``args``. **Raises** ArgumentError for what no run could take."""
        chosen, args = tables.get("space"), tables.get("args", {})
        if not isinstance(chosen, dict) or not chosen or not isinstance(args, dict):
            raise ArgumentError("study: expected a table [space] with at least one option, as lr = [0.01, 0.1]")
        space = cls({name: _entry(name, value) for name, value in chosen.items()}, args)
        both = sorted(set(space.entries) & set(args))
        if both:
            raise ArgumentError(f"study: {both[0]} is in [space] and in [args]; fix: leave it out of one")
        for name, entry in space.entries.items():
            for value in entry.values if isinstance(entry, Choice) else (entry.low, entry.high):
                TrainArgs.of({**args, name: value})
        return space

    @classmethod
    def read(cls, path: Path) -> "Space":
        try:
            return cls.of(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ArgumentError(f"study: {path} cannot be read ({error.strerror}); fix: --space with a file") from error
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from error
        except ValueError as error:
            raise ArgumentError(f"study: {path} is not TOML ({error})") from error

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The options of one trial."""
        return {**self.args, **{name: entry.suggest(trial, name) for name, entry in self.entries.items()}}

    def grid(self) -> list[dict[str, Any]]:
        """Every combination. **Raises** ArgumentError for more than anybody runs."""
        columns = [entry.grid(name) for name, entry in self.entries.items()]
        count = math.prod(map(len, columns))
        if count > MOST_TRIALS:
            raise ArgumentError(f"study: the grid has {count} points, expected at most {MOST_TRIALS}")
        return [dict(zip(self.entries, point, strict=True)) for point in itertools.product(*columns)]

    def tables(self) -> dict[str, Any]:
        """What ``of`` reads."""
        entries = {
            name: list(entry.values) if isinstance(entry, Choice) else entry._asdict()
            for name, entry in self.entries.items()
        }
        return {"space": entries, "args": self.args}


def _entry(name: str, value: Any) -> Entry:
    if isinstance(value, list) and value and all(isinstance(v, (bool, int, float, str)) for v in value):
        return Choice(tuple(value))
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log", "points"}:
        raise ArgumentError(
            f"study: {name} = {value!r}, expected a list such as [0.01, 0.1] or a range such as "
            "{ low = 0.001, high = 0.1, log = true, points = 5 }"
        )
    entry = Range(**value)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (entry.low, entry.high))
    if not numbers or not isinstance(entry.log, bool) or not isinstance(entry.points, int) or entry.points < 0:
        raise ArgumentError(f"study: {name}: low and high are numbers, log true or false, points a count; got {value}")
    if not entry.low < entry.high or (entry.log and entry.low <= 0):
        raise ArgumentError(f"study: {name}: expected low < high" + (", and low > 0 for log" if entry.log else ""))
    return entry
