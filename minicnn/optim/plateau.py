"""``ReduceLROnPlateau``: lower the rate when a measured number stops improving."""

import math
from typing import Any

from minicnn.errors import ArgumentError, CheckpointError
from minicnn.optim.optimizer import Optimizer


class ReduceLROnPlateau:
    """Multiply every group's rate by ``factor`` after more than ``patience`` calls without improvement.

    ``step(metric)`` is called with the validation loss (``mode="min"``) or accuracy (``"max"``). Better means by more
    than ``threshold``: of the best (``"rel"``) or in its own units (``"abs"``). After a drop ``cooldown`` calls are
    not counted; rates do not fall below ``min_lr``, nor by less than ``eps``. A NaN metric is no improvement.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        for name, value, known in (("mode", mode, ("min", "max")), ("threshold_mode", threshold_mode, ("rel", "abs"))):
            if value not in known:
                raise ArgumentError(f"ReduceLROnPlateau: {name}={value!r}, expected {known[0]!r} or {known[1]!r}")
        if not 0 < factor < 1:
            raise ArgumentError(f"ReduceLROnPlateau: factor={factor!r}, expected a number between 0 and 1")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_epochs = 0
        self.cooling = 0
        self.last_epoch = 0

    def step(self, metric: Any) -> None:
        """Take the newest value of the watched number into account."""
        value = float(metric)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1
        if self.cooling > 0:
            self.cooling, self.bad_epochs = self.cooling - 1, 0
        if self.bad_epochs > self.patience:
            self._reduce()
            self.cooling, self.bad_epochs = self.cooldown, 0

    def _better(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * value > sign * self.best * (1 + sign * self.threshold)
        return sign * value > sign * self.best + self.threshold

    def _reduce(self) -> None:
        for group in self.optimizer.param_groups:
            lower = max(group["lr"] * self.factor, self.min_lr)
            if group["lr"] - lower > self.eps:
                group["lr"] = lower

    def get_last_lr(self) -> list[float]:
        """The current rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What JSON can hold and ``load_state_dict`` needs to go on (the rates are the optimiser's state)."""
        return {
            "schedule": type(self).__name__,
            "best": self.best if math.isfinite(self.best) else None,  # JSON has no infinity
            "bad_epochs": self.bad_epochs,
            "cooling": self.cooling,
            "last_epoch": self.last_epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("schedule") != type(self).__name__:
            raise CheckpointError(f"ReduceLROnPlateau: the state is of {state.get('schedule')!r}")
        worst = math.inf if self.mode == "min" else -math.inf
        self.best = worst if state["best"] is None else float(state["best"])
        self.bad_epochs, self.cooling = int(state["bad_epochs"]), int(state["cooling"])
        self.last_epoch = int(state["last_epoch"])
