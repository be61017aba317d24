"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.kernels import optim as K
from minicnn.optim.optimizer import Optimizer, Options, Rule, in_range


class SGD(Optimizer):
    """Gradient descent, with momentum in PyTorch's or in Caffe's form.

    **Math** ``g`` includes ``weight_decay * w``. ``form="torch"``: ``v = momentum v + (1 - dampening) g`` (``v = g`` at
    the first step), ``w -= lr v``; Nesterov ``w -= lr (g + momentum v)``. ``form="caffe"``: ``v = momentum v + lr g``,
    ``w -= v``; Nesterov ``w -= (1 + momentum) v - momentum v_before``.
    The two agree while ``lr`` is constant. After a drop Caffe's velocity still carries the old rate: AlexNet, VGG and
    GoogLeNet were trained that way. **See** Sutskever et al. 2013; Krizhevsky et al. 2012, section 5.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        form: str = "torch",
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "form": form,
            },
        )

    def _check(self, options: Options) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            in_range(self._op, options, name, 0)
        in_range(self._op, options, "dampening", 0, 1, top=True)
        if options["form"] not in ("torch", "caffe"):
            raise ArgumentError(f"{self._op}: form={options['form']!r} is unknown, expected 'torch' or 'caffe'")
        if options["nesterov"] and (not options["momentum"] or options["dampening"]):
            raise ArgumentError(f"{self._op}: nesterov=True needs momentum > 0 and dampening 0")
        if options["form"] == "caffe" and options["dampening"]:
            raise ArgumentError(f"{self._op}: dampening={options['dampening']!r} does not exist in form='caffe'")

    def _slot_fills(self, group: Options) -> dict[str, float]:
        return {"momentum": 0.0} if group["momentum"] else {}

    def _rule(self, step: int, group: Options) -> Rule:
        lr, mu, decay = group["lr"], group["momentum"], group["weight_decay"]
        nesterov, maximize = group["nesterov"], group["maximize"]
        if not mu:
            return Rule(K.sgd_step, (), (lr, decay, maximize))
        if group["form"] == "caffe":
            return Rule(K.caffe_momentum_step, ("momentum",), (lr, mu, decay, nesterov, maximize))
        dampening = group["dampening"] if step > 1 else 0.0
        return Rule(K.momentum_step, ("momentum",), (lr, mu, dampening, decay, nesterov, maximize))
