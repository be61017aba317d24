"""The settings that a page offers: a network as published, and for families with knobs what they can be turned to."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.models.efficientnet import B0, FACTORS, coefficients, compound_scale
from minicnn.models.index import INDEX
from minicnn.models.spec import ModelInfo, ModelSpec

COMPOUND_STEPS = range(1, 8)
GRID = ("b0", "b4", "b7")  # whose width, depth and resolution are mixed
_NOTE = (
    "B0 to B8 are the released networks; \N{GREEK SMALL LETTER PHI} is the paper's rule, that many steps of 1.2 times "
    "the depth, 1.1 times the width, 1.15 times the resolution. A knob goes to the nearest mix that was counted."
)

DEFAULTS = {
    "efficientnet": "efficientnet_b0",
    "mobilenet_v1": "mobilenet_v1_1.0_224",
    "mobilenet_v2": "mobilenet_v2_1.0_224",
}
# The option that is the width, the widths and the sides of the papers' tables.
WIDTHS = {
    "mobilenet_v1": ("width", (0.25, 0.5, 0.75, 1.0), (128, 160, 192, 224)),
    "mobilenet_v2": ("width_mult", (0.35, 0.5, 0.75, 1.0, 1.3, 1.4), (96, 128, 160, 192, 224)),
}


class Knob(NamedTuple):
    """What can be turned, and to what; a named setting may have other values."""

    name: str
    values: tuple[float, ...]


class Setting(NamedTuple):
    """A network with a value for each knob; ``build()`` makes it, for images of ``input_shape`` (C, H, W)."""

    name: str  # "B3", or empty: a mix without a name
    values: tuple[float, ...]
    build: Callable[[], Any]
    input_shape: tuple[int, ...]


class Choices(NamedTuple):
    """All that one page shows; first ``settings[start]``, compared with ``settings[against]`` unless that is None."""

    title: str
    knobs: tuple[Knob, ...]
    settings: Sequence[Setting]
    start: int = 0
    against: int | None = None
    note: str = ""


def choices(*names: str) -> Choices:
    """What there is to choose for a network of the catalog; ``mobilenet_v1`` means its member of width 1 and 224.

    Of several networks each has one setting, as published, and the page opens with the first two side by side.

    **Raises** ArgumentError for an unknown name, and for a network that is named twice.
    """
    found = [models.info(DEFAULTS.get(name, name)) for name in names]
    known = [facts.name for facts in found]
    for k, name in enumerate(known):
        if name in known[:k]:
            raise ArgumentError(
                f"explore: {name} is named twice; expected different networks; fix: name each of them once"
            )
    if len(found) == 1:
        return _alone(found[0])
    settings = [Setting(facts.name, (), partial(models.create, facts.name), facts.input_shape) for facts in found]
    return Choices(f"{', '.join(known[:-1])} and {known[-1]}", (), settings, against=1)


def _alone(facts: ModelInfo) -> Choices:
    family = next(family for family, members in INDEX.items() if facts.name in members)
    if family == "efficientnet":
        return _efficientnet(facts.name)
    if family in WIDTHS:
        table = importlib.import_module(f"minicnn.models.{family}").TABLE
        row = next(row for row in table if row.info.name == facts.name)
        return _mobilenet(row, *WIDTHS[family])
    return Choices(facts.name, (), [Setting("", (), partial(models.create, facts.name), facts.input_shape)])


def _mobilenet(row: ModelSpec, option: str, widths: tuple[float, ...], sides: tuple[int, ...]) -> Choices:
    """Every width at every resolution."""

    def turned(width: float, side: int) -> Setting:
        options: dict[str, Any] = {option: width}
        return Setting("", (width, side), partial(models.create, row.info.name, **options), (3, side, side))

    mixes = list(product(widths, sides))
    settings = [turned(width, side) for width, side in mixes]
    family = row.info.name[: len("mobilenet_v1")]
    title = family if family in WIDTHS else row.info.name
    start = mixes.index((row.options.get(option, 1.0), row.info.input_shape[1]))
    return Choices(title, (Knob("width", widths), Knob("resolution", sides)), settings, start)


def _efficientnet(name: str) -> Choices:
    """The released networks, the paper's rule at whole numbers, and each factor of a few of them with each other."""
    settings = [
        _scaled(known.upper(), width, depth, side / B0.resolution) for known, (width, depth, side, _) in FACTORS.items()
    ]
    settings += [_scaled(f"\N{GREEK SMALL LETTER PHI} = {phi}", *_rule(phi)) for phi in COMPOUND_STEPS]
    named = {setting.values for setting in settings}
    widths, depths, sides = (tuple(FACTORS[known][part] for known in GRID) for part in range(3))
    mixes = [_scaled("", width, depth, side / B0.resolution) for width, depth, side in product(widths, depths, sides)]
    settings += [mix for mix in mixes if mix.values not in named]
    knobs = (Knob("width", widths), Knob("depth", depths), Knob("resolution", sides))
    start = list(FACTORS).index(name.removeprefix("efficientnet_"))
    return Choices("efficientnet", knobs, settings, start, note=_NOTE)


def _rule(phi: int) -> tuple[float, float, float]:
    factors = coefficients(phi)
    return factors.width, factors.depth, factors.resolution


def _scaled(name: str, width: float, depth: float, resolution: float) -> Setting:
    """B0 with these factors."""
    architecture = compound_scale(B0, width=width, depth=depth, resolution=resolution)
    side = architecture.resolution
    build = partial(models.create, "efficientnet_b0", architecture=architecture)
    return Setting(name, (round(width, 3), round(depth, 3), side), build, (3, side, side))
