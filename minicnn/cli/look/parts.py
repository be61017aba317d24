"""What the ``minicnn look`` commands have in common: the network they look at, their options, and their files."""

from pathlib import Path
from typing import Any

import click

from minicnn.cli.output import print_json
from minicnn.cli.runs import load_run

out_option = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("look"), show_default=True, help="Folder."
)
weights_option = click.option("--weights", type=click.Path(path_type=Path), help="Weights of a catalog model.")
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is drawn.")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def opened(model: str, weights: Path | None = None) -> tuple[Any, dict[str, Any]]:
    """A network and the facts of its pictures: of a run, or of the catalog."""
    from minicnn import models

    path = Path(model)
    if path.exists():
        run = load_run(path, "look")
        return run.model, run.facts
    info = models.info(model)
    net = models.create(model, weights=weights)
    if weights is None:
        click.echo(f"minicnn: {info.name} has random weights; fix: --weights FILE, or the folder of a run", err=True)
    colour = info.input_shape[0] == 3
    statistics = IMAGENET if colour else {"mean": (0.5,), "std": (0.5,)}
    names = [f"class {k}" for k in range(info.num_classes)]
    return net, {"name": "catalog", "shape": info.input_shape, "classes": names, **statistics}


def report(files: list[Path], as_json: bool, **facts: Any) -> None:
    """The files that were written, as lines or with facts as JSON."""
    if as_json:
        print_json({**facts, "files": [str(path) for path in files]})
    else:
        for path in files:
            click.echo(str(path))


def put(folder: Path, pictures: dict[str, bytes]) -> list[Path]:
    """Write PNG files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in pictures.items():
        (folder / f"{name}.png").write_bytes(values)
    return [folder / f"{name}.png" for name in pictures]
