"""The learning rate of each step of the optimiser, as a formula of its number: a resumed run has the same bits."""

import math
from collections.abc import Callable, Sequence

from minicnn.errors import ArgumentError
from minicnn.train.args import TrainArgs

Rows = Sequence[dict[str, float]]


def build_schedule(
    args: TrainArgs, steps_per_epoch: int, rows: Callable[[], Rows] = lambda: ()
) -> Callable[[int], float]:
    """The rate of each step: a linear warm-up, then what ``args.schedule`` says.

    **Math** with T the steps after the warm-up and t how many of them are done, e the epochs since the run began:
    ``cosine`` lr (1 + cos(pi t/T)) / 2; ``poly`` lr (1 - t/T)^power; ``constant`` lr; ``step`` lr, a tenth from the
    half on, a hundredth from three quarters on; ``milestones`` lr gamma^(milestones reached); ``exponential``
    lr gamma^floor(e / decay_epochs); ``plateau`` lr gamma^(drops), where ``rows()``, the finished epochs, say how often
    the validation accuracy stood still for more than ``patience`` epochs.

    **Raises** ArgumentError for milestones that are none.
    """
    total = args.epochs * steps_per_epoch
    warmup = min(args.warmup_epochs * steps_per_epoch, total // 5)
    milestones = [round(epoch * steps_per_epoch) for epoch in milestones_of(args)]
    length = max(round(args.decay_epochs * steps_per_epoch), 1)

    def factor(step: int) -> float:
        part = (step - warmup) / max(total - warmup, 1)
        if args.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * part))
        if args.schedule == "step":
            return 1.0 if part < 0.5 else 0.1 if part < 0.75 else 0.01
        if args.schedule == "milestones":
            return float(args.gamma ** sum(step >= milestone for milestone in milestones))
        if args.schedule == "exponential":
            return float(args.gamma ** (step // length))
        if args.schedule == "poly":
            return float((1 - part) ** args.power)
        if args.schedule == "plateau":
            return float(args.gamma ** drops([row["val_accuracy"] for row in rows()], args.patience))
        return 1.0

    return lambda step: args.lr * (step + 1) / warmup if step < warmup else args.lr * factor(step)


def milestones_of(args: TrainArgs) -> list[float]:
    """The epochs at which the rate falls, where the schedule has such."""
    if args.schedule != "milestones":
        return []
    try:
        epochs = [float(word) for word in args.milestones.split(",") if word.strip()]
    except ValueError:
        epochs = []
    if not epochs or epochs != sorted(set(epochs)) or not 0 < epochs[0] <= epochs[-1] < math.inf:
        raise ArgumentError(
            f"train: milestones={args.milestones!r}, expected growing numbers of epochs with commas between, "
            "such as 30,60,90; the schedule 'milestones' needs them"
        )
    return epochs


def drops(scores: Sequence[float], patience: int) -> int:
    """How often the rate has fallen: each time more than ``patience`` epochs in a row brought no new best score."""
    best, waited, fallen = -math.inf, 0, 0
    for score in scores:
        best, waited = (score, 0) if score > best else (best, waited + 1)
        if waited > patience:
            fallen, waited = fallen + 1, 0
    return fallen
