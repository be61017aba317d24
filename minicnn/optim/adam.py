"""Adam and AdamW."""

from collections.abc import Iterable
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.kernels import optim as K
from minicnn.optim.optimizer import Optimizer, Options, Rule, in_range


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square.

    **Math** ``m = b1 m + (1-b1) g``, ``v = b2 v + (1-b2) g^2``, ``w -= lr m^ / (sqrt(v^) + eps)`` with
    ``m^ = m / (1 - b1^t)``, ``v^ = v / (1 - b2^t)``; ``g`` includes ``weight_decay * w``. ``amsgrad`` divides by the
    largest ``v`` so far. **See** Kingma and Ba 2015; Reddi et al. 2018.
    """

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def _check(self, options: Options) -> None:
        for name in ("lr", "eps", "weight_decay"):
            in_range(self._op, options, name, 0)
        if not isinstance(options["betas"], (tuple, list)) or len(options["betas"]) != 2:
            raise ArgumentError(f"{self._op}: betas={options['betas']!r}, expected two numbers (beta1, beta2)")
        options["betas"] = tuple(options["betas"])
        in_range(self._op, options, "betas", 0, 1)

    def _slot_fills(self, group: Options) -> dict[str, float]:
        names = ("mean", "square", "largest_square") if group["amsgrad"] else ("mean", "square")
        return dict.fromkeys(names, 0.0)

    def _rule(self, step: int, group: Options) -> Rule:
        numbers = (
            step,
            group["lr"],
            *group["betas"],
            group["eps"],
            group["weight_decay"],
            self._decoupled,
            group["maximize"],
        )
        return Rule(K.adam_step, ("mean", "square", "largest_square"), numbers)


class AdamW(Adam):
    """Adam whose weight decay shrinks the weight itself: ``w -= lr weight_decay w``, apart from the gradient.

    **See** Loshchilov and Hutter 2019, algorithm 2.
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
