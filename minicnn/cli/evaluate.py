"""``minicnn evaluate RUN...``: how good trained runs are, alone or together."""

from pathlib import Path

import click

from minicnn.cli.output import json_option, print_json
from minicnn.cli.runs import dataset_for, load_run, look_options, sizes_of, together


@click.command("evaluate")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", help="A dataset, or a folder of pictures; default: what the first run was trained on.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@look_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, gpu or cuda:<index>.")
@json_option
def command(
    runs: tuple[Path, ...],
    data: str | None,
    split: str,
    crops: str,
    scales: str,
    average: str,
    device: str,
    as_json: bool,
) -> None:
    """Accuracy and loss of the best weights of RUNS on a part of their data; several are one ensemble.

    --crops 10 is AlexNet's way to test: corners and centre of a larger picture, and their mirror images. --scales looks
    at the picture at several sizes. --average weights makes one network of snapshots of one training.
    """
    from minicnn.devices import choose_device
    from minicnn.errors import DataError
    from minicnn.train.evaluate import evaluate

    loaded = [load_run(run, "evaluate") for run in runs]
    model, facts = together(loaded, "evaluate", int(crops), sizes_of(scales), average)
    name = data or loaded[0].args["data"]
    dataset = dataset_for(name, split, facts, "evaluate")
    if list(dataset.classes) != list(facts["classes"]):
        raise DataError(
            f"evaluate: {name} has other classes ({len(dataset.classes)}) than {runs[0]} ({len(facts['classes'])}); "
            "fix: the data it was trained on"
        )
    where, _ = choose_device(device)
    found = evaluate(model.to(where), dataset, device=where)
    if as_json:
        result = {"accuracy": found.accuracy, "correct": found.correct, "count": found.total, "loss": found.loss}
        print_json({"runs": [str(run) for run in runs], "data": name, "split": split, **result})
        return
    hits = f"{100 * found.accuracy:.2f} % ({found.correct} of {found.total})"
    click.echo(f"{name} {split}: accuracy {hits}, loss {found.loss:.4f}")
