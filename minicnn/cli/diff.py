"""``minicnn diff A B``: the layers in which two models of the catalog differ."""

import difflib
from typing import NamedTuple

import click

import minicnn
from minicnn.cli.output import json_option, print_json, print_table


class Layer(NamedTuple):
    """A layer as it is compared: what it is, not where it stands."""

    path: str
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
    """(path, layer) of the first beside (path, layer) of the second; empty where one has no counterpart."""
    nothing = Layer("", "")
    rows = []
    matcher = difflib.SequenceMatcher(None, [layer.text for layer in first], [layer.text for layer in second], False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            pairs = max(b - a, d - c)
            left = first[a:b] + [nothing] * (pairs - (b - a))
            right = second[c:d] + [nothing] * (pairs - (d - c))
            rows += [(x.path, x.text, y.path, y.text) for x, y in zip(left, right, strict=True)]
    return rows


def _layers(name: str) -> list[Layer]:
    from minicnn import models

    with minicnn.abstract():
        net = models.create(name)
    return [Layer(path, repr(layer)) for path, layer in net.named_modules() if path and not list(layer.children())]
