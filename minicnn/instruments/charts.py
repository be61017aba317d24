"""Charts of the catalog: errors as published, parameters, multiply-adds and depths as computed here.

A network without a published error on ImageNet is not drawn. Papers measured differently (one crop or dense, which
preprocessing), so small differences between families mean nothing; ``PROTOCOLS`` says so under each chart.

**See** Canziani, Paszke and Culurciello, "An Analysis of Deep Neural Network Models for Practical Applications", 2016;
Tan and Le, "EfficientNet", 2019, figure 1; He et al., "Deep Residual Learning for Image Recognition", 2015, the talk.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.instruments.drawing import BLUE, COLOURS, GREY, INK, ORANGE, figure, plain, png
from minicnn.instruments.plots import MARKERS
from minicnn.slides.vocabulary import depth

PROTOCOLS = (
    "Errors as authors published them; crops and scales differ (VGG's were tested densely at 384 pixels): small\n"
    "differences mean nothing. Parameters and multiply-adds are computed, for one image of the size in the catalog."
)
BALLS: tuple[tuple[str, tuple[float, float]], ...] = (  # where the name stands beside its ball, in points
    ("alexnet", (-56, -3)),
    ("zfnet", (16, -3)),
    ("nin_imagenet", (8, -3)),
    ("vgg13", (24, -3)),
    ("vgg16", (-52, 8)),
    ("vgg19", (24, -3)),
    ("googlenet", (8, -3)),
    ("resnet18", (8, -3)),
    ("resnet34", (9, -3)),
    ("resnet50", (10, -3)),
    ("resnet152", (15, -6)),
    ("densenet121", (-52, 7)),
    ("densenet201", (-60, -11)),
    ("inception_v3", (-64, 7)),
    ("inception_v4", (13, -6)),
    ("resnext101_32x4d", (-52, 15)),
    ("senet154", (-66, -4)),
    ("nasnet_a_large", (-84, 8)),
    ("nasnet_a_mobile", (-78, 4)),
    ("mobilenet_v1_1.0_224", (9, -4)),
    ("mobilenet_v2_1.0_224", (-60, 8)),
    ("mobilenet_v3_large_1.0_224", (-70, 9)),
    ("shufflenet_v2_1.0x", (-28, -14)),
    ("efficientnet_b0", (-66, 6)),
    ("efficientnet_b4", (-66, 8)),
    ("efficientnet_b7", (-14, 18)),
)
FAMILIES: dict[str, tuple[str, ...]] = {
    "EfficientNet": tuple(f"efficientnet_b{i}" for i in (0, 1, 2, 3, 4, 5, 7)),
    "ResNet": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "ResNeXt": ("resnext50_32x4d", "resnext101_32x4d", "resnext101_64x4d"),
    "DenseNet": ("densenet121", "densenet169", "densenet201", "densenet161"),
    "Inception": ("googlenet", "bn_inception", "inception_v3", "inception_v4", "inception_resnet_v2"),
    "MobileNetV2": tuple(f"mobilenet_v2_{width}_224" for width in ("0.35", "0.5", "0.75", "1.0", "1.4")),
    "NASNet": ("nasnet_a_mobile", "nasnet_a_large"),
}
DEEPER = (
    "alexnet",
    "zfnet",
    "vgg16",
    "vgg19",
    "googlenet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
)


class Point(NamedTuple):
    """A network on a chart."""

    name: str
    year: int
    params: int
    macs: int
    top1_error: float  # per cent, on ImageNet


def point(name: str) -> Point:
    """The facts of a network. **Raises** ArgumentError where nobody published its error on ImageNet."""
    info = models.info(name)
    error = info.published.top1_error
    if error is None or info.num_classes not in (1000, 1001):
        raise ArgumentError(f"charts: no top-1 error of {name} on ImageNet is in the catalog; fix: leave it out")
    return Point(info.name, info.year, *models.counts(name), error)


def balls(names: Sequence[str] = ()) -> bytes:
    """Canziani's chart: accuracy by multiply-adds, each ball as large as the network has parameters."""
    places = dict.fromkeys(names, BESIDE) or dict(BALLS)
    made = figure(11, 7)
    axis = plain(made.subplots())
    years = [point(name) for name in places]
    drawn = axis.scatter(
        [p.macs / 1e9 for p in years],
        [100 - p.top1_error for p in years],
        s=[_area(p.params) for p in years],
        c=[p.year for p in years],
        cmap="viridis_r",
        alpha=0.65,
        edgecolors="white",
    )
    for p in years:
        where = (p.macs / 1e9, 100 - p.top1_error)
        axis.annotate(p.name, where, places[p.name], textcoords="offset points", fontsize=8, color=INK)
    _powers_of_ten(axis)
    axis.set_xlabel("multiply-adds of one image, billions (log scale)", color=GREY)
    axis.set_ylabel("top-1 accuracy on ImageNet, % (does not start at 0)", color=GREY)
    axis.grid(alpha=0.2)
    sizes = [axis.scatter([], [], s=_area(m * 1e6), color="#b8c0c8", label=f"{m} M parameters") for m in (5, 50, 140)]
    axis.legend(
        handles=sizes, loc="lower right", frameon=False, labelspacing=2.8, handletextpad=1.8, borderpad=2.0, fontsize=9
    )
    bar = made.colorbar(drawn, ax=axis, shrink=0.5, aspect=25)
    bar.set_label("year", color=GREY)
    bar.ax.tick_params(colors=GREY, labelsize=9)
    bar.ax.yaxis.get_major_locator().set_params(integer=True)
    axis.margins(0.08)
    return _titled(made, "Accuracy, work and size")


