"""The addition of two distorted digits: two spatial transformers side by side against a plain CNN of as many weights.

    python benchmarks/digit_addition.py [--quick] [--seeds 3] [--jobs 2] [--json FILE] [--picture FILE]

Each picture has two digits, each turned, scaled and shifted by itself; the label is their sum, and nobody says where
the digits are (Jaderberg et al., "Spatial Transformer Networks", 2015, appendix A.1: the error of a CNN is 14.7 %, that
of two transformers 5.8 %, after 150,000 steps of 256 pictures). To learn in minutes, both nets take small batches, of
which every picture is new, and start with undistorted digits; the distortion grows to the paper's as they train.
Rates and the like were chosen on validation digits; the test digits are looked at once, at the end.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import headline, machine, set_threads

from minicnn import models, nn, ops, optim
from minicnn.context import no_grad
from minicnn.data import DigitSums, digit_addition
from minicnn.data.augment import Affine
from minicnn.data.digit_addition import RTS
from minicnn.random import Generator
from minicnn.tensor import Tensor
from minicnn.train import evaluate

NETS = {"stn": "two transformers", "cnn": "plain CNN"}
COLOURS = {"stn": "#c1440e", "cnn": "#2a6f97"}
LOOKS = ("#ffb000", "#4fc3f7")  # what the first and the second transformer read
STEPS, BATCH, RATE = 10_000, 16, 1e-3
LOCALISATION = 0.3  # the rate of localisation nets, as a share of the others'
QUICK = (30, 1)  # steps and seeds
STAGES, FIRST, LAST = 16, 0.15, 0.75  # distortion grows in so many stages between these parts of the training
VALIDATION, TEST, EXAMPLES = 500, 4000, 6

Run = dict[str, Any]


def plain_cnn(generator: Generator) -> nn.Sequential:
    """42x42 -> 16@38 -> pool -> 32@15 -> pool -> 64@5 -> pool -> 256 -> 268 -> 19; no fewer weights than the other."""
    layers: list[nn.Module] = []
    for before, after, kernel in ((2, 16, 5), (16, 32, 5), (32, 64, 3)):
        layers += [nn.Conv2d(before, after, kernel, generator=generator), nn.ReLU(), nn.MaxPool2d(2)]
    wide, out = nn.Linear(256, 268, generator=generator), nn.Linear(268, 19, generator=generator)
    return nn.Sequential(*layers, nn.Flatten(), wide, nn.ReLU(), out)


def build(net: str, seed: int) -> nn.Module:
    generator = Generator(seed)
    return models.create("stn_mnist_addition", generator=generator) if net == "stn" else plain_cnn(generator)


def distortion(strength: float) -> Affine:
    """None at 0, the paper's at 1."""
    low, high = (scale**strength for scale in RTS.scale)
    return Affine(RTS.degrees * strength, RTS.translate * strength, (low, high), fill=RTS.fill)


def strength(part: float) -> float:
    """How strong the distortion is after this part of the training."""
    return min(max(int(STAGES * (part - FIRST) / (LAST - FIRST)) / STAGES, 0.0), 1.0)


def batches(seed: int, steps: int) -> Any:
    """New pictures of training digits at every step, the same ones for both nets."""
    strong, pictures = -1.0, None
    for step in range(steps):
        if strength(step / steps) != strong:
            strong = strength(step / steps)
            pictures = digit_addition("train", count=steps * BATCH, seed=seed, distortion=distortion(strong))
        assert pictures is not None
        yield pictures.batch(np.arange(step * BATCH, (step + 1) * BATCH))


