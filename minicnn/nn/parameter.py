"""``Parameter``: a tensor that a module learns."""

from typing import Any

from minicnn.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that requires a gradient and is found by ``Module.parameters()``.

    ``name`` is the attribute under which a module first registered it; errors print it behind the layer's path.
    """

    __slots__ = ("name",)

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None, device: str | None = None) -> None:
        super().__init__(data, requires_grad, dtype, device)
        self.name = ""

    def __repr__(self) -> str:
        return "Parameter" + super().__repr__().removeprefix("Tensor")
