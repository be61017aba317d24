"""``minicnn train``: any registered model on any dataset; without options LeNet-5 on the digits."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from minicnn.cli.output import json_option, print_json
from minicnn.data.registry import names
from minicnn.errors import CheckpointError
from minicnn.train.args import OPTIMIZERS, SCHEDULES, TrainArgs

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainArgs)}


def option(name: str, help: str, **settings: Any) -> Any:
    """An option of ``TrainArgs``: shows its default, but is None unless given, so that --resume can tell."""
    default = DEFAULTS[name]
    flag = name.replace("_", "-")
    text = f"{help}  [default: {default}]"
    if isinstance(default, bool):
        return click.option(f"--{flag}/--no-{flag}", default=None, help=text)
    return click.option(f"--{flag}", default=None, type=settings.pop("type", type(default)), help=text)


@click.command("train")
@option("model", "A name from `minicnn models`.")
@option("data", f"A dataset by name ({', '.join(names())}), or the path of a folder with a folder of pictures a class.")
@option("size", "Side of the images in pixels; 0: what the model was published for.")
@option("epochs", "Passes over the training part.")
@option("batch_size", "Images a step.")
@option("optimizer", "How weights are moved.", type=click.Choice(OPTIMIZERS))
@option("lr", "Highest learning rate.")
@option("momentum", "Momentum of sgd and rmsprop.")
@option("weight_decay", "Decay of weights (not of biases and norms).")
@option("schedule", "Learning rate after the warm-up.", type=click.Choice(SCHEDULES))
@option("warmup_epochs", "Epochs of linear warm-up.")
@option("label_smoothing", "Share of the target spread over all classes.")
@option("ema", "Decay of the running average of the weights; 0: none.")
@option("augment", "Vary the training images at random.")
@option("seed", "Same seed, same result.")
@option("workers", "Threads that prepare batches.")
@option("checkpoint_every", "Save the state every so many steps, or seconds (60s); 0: at the ends of epochs.")
@option("device", "auto, cpu, gpu or cuda:<index>.")
@option("log", "What is written about the run, by names with commas between.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: a new one under runs/.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Go on with this run.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, out: Path | None, resume: Path | None, quiet: bool, as_json: bool, **given: Any
) -> None:
    """Train a model and write a run folder.

    The folder holds args.toml, metrics.csv and steps.csv, the checkpoints best and last (one file each), curves.png,
    confusion.png, and report.html, the page that shows all of it. The best epoch is chosen on the validation part;
    the test part is evaluated once, at the end.
    """
    from minicnn.train import Interrupted, new_run

    chosen = {name: value for name, value in given.items() if value is not None}
    trainer = new_run(TrainArgs.of(chosen), out, quiet) if resume is None else _resumed(resume, out, chosen, quiet)
    run, steps = trainer.run, len(trainer.loader)
    go_on = f"go on with: {command_line(run.folder)}"
    try:
        result = trainer.fit()
    except Interrupted:
        done = (
            f"{trainer.epoch} of {trainer.args.epochs} epochs and {trainer.part.position} of {steps} steps of the next"
        )
        click.echo(f"stopped after {done}; saved {run.last}\n{go_on}", err=True)
        ctx.exit(130)
    except CheckpointError as error:
        if run.last.exists() and "--resume" not in str(error):
            raise CheckpointError(f"{error}\nthen {go_on}") from error
        raise
    except KeyboardInterrupt:
        click.echo(f"stopped at once; {go_on if run.last.exists() else 'nothing was saved yet'}", err=True)
        ctx.exit(130)
    if as_json:
        print_json({"run": str(run.folder), **_facts(result)})
    else:
        written = (run.best, run.last, run.metrics, run.steps, run.curves, run.confusion)
        click.echo(f"{run.folder}: {', '.join(path.name for path in written if path.exists())}")
        if run.report.exists():
            click.echo(f"page: {run.report}")
        click.echo(result.line)


def command_line(folder: Path) -> str:
    """The command that goes on with a run, ready to be pasted."""
    text = str(folder)
    return f'minicnn train --resume "{text}"' if any(c.isspace() for c in text) else f"minicnn train --resume {text}"


def _facts(result: Any) -> dict[str, Any]:
    test = result.test
    return {
        "test_accuracy": test.accuracy,
        "test_correct": test.correct,
        "test_count": test.total,
        "test_loss": test.loss,
        "epochs": result.rows,
    }


def _resumed(folder: Path, out: Path | None, chosen: dict[str, Any], quiet: bool) -> Any:
    from minicnn.train import resumed_run

    extra = set(chosen) - {"epochs", "device", "workers", "checkpoint_every", "log"}
    if extra or out is not None:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(extra | ({"out"} if out else set())))
        raise click.UsageError(f"--resume takes its options from {folder / 'args.toml'}; leave out {names}")
    trainer, note = resumed_run(folder, quiet, **chosen)
    if note:
        click.echo(f"minicnn: {note}", err=True)
    return trainer
