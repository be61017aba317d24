"""``Ensemble``: several networks, each looking several times, one answer; ``average_weights``: one network of several.

The answers are averaged, each network's share of them as it deserves. What a network looks at is a *view*: crops of the
image and their mirror images, or the image at several sizes. Seven AlexNets brought 18.2 % of errors to 15.4; the
winner of 2016 fused Inception-v3, Inception-v4, Inception-ResNet-v2, a pre-activation ResNet-200 and wide ResNets.

**Math** ``log sum_m w_m mean_v softmax(member_m(view_v(x)))``, sum w = 1: the class scores are logarithms of the mean
probabilities, so that their softmax is that mean; ``combine="logits"`` is ``sum_m w_m mean_v member_m(view_v(x))``.
**See** Krizhevsky et al. 2012, section 4.1 (ten crops); Simonyan and Zisserman 2014, section 3.2 (several sizes).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicnn import nn, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.geometry import integer
from minicnn.tensor import Tensor, move

Views = Callable[[Any], Sequence[Any]]
COMBINE = ("probabilities", "logits")


def whole(x: Any) -> list[Any]:
    """The images as they are: one view."""
    return [x]


class Crops:
    """``count`` crops of ``size`` pixels a side: 1, the centre; 5, the corners too; 10, these and their mirror images.

    **Shapes** (N, C, H, W) -> ``count`` times (N, C, size, size); from the top left, row by row, the centre last.
    """

    def __init__(self, size: int, count: int = 10) -> None:
        self.size = integer("Crops", "size", size, 1)
        if count not in (1, 5, 10):
            raise ArgumentError(f"Crops: count={count!r}, expected 1 (centre), 5 (and corners) or 10 (and mirrored)")
        self.count = count

    def __call__(self, x: Any) -> list[Any]:
        height, width = x.shape[-2:]
        down, right = height - self.size, width - self.size
        if min(down, right) < 0:
            raise ShapeError(
                f"Crops: images of {height}x{width} have no crop of {self.size}; fix: Scales((size, ...), Crops(...))"
            )
        centre = (round(down / 2), round(right / 2))
        corners = [(0, 0), (0, right), (down, 0), (down, right)]
        places = [centre] if self.count == 1 else [*corners, centre]
        crops = [x[:, :, top : top + self.size, left : left + self.size] for top, left in places]
        return crops + [ops.flip(crop, 3) for crop in crops] if self.count == 10 else crops


class Scales:
    """The images at several sizes, each seen through ``views``; ``sizes`` are those of the shorter side.

    **Shapes** (N, C, H, W) -> ``len(sizes)`` times the views of (N, C, h, w). Networks that end in a global pool take
    any size as it is. Bilinear without antialiasing: for sizes near that of the images.
    """

    def __init__(self, sizes: Iterable[int], views: Views = whole) -> None:
        self.sizes = tuple(integer("Scales", "sizes", size, 1) for size in sizes)
        if not self.sizes:
            raise ArgumentError("Scales: sizes is empty, expected one size or more such as (224, 256, 288)")
        self.views = views

    def __call__(self, x: Any) -> list[Any]:
        return [view for size in self.sizes for view in self.views(self._resized(x, size))]

    def _resized(self, x: Any, size: int) -> Any:
        height, width = x.shape[-2:]
        shorter = min(height, width)
        if shorter == size:
            return x
        return ops.interpolate(x, (round(height * size / shorter), round(width * size / shorter)), mode="bilinear")


class Ensemble(nn.Module):
    """Networks with the same classes as one network, whose scores are the mean of theirs.

    ``weights``: each member's share (default: equal; they are divided by their sum). ``views``: what the members look
    at, such as ``Crops(224)`` or ``Scales((224, 256, 288), Crops(224))``; a list has one for each member, where members
    need their own size. A member is any callable from (N, C, H, W) to scores (N, classes).

    **Shapes** (N, C, H, W) -> (N, classes). **Raises** ArgumentError for no members, weights or views that are not as
    many as the members, or not positive; ShapeError when the members' classes differ.
    """

    def __init__(
        self,
        members: Iterable[nn.Module],
        weights: Sequence[float] | None = None,
        views: Views | Sequence[Views] = whole,
        combine: str = "probabilities",
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.shares = _shares("Ensemble", len(self.members), weights)
        self.views = [views] * len(self.members) if callable(views) else list(views)
        if len(self.views) != len(self.members):
            raise ArgumentError(f"Ensemble: {len(self.views)} views for {len(self.members)} members, expected as many")
        if combine not in COMBINE:
            raise ArgumentError(f"Ensemble: combine={combine!r} is unknown, expected one of {COMBINE}")
        self.combine = combine

    def forward(self, x: Any) -> Any:
        scores, shares = [], []
        for member, views, share in zip(self.members, self.views, self.shares, strict=True):
            seen = views(x)
            scores += [self._scores(member, view) for view in seen]
            shares += [share / len(seen)] * len(seen)
        classes = {y.shape[-1] for y in scores}
        if len(classes) > 1:
            raise ShapeError(f"Ensemble: the members have {sorted(classes)} classes, expected all the same")
        if self.combine == "logits":
            return sum(share * y for y, share in zip(scores, shares, strict=True))
        weighed = [ops.log_softmax(y, 1) + float(np.log(share)) for y, share in zip(scores, shares, strict=True)]
        return ops.logsumexp(ops.stack(weighed), 0)

    def _scores(self, member: nn.Module, view: Any) -> Any:
        y = member(view)
        if isinstance(y, tuple):
            raise ArgumentError(
                f"Ensemble: {type(member).__name__} gives {len(y)} outputs, those of its auxiliary heads too; "
                "fix: ensemble.eval()"
            )
        return y

    def extra_repr(self) -> str:
        return f"combine={self.combine!r}, shares={[round(share, 4) for share in self.shares]}"


def average_weights(
    members: Sequence[nn.Module | Mapping[str, Any]], weights: Sequence[float] | None = None
) -> dict[str, NDArray[Any]]:
    """The weighted mean of the weights of networks of one architecture, as a state dict for ``load_state_dict``.

    For snapshots of one training, or trainings that began at the same weights: the mean of networks that have nothing
    in common answers like neither. Integers (counters of batch norm) are those of the first. Means of batch norm's
    variances are not the variances of the mean network: run some training images through it in training mode after.

    **Raises** ArgumentError when names or shapes differ. **See** Izmailov et al., "Averaging Weights Leads to Wider
    Optima and Better Generalization", 2018.
    """
    states = [member.state_dict() if isinstance(member, nn.Module) else dict(member) for member in members]
    shares = _shares("average_weights", len(states), weights)
    for number, state in enumerate(states):
        odd = sorted(set(state) ^ set(states[0])) or [n for n in state if state[n].shape != states[0][n].shape]
        if odd:
            raise ArgumentError(
                f"average_weights: network {number} differs from the first in {odd[0]!r}, expected the same "
                "architecture; fix: Ensemble averages the answers of different ones"
            )
    return {name: _mean([_array(state[name]) for state in states], shares) for name in states[0]}


def _array(value: Any) -> NDArray[Any]:
    array: NDArray[Any] = move(value.data if isinstance(value, Tensor) else value, "cpu")
    return array


def _mean(arrays: list[NDArray[Any]], shares: list[float]) -> NDArray[Any]:
    if not np.issubdtype(arrays[0].dtype, np.floating):
        return arrays[0].copy()
    total = sum(share * array.astype(np.float64) for share, array in zip(shares, arrays, strict=True))
    mean: NDArray[Any] = np.asarray(total).astype(arrays[0].dtype)
    return mean


def _shares(where: str, count: int, weights: Sequence[float] | None) -> list[float]:
    """``weights`` divided by their sum."""
    if not count:
        raise ArgumentError(f"{where}: there are no networks, expected one or more")
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(given) != count or not all(0 < weight < np.inf for weight in given):
        raise ArgumentError(f"{where}: weights={given}, expected {count} positive numbers, one for each network")
    return [weight / sum(given) for weight in given]
