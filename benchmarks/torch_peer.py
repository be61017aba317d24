"""The same convolutions in PyTorch: oneDNN on the CPU, cuDNN on the GPU."""

from typing import Any

import numpy as np
from conv_shapes import Conv
from timing import Calls

NAMES = {"float32": "float32", "tf32": "float32", "float64": "float64", "float16": "float16", "bfloat16": "bfloat16"}


class Torch:
    """PyTorch set to the same device and precision; images stay in NCHW order, as ours do."""

    def __init__(self, device: str, precision: str) -> None:
        import torch

        self.torch, self.dtype = torch, getattr(torch, NAMES[precision])
        self.device = "cuda" if device == "gpu" else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark = True  # let cuDNN try its algorithms and keep the fastest

    @staticmethod
    def trouble(device: str) -> str:
        """Why there is nothing to compare with; empty when there is."""
        try:
            import torch
        except ImportError:
            return "PyTorch is not installed: no ratios; fix: pip install 'minicnn[bench]'"
        return "" if device == "cpu" or torch.cuda.is_available() else "this PyTorch has no CUDA: no ratios"

    def calls(self, conv: Conv, x: np.ndarray, weight: np.ndarray, gy: np.ndarray) -> Calls:
        """The three passes; a gradient computes nothing but itself."""
        torch, size = self.torch, [conv.padding] * 2
        tx, tw, tg = (self._tensor(array) for array in (x, weight, gy))
        stride = [conv.stride] * 2

        def forward() -> Any:
            with torch.no_grad():
                return torch.nn.functional.conv2d(tx, tw, None, stride, size, 1, conv.groups)

        def backward(*mask: bool) -> Any:
            arguments = (tg, tx, tw, None, stride, size, [1, 1], False, [0, 0], conv.groups)
            return torch.ops.aten.convolution_backward(*arguments, list(mask))

        return {
            "forward": forward,
            "grad_x": lambda: backward(True, False, False)[0],
            "grad_w": lambda: backward(False, True, False)[1],
        }

    def _tensor(self, array: np.ndarray) -> Any:
        wide = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
        return self.torch.from_numpy(wide).to(self.device, self.dtype)
