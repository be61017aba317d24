"""Normalisation layers: parameters, running statistics, and when they change."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from minicnn import ops
from minicnn.context import is_abstract_mode, is_recomputing
from minicnn.errors import ShapeError
from minicnn.kernels.arrays import is_abstract
from minicnn.nn import init
from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter
from minicnn.ops.geometry import integer
from minicnn.ops.sync_norm import Ranks, sync_batch_norm
from minicnn.tensor import Tensor, as_array


class _Running(Module):
    """Norms of a channel with optional scale, shift and running statistics."""

    printed = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    optional_state = frozenset({"num_batches_tracked"})  # files written before PyTorch 0.4.1 lack it
    op: ClassVar[str]
    layouts: ClassVar[dict[int, str]]  # number of dimensions -> how the shape reads

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool
    ) -> None:
        super().__init__()
        c = self.num_features = integer(type(self).__name__, "num_features", num_features, 1)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = init.filled(1, c) if affine else None
        self.bias = init.filled(0, c) if affine else None
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        tracked = track_running_stats
        self.register_buffer("running_mean", np.zeros(c, np.float32) if tracked else None)
        self.register_buffer("running_var", np.ones(c, np.float32) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def reset_running_stats(self) -> None:
        """Forget the statistics: mean 0, variance 1, no batches."""
        for buffer, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if buffer is not None:
                buffer.copy_(np.full(buffer.shape, value, buffer.dtype))

    def _check(self, x: Any) -> tuple[int, ...]:
        shape = tuple(as_array(x, op=self.op, name="x").shape)
        layout = self.layouts.get(len(shape))
        if layout is None or shape[layout.index("C") // 3] != self.num_features:
            expected = " or ".join(text.replace("C", str(self.num_features)) for text in self.layouts.values())
            raise ShapeError(f"{self.op}: x has shape {shape}, expected {expected} (num_features={self.num_features})")
        return shape


class _BatchNorm(_Running):
    """Batch norm; with ``momentum=None`` the running statistics are the plain average over all batches seen."""

    op = "batch_norm"
    ranks: Ranks | None = None  # whose batches share their statistics in training (minicnn.parallel.synchronise)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, x: Any) -> Any:
        self._check(x)
        seen, momentum = self.num_batches_tracked, self.momentum
        by_shapes = is_abstract_mode() or (seen is not None and is_abstract(seen.data))
        learning = self.training and seen is not None and not is_recomputing() and not by_shapes
        if momentum is None:
            momentum = 1 / (seen.item() + 1) if learning and seen is not None else 0.0
        training = self.training or self.running_mean is None
        state = x, self.running_mean, self.running_var, self.weight, self.bias
        if self.ranks is None or not self.training or is_abstract_mode():
            y = ops.batch_norm(*state, training, momentum, self.eps)
        else:
            y = sync_batch_norm(*state, momentum, self.eps, self.ranks)
        if learning and seen is not None:
            count = seen.data
            count += 1
            seen.bump()
        return y


class BatchNorm1d(_BatchNorm):
    """Normalises each feature over the batch (and length); see ``minicnn.ops.batch_norm``.

    **Shapes** (N, C) or (N, C, L) -> same.
    """

    layouts: ClassVar[dict[int, str]] = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """Normalises each channel over batch and pixels; see ``minicnn.ops.batch_norm``.

    **Shapes** (N, C, H, W) -> same.
    """

    layouts: ClassVar[dict[int, str]] = {4: "(N, C, H, W)"}


class InstanceNorm2d(_Running):
    """Normalises each channel of each image by itself; see ``minicnn.ops.instance_norm``.

    **Shapes** (N, C, H, W) or unbatched (C, H, W) -> same.
    """

    op = "instance_norm"
    layouts: ClassVar[dict[int, str]] = {4: "(N, C, H, W)", 3: "(C, H, W)"}

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, x: Any) -> Any:
        shape = self._check(x)
        of_input = self.training or self.running_mean is None
        y = ops.instance_norm(
            x if len(shape) == 4 else ops.reshape(x, (1, *shape)),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            of_input,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y if len(shape) == 4 else ops.reshape(y, shape)


class LayerNorm(Module):
    """Normalises over the last dimensions; see ``minicnn.ops.layer_norm``."""

    printed = ("normalized_shape", "eps", "elementwise_affine")

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        sizes = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(integer("LayerNorm", "normalized_shape", size, 1) for size in sizes)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight: Parameter | None = init.filled(1, *self.normalized_shape) if elementwise_affine else None
        self.bias = init.filled(0, *self.normalized_shape) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNorm(Module):
    """Normalises each image over groups of channels; see ``minicnn.ops.group_norm``."""

    printed = ("num_groups", "num_channels", "eps", "affine")

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels, 1)
        if num_channels % num_groups:
            raise ShapeError(f"GroupNorm: num_groups={num_groups} does not divide num_channels={num_channels}")
        self.eps, self.affine = eps, affine
        self.weight = init.filled(1, num_channels) if affine else None
        self.bias = init.filled(0, num_channels) if affine else None

    def forward(self, x: Any) -> Any:
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
