"""Feature extraction: what a layer of a trained network makes of images."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn import ops
from minicnn.context import no_grad
from minicnn.errors import ArgumentError
from minicnn.tensor import Tensor


def features(model: Any, layer: str, batches: Iterable[NDArray[np.float32]], device: str = "cpu") -> NDArray[Any]:
    """The outputs of the layer at the path ``layer`` in eval mode, a row an image; maps become their means.

    **Shapes** batches of (N, C, H, W) -> (all N, D): D is the channels of a layer of maps, the width of any other.
    A layer that runs several times counts as it ran last.
    **Raises** ArgumentError for a path that leads nowhere, naming the nearest, or a layer that does not run.
    """
    rows: list[NDArray[Any]] = []
    seen: list[Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        seen.append(output)

    with no_grad(), model.get_submodule(layer).register_forward_hook(keep):
        model.eval()
        for images in batches:
            seen.clear()
            model(Tensor(images, device=device))
            if not seen or not isinstance(seen[-1], Tensor):
                raise ArgumentError(f"features: {layer!r} puts out no tensor here; fix: a layer of `minicnn summary`")
            last = seen[-1]
            rows.append((ops.mean(last, (2, 3)) if last.ndim == 4 else ops.flatten(last, 1)).numpy())
    return np.concatenate(rows)
