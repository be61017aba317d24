"""From the options of a run to its parts: data, augmentation, optimiser, learning rate."""

import tomllib
from typing import Any

import minicnn
from minicnn import data, models, optim
from minicnn.data.augment import (
    Affine,
    Compose,
    Mix,
    RandomCrop,
    RandomFlip,
    Transform,
    digits_augment,
    parse,
    parse_mix,
)
from minicnn.errors import ArgumentError, ShapeError
from minicnn.train.args import TrainArgs
from minicnn.train.groups import parameter_groups
from minicnn.train.rates import build_schedule

__all__ = [
    "augmentation",
    "build_data",
    "build_mix",
    "build_model",
    "build_optimizer",
    "build_schedule",
    "image_size",
    "model_options",
]


def build_data(args: TrainArgs) -> dict[str, data.Dataset]:
    """The three parts, at the size the model takes."""
    size = image_size(args)
    return {part: data.load(args.data, part, size=size) for part in ("train", "val", "test")}


def image_size(args: TrainArgs) -> int:
    """The side of the images in pixels: as asked for, or what the model was published for."""
    return args.size or models.info(args.model).input_shape[1]


def model_options(text: str) -> dict[str, Any]:
    """``"dropout=0.3, aux_logits=true"`` -> ``{"dropout": 0.3, "aux_logits": True}``: values as TOML writes them."""
    try:
        (found,) = tomllib.loads(f"options = {{{text}}}").values()
    except ValueError as error:
        raise ArgumentError(
            f"train: options={text!r} cannot be read ({error}); expected values as TOML writes them, such as "
            'dropout=0.3, aux_logits=true, norm="batch"'
        ) from None
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def build_model(args: TrainArgs, dataset: data.Dataset) -> Any:
    """The model with a class each and the channels of ``dataset``.

    **Raises** ArgumentError when its layers cannot take images of that size (tried by shapes alone).
    """
    options = model_options(args.options) | {"num_classes": len(dataset.classes), "in_channels": dataset.shape[0]}
    try:
        with minicnn.abstract():
            models.create(args.model, **options)(minicnn.Tensor(minicnn.ShapeArray((2, *dataset.shape), "float32")))
    except ShapeError as error:
        made_for = "x".join(map(str, models.info(args.model).input_shape))
        raise ArgumentError(
            f"train: {args.model} was made for images of {made_for} and cannot take "
            f"{'x'.join(map(str, dataset.shape))} ({error}); fix: another --size, or leave it out"
        ) from error
    return models.create(args.model, **options)


def augmentation(args: TrainArgs, dataset: data.Dataset | None = None) -> Transform | None:
    """What is done to training images: as asked for, or what suits the data.

    Digits, and what nobody knows, must not be mirrored. ``dataset`` is the training part, which colours need.
    """
    if not args.augment:
        return None
    if args.augmentation:
        return parse(args.augmentation, dataset)
    if args.data in ("cifar10", "cifar100"):  # He et al. 2016, section 4.2: 4 pixels of 32
        return Compose(RandomCrop(image_size(args) // 8), RandomFlip())
    return digits_augment() if args.data == "digits" else Affine(degrees=10, translate=0.1, scale=(0.9, 1.1))


def build_mix(args: TrainArgs) -> Mix | None:
    """What mixes the images and labels of a batch."""
    return parse_mix(args.mix)


def build_optimizer(args: TrainArgs, model: Any) -> Any:
    """The optimiser over the groups of `parameter_groups`."""
    groups = parameter_groups(args, model)
    if args.optimizer == "sgd":
        nesterov = args.nesterov and args.momentum > 0
        return optim.SGD(groups, lr=args.lr, momentum=args.momentum, nesterov=nesterov, form=args.sgd_form)
    if args.optimizer == "rmsprop":
        return optim.RMSprop(groups, lr=args.lr, alpha=args.alpha, eps=args.eps, momentum=args.momentum)
    return (optim.AdamW if args.optimizer == "adamw" else optim.Adam)(groups, lr=args.lr, eps=args.eps)