def train(net: str, seed: int, steps: int) -> Run:
    """One training; accuracy on validation digits on the way, on test digits at the end, always fully distorted."""
    set_threads(1, with_torch=False)  # the runs have a core each; and the same bits on any machine
    model, start = build(net, seed), time.process_time()
    slow = [p for path, p in model.named_parameters() if "localisation" in path]
    fast = [p for path, p in model.named_parameters() if "localisation" not in path]
    groups = [{"params": fast}, {"params": slow, "lr": RATE * LOCALISATION}]
    optimizer = optim.Adam([group for group in groups if group["params"]], lr=RATE)
    schedule = optim.CosineAnnealingLR(optimizer, steps)
    validation = digit_addition("val", count=VALIDATION)
    curve = []
    for step, (images, labels) in enumerate(batches(seed, steps), 1):
        optimizer.zero_grad()
        ops.cross_entropy(model(Tensor(images)), Tensor(labels)).backward()
        optimizer.step()
        schedule.step()
        if step % max(steps // 15, 1) == 0:
            curve.append((step, evaluate(model, validation).accuracy))
    test = digit_addition("test", count=TEST if steps == STEPS else VALIDATION)
    found = evaluate(model, test)
    run = {"net": net, "seed": seed, "parameters": sum(p.size for p in model.parameters()), "steps": steps}
    run |= {"test_accuracy": found.accuracy, "test_count": found.total, "validation": curve}
    run |= {"cpu_seconds": round(time.process_time() - start, 1)}
    return run | (places(model, test) if net == "stn" else {})


def places(model: nn.Module, pictures: DigitSums) -> Run:
    """Where each transformer looks: its matrices for some pictures, and which digit it follows.

    ``follows[t][c]`` is the part of the variance of what transformer t reads at its centre, (tx, ty), that the place of
    the digit of channel c explains linearly.
    """
    images, _ = pictures.batch(np.arange(VALIDATION))
    with no_grad():
        thetas = np.stack([look.theta(Tensor(images)).numpy() for look in model.transformers], axis=1)  # (N, 2, 2, 3)
        answers = model(Tensor(images[:EXAMPLES])).numpy().argmax(1)
    steps = np.arange(images.shape[-1])
    ink = images.sum((2, 3))
    centres = np.stack([(images.sum(2) * steps).sum(2) / ink, (images.sum(3) * steps).sum(2) / ink], axis=2)
    follows = [[_explained(centres[:, c], thetas[:, t, :, 2]) for c in (0, 1)] for t in (0, 1)]
    return {"follows": follows, "thetas": thetas[:EXAMPLES].tolist(), "answers": answers.tolist()}


def _explained(known: np.ndarray, wanted: np.ndarray) -> float:
    """R^2 of the linear map from ``known`` (N, 2) to ``wanted`` (N, 2)."""
    known = np.column_stack([known, np.ones(len(known))])
    rest = wanted - known @ np.linalg.lstsq(known, wanted, rcond=None)[0]
    return float(1 - rest.var(0).sum() / max(wanted.var(0).sum(), 1e-12))


def summary(runs: list[Run]) -> dict[str, Run]:
    """Mean and standard deviation over the seeds, in per cent; parameters; seconds of one core."""
    found = {}
    for net in NETS:
        own = [run for run in runs if run["net"] == net]
        right = [100 * run["test_accuracy"] for run in own]
        found[net] = {
            "parameters": own[0]["parameters"],
            "mean": statistics.fmean(right),
            "deviation": statistics.stdev(right) if len(right) > 1 else 0.0,
            "accuracies": right,
            "cpu_seconds": statistics.fmean(run["cpu_seconds"] for run in own),
        }
    return found


def print_table(table: dict[str, Run]) -> None:
    print(f"{'':18}{'parameters':>11}{'right, %':>17}   {'each seed':24}{'CPU seconds':>12}")
    for net, row in table.items():
        each = "  ".join(f"{value:.1f}" for value in row["accuracies"])
        right = f"{row['mean']:.1f} +- {row['deviation']:.1f}"
        print(f"{NETS[net]:18}{row['parameters']:>11,}{right:>17}   {each:24}{row['cpu_seconds']:>12.0f}")


def draw(runs: list[Run], path: Path) -> None:
    """Accuracy by step, a thin line a seed; below, test pictures, what the transformers read of them, and show."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9.5), layout="constrained", dpi=110)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.7))
    _draw_curves(upper.subplots(), runs)
    best = max((run for run in runs if run["net"] == "stn"), key=lambda run: run["test_accuracy"])
    _draw_looks(lower, best)
    figure.savefig(path)


def _draw_curves(axis: Any, runs: list[Run]) -> None:
    for net, label in NETS.items():
        curves = np.array([run["validation"] for run in runs if run["net"] == net])  # (seeds, points, 2)
        for curve in curves:
            axis.plot(curve[:, 0], 100 * curve[:, 1], color=COLOURS[net], linewidth=0.8, alpha=0.5)
        mean = curves.mean(0)
        axis.plot(mean[:, 0], 100 * mean[:, 1], color=COLOURS[net], linewidth=2.4, label=label)
    steps = runs[0]["steps"]
    axis.axvspan(FIRST * steps, LAST * steps, color="0.93", label="the distortion of training pictures grows")
    axis.set_title(
        "right sums of fully distorted validation digits, %: a thin line a seed, thick their mean", loc="left"
    )
    axis.set_xlabel(f"steps of {BATCH} pictures")
    axis.set_ylim(0)
    axis.legend(frameon=False, loc="upper left")
    axis.grid(alpha=0.2)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_looks(figure: Any, run: Run) -> None:
    """A column a picture: its two channels with the quadrilaterals that are read, then what each transformer shows."""
    pictures = digit_addition("test", count=EXAMPLES)
    images, labels = pictures.batch(np.arange(EXAMPLES))
    thetas = np.array(run["thetas"], np.float32)
    axes = figure.subplots(4, EXAMPLES)
    for column, (image, label, answer) in enumerate(zip(images, labels, run["answers"], strict=True)):
        terms = " + ".join(str(pictures.source.labels[number]) for number in pictures.chosen[column])
        axes[0, column].set_title(f"{terms} = {label}, the net says {answer}", fontsize=10)
        for channel in (0, 1):
            axes[channel, column].imshow(image[channel], cmap="gray")
            for theta, colour in zip(thetas[column], LOOKS, strict=True):
                _draw_quadrilateral(axes[channel, column], theta, len(image[channel]), colour)
        for number, colour in enumerate(LOOKS):
            theta = thetas[column, number : number + 1]
            grid = ops.affine_grid(theta, (1, *image.shape))
            shown = ops.grid_sample(image[None], grid).numpy()[0]
            axis = axes[2 + number, column]
            axis.imshow(np.concatenate([shown[0], np.full((len(shown[0]), 1), image.max()), shown[1]], 1), cmap="gray")
            axis.spines[:].set(color=colour, linewidth=2.5)
    names = ("first digit", "second digit", "transformer 1\nshows", "transformer 2\nshows")
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.suptitle(
        f"test pictures, seed {run['seed']}: what transformer 1 (yellow) and 2 (blue) read; a dot marks the upper left",
        x=0.01,
        ha="left",
    )


def _draw_quadrilateral(axis: Any, theta: np.ndarray, side: int, colour: str) -> None:
    """The four corners of what is read, in pixels of the input; it may reach beyond."""
    corners = np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], [1, 1, 1, 1, 1]])
    across, down = ((place + 1) * side / 2 - 0.5 for place in theta @ corners)
    axis.plot(across, down, color=colour, linewidth=1.6)
    axis.plot(across[0], down[0], "o", color=colour, markersize=4)
    axis.set(xlim=(-12, side + 11), ylim=(side + 11, -12), facecolor="0.25")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a few steps and one seed: that it runs, not what it shows"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to this, exclusive")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, a core each")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--picture", type=Path, help="draw the curves and what the transformers read, as PNG")
    chosen = parser.parse_args()
    print(headline())
    steps, seeds = QUICK if chosen.quick else (STEPS, chosen.seeds)
    start = time.perf_counter()
    with ProcessPoolExecutor(chosen.jobs, multiprocessing.get_context("spawn")) as pool:
        pending = [pool.submit(train, net, seed, steps) for seed in range(seeds) for net in NETS]
        runs = [future.result() for future in pending]
    table = summary(runs)
    print_table(table)
    assert abs(table["stn"]["parameters"] / table["cnn"]["parameters"] - 1) <= 0.05, "not the same budget"
    for run in runs:
        if run["net"] == "stn":
            parts = "; ".join(f"transformer {t + 1}: {a:.2f}, {b:.2f}" for t, (a, b) in enumerate(run["follows"]))
            print(
                f"seed {run['seed']}: part of its movement explained by the place of the first, second digit: {parts}"
            )
    gap = table["stn"]["mean"] - table["cnn"]["mean"]
    print(f"{steps} steps of {BATCH}: the transformers are {gap:.1f} points better")
    if chosen.json:
        figures = {"machine": machine(), "quick": chosen.quick, "batch": BATCH, "summary": table, "runs": runs}
        figures |= {"wall_seconds": round(time.perf_counter() - start, 1)}
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if chosen.picture:
        draw(runs, chosen.picture)
    sys.exit(0 if gap >= 5 or chosen.quick else 1)


if __name__ == "__main__":
    main()
