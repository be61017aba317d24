"""The degradation problem: a deeper plain network trains worse than a shallow one, a deeper residual network does not.

    python benchmarks/degradation.py [--seeds 3] [--epochs 10] [--rate 0.01] [--jobs 2] [--json FILE] [--picture FILE]

Trains plain-20, plain-56, ResNet-20 and ResNet-56 on pictures of ten shapes, drawn by a program, all four from the same
seeds, in the same order of pictures and with one recipe: SGD, warmed up for a tenth of the steps, then down a cosine to
zero. The steps are few, so the rate is small enough for the deepest net to start well. What is compared is the
*training* loss: a deep plain net that fitted too well would have a low one. Batch norm keeps gradients alive in plain
nets too, so the norm of every layer's gradient is drawn beside it: what is hard is not that they vanish.

**See** He et al., "Deep Residual Learning for Image Recognition", 2015, sections 1 and 4.1.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from machine import headline, machine, set_threads

from minicnn import models, nn, ops, optim
from minicnn.data import DataLoader, shapes
from minicnn.random import Generator

NETS = ("plain20", "plain56", "resnet20", "resnet56")
COLOURS = {"20": "#2a6f97", "56": "#c1440e"}
PICTURES, SIDE, BATCH, RATE = 2048, 16, 32, 0.01

Run = dict[str, Any]


def convolutions(net: nn.Module) -> list[nn.Parameter]:
    """The weights of the 3x3 convolutions, from the input to the output."""
    return [module.weight for module in net.modules() if isinstance(module, nn.Conv2d)]


def gradient_norms(net: nn.Module) -> list[float]:
    """The norm of the gradient of each convolution's weights."""
    return [float(np.linalg.norm(weight.grad.numpy())) for weight in convolutions(net) if weight.grad is not None]


def train(name: str, seed: int, epochs: int, rate: float = RATE, pictures: int = PICTURES) -> Run:
    """One training; the loss of every step, and each layer's mean gradient norm over the last epoch."""
    net = models.create(name, generator=Generator(seed)).train()
    loader = DataLoader(shapes(pictures, SIDE, seed), BATCH, shuffle=True, seed=seed, drop_last=True)
    optimizer = optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    steps = epochs * len(loader)
    warm = max(1, steps // 10)
    cosine = optim.CosineAnnealingLR(optimizer, max(1, steps - warm))
    schedule = optim.LinearWarmup(optimizer, warm, 0.1, then=cosine)
    losses: list[float] = []
    norms: list[list[float]] = []
    start, cpu = time.perf_counter(), time.process_time()
    for epoch in range(epochs):
        for images, labels in loader:
            loss = ops.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if epoch == epochs - 1:
                norms.append(gradient_norms(net))
    return {
        "net": name,
        "seed": seed,
        "steps_per_epoch": len(losses) // epochs,
        "training_loss": float(np.mean(losses[-(len(losses) // epochs) :])),
        "losses": [round(value, 4) for value in losses],
        "gradient_norms": [float(f"{value:.4g}") for value in np.mean(norms, axis=0)],
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def of_net(runs: Iterable[Run], name: str, figure: str) -> Any:
    """A figure of all runs of a net, (seeds, ...)."""
    return np.array([run[figure] for run in runs if run["net"] == name])


def verdict(runs: list[Run]) -> dict[str, bool]:
    """Whether the lectures' two sentences hold for the means over the seeds."""
    mean = {name: of_net(runs, name, "training_loss").mean() for name in NETS}
    return {
        "plain-56 ends with a higher training loss than plain-20": bool(mean["plain56"] > mean["plain20"]),
        "ResNet-56 ends with one not higher than ResNet-20": bool(mean["resnet56"] <= mean["resnet20"]),
    }


def draw(runs: list[Run], path: Path) -> None:
    """Training loss by epoch for the plain and the residual pair, and the gradient norm of every layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    plain, residual, gradients = figure.subplots(1, 3)
    for axis, kind, title in ((plain, "plain", "plain networks"), (residual, "resnet", "residual networks")):
        for depth in ("20", "56"):
            _draw_losses(axis, runs, kind + depth, COLOURS[depth], f"{depth} layers")
        axis.set_title(f"training loss, {title}", loc="left", fontsize=11)
        axis.set_xlabel("epoch")
        axis.set_ylim(0, 2.5)
    for name in NETS:
        norms = of_net(runs, name, "gradient_norms").mean(axis=0)
        style = "--" if name.startswith("plain") else "-"
        depth = np.linspace(0, 1, len(norms))
        gradients.plot(depth, norms, style, color=COLOURS[name[-2:]], linewidth=1.5, label=_label(name))
    gradients.set_yscale("log")
    gradients.set_title("gradient norm of each convolution, last epoch", loc="left", fontsize=11)
    gradients.set_xlabel("place in the network (0 first, 1 last)")
    for axis in (plain, residual, gradients):
        axis.legend(frameon=False, fontsize=9)
        axis.grid(alpha=0.2, which="both", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _label(name: str) -> str:
    return name.replace("resnet", "ResNet-").replace("plain", "plain-")


def _draw_losses(axis: Any, runs: list[Run], name: str, colour: str, label: str) -> None:
    """A thin line a seed, a thick one for their mean; each point is the mean of an epoch."""
    losses, steps = of_net(runs, name, "losses"), of_net(runs, name, "steps_per_epoch")[0]
    epochs = losses.reshape(len(losses), -1, steps).mean(axis=2)  # (seeds, epochs)
    at = np.arange(1, epochs.shape[1] + 1)
    axis.plot(at, epochs.T, color=colour, linewidth=0.7, alpha=0.5)
    axis.plot(at, epochs.mean(axis=0), color=colour, linewidth=2.2, label=f"{label}: {epochs[:, -1].mean():.2f}")


def report(runs: list[Run]) -> None:
    for name in NETS:
        losses = of_net(runs, name, "training_loss")
        each = "  ".join(f"{loss:.4f}" for loss in losses)
        norms = of_net(runs, name, "gradient_norms").mean(axis=0)
        print(
            f"{_label(name):10} training loss of the last epoch {losses.mean():.4f} +- {losses.std():.4f}  ({each})"
            f"  gradient norms {norms.min():.3g} to {norms.max():.3g}"
            f"  {of_net(runs, name, 'cpu_seconds').mean():.0f} s of CPU"
        )
    for sentence, holds in verdict(runs).items():
        print(f"{'yes' if holds else 'NO ':4} {sentence}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to this, exclusive")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=RATE, help="the highest learning rate")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, a core each")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--picture", type=Path, help="draw the picture into this PNG file")
    chosen = parser.parse_args(arguments)
    print(headline())
    # A thread each: the maps are small, and trainings side by side do not wait for each other's kernels.
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.jobs, processes, initializer=set_threads, initargs=(1, False)) as pool:
        pending = [
            pool.submit(train, name, seed, chosen.epochs, chosen.rate)
            for seed in range(chosen.seeds)
            for name in reversed(NETS)  # the long ones first
        ]
        for done in as_completed(pending):
            run = done.result()
            told = f"{run['training_loss']:.4f}  {run['seconds']:.0f} s, cpu {run['cpu_seconds']:.0f} s"
            print(f"seed {run['seed']}  {_label(run['net']):10} {told}", flush=True)
    runs = [done.result() for done in pending]
    report(runs)
    if chosen.json:
        figures = {"machine": machine(), "rate": chosen.rate, "verdict": verdict(runs), "runs": runs}
        chosen.json.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    if chosen.picture:
        draw(runs, chosen.picture)
    return 0 if all(verdict(runs).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
