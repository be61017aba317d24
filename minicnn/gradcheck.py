"""``gradcheck``: is the backward pass the derivative of the forward pass?

For outputs ``y = f(x)``, a random upstream gradient ``u`` and a random direction ``d``,

    <u, (f(x + h d) - f(x - h d)) / 2h>   must equal   <vjp(u), d>.

One number tests all elements at once. ``u`` is random because an all-ones upstream gradient is blind: the sum of a
normalised output is constant, so a wrong backward of softmax or batch norm would pass.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicnn.context import enable_grad, no_grad
from minicnn.errors import DTypeError, GradientError
from minicnn.kernels.arrays import is_float
from minicnn.tensor import Tensor, move

Function = Callable[..., Any]

STEP = 1e-5  # about the cube root of float64's precision, where truncation and rounding errors meet
WORST_ELEMENTS = 200


def gradcheck(
    function: Function, *inputs: Any, tolerance: float = 1e-6, seed: int = 0, directions: int = 2, step: float = STEP
) -> bool:
    """Check the gradients of ``function(*inputs)`` in float64 against central differences; True, or an error.

    ``function`` is any operation or module; its float outputs are all checked, and so are the parameters of a module.
    Inputs that do not require gradients are left out. ``seed`` draws the directions and the upstream gradients.

    **Raises** GradientError with the worst element, its analytic and numeric derivative and lines that repeat the
    failure; also when the forward pass changes its inputs, when ``needs=False`` gives a gradient, when a kink (the
    corner of a ReLU, a tie of a max pool) lies within ``step`` of the point, and when nothing was differentiated.
    DTypeError when an input that requires gradients is not float64.
    """
    tensors = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    parameters = list(function.parameters()) if hasattr(function, "parameters") else []
    leaves = _Leaves(function, inputs, tensors + [p for p in parameters if p.requires_grad])
    rng = np.random.default_rng(seed)
    upstream = [rng.standard_normal(y.shape) for y in leaves.outputs()]
    leaves.check_needs(upstream)
    analytic = leaves.gradients(upstream)
    noise = leaves.noise(upstream, step)
    for _ in range(directions):
        direction = [rng.standard_normal(leaf.shape) for leaf in leaves.tensors]
        slope = sum(float((g * d).sum()) for g, d in zip(analytic, direction, strict=True))
        numeric, jump = leaves.derivative(upstream, direction, step)
        scale = max(abs(slope), abs(numeric), leaves.scale(analytic, direction))
        if not abs(slope - numeric) <= tolerance * scale + noise:
            leaves.explain(upstream, analytic, direction, step, seed, jump > 1e-3 * scale)
    return True


class _Leaves:
    """The tensors differentiated, and the function seen as a function of them alone."""

    def __init__(self, function: Function, inputs: tuple[Any, ...], tensors: list[Tensor]) -> None:
        self.function, self.inputs, self.tensors = function, inputs, tensors
        self.name = getattr(function, "__name__", type(function).__name__)
        if not tensors:
            raise GradientError(f"gradcheck of {self.name}: no input requires a gradient; fix: requires_grad=True")
        for position, tensor in enumerate(tensors):
            if tensor.dtype != np.float64:
                raise DTypeError(f"gradcheck of {self.name}: input {position} is {tensor.dtype}, expected float64")

    def outputs(self) -> list[Tensor]:
        """The float outputs; checks on the way that the inputs are left as they were."""
        before = [tensor.numpy().copy() for tensor in self.tensors]
        result = self.function(*self.inputs)
        for position, (tensor, copy) in enumerate(zip(self.tensors, before, strict=True)):
            if not np.array_equal(tensor.numpy(), copy, equal_nan=True):
                raise GradientError(f"gradcheck of {self.name}: the forward pass changed its input {position}")
        results = result if isinstance(result, (tuple, list)) else (result,)
        return [y for y in results if isinstance(y, Tensor) and is_float(y.dtype)]

    def gradients(self, upstream: list[np.ndarray]) -> list[np.ndarray]:
        for tensor in self.tensors:
            tensor.zero_grad()
        with enable_grad():
            outputs = self.outputs()
            recorded = [(y, u) for y, u in zip(outputs, upstream, strict=True) if y.edge is not None]
            if not recorded:
                raise GradientError(f"gradcheck of {self.name}: no output depends on an input that requires gradients")
            for y, u in recorded:
                y.backward(move(u, y.device), retain_graph=True)
        grads = [np.zeros(t.shape) if t.grad is None else t.grad.numpy().copy() for t in self.tensors]
        for tensor in self.tensors:
            tensor.zero_grad()
        return grads

    def check_needs(self, upstream: list[np.ndarray]) -> None:
        """Whether the last operation computes only the gradients it is asked for."""
        for y, u in zip(self.outputs(), upstream, strict=True):
            node = y.node
            if node is None or node.vjp is None:
                continue
            up = move(u, y.device)
            gy = up if node.outputs == 1 else tuple(up if o == y.output else None for o in range(node.outputs))
            for wanted in (i for i, edge in enumerate(node.edges) if edge is not None):
                needs = tuple(i == wanted for i in range(len(node.edges)))
                extra = [i for i, grad in enumerate(node.vjp(gy, needs)) if grad is not None and i != wanted]
                if extra:
                    raise GradientError(
                        f"gradcheck of {self.name}: the vjp of {node.name} returned a gradient for input {extra[0]}, "
                        f"where needs[{extra[0]}] is False; fix: return None there"
                    )

    def noise(self, upstream: list[np.ndarray], step: float) -> float:
        """What rounding alone can make of the difference quotient: a gradient of exactly 0 is never met exactly."""
        return 4 * np.finfo(float).eps * sum(float(np.abs(value).sum()) for value in self.value(upstream)) / step

    def value(self, upstream: list[np.ndarray]) -> list[np.ndarray]:
        with no_grad():
            return [y.numpy() * u for y, u in zip(self.outputs(), upstream, strict=True)]

    def moved(self, upstream: list[np.ndarray], direction: list[np.ndarray], h: float) -> list[np.ndarray]:
        """``u * f(x + h*d)``, elementwise; the tensors hold their own values again afterwards."""
        originals = [tensor.data.copy() for tensor in self.tensors]
        try:
            for tensor, d in zip(self.tensors, direction, strict=True):
                tensor.data[...] += move(h * d, tensor.device)
            return [value.copy() for value in self.value(upstream)]
        finally:
            for tensor, original in zip(self.tensors, originals, strict=True):
                tensor.data[...] = original

    def derivative(self, upstream: list[np.ndarray], direction: list[np.ndarray], h: float) -> tuple[float, float]:
        """The central difference, and how far the two one-sided ones disagree (large across a kink)."""
        ahead, here, behind = (self.moved(upstream, direction, step) for step in (h, 0.0, -h))
        central = sum(float((a - b).sum()) for a, b in zip(ahead, behind, strict=True)) / (2 * h)
        jump = sum(float(np.abs(a - 2 * c + b).sum()) for a, c, b in zip(ahead, here, behind, strict=True)) / h
        return central, jump

    @staticmethod
    def scale(analytic: list[np.ndarray], direction: list[np.ndarray]) -> float:
        """The size the directional derivative would have if its terms did not cancel."""
        return float(np.sqrt(sum(((g * d) ** 2).sum() for g, d in zip(analytic, direction, strict=True)))) + 1e-8

    def explain(
        self,
        upstream: list[np.ndarray],
        analytic: list[np.ndarray],
        direction: list[np.ndarray],
        step: float,
        seed: int,
        kink: bool,
    ) -> None:
        """Differentiate element by element and raise the error that names the worst one."""
        worst: tuple[float, int, tuple[int, ...], float, float] = (-1.0, 0, (), 0.0, 0.0)
        for which, index in self._elements(analytic):
            one = [np.zeros(t.shape) for t in self.tensors]
            one[which][index] = 1.0
            numeric, _ = self.derivative(upstream, one, step)
            exact = float(analytic[which][index])
            if not abs(numeric - exact) <= worst[0]:
                worst = (abs(numeric - exact), which, index, exact, numeric)
        _, which, index, exact, numeric = worst
        tensor = self.tensors[which]
        label = getattr(tensor, "name", "") or f"input {which}"
        shapes = ", ".join(f"Tensor(np.random.randn{t.shape}, requires_grad=True)" for t in self.tensors)
        hint = (
            "\n  the function has a kink within the step here: move the point away from it (a tie, a zero)"
            if kink
            else ""
        )
        raise GradientError(
            f"gradcheck of {self.name}: wrong gradient of {label}, shape {tensor.shape}, worst at index "
            f"{tuple(int(i) for i in index)}: analytic {exact:.9g}, numeric {numeric:.9g}{hint}\n"
            f"  repeat with: np.random.seed({seed}); minicnn.gradcheck({self.name}, {shapes}, seed={seed})"
        )

    def _elements(self, analytic: list[np.ndarray]) -> Iterator[tuple[int, Any]]:
        """At most 200 elements to differentiate singly: spread evenly, the largest gradients among them."""
        budget = max(1, WORST_ELEMENTS // len(analytic))
        for which, grad in enumerate(analytic):
            flat = np.abs(np.nan_to_num(grad, nan=np.inf)).ravel()
            largest = np.argsort(-flat)[: budget // 2]
            spread = np.linspace(0, grad.size - 1, min(grad.size, budget - len(largest))).astype(int)
            for position in np.unique(np.concatenate([largest, spread])) if grad.size else ():
                yield which, np.unravel_index(position, grad.shape)
