"""``SpatialTransformer``: a layer that looks at its input, decides where to look, and reads the input there."""

from typing import Any

import numpy as np

from minicnn import ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.nn import init
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module
from minicnn.ops.geometry import Pair, pair

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # the rows of theta, one after the other


class SpatialTransformer(Module):
    """Every image of a batch shifted, turned, zoomed and sheared as ``localisation`` says.

    ``localisation`` is any module from images to six numbers each whose last layer is a ``Linear``. That layer is set
    to weights 0 and bias (1, 0, 0, 0, 1, 0), the identity: learning starts from the image as it is.

    **Shapes** (N, C, H, W) -> (N, C, OH, OW); ``size`` is OH and OW, None keeps H and W.
    **Math** ``(x, y) = theta[n] @ (x', y', 1)``: ``theta[n]`` (2, 3) sends each place (x', y') of the output to the
    place (x, y) of the input that is read there, bilinearly, with 0 outside; all run from -1 to 1. The loss reaches
    ``localisation`` through the places, and what comes before through the pixels.
    **See** Jaderberg et al., "Spatial Transformer Networks", 2015, section 3.
    """

    printed = ("size", "align_corners")

    def __init__(self, localisation: Module, size: Pair | None = None, align_corners: bool = False) -> None:
        super().__init__()
        *_, last = localisation.modules()
        if not isinstance(last, Linear) or last.bias is None or last.out_features != len(IDENTITY):
            raise ArgumentError(
                f"SpatialTransformer: the last layer of localisation is {last!r}, expected a Linear with a bias and "
                "6 outputs; fix: end it with nn.Linear(features, 6)"
            )
        init.zeros_(last.weight)
        last.bias.copy_(np.array(IDENTITY, np.float32))
        self.localisation, self.align_corners = localisation, align_corners
        self.size = None if size is None else pair("SpatialTransformer", "size", size, 1)

    def theta(self, x: Any) -> Any:
        """Where each image is read: (N, 2, 3)."""
        numbers = self.localisation(x)
        if numbers.shape != (x.shape[0], len(IDENTITY)):
            raise ShapeError(
                f"SpatialTransformer: localisation gave shape {numbers.shape}, expected ({x.shape[0]}, 6), six numbers "
                "an image; fix: nn.Flatten() before its first Linear"
            )
        return numbers.reshape(-1, 2, 3)

    def forward(self, x: Any) -> Any:
        size = (*x.shape[:2], *(self.size or x.shape[2:]))
        grid = ops.affine_grid(self.theta(x), size, self.align_corners)
        return ops.grid_sample(x, grid, align_corners=self.align_corners)
