"""Local response normalisation as a layer."""

from typing import Any

from minicnn import ops
from minicnn.nn.module import Module


class LocalResponseNorm(Module):
    """Each activation divided by the energy of its neighbouring channels; see ``minicnn.ops.local_response_norm``.

    ``alpha_over_n=False`` takes the AlexNet paper's alpha, which is not divided by ``size``.
    """

    printed = ("size", "alpha", "beta", "k", "alpha_over_n")

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, alpha_over_n: bool = True
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.alpha_over_n = alpha_over_n

    def forward(self, x: Any) -> Any:
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k, alpha_over_n=self.alpha_over_n)
