"""Mixed precision: forward and backward in float16 or bfloat16, everything that lasts in float32.

Weights, the optimiser's slots, averages, checkpoints and evaluation stay float32. During a step the parameters hold
copies rounded from those masters, made anew each time: an update below half a unit in the last place, 2^-11 of a
float16 weight, would be lost in a copy, and adds up in its master. A norm's scale and shift are rounded too, since its
operation takes them as its input is; its running statistics are not.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from minicnn import ops
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.kernels import optim as K
from minicnn.kernels.arrays import Array, is_float
from minicnn.tensor import Tensor, parse_dtype

FIRST_SCALE = 2.0**16
GOOD_STEPS = 2000  # without an overflow, before the scale doubles


@dataclass
class LossScale:
    """What float16's loss is multiplied by, so that small gradients are no zeros; a power of two, which rounds nothing.

    **Math** ``scale / 2`` after a step whose gradients overflowed, which is skipped; ``2 scale`` after 2,000 good ones.
    **See** Micikevicius et al., "Mixed Precision Training", 2018, section 3.2.
    """

    scale: float = FIRST_SCALE
    good: int = 0  # steps since the scale changed or a step was skipped
    skipped: int = 0  # of the run

    def update(self, overflowed: bool) -> None:
        """After each step."""
        if overflowed:
            self.scale, self.good, self.skipped = self.scale / 2, 0, self.skipped + 1
        elif self.good + 1 == GOOD_STEPS:
            self.scale, self.good = self.scale * 2, 0
        else:
            self.good += 1


class Precision:
    """How a run computes: ``dtype`` is float32, float16 or bfloat16, whose exponents are float32's: it needs no scale.

    A step is ``with lowered():`` around the forward and backward passes of its pieces, with ``answer`` of the model,
    ``backward`` of the ``scaled`` loss and ``gather`` after each; then ``unscale``, and unless it is False, the step of
    the optimiser. In float32 each of them does nothing.

    **Raises** ArgumentError for float16 and bfloat16 on the CPU, which does not compute in them.
    """

    def __init__(self, dtype: str, model: Any, device: str) -> None:
        self.dtype = parse_dtype("train", dtype)
        self.mixed = dtype != "float32"
        if self.mixed and device == "cpu":
            raise ArgumentError(
                f"train: precision={dtype!r} on the CPU, which computes in float32; fix: --device gpu, or "
                "--precision float32"
            )
        self.loss_scale = LossScale() if dtype == "float16" else None
        self._lowered = _to_be_rounded(model) if self.mixed else []
        self._sums: dict[int, Array] = {}  # of the step's pieces: float32 gradients by the id of their parameter
        self._told = 0  # skipped steps

    # ---- a step

    @contextmanager
    def lowered(self) -> Iterator[None]:
        """Inside, parameters hold copies of this dtype; the float32 arrays come back afterwards."""
        masters = [(tensor, tensor.data) for tensor in self._lowered]
        self._sums = {}
        try:
            with np.errstate(over="ignore"):
                for tensor, master in masters:
                    tensor.data = master.astype(self.dtype)
            yield
        finally:
            for tensor, master in masters:
                tensor.data = master

    def answer(self, model: Any, images: Tensor) -> Any:
        """``model(images)`` in this dtype, its scores in float32 again, as the loss of them is."""
        outputs = model(ops.astype(images, self.dtype))
        if isinstance(outputs, tuple):
            return tuple(ops.astype(scores, np.float32) for scores in outputs)
        return ops.astype(outputs, np.float32)

    def scaled(self, loss: Tensor) -> Tensor:
        return loss if self.loss_scale is None else loss * self.loss_scale.scale

    def gather(self, parameters: Iterable[Tensor]) -> None:
        """Take the gradients of one piece of a batch into the sums of its step."""
        for parameter in parameters if self.mixed else ():
            if parameter.grad is not None:
                wide, before = parameter.grad.data.astype(np.float32), self._sums.get(id(parameter))
                self._sums[id(parameter)] = wide if before is None else before + wide
                parameter.grad = None

    def unscale(self, parameters: Iterable[Tensor]) -> bool:
        """Give parameters the gradients of the loss itself, float32; False, and none, where the scaled ones overflowed.

        With a loss scale the host waits here for the GPU.
        """
        gathered = [(p, self._sums[id(p)]) for p in parameters if id(p) in self._sums]
        self._sums = {}
        if self.loss_scale is not None and gathered:
            scale = self.loss_scale.scale
            # summed in float64, where squares of float32 do not overflow
            overflowed = not math.isfinite(float(K.joint_norm([gradient for _, gradient in gathered], 2.0)))
            self.loss_scale.update(overflowed)
            if overflowed:
                return False
            gathered = [(parameter, gradient * np.float32(1 / scale)) for parameter, gradient in gathered]
        for parameter, gradient in gathered:
            parameter.grad = Tensor.wrap(gradient)
        return True

    @property
    def hopeless(self) -> bool:
        """Whether gradients overflowed that were not scaled up: no smaller scale would help."""
        return self.loss_scale is not None and self.loss_scale.scale < 1

    @property
    def skipped(self) -> int:
        """Steps of the run that did not move the weights."""
        return 0 if self.loss_scale is None else self.loss_scale.skipped

    # ---- what is said and saved

    def note(self) -> str:
        """A sentence on the steps that were skipped since the last one."""
        if self.loss_scale is None or self.loss_scale.skipped == self._told:
            return ""
        new, self._told = self.loss_scale.skipped - self._told, self.loss_scale.skipped
        steps = "1 step" if new == 1 else f"{new} steps"
        return f"{self.dtype}: {steps} skipped ({self._told} so far); the loss scale is {self.loss_scale.scale:g}"

    def state(self) -> dict[str, Any]:
        """What ``last`` holds of it: nothing, unless there is a loss scale."""
        return {} if self.loss_scale is None else {"loss_scale": asdict(self.loss_scale)}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what ``state`` gave. **Raises** CheckpointError where it is missing or makes no sense."""
        if self.loss_scale is None:
            return
        found, expected = state.get("loss_scale"), asdict(LossScale())
        if (
            not isinstance(found, dict)
            or {name: type(value) for name, value in found.items()} != {n: type(v) for n, v in expected.items()}
            or not 0 < found["scale"] < math.inf
            or not 0 <= found["good"] < GOOD_STEPS
            or not 0 <= found["skipped"] < 2**62
        ):
            raise CheckpointError(
                f"its state's 'loss_scale' is {repr(found)[:80]}, expected a scale above 0, and counts of the good "
                f"steps, below {GOOD_STEPS}, and of the skipped ones"
            )
        self.loss_scale = LossScale(**found)
        self._told = self.loss_scale.skipped


def _to_be_rounded(model: Any) -> list[Tensor]:
    """Parameters and float buffers, but for running statistics, which are written during a forward pass."""
    buffers = [b for path, b in model.named_buffers() if not path.rpartition(".")[2].startswith("running_")]
    return [tensor for tensor in (*model.parameters(), *buffers) if is_float(tensor.dtype)]
