"""Differentiable operations under the names, argument names and argument order of ``torch.nn.functional``."""

import sys

from minicnn import operators
from minicnn.ops.activation import relu

__all__ = ["relu"]

operators.ops = sys.modules[__name__]
