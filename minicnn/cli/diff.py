"""``minicnn diff A B``: the layers in which two models of the catalog differ."""

import difflib
from typing import NamedTuple

import click

import minicnn
from minicnn.cli.output import json_option, print_json, print_table


class Layer(NamedTuple):
    """A layer as it is compared: what it is, not where it stands."""

    path: str
    kind: str
    text: str


@click.command("diff")
@click.argument("first")
@click.argument("second")
@json_option
def command(first: str, second: str, as_json: bool) -> None:
    """List the layers in which models FIRST and SECOND differ, in the order of their definition."""
    rows = differences(_layers(first), _layers(second))
    if as_json:
        print_json([dict(zip(("first", "first_layer", "second", "second_layer"), row, strict=True)) for row in rows])
    elif not rows:
        click.echo(f"{first} and {second} have the same layers; they may differ in the order of forward")
    else:
        print_table((first, "layer", second, "layer"), rows)


def differences(first: list[Layer], second: list[Layer]) -> list[tuple[str, str, str, str]]:
    """(path, layer) of the first beside (path, layer) of the second; empty where one has no counterpart.

    Layers are paired by their kinds, in order; of a pair only what differs is listed.
    """
    rows = []
    matcher = difflib.SequenceMatcher(None, [layer.kind for layer in first], [layer.kind for layer in second], False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            pairs = zip(first[a:b], second[c:d], strict=True)
            rows += [(x.path, x.text, y.path, y.text) for x, y in pairs if x.text != y.text]
        else:
            rows += [(x.path, x.text, "", "") for x in first[a:b]] + [("", "", y.path, y.text) for y in second[c:d]]
    return rows


def _layers(name: str) -> list[Layer]:
    from minicnn import models

    with minicnn.abstract():
        net = models.create(name)
    leaves = [(path, layer) for path, layer in net.named_modules() if path and not list(layer.children())]
    return [Layer(path, type(layer).__name__, repr(layer)) for path, layer in leaves]
