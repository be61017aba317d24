"""How long training waits for its data, and what the loader's threads cost it.

    python benchmarks/loader_bench.py [--quick] [--json FILE]

Two trainings: LeNet-5 on the digits as `minicnn train` changes them, and ResNet-18 on JPEGs of 500 x 375 pixels, read
from a folder, cropped at random, mirrored and jittered. ``waited`` is the share of the time in which the training
waited for a batch (`BatchIterator.waited`); ``speed`` is against the same steps on one batch that is there already. The
bound: with workers, less than 5 % of the time is waiting.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import headline, machine

import minicnn
from minicnn import data, models, ops, optim
from minicnn.data.augment import digits_augment, parse
from minicnn.train.threads import blas_threads

BOUND = 0.05
JPEG = (500, 375)  # about ImageNet's mean
Step = Callable[[Any, Any], None]


def stepper(name: str, classes: int, channels: int) -> Step:
    """A training step of a network."""
    model = models.create(name, num_classes=classes, in_channels=channels)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def step(images: Any, labels: Any) -> None:
        optimizer.zero_grad()
        ops.cross_entropy(model(minicnn.Tensor(images)), minicnn.Tensor(labels)).backward()
        optimizer.step()

    return step


def write_jpegs(folder: Path, count: int) -> None:
    """Pictures with detail at every scale, as large as a photograph's, in two folders."""
    from PIL import Image

    rng = np.random.default_rng(0)
    width, height = JPEG
    for i in range(count):
        layers = [rng.integers(0, 256, (height // step, width // step, 3), dtype=np.uint8) for step in (120, 30, 4)]
        resized = [Image.fromarray(layer).resize(JPEG, Image.Resampling.BICUBIC) for layer in layers]
        picture = Image.blend(Image.blend(resized[0], resized[1], 0.3), resized[2], 0.15)
        place = folder / ("even" if i % 2 == 0 else "odd")
        place.mkdir(exist_ok=True)
        picture.save(place / f"{i}.jpg", quality=90)


def batches(loader: data.DataLoader, steps: int, waits: list[float]) -> Iterator[Any]:
    """``steps`` batches, from as many epochs as that takes."""
    while steps > 0:
        with iter(loader) as running:
            for batch in running:
                yield batch
                steps -= 1
                if steps <= 0:
                    break
            waits.append(running.waited)


def measure(loader: data.DataLoader, step: Step, steps: int) -> dict[str, float]:
    """Seconds a step, and the share of them in which the training waited."""
    waits: list[float] = []
    start = time.perf_counter()
    for images, labels in batches(loader, steps, waits):
        step(images, labels)
    seconds = time.perf_counter() - start
    return {"workers": loader.workers, "step_s": seconds / steps, "waited": sum(waits) / seconds}


def training(
    name: str, make: Callable[[int], data.DataLoader], macs: int, steps: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for the batch that is there, and one for each count of workers; the best of some rounds."""
    dataset = make(0).dataset
    step = stepper(name, len(dataset.classes), dataset.shape[0])
    images, labels = next(iter(make(0)))
    rows: dict[str, dict[str, Any]] = {}
    with blas_threads(macs):
        for _ in range(2):
            step(images, labels)
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(steps):
                step(images, labels)
            found = {"ready": {"workers": None, "step_s": (time.perf_counter() - start) / steps, "waited": 0.0}}
            found |= {str(workers): measure(make(workers), step, steps) for workers in (0, 1, 2)}
            for key, row in found.items():
                if key not in rows or row["step_s"] < rows[key]["step_s"]:
                    rows[key] = {"network": name, "batch": len(labels), **row}
    for row in rows.values():
        row["speed"] = rows["ready"]["step_s"] / row["step_s"]
    return list(rows.values())


def digits(quick: bool) -> list[dict[str, Any]]:
    train = data.load("digits", "train", size=32)

    def make(workers: int) -> data.DataLoader:
        return data.DataLoader(train, 64, shuffle=True, drop_last=True, workers=workers, augment=digits_augment())

    return training("lenet5", make, macs=1, steps=8 if quick else 160, rounds=3)


def pictures(quick: bool, folder: Path) -> list[dict[str, Any]]:
    write_jpegs(folder, 40 if quick else 120)
    train = data.load(folder, "train", size=64 if quick else 256)
    batch, size = (4, 48) if quick else (16, 224)
    augment = parse(f"resized:0.08:{size},flip,jitter:0.4:0.4:0.4", train)

    def make(workers: int) -> data.DataLoader:
        return data.DataLoader(train, batch, shuffle=True, drop_last=True, workers=workers, augment=augment)

    return training("resnet18", make, macs=10**9, steps=2 if quick else 8, rounds=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a trial: few steps, small pictures")
    parser.add_argument("--only", choices=("digits", "pictures"), help="one of the two trainings")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    print(headline())
    rows = digits(chosen.quick) if chosen.only != "pictures" else []
    if chosen.only != "digits":
        with tempfile.TemporaryDirectory() as folder:
            rows += pictures(chosen.quick, Path(folder))
    print(f"{'network':<10}{'batch':>6}{'workers':>9}{'ms a step':>11}{'waited':>9}{'speed':>8}")
    for row in rows:
        workers = "-" if row["workers"] is None else row["workers"]
        print(
            f"{row['network']:<10}{row['batch']:>6}{workers:>9}{1000 * row['step_s']:>11.2f}{row['waited']:>9.1%}"
            f"{row['speed']:>8.2f}"
        )
    late = [row for row in rows if row["workers"] and row["waited"] >= BOUND]
    print(f"with workers, {'some wait longer' if late else 'all wait less'} than {BOUND:.0%} of the time")
    if chosen.json:
        figures = {"machine": machine(), "bound": BOUND, "rows": rows}
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
