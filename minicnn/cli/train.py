"""``minicnn train``: any registered model on any dataset; without options LeNet-5 on the digits."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from minicnn.cli.output import json_option, print_json
from minicnn.data.registry import names
from minicnn.errors import CheckpointError
from minicnn.train.args import DECAYS, OPTIMIZERS, PRECISIONS, SCHEDULES, SGD_FORMS, TrainArgs

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainArgs)}


def option(name: str, help: str, **settings: Any) -> Any:
    """An option of ``TrainArgs``: shows its default, but is None unless given, so that --resume can tell."""
    default = DEFAULTS[name]
    flag = name.replace("_", "-")
    text = help if default == "" else f"{help}  [default: {default}]"
    if isinstance(default, bool):
        return click.option(f"--{flag}/--no-{flag}", default=None, help=text)
    return click.option(f"--{flag}", default=None, type=settings.pop("type", type(default)), help=text)


@click.command("train")
@option("model", "A name from `minicnn models`.")
@option("data", f"A dataset by name ({', '.join(names())}), or the path of a folder with a folder of pictures a class.")
@option("size", "Side of the images in pixels; 0: what the model was published for.")
@option("options", "Of the model, as dropout=0.3, aux_logits=true.")
@option("epochs", "Passes over the training part.")
@option("batch_size", "Images a step.")
@option("optimizer", "How weights are moved.", type=click.Choice(OPTIMIZERS))
@option("lr", "Highest learning rate.")
@option("momentum", "Momentum of sgd and rmsprop.")
@option("nesterov", "Look ahead along the momentum of sgd.")
@option("sgd_form", "Whether sgd's momentum carries the rate (caffe) or not.", type=click.Choice(SGD_FORMS))
@option("alpha", "Memory of rmsprop for squared gradients.")
@option("eps", "What adam and rmsprop add to the divisor.")
@option("weight_decay", "Decay of what --decay says.")
@option("decay", "Weights (not biases and norms) decay, or all parameters.", type=click.Choice(DECAYS))
@option("accumulate", "Compute a batch in so many pieces, whose gradients add up.")
@option("clip_norm", "Largest norm of all gradients together; 0: any.")
@option("clip_value", "Largest value of a gradient; 0: any.")
@option("schedule", "Learning rate after the warm-up.", type=click.Choice(SCHEDULES))
@option("milestones", "Epochs at which the rate falls, as 30,60,90 (schedule milestones).")
@option("gamma", "What it is multiplied by then (milestones, exponential, plateau).")
@option("decay_epochs", "Epochs between two falls (schedule exponential).")
@option("power", "Of the time left (schedule poly).")
@option("patience", "Epochs without a better accuracy before a fall (schedule plateau).")
@option("warmup_epochs", "Epochs of linear warm-up.")
@option("label_smoothing", "Share of the target spread over all classes.")
@option("aux_weight", "Share of the loss of each auxiliary head.")
@option("ema", "Decay of the running average of the weights; 0: none.")
@option("augment", "Vary the training images at random.")
@option("augmentation", "How, as crop:4,flip,cutout:8; without: as suits the data.")
@option("mix", "Mix images and labels of a batch: mixup:0.2, cutmix:1, or both.")
@option("init", "Begin with the weights of a run, a checkpoint, or a file (.safetensors, .pth).")
@option("freeze", "Parameters that stay as they are, by patterns such as features.*.")
@option("lr_groups", "Other rates by patterns, as layer1.*=0.1,fc.*=2.")
@option("seed", "Same seed, same result.")
@option("workers", "Threads that prepare batches.")
@option("checkpoint_every", "Save the state every so many steps, or seconds (60s); 0: at the ends of epochs.")
@option("device", "auto, cpu, gpu or cuda:<index>.")
@option("precision", "What a step computes in; half of float32 needs a GPU.", type=click.Choice(PRECISIONS))
@option("log", "What is written about the run, by names with commas between.")
@option("sync_bn", "With --ranks: batch norm over the batches of all.")
@click.option("--ranks", type=click.IntRange(1, 4096), default=1, help="Processes that share each batch (MPI).")
@click.option("--recipe", "recipes", multiple=True, help="`paper`, or a TOML file of options; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: a new one under runs/.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Go on with this run.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    ranks: int,
    recipes: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a model and write a run folder.

    The folder holds args.toml, metrics.csv and steps.csv, the checkpoints best and last (one file each), curves.png,
    confusion.png, and report.html, the page that shows all of it. The best epoch is chosen on the validation part;
    the test part is evaluated once, at the end. With --recipe paper a model is trained as its authors trained it; what
    a flag says counts more than a recipe file, that more than the paper, that more than the defaults.
    """
    from minicnn import parallel
    from minicnn.train import resolve
    from minicnn.train.recipes import PAPER

    chosen = {name: value for name, value in given.items() if value is not None}
    if ranks > 1 and not parallel.started_by_mpiexec():
        rest = {"recipe": recipes, "out": out, "resume": resume, "quiet": quiet or None, "json": as_json or None}
        ctx.exit(parallel.start(ranks, ["train", *parallel.flags(chosen | rest)]))
    world = parallel.communicator(given["device"] or "auto")
    with parallel.together(world):
        if resume is None:
            args, origin = resolve(chosen, recipes)
            if PAPER in recipes and not quiet and not world.rank:
                _cite(args.model)
            trainer = parallel.new_run(world, args, out, quiet, origin)
        else:
            trainer = _resumed(world, resume, out, chosen, recipes, quiet)
        _fit(ctx, world, trainer, as_json)


def _cite(model: str) -> None:
    """Whose recipe it is, and what it leaves open."""
    from minicnn.train.recipes import paper

    recipe = paper(model)
    click.echo(f"recipe  {recipe.source}", err=True)
    if recipe.notes:
        click.echo(f"        {recipe.notes}", err=True)


def _fit(ctx: click.Context, world: Any, trainer: Any, as_json: bool) -> None:
    """Train to the end and say what came of it; of several ranks the first does."""
    from minicnn.train import Interrupted

    run, steps = trainer.run, len(trainer.loader)
    go_on = f"go on with: {command_line(run.folder)}"
    try:
        result = trainer.fit()
    except Interrupted:
        world.barrier()  # rank 0 has saved
        if world.rank:
            return
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
        if not world.rank:
            click.echo(f"stopped at once; {go_on if run.last.exists() else 'nothing was saved yet'}", err=True)
        ctx.exit(130)
    if world.rank:
        return
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


def _resumed(
    world: Any, folder: Path, out: Path | None, chosen: dict[str, Any], recipes: tuple[str, ...], quiet: bool
) -> Any:
    from minicnn.parallel import resumed_run

    extra = set(chosen) - {"epochs", "device", "workers", "checkpoint_every", "log"}
    extra |= ({"out"} if out else set()) | ({"recipe"} if recipes else set())
    if extra:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(extra))
        raise click.UsageError(f"--resume takes its options from {folder / 'args.toml'}; leave out {names}")
    trainer, note = resumed_run(world, folder, quiet, **chosen)
    if note:
        click.echo(f"minicnn: {note}", err=True)
    return trainer
