"""``minicnn memory MODEL``: what a training step takes, and what fits."""

import re
from functools import partial
from typing import Any

import click

from minicnn.cli.output import json_option, print_json, print_table

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@click.command("memory")
@click.argument("model")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Images of a training step.")
@click.option("--limit", help="Memory there is, as 3GB or 512MiB: whether it fits, and the largest batch that does.")
@click.option("--adam", is_flag=True, help="Two arrays a weight in the optimiser; default: SGD with momentum, one.")
@json_option
def command(model: str, batch: int, limit: str | None, adam: bool, as_json: bool) -> int:
    """Memory of a training step of MODEL, predicted by shapes; exit code 1: it does not fit within --limit."""
    from minicnn import models, optim, summary
    from minicnn.instruments.memory import best_checkpoints, largest_batch, momentum, plan

    allowed = None if limit is None else _bytes(limit)
    info = models.info(model)
    build, optimizer = partial(models.create, model), optim.Adam if adam else momentum
    found = plan(build, info.input_shape, batch, optimizer)
    depth, checkpointed = best_checkpoints(build, info.input_shape, batch, optimizer)
    forward = summary(build, (batch, *info.input_shape)).forward_bytes
    answers: dict[str, Any] = {
        "checkpoint_depth": depth,
        "checkpointed": checkpointed.resident,
        "all_kept": found.weights + found.gradients + found.optimizer + found.images + 2 * forward,
    }
    if allowed is not None:
        fitting = partial(largest_batch, build, info.input_shape, allowed, optimizer)
        answers |= {"limit": allowed, "fits": found.resident <= allowed, "largest_batch": fitting()}
        answers["largest_batch_checkpointed"] = fitting(depth) if depth else answers["largest_batch"]
    if as_json:
        print_json({"model": info.name, **found._asdict(), **answers})
    else:
        _print(info.name, found, answers)
    return 0 if answers.get("fits", True) else 1


def _bytes(text: str) -> int:
    """``3GB``, ``1.5 GiB``, ``800M`` as a number of bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", text.upper())
    if match is None or match[2] not in UNITS:
        raise click.BadParameter(f"{text!r} is not an amount of memory like 3GB or 512MiB", param_hint="--limit")
    return int(float(match[1]) * UNITS[match[2]])


def _print(name: str, found: Any, answers: dict[str, Any]) -> None:
    """The parts, the peak, and what follows."""
    rows = [(part, _mebibytes(size)) for part, size in found.parts.items()]
    rows += [("most at once", _mebibytes(found.peak)), ("with holes between arrays", _mebibytes(found.resident))]
    print_table(("part", "MiB"), rows, f"{name}, a training step on {found.batch} images")
    depth = answers["checkpoint_depth"]
    click.echo(f"\nThe most at once is in the {found.at}; all that is live then, less than the sum of the parts.")
    click.echo(
        f"With minicnn.checkpoint around every part at depth {depth}: {_mebibytes(answers['checkpointed']):,} MiB."
        if depth
        else "No depth of minicnn.checkpoint saves memory."
    )
    click.echo(
        "Where nothing is freed within a step, as in 2012 (every layer's output and its gradient, weights, gradients, "
        f"momentum): {_mebibytes(answers['all_kept']):,} MiB."
    )
    if "limit" in answers:
        verdict = "fits" if answers["fits"] else "does not fit"
        most, more = (answers[key] or "none" for key in ("largest_batch", "largest_batch_checkpointed"))
        batches = f"{most}, with checkpoints {more}" if depth else most
        click.echo(f"It {verdict} in {_mebibytes(answers['limit']):,} MiB; the largest batch that fits: {batches}.")


def _mebibytes(size: int) -> float:
    return round(size / 2**20, 1)
