"""Which parameters decay, learn faster or slower, or stay as they are: names chosen by patterns.

A pattern is a glob over parameter names such as ``layer1.*``, ``*.bias`` or ``features.0.weight``; the path of a layer
stands for all that is in it. Of several patterns that fit a name, the last one counts.
"""

import difflib
import fnmatch
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.train.args import TrainArgs


def fits(name: str, pattern: str) -> bool:
    """Whether ``pattern`` means the parameter ``name``; with a dot at its end, all of the layer ``name``."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}.*")


def freeze_patterns(args: TrainArgs) -> list[str]:
    return [pattern.strip() for pattern in args.freeze.split(",") if pattern.strip()]


def rate_patterns(args: TrainArgs) -> dict[str, float]:
    """``"layer1.*=0.1,fc.*=2"`` -> ``{"layer1.*": 0.1, "fc.*": 2.0}``: what the learning rate is multiplied by."""
    found = {}
    for entry in filter(None, (entry.strip() for entry in args.lr_groups.split(","))):
        pattern, equals, number = (word.strip() for word in entry.rpartition("="))
        try:
            factor = float(number)
        except ValueError:
            factor = -1.0
        if not equals or not pattern or not 0 <= factor < float("inf"):
            raise ArgumentError(
                f"train: lr_groups has {entry!r}, expected a pattern and what its rate is multiplied by, "
                "such as layer1.*=0.1"
            )
        found[pattern] = factor
    return found


def freeze(model: Any, args: TrainArgs) -> int:
    """Take the parameters that ``args.freeze`` names out of the training; returns how many numbers stay.

    **Raises** ArgumentError for a pattern that fits nothing, or when nothing would be left to train.
    """
    patterns = freeze_patterns(args)
    named = list(model.named_parameters())
    _all_fit("freeze", patterns, [name for name, _ in named])
    frozen = [p for name, p in named if any(fits(name, pattern) for pattern in patterns)]
    if len(frozen) == len(named):
        raise ArgumentError(f"train: freeze={args.freeze!r} leaves nothing to train, expected fewer patterns")
    for parameter in frozen:
        parameter.requires_grad_(False)
    return sum(p.size for p in frozen)


def training_mode(model: Any, args: TrainArgs) -> None:
    """``model.train()``, but frozen layers stay in eval mode: batch norms keep their statistics, dropout is off."""
    model.train()
    patterns = freeze_patterns(args)
    for path, module in model.named_modules() if patterns else ():
        if path and any(fits(f"{path}.", pattern) for pattern in patterns):
            module.eval()


def parameter_groups(args: TrainArgs, model: Any) -> list[dict[str, Any]]:
    """Groups for an optimiser, the first one with the rate ``args.lr``; frozen parameters are in none.

    ``decay="weights"``: weight decay acts on parameters of two or more dimensions, not on biases and norms' scales;
    ``"all"``: on all of them. **Raises** ArgumentError for a pattern that fits nothing.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    rates = rate_patterns(args)
    _all_fit("lr_groups", list(rates), [name for name, _ in named])
    members: dict[tuple[float, bool], list[Any]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in named:
        factor = next((rates[pattern] for pattern in reversed(rates) if fits(name, pattern)), 1.0)
        members.setdefault((factor, args.decay == "all" or parameter.ndim > 1), []).append((name, parameter))
    return [
        {"params": found, "lr": args.lr * factor, "weight_decay": args.weight_decay if decayed else 0.0}
        for (factor, decayed), found in members.items()
    ]


def _all_fit(option: str, patterns: list[str], names: list[str]) -> None:
    for pattern in patterns:
        if not any(fits(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, [*names, *(name.split(".")[0] for name in names)], 1, 0.3)
            hint = f"; nearest: {near[0]!r}" if near else ""
            raise ArgumentError(f"train: {option}: no parameter that is trained fits {pattern!r}{hint}")
