"""Optimisers that scale every weight's step by the size of its past gradients: RMSprop, Adagrad, Adadelta."""

from collections.abc import Iterable
from typing import Any

from minicnn.kernels import optim as K
from minicnn.optim.optimizer import Optimizer, Options, Rule, in_range


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient.

    **Math** ``s = alpha s + (1-alpha) g^2``, ``w -= lr g / (sqrt(s) + eps)``; ``g`` includes ``weight_decay * w``.
    ``centered`` takes the variance, ``momentum`` sends the quotient through a velocity. The ``eps`` stands outside the
    root; TensorFlow's, which some papers used, stands inside. **See** Hinton, lecture 6e; Graves 2013.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def _check(self, options: Options) -> None:
        for name in ("lr", "eps", "weight_decay", "momentum"):
            in_range(self._op, options, name, 0)
        in_range(self._op, options, "alpha", 0, 1, top=True)

    def _slot_fills(self, group: Options) -> dict[str, float]:
        wanted = {"square": True, "mean": group["centered"], "momentum": group["momentum"]}
        return {name: 0.0 for name, needed in wanted.items() if needed}

    def _rule(self, step: int, group: Options) -> Rule:
        numbers = tuple(group[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum", "maximize"))
        return Rule(K.rmsprop_step, ("square", "mean", "momentum"), numbers)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all past squared gradients.

    **Math** ``s += g^2``, ``w -= lr / (1 + (t-1) lr_decay) g / (sqrt(s) + eps)``; ``g`` includes ``weight_decay * w``.
    **See** Duchi et al. 2011.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def _check(self, options: Options) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            in_range(self._op, options, name, 0)

    def _slot_fills(self, group: Options) -> dict[str, float]:
        return {"total": group["initial_accumulator_value"]}

    def _rule(self, step: int, group: Options) -> Rule:
        rate = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        return Rule(K.adagrad_step, ("total",), (rate, group["eps"], group["weight_decay"], group["maximize"]))


class Adadelta(Optimizer):
    """Steps in the weight's own units: the ratio of two running root mean squares times the gradient.

    **Math** ``s = rho s + (1-rho) g^2``, ``d = sqrt(a + eps) / sqrt(s + eps) g``, ``a = rho a + (1-rho) d^2``,
    ``w -= lr d``; ``g`` includes ``weight_decay * w``. **See** Zeiler 2012 (where ``lr`` is 1).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def _check(self, options: Options) -> None:
        for name in ("lr", "eps", "weight_decay"):
            in_range(self._op, options, name, 0)
        in_range(self._op, options, "rho", 0, 1, top=True)

    def _slot_fills(self, group: Options) -> dict[str, float]:
        return {"square": 0.0, "moved": 0.0}

    def _rule(self, step: int, group: Options) -> Rule:
        numbers = tuple(group[name] for name in ("lr", "rho", "eps", "weight_decay", "maximize"))
        return Rule(K.adadelta_step, ("square", "moved"), numbers)
