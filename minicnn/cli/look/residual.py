"""``minicnn look blocks`` and ``gradients``: what the blocks and layers of a network do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from minicnn.cli.look.parts import opened, out_option, put, report, seed_option, weights_option
from minicnn.cli.output import json_option, print_table
from minicnn.cli.runs import dataset_for, load_run


@click.command("blocks")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--draws", type=click.IntRange(1), default=6, show_default=True, help="Random choices a point.")
@click.option("--most", type=click.IntRange(1), default=8, show_default=True, help="Most blocks deleted or swapped.")
@click.option("--images", type=click.IntRange(1), default=400, show_default=True, help="Test pictures, at most.")
@seed_option
@out_option
@json_option
def blocks(run: Path, draws: int, most: int, images: int, seed: int, out: Path, as_json: bool) -> None:
    """A trained residual network without blocks, with blocks exchanged, and its gradient path by path."""
    from minicnn.data import Subset
    from minicnn.instruments.residual import changing_shape, deletions, lesions, residual_blocks, shuffle_study
    from minicnn.train.evaluate import evaluate

    loaded = load_run(run, "look blocks")
    net, data = loaded.model, dataset_for(loaded.facts["name"], "test", loaded.facts, "look blocks")
    data = Subset(data, np.linspace(0, len(data) - 1, min(images, len(data))).round().astype(int))

    def score(model: Any) -> float:
        return round(100 - 100 * evaluate(model, data).accuracy, 3)

    counts = [1 << k for k in range(most.bit_length()) if 1 << k <= min(most, len(residual_blocks(net)))]
    found = lesions(net, score)
    less = {1: list(found.without.values()), **deletions(net, score, counts[1:], draws, seed)}
    shuffles = shuffle_study(net, score, counts, draws, seed)
    pictures, carried = _paths(net, *data.batch(np.arange(min(16, len(data)))), draws, seed)
    pictures |= _lesion_pictures(found, less, shuffles, len(data), changing_shape(net))
    files = put(out, pictures)
    if not as_json:
        print_table(("without block", "error, %"), [("none", found.whole), *found.without.items()])
        rows = [(n, _mean(less[n]), _mean([s.score for s in shuffles if s.swaps == n])) for n in counts]
        print_table(("blocks or swaps", "error without as many, %", "after as many swaps, %"), rows)
    told = {"error": found.whole, "without": found.without, "deleted": less, "images": len(data)}
    report(files, as_json, **told, swaps=[shuffle._asdict() for shuffle in shuffles], gradient_by_length=carried)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 2)


def _lesion_pictures(
    found: Any, less: dict[int, list[float]], shuffles: Sequence[Any], images: int, marked: Sequence[str]
) -> dict[str, bytes]:
    from minicnn.instruments.plots import Curves, draw_bars, draw_curves

    title = (
        f"Without one block. Dashed: the whole network, {found.whole:.2f} %\n"
        "Hatched: blocks that change the shape, of which a projection stays"
    )
    label = f"error on {images} test pictures, %"
    several = [(0, found.whole), *((count, value) for count, values in less.items() for value in values)]
    points: list[tuple[float, float]] = [(1, found.whole), *((each.tau, each.score) for each in shuffles)]
    panels = [
        Curves("Without several blocks", "blocks deleted at random", label, *_xy(several), joined=False),
        Curves("After swaps of blocks", "order left (Kendall's tau, 1: as trained)", label, *_xy(points), joined=False),
    ]
    return {
        "lesions": draw_bars(found.without, title, label, found.whole, marked),
        "several": draw_curves(panels),
    }


def _xy(points: Sequence[tuple[float, float]]) -> tuple[list[float], dict[str, list[float]]]:
    return [x for x, _ in points], {"": [y for _, y in points]}


def _paths(net: Any, images: Any, labels: Any, draws: int, seed: int) -> tuple[dict[str, bytes], dict[int, float]]:
    from minicnn.instruments.paths import gradient_by_length, path_lengths
    from minicnn.instruments.plots import Curves, draw_curves
    from minicnn.instruments.residual import residual_blocks

    counts = path_lengths(len(residual_blocks(net)))
    lengths = sorted({round(k) for k in np.linspace(0, len(counts) - 1, 14)})
    norms = gradient_by_length(net, images, labels, lengths, draws, seed).tolist()
    total = [counts[k] * norm for k, norm in zip(lengths, norms, strict=True)]
    below = "blocks that a path goes through"
    panels = [
        Curves(
            f"All {sum(counts):,} paths" if len(counts) < 30 else "All paths",
            below,
            "paths",
            range(len(counts)),
            {"": counts},
        ),
        Curves(f"Gradient of one path, mean of {draws}", below, "norm at the image", lengths, {"": norms}, log=True),
        Curves("Paths times gradient", below, "paths times norm", lengths, {"": total}),
    ]
    return {"paths": draw_curves(panels)}, dict(zip(lengths, norms, strict=True))


@click.command("gradients")
@click.argument("model")
@click.option("--images", type=click.IntRange(2), default=32, show_default=True, help="Size of the batch.")
@weights_option
@seed_option
@out_option
@json_option
def gradients(model: str, images: int, weights: Path | None, seed: int, out: Path, as_json: bool) -> None:
    """How large the gradient of each layer's weights is, and how residual blocks refine what their stage says.

    Of a run over training pictures, of a network of the catalog over noise with random classes.
    """
    from minicnn.errors import ArgumentError
    from minicnn.instruments.layers import estimation_errors, gradient_norms
    from minicnn.instruments.plots import draw_estimates, draw_norms

    net, facts = opened(model, weights)
    batch, labels = _batch(facts, images, seed)
    norms = gradient_norms(net, batch, labels)
    shown = "pictures of noise" if facts["name"] == "catalog" else "training pictures"
    title = f"{Path(model).name}: gradients of the weights\nfrom input to output, over {len(batch)} {shown}"
    pictures = {"norms": draw_norms(norms, title)}
    try:
        errors = estimation_errors(net, batch)
        pictures["estimates"] = draw_estimates(errors)
    except ArgumentError:  # no residual blocks
        errors = {}
    files = put(out, pictures)
    stages = {stage: [row._asdict() for row in rows] for stage, rows in errors.items()}
    if not as_json:
        print_table(("weights", "norm of the gradient"), [(name, float(f"{norm:.3g}")) for name, norm in norms.items()])
    report(files, as_json, model=model, norms=norms, estimates=stages)


def _batch(facts: dict[str, Any], images: int, seed: int) -> tuple[Any, Any]:
    """Training pictures of a run; for a network of the catalog noise, and classes drawn at random."""
    random = np.random.default_rng(seed)
    if facts["name"] == "catalog":
        noise = random.standard_normal((images, *facts["shape"])).astype(np.float32)
        return noise, random.integers(0, len(facts["classes"]), images)
    data = dataset_for(facts["name"], "train", facts, "look gradients")
    batch, labels = data.batch(np.sort(random.choice(len(data), min(images, len(data)), replace=False)))
    return batch, labels
