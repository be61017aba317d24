"""minicnn: a deep-learning engine for convolutional networks that can be read."""

import importlib
from typing import TYPE_CHECKING, Any

from minicnn import errors, ops
from minicnn.checkpoint import checkpoint
from minicnn.context import abstract, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minicnn.creation import arange, full, ones, rand, randn, zeros
from minicnn.devices import empty_cache
from minicnn.gradcheck import gradcheck
from minicnn.kernels.conv.plan import conv_plan
from minicnn.kernels.precision import float32_precision, set_float32_precision
from minicnn.kernels.shape_array import ShapeArray
from minicnn.random import Generator, manual_seed
from minicnn.record import record, unwrap
from minicnn.summary import summary
from minicnn.tensor import Tensor
from minicnn.threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from minicnn.fusion import fuse

__version__ = "0.1.0"

__all__ = [
    "Generator",
    "ShapeArray",
    "Tensor",
    "abstract",
    "arange",
    "checkpoint",
    "conv_plan",
    "empty_cache",
    "enable_grad",
    "errors",
    "float32_precision",
    "full",
    "fuse",
    "get_num_threads",
    "gradcheck",
    "is_grad_enabled",
    "manual_seed",
    "no_grad",
    "ones",
    "ops",
    "rand",
    "randn",
    "record",
    "set_float32_precision",
    "set_grad_enabled",
    "set_num_threads",
    "summary",
    "unwrap",
    "zeros",
]

_SUBPACKAGES = ("cli", "data", "models", "nn", "optim", "slides", "train")


def __getattr__(name: str) -> Any:
    """Subpackages, and ``fuse`` that needs one, load on first use, so that ``import minicnn`` stays light."""
    if name == "fuse":
        return importlib.import_module("minicnn.fusion").fuse
    if name in _SUBPACKAGES:
        return importlib.import_module(f"minicnn.{name}")
    raise AttributeError(f"module 'minicnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})
