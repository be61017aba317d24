"""From the options of a run to its parts: data, augmentation, optimiser, learning rate."""

import math
from collections.abc import Callable
from typing import Any

import minicnn
from minicnn import data, models, optim
from minicnn.data.augment import Affine, Compose, RandomCrop, RandomFlip, Transform, digits_augment
from minicnn.errors import ArgumentError, ShapeError
from minicnn.train.args import TrainArgs


def build_data(args: TrainArgs) -> dict[str, data.Dataset]:
    """The three parts, at the size the model takes."""
    size = image_size(args)
    return {part: data.load(args.data, part, size=size) for part in ("train", "val", "test")}


def image_size(args: TrainArgs) -> int:
    """The side of the images in pixels: as asked for, or what the model was published for."""
    return args.size or models.info(args.model).input_shape[1]


def build_model(args: TrainArgs, dataset: data.Dataset) -> Any:
    """The model with a class each and the channels of ``dataset``.

    **Raises** ArgumentError when its layers cannot take images of that size (tried by shapes alone).
    """
    options: dict[str, Any] = {"num_classes": len(dataset.classes), "in_channels": dataset.shape[0]}
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


def augmentation(args: TrainArgs) -> Transform | None:
    """What is done to training images; digits, and what nobody knows, must not be mirrored."""
    if not args.augment:
        return None
    if args.data in ("cifar10", "cifar100"):  # He et al. 2016, section 4.2: 4 pixels of 32
        return Compose(RandomCrop(image_size(args) // 8), RandomFlip())
    return digits_augment() if args.data == "digits" else Affine(degrees=10, translate=0.1, scale=(0.9, 1.1))


def build_optimizer(args: TrainArgs, model: Any) -> Any:
    """Weight decay acts on weights of two or more dimensions: not on biases, nor on the scales of norms."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if args.optimizer == "sgd":
        return optim.SGD(groups, lr=args.lr, momentum=args.momentum, nesterov=args.momentum > 0)
    if args.optimizer == "rmsprop":
        return optim.RMSprop(groups, lr=args.lr, momentum=args.momentum)
    return (optim.AdamW if args.optimizer == "adamw" else optim.Adam)(groups, lr=args.lr)


def build_schedule(args: TrainArgs, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate of each step: a linear warm-up, then cosine to 0, constant, or /10 at 1/2 and 3/4."""
    total = args.epochs * steps_per_epoch
    warmup = min(args.warmup_epochs * steps_per_epoch, total // 5)

    def rate(step: int) -> float:
        if step < warmup:
            return args.lr * (step + 1) / warmup
        part = (step - warmup) / max(total - warmup, 1)
        if args.schedule == "cosine":
            return args.lr * 0.5 * (1 + math.cos(math.pi * part))
        if args.schedule == "step":
            return args.lr * (1.0 if part < 0.5 else 0.1 if part < 0.75 else 0.01)
        return args.lr

    return rate
