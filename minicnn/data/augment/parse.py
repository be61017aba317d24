"""Augmentation as a line of text: ``parse("flip,crop:4,cutout:16")``, for recipes and the command line."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minicnn.data.augment.colour import ColourJitter, Noise, OnPixels, PCAColour, RandomGrey
from minicnn.data.augment.crops import CentreCrop, RandomCrop, RandomResizedCrop
from minicnn.data.augment.erase import Cutout, RandomErasing
from minicnn.data.augment.geometry import Affine, Elastic, RandomFlip, RandomVerticalFlip, Rotation
from minicnn.data.augment.mix import CutMix, Mix, MixUp, OneOf
from minicnn.data.augment.randaugment import RandAugment
from minicnn.data.augment.transform import Compose, Transform
from minicnn.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from minicnn.data.dataset import Dataset

PCA_IMAGES = 512  # whose colours `pca` is fitted to; of 224 x 224 pixels they are 25 million


def number_or_word(text: str) -> float | str:
    """A fill: a number, or a word such as border, reflect or random."""
    try:
        return float(text)
    except ValueError:
        return text


class Choice(NamedTuple):
    """What a name stands for: who makes it, its arguments in order with their types, and an example."""

    make: Callable[..., Any]
    arguments: Mapping[str, Callable[[str], Any]]
    example: str
    raw: bool = False  # wants raw pixels


def _affine(degrees: float = 10.0, translate: float = 0.1, zoom: float = 0.1, shear: float = 0.0) -> Affine:
    return Affine(degrees, translate, (1 - zoom, 1 + zoom), shear)


def _resized(low: float = 0.08, size: int | None = None) -> RandomResizedCrop:
    return RandomResizedCrop(size, (low, 1.0))


STRENGTHS = {"brightness": float, "contrast": float, "saturation": float, "hue": float}
CHOICES = {
    "flip": Choice(RandomFlip, {"p": float}, "flip"),
    "vflip": Choice(RandomVerticalFlip, {"p": float}, "vflip"),
    "crop": Choice(RandomCrop, {"padding": int, "fill": number_or_word, "size": int}, "crop:4"),
    "resized": Choice(_resized, {"low": float, "size": int}, "resized"),
    "centre": Choice(CentreCrop, {"size": int, "resize": int}, "centre:224:256"),
    "rotate": Choice(Rotation, {"degrees": float, "fill": number_or_word}, "rotate:15"),
    "affine": Choice(_affine, {"degrees": float, "translate": float, "zoom": float, "shear": float}, "affine:10:0.1"),
    "elastic": Choice(Elastic, {"strength": float, "grid": int, "fill": number_or_word}, "elastic:0.03"),
    "cutout": Choice(Cutout, {"size": int, "p": float, "fill": float}, "cutout:16"),
    "erase": Choice(RandomErasing, {"p": float}, "erase:0.5"),
    "noise": Choice(Noise, {"std": float}, "noise:0.1"),
    "jitter": Choice(ColourJitter, STRENGTHS, "jitter:0.4:0.4:0.4", raw=True),
    "grey": Choice(RandomGrey, {"p": float}, "grey:0.1", raw=True),
    "pca": Choice(PCAColour, {"std": float}, "pca:0.1", raw=True),
    "randaugment": Choice(RandAugment, {"count": int, "magnitude": float}, "randaugment:2:9", raw=True),
}
MIXES = {
    "mixup": Choice(MixUp, {"alpha": float, "p": float}, "mixup:0.2"),
    "cutmix": Choice(CutMix, {"alpha": float, "p": float}, "cutmix:1"),
}


def parse(text: str, dataset: "Dataset | None" = None) -> Compose:
    """Make the transforms that ``text`` names, in its order: names parted by commas, with their numbers after colons.

    ``crop:4`` and ``crop:padding=4`` say the same; what is left out has the default of the class. What works on colours
    is put into `OnPixels` with the mean and standard deviation of ``dataset``, whose colours ``pca`` is fitted to.

    **Raises** ArgumentError naming the part that is wrong, and the nearest name to an unknown one.
    """
    transforms: list[Transform] = []
    raw: list[Transform] = []
    for part in _parts(text):
        name = part.partition(":")[0].strip()
        if name in MIXES:
            raise ArgumentError(f"augment: {name!r} mixes labels too, so it is no augmentation; fix: mix={part!r}")
        choice = _choice("augment", name, CHOICES)
        if choice.raw:
            raw.append(_made("augment", part, _fitted(part, choice, dataset)))
            continue
        transforms += _on_pixels(raw, dataset)
        raw = []
        transforms.append(_made("augment", part, choice))
    return Compose(*transforms, *_on_pixels(raw, dataset))


def parse_mix(text: str) -> Mix | None:
    """Make the mix that ``text`` names, such as ``"mixup:0.2"``; of several, each batch gets one at random.

    **Raises** ArgumentError naming the part that is wrong.
    """
    mixes = [_made("mix", part, _choice("mix", part.partition(":")[0].strip(), MIXES)) for part in _parts(text)]
    return OneOf(*mixes) if len(mixes) > 1 else mixes[0] if mixes else None


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _choice(option: str, name: str, choices: Mapping[str, Choice]) -> Choice:
    if name not in choices:
        near = difflib.get_close_matches(name.lower(), choices, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ArgumentError(f"{option}: there is no {name!r}; available: {', '.join(choices)}{hint}")
    return choices[name]


def _made(option: str, part: str, choice: Choice) -> Any:
    """Call ``choice.make`` with the values in ``part``."""
    _, *values = part.split(":")
    given: dict[str, Any] = {}
    names = list(choice.arguments)
    for position, value in enumerate(values):
        before, equals, after = (word.strip() for word in value.partition("="))
        argument = before if equals else names[position] if position < len(names) else ""
        if argument not in choice.arguments or argument in given:
            known = ", ".join(names)
            raise ArgumentError(
                f"{option}: {part!r} has a value too many, {value!r}; it takes {known}: {choice.example}"
            )
        try:
            given[argument] = choice.arguments[argument](after if equals else before)
        except ValueError:
            kind = "a whole number" if choice.arguments[argument] is int else "a number"
            raise ArgumentError(
                f"{option}: {part!r}: {argument} must be {kind}, got {after if equals else before!r}; "
                f"an example: {choice.example}"
            ) from None
    try:
        inspect.signature(choice.make).bind(**given)
    except TypeError as error:
        raise ArgumentError(f"{option}: {part!r}: {error}; an example: {choice.example}") from None
    try:
        return choice.make(**given)
    except DataError as error:
        raise ArgumentError(f"{option}: {part!r}: {error}") from error


def _fitted(part: str, choice: Choice, dataset: "Dataset | None") -> Choice:
    """``choice``, whose maker knows the colours of ``dataset`` where it must."""
    if choice.make is not PCAColour:
        return choice
    if dataset is None:
        raise ArgumentError(f"augment: {part!r} needs to see the colours of a dataset; fix: parse(text, dataset)")
    spread = np.unique(np.linspace(0, len(dataset) - 1, PCA_IMAGES).astype(np.int64))
    images = dataset.denormalise(dataset.batch(spread)[0])

    def fit(std: float = 0.1) -> PCAColour:
        return PCAColour.of(images, std)

    return choice._replace(make=fit)


def _on_pixels(raw: list[Transform], dataset: "Dataset | None") -> list[Transform]:
    if not raw:
        return []
    return [OnPixels(0.0, 1.0, *raw) if dataset is None else OnPixels(dataset.mean, dataset.std, *raw)]
