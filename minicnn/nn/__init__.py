"""Layers: modules that own the parameters and buffers of the operations in ``minicnn.ops``, with PyTorch's names."""

from minicnn.nn.containers import Flatten, Identity, ModuleDict, ModuleList, Sequential
from minicnn.nn.module import HookHandle, Module
from minicnn.nn.parameter import Parameter

__all__ = ["Flatten", "HookHandle", "Identity", "Module", "ModuleDict", "ModuleList", "Parameter", "Sequential"]
