"""``minicnn features RUN IMAGE...``: what a layer makes of pictures, as vectors for another classifier."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from minicnn.cli.output import json_option, print_json
from minicnn.cli.predict import read_image
from minicnn.cli.runs import dataset_for, load_run, together
from minicnn.files import write_atomically


@click.command("features")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--data", help="Instead of pictures: a dataset, or a folder with a folder of pictures a class.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True)
@click.option("--layer", required=True, help="Path of the layer, as `minicnn summary` prints it: fc7, layer4.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default="features.npz", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, gpu or cuda:<index>.")
@json_option
def command(
    run: Path,
    images: tuple[Path, ...],
    data: str | None,
    split: str,
    layer: str,
    out: Path,
    device: str,
    as_json: bool,
) -> None:
    """Write the output of a layer of RUN for IMAGES, or a dataset, to an .npz file.

    It holds features (N, D), a row a picture, and names (N,); of a dataset labels (N,) and classes instead.
    """
    from minicnn.devices import choose_device
    from minicnn.train.features import features

    if bool(images) == (data is not None):
        raise click.UsageError("name either pictures or --data")
    path = out if out.suffix == ".npz" else out.with_name(f"{out.name}.npz")
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param_hint="--out")
    where, _ = choose_device(device)
    model, facts = together([load_run(run, "features")], "features")
    batches, more = _pictures(images, facts) if data is None else _dataset(data, split, facts)
    found = features(model.to(where), layer, batches, where)
    file = io.BytesIO()
    np.savez(file, features=found, **more)
    write_atomically(path, [file.getbuffer()])
    if as_json:
        print_json({"file": str(path), "shape": list(found.shape), "layer": layer})
    else:
        click.echo(f"{path}: {found.shape[0]} pictures, {found.shape[1]} numbers each")


def _pictures(images: tuple[Path, ...], facts: dict[str, Any]) -> tuple[Iterator[Any], dict[str, Any]]:
    batches = (read_image(path, facts)[None] for path in images)
    return batches, {"names": np.array([str(path) for path in images])}


def _dataset(name: str, split: str, facts: dict[str, Any]) -> tuple[Iterator[Any], dict[str, Any]]:
    """The images of a dataset, normalised as the run's were."""
    from minicnn.data import DataLoader

    dataset = dataset_for(name, split, facts, "features")
    more = {"labels": dataset.labels, "classes": np.array(dataset.classes)}
    return (images for images, _ in DataLoader(dataset, 64)), more
