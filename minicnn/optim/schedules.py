"""Learning-rate schedules under PyTorch's names: each sets every group's ``lr`` from its base rate.

Call ``schedule.step()`` after the optimiser's steps of an epoch (or of a batch, when the lengths given are counted in
batches). The rate is a closed formula of the number of calls, so no rounding error piles up and a restored schedule
gives the same bits. Differences from PyTorch: schedules are composed by ``LinearWarmup(optimizer, steps, then=...)``
and not by stepping two of them on one optimiser; PyTorch's ``last_epoch`` argument is absent (``load_state_dict``
resumes).
"""

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

from minicnn.errors import ArgumentError, CheckpointError
from minicnn.optim.optimizer import Optimizer


class Schedule:
    """Base of the schedules that are a formula of ``last_epoch``, the number of ``step()`` calls so far."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"{type(self).__name__}: optimizer is a {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self.last_epoch = 0
        self._set()

    def lr_at(self, epoch: int, base: float) -> float:
        """The rate after ``epoch`` steps for a group whose base rate is ``base``."""
        raise NotImplementedError

    def step(self) -> None:
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The current rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.lr_at(self.last_epoch, base)

    def state_dict(self) -> dict[str, Any]:
        """What JSON can hold and ``load_state_dict`` needs to go on."""
        return {"schedule": type(self).__name__, "last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict()``; the lengths and factors are the new object's own."""
        own = type(self).__name__
        if state.get("schedule") != own or len(state["base_lrs"]) != len(self.base_lrs):
            raise CheckpointError(
                f"{own}: the state is of {state.get('schedule')!r} with {len(state['base_lrs'])} groups, "
                f"expected {own!r} with {len(self.base_lrs)}"
            )
        self.last_epoch, self.base_lrs = int(state["last_epoch"]), [float(base) for base in state["base_lrs"]]
        self._set()


def _positive(schedule: Schedule, name: str, value: Any, low: float = 0, inclusive: bool = False) -> Any:
    if not (value >= low if inclusive else value > low):
        raise ArgumentError(
            f"{type(schedule).__name__}: {name}={value!r}, expected {'at least' if inclusive else 'more than'} {low:g}"
        )
    return value


class StepLR(Schedule):
    """``base * gamma^floor(epoch / step_size)``."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = _positive(self, "step_size", step_size), gamma
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        return float(base * self.gamma ** (epoch // self.step_size))


class MultiStepLR(Schedule):
    """``base * gamma^(number of milestones reached)``."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        return float(base * self.gamma ** bisect.bisect_right(self.milestones, epoch))


class ConstantLR(Schedule):
    """``base * factor`` for ``total_iters`` steps, then ``base``; ``ConstantLR(optimizer, 1.0)`` changes nothing."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        self.factor, self.total_iters = _positive(self, "factor", factor), total_iters
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        return base * self.factor if epoch < self.total_iters else base


class ExponentialLR(Schedule):
    """``base * gamma^epoch``."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = _positive(self, "gamma", gamma)
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        return float(base * self.gamma**epoch)


class PolynomialLR(Schedule):
    """``base * (1 - epoch/total_iters)^power``, 0 from ``total_iters`` on (GoogLeNet: power 0.5)."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0) -> None:
        self.total_iters, self.power = _positive(self, "total_iters", total_iters), power
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        return float(base * (1 - min(epoch, self.total_iters) / self.total_iters) ** self.power)


class CosineAnnealingLR(Schedule):
    """``eta_min + (base - eta_min) (1 + cos(pi epoch / T_max)) / 2``; rises again past ``T_max``, as in PyTorch.

    **See** Loshchilov and Hutter 2017.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = _positive(self, "T_max", T_max), eta_min
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class CosineAnnealingWarmRestarts(Schedule):
    """Cosine from ``base`` to ``eta_min`` over ``T_0`` steps, again over ``T_0 T_mult``, and so on.

    **See** Loshchilov and Hutter 2017 (SGDR).
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        self.T_0: int = _positive(self, "T_0", T_0)
        self.T_mult: int = _positive(self, "T_mult", T_mult, 1, inclusive=True)
        self.eta_min = eta_min
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        length = self.T_0
        while epoch >= length:
            epoch, length = epoch - length, length * self.T_mult
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / length)) / 2


class LambdaLR(Schedule):
    """``base * lr_lambda(epoch)``."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        return base * self.lr_lambda(epoch)


class LinearWarmup(Schedule):
    """The rate rises in a line from ``base * start_factor`` to ``base`` in ``total_iters`` steps; then ``then`` runs.

    ``then`` is a schedule of the same optimiser, made first; it starts counting when the warm-up is over. Without it
    the rate stays (PyTorch's ``LinearLR``). **See** Goyal et al. 2017, section 2.2.
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, start_factor: float = 1 / 3, then: Schedule | None = None
    ) -> None:
        self.total_iters = _positive(self, "total_iters", total_iters)
        self.start_factor, self.then = _positive(self, "start_factor", start_factor, inclusive=True), then
        if then is not None:
            if then.optimizer is not optimizer or then.last_epoch:
                raise ArgumentError("LinearWarmup: then must be a fresh schedule of the same optimizer")
            for group, base in zip(optimizer.param_groups, then.base_lrs, strict=True):
                group["lr"] = base
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        if epoch < self.total_iters:
            return float(base * (self.start_factor + (1 - self.start_factor) * epoch / self.total_iters))
        return base if self.then is None else self.then.lr_at(epoch - self.total_iters, base)


class OneCycleLR(Schedule):
    """Up from ``max_lr / div_factor`` to ``max_lr`` in the first ``pct_start`` of the steps, then down, by cosines.

    Ends at ``max_lr / div_factor / final_div_factor``. PyTorch's ``cycle_momentum`` and ``three_phase`` are absent:
    the momentum stays. **See** Smith and Topin 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.max_lr, self.total_steps = max_lr, _positive(self, "total_steps", total_steps, 1)
        if not 0 < pct_start < 1:
            raise ArgumentError(f"OneCycleLR: pct_start={pct_start!r}, expected a number between 0 and 1")
        self.peak = pct_start * total_steps - 1
        self.low, self.lowest = max_lr / div_factor, max_lr / div_factor / final_div_factor
        super().__init__(optimizer)

    def lr_at(self, epoch: int, base: float) -> float:
        if epoch <= self.peak:
            start, end, part = self.low, self.max_lr, epoch / self.peak if self.peak else 1.0
        else:
            left = self.total_steps - 1 - self.peak
            start, end, part = self.max_lr, self.lowest, min((epoch - self.peak) / left, 1.0)
        return end + (start - end) / 2 * (1 + math.cos(math.pi * part))
