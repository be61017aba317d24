"""The architecture of a network as a picture: a Graphviz file, and an HTML page that needs no Graphviz.

The page says what ``minicnn.summary`` found: layers in the order they finish, shapes, parameters, multiply-adds. The
edges of the ``.dot`` file are read off the tape: branches and shortcuts are where the data went.
"""

import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicnn.context import abstract, enable_grad
from minicnn.kernels.shape_array import ShapeArray
from minicnn.summary import Summary, summary
from minicnn.summary.receptive_field import reachable
from minicnn.summary.watch import tensors
from minicnn.tensor import Tensor

_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;color:#24313d;max-width:64rem;margin:2rem auto;padding:0 1rem}"
    "details{border-left:2px solid #c6d2dc;margin:.25rem 0 .25rem .4rem;padding-left:.8rem}"
    "summary{cursor:pointer;padding:.15rem 0}.layer{display:grid;grid-template-columns:2fr 1.2fr 1fr 1fr;gap:.8rem;"
    "margin:.15rem 0 .15rem .4rem;padding:.15rem .8rem;border-left:2px solid #2a6f97}"
    "b{font-weight:600}.n{text-align:right;color:#5f6b76}.kind{color:#5f6b76}"
)


def dot(build: Callable[[], Any], input_shape: Sequence[int], name: str = "network") -> str:
    """A Graphviz digraph: a node a layer that does something, an edge where its result is read; images (C, H, W).

    Operations outside every layer with weights of their own (sums, concatenations) are drawn too.
    """
    with abstract(), enable_grad():
        model = build().eval()
        y = model(Tensor(ShapeArray((1, *input_shape), np.float32), requires_grad=True))
        nodes = reachable([t.node for t in tensors(y) if t.node is not None])
    paths = {id(module): path for path, module in model.named_modules()}
    lines = [
        f'digraph "{_quoted(name)}" {{',
        "  rankdir=TB;",
        '  node [shape=box, fontname="sans-serif", fontsize=10];',
    ]
    numbers = {node: f"n{k}" for k, node in enumerate(nodes)}
    lines.append(f'  image [label="image\\n{"x".join(map(str, input_shape))}", shape=ellipse];')
    for node in nodes:
        where = paths.get(id(node.layers[-1]), "") if node.layers else ""
        lines.append(f'  {numbers[node]} [label="{_quoted(where)}\\n{_quoted(node.name)}"];')
        read = {numbers[edge[0]]: shape for edge, (shape, _) in _data(node)}
        if not read and any(edge is not None and not isinstance(edge, tuple) for edge in node.edges):
            lines += [f"  image -> {numbers[node]};"] * (node.inputs[0][0] == (1, *input_shape))
        lines += [
            f'  {source} -> {numbers[node]} [label="{"x".join(map(str, shape))}", fontsize=8];'
            for source, shape in read.items()
        ]
    return "\n".join([*lines, "}"]) + "\n"


def _data(node: Any) -> list[Any]:
    """The edges of a node that come from other operations, with what they carry."""
    return [(edge, fact) for edge, fact in zip(node.edges, node.inputs, strict=True) if isinstance(edge, tuple)]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def graph_page(model: Any, input_shape: Sequence[int], title: str) -> str:
    """One HTML document: blocks that open and close, and for each layer its output, parameters and multiply-adds."""
    facts = summary(model, (1, *input_shape))
    total = f"{facts.params:,} parameters, {facts.macs:,} multiply-adds, {len(facts.rows)} layers"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    body = f"<h1>{html.escape(title)}</h1><p>{total}; image {'x'.join(map(str, input_shape))}</p>"
    return f"{head}<style>{_STYLE}</style>{body}{_nested(facts)}</html>\n"


def _nested(facts: Summary) -> str:
    """The rows, inside ``<details>`` for every block of a path."""
    parts: list[str] = []
    opened: list[str] = []
    for row in facts.rows:
        *blocks, layer = row.path.split(".")
        shared = next((k for k, (a, b) in enumerate(zip(opened, blocks, strict=False)) if a != b), None)
        shared = min(len(opened), len(blocks)) if shared is None else shared
        parts += ["</details>"] * (len(opened) - shared)
        for depth in range(shared, len(blocks)):
            parts.append(_block(facts, ".".join(blocks[: depth + 1]), depth))
        opened = blocks
        shape = html.escape(str(row.output_shape).strip("()"))
        numbers = "".join(
            f'<span class="n">{count:,}</span>' if count else "<span></span>" for count in (row.params, row.macs)
        )
        name = f"<b>{html.escape(layer or facts.model)}</b> <span class=kind>{html.escape(row.kind)}</span>"
        parts.append(f'<div class="layer"><span>{name}</span><span>{shape}</span>{numbers}</div>')
    return "".join([*parts, *["</details>"] * len(opened)])


def _block(facts: Summary, path: str, depth: int) -> str:
    rows = [row for row in facts.rows if row.path.startswith(f"{path}.")]
    sums = f"{sum(row.params for row in rows):,} parameters, {sum(row.macs for row in rows):,} multiply-adds"
    said = f"<b>{html.escape(path)}</b> <span class=kind>{len(rows)} layers, {sums}</span>"
    return f"<details{' open' if depth == 0 else ''}><summary>{said}</summary>"