def _powers_of_ten(axis: Any) -> None:
    """A logarithmic x axis with 1, 2 and 5 of every power named."""
    axis.set_xscale("log")
    axis.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
    axis.xaxis.set_major_formatter(lambda tick, _: f"{tick:g}")
    axis.xaxis.set_minor_formatter(lambda tick, _: "")


BESIDE = (9.0, -3.0)


def _area(params: float) -> float:
    """Square points: areas, not diameters, are what the eye compares."""
    return 9 * params / 1e6


def scaling(families: Mapping[str, Sequence[str]] | None = None) -> bytes:
    """EfficientNet's figure 1: accuracy by parameters and by multiply-adds, a line a family."""
    chosen = families or FAMILIES
    made = figure(12.5, 5.6)
    sides = made.subplots(1, 2, sharey=True)
    for index, (family, names) in enumerate(chosen.items()):
        points, style = [point(name) for name in names], index % len(COLOURS)
        colour = COLOURS[style]
        strong = 2.4 if family == "EfficientNet" else 1.4
        for axis, values in zip(sides, ([p.params / 1e6 for p in points], [p.macs / 1e9 for p in points]), strict=True):
            accuracy = [100 - p.top1_error for p in points]
            axis.plot(
                values, accuracy, color=colour, marker=MARKERS[style], markersize=6, linewidth=strong, label=family
            )
            if family == "EfficientNet":
                for name, x, y in zip(names, values, accuracy, strict=True):
                    text = name.removeprefix("efficientnet_").upper()
                    axis.annotate(
                        text, (x, y), (-6, 7), textcoords="offset points", fontsize=9, color=colour, ha="right"
                    )
    for axis, label in zip(sides, ("parameters, millions", "multiply-adds of one image, billions"), strict=True):
        _powers_of_ten(plain(axis))
        axis.set_xlabel(f"{label} (log scale)", color=GREY)
        axis.grid(alpha=0.2)
    sides[0].set_ylabel("top-1 accuracy on ImageNet, % (does not start at 0)", color=GREY)
    sides[1].legend(frameon=False, fontsize=9, loc="lower right")
    return _titled(made, "How families grow")


def depths(names: Sequence[str] = DEEPER) -> bytes:
    """The revolution of depth: layers with weights on the longest way through, and the published top-5 error."""
    infos = [models.info(name) for name in names]
    missing = [info.name for info in infos if info.published.top5_error is None]
    if missing:
        raise ArgumentError(f"charts: no top-5 error of {missing[0]} is in the catalog; fix: leave it out")
    made = figure(10, 5)
    left, right = made.subplots(1, 2, sharey=True, width_ratios=(1.3, 1))
    rows = range(len(infos))[::-1]
    shown: tuple[tuple[Any, list[Any], str, str, str], ...] = (
        (left, [depth(name) for name in names], BLUE, "{:.0f}", "layers with weights, on the longest way"),
        (
            right,
            [info.published.top5_error for info in infos],
            ORANGE,
            "{:.1f} %",
            "top-5 error on ImageNet, one network",
        ),
    )
    for axis, values, colour, text, label in shown:
        bars = plain(axis).barh(rows, values, color=colour, height=0.66)
        axis.bar_label(bars, [text.format(value) for value in values], padding=4, fontsize=9, color=INK)
        axis.set_xlabel(label, color=GREY)
        axis.margins(x=0.14)
    left.set_yticks(rows, [f"{info.name}, {info.year}" for info in infos])
    return _titled(made, "The revolution of depth")


def _titled(made: Any, title: str) -> bytes:
    made.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK)
    made.supxlabel(PROTOCOLS, x=0.01, ha="left", fontsize=8, color=GREY)
    return png(made)


CHARTS: dict[str, Callable[[], bytes]] = {"balls": balls, "scaling": scaling, "depth": depths}
