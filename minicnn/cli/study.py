"""``minicnn study``: many runs that differ in a few options, compared."""

from pathlib import Path
from typing import Any

import click

from minicnn.cli.output import json_option, print_json
from minicnn.errors import ArgumentError

SAMPLERS, PRUNERS = ("grid", "random", "bayes"), ("median", "halving", "none")  # those of minicnn.study, loaded late


@click.command("study")
@click.option("--space", type=click.Path(path_type=Path), help="TOML file with the tables [space] and [args].")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="bayes", show_default=True, help="What chooses.")
@click.option(
    "--pruner", type=click.Choice(PRUNERS), default="median", show_default=True, help="What ends trials early."
)
@click.option("--trials", type=click.IntRange(0), help="How many; default: 20, of a grid all.")
@click.option("--workers", type=click.IntRange(1), help="Trials at a time.  [default: 1]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what chooses, not of the runs.")
@click.option("--set", "fixed", multiple=True, metavar="NAME=VALUE", help="An option of every trial, as epochs=5.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the study; default: a new one under studies/.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Go on with this study.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    space: Path | None,
    sampler: str,
    pruner: str,
    trials: int | None,
    workers: int | None,
    seed: int,
    fixed: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train many runs that differ in a few options and compare them.

    The file of --space says what may differ (docs/studies.md). The folder holds a run folder a trial, study.journal,
    in which Optuna keeps what was tried, trials.csv and study.png. Trials are compared by validation accuracy; one that
    fails is noted, and the study goes on.
    """
    from minicnn.study import Study, StudyArgs, rows_of
    from minicnn.train.interrupt import Interrupted

    if resume is None:
        if space is None:
            raise click.UsageError("a study needs --space FILE (docs/studies.md), or --resume FOLDER")
        count = (0 if sampler == "grid" else 20) if trials is None else trials
        args = StudyArgs(sampler, pruner, count, workers or 1, seed)
        study = Study.create(out or _new_folder(), _space(space, fixed), args)
    else:
        if space or out or fixed:
            raise click.UsageError(f"--resume takes its options from {resume / 'study.toml'}")
        changed = {"trials": trials, "workers": workers}
        study = Study.open(resume, **{name: value for name, value in changed.items() if value is not None})
    try:
        study.run(lambda *ended: None if quiet else click.echo(_line(*ended), err=True))
    except Interrupted:
        _write(study)
        click.echo(f"stopped; go on with: minicnn study --resume {study.folder}", err=True)
        ctx.exit(130)
    lines = _write(study)
    rows = rows_of(study)
    if as_json:
        print_json({"study": str(study.folder), "trials": [row._asdict() | {"folder": row.folder} for row in rows]})
    else:
        click.echo("\n".join(lines))
        click.echo(f"{study.folder}: study.toml, study.journal, trials.csv, study.png, trials/")
    if not any(row.state == "complete" for row in rows):
        ctx.exit(1)


def _space(path: Path, fixed: tuple[str, ...]) -> Any:
    import tomllib

    from minicnn.study import Space

    space = Space.read(path)
    args = dict(space.args)
    for text in fixed:
        name, equals, value = text.partition("=")
        if not equals:
            raise ArgumentError(f"study: --set {text!r}, expected NAME=VALUE such as epochs=5")
        name = name.replace("-", "_")
        try:
            args[name] = tomllib.loads(f"value = {value}")["value"]
        except ValueError:
            args[name] = value  # a text without its quotation marks
    return Space.of(space._replace(args=args).tables())


def _new_folder() -> Path:
    number = 1
    while (folder := Path("studies") / str(number)).exists():
        number += 1
    return folder


def _line(number: int, params: dict[str, Any], outcome: Any) -> str:
    best = f"{100 * max(outcome.accuracies):6.2f} %" if outcome.accuracies else "       -"
    options = "  ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
    )
    return f"trial {number:>3}  {outcome.state:<8}  {best}  {options}{'  ' if outcome.error else ''}{outcome.error}"


def _write(study: Any) -> list[str]:
    """The CSV file and the picture; returns the table."""
    from minicnn.study import draw, lines_of, rows_of, write_csv

    rows, names = rows_of(study), list(study.space.entries)
    write_csv(rows, names, study.folder / "trials.csv")
    draw(rows, study, study.folder / "study.png")
    return lines_of(rows, names)
