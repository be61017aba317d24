"""The graph of a network as files for other programs: Graphviz's ``.dot``, and an event file that TensorBoard shows.

The page that needs neither is `minicnn.instruments.explore`.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minicnn.context import abstract
from minicnn.errors import ArgumentError
from minicnn.instruments.flow import flow
from minicnn.train.tape_graph import graph_def


def dot(build: Callable[[], Any], input_shape: Sequence[int], name: str = "network") -> str:
    """A Graphviz digraph: a node a layer, with what it puts out of an image (C, H, W), and an edge where that is read.

    Operations outside every layer (sums, concatenations) are nodes too, by the name of the block around them.
    """
    lines = [
        f'digraph "{_quoted(name)}" {{',
        "  rankdir=TB;",
        '  node [shape=box, fontname="sans-serif", fontsize=10];',
    ]
    for number, step in enumerate(flow(build, input_shape)):
        shapes = ", ".join("x".join(map(str, shape[1:])) for shape in step.outputs)
        label = "\\n".join(_quoted(text) for text in (step.path, step.kind, shapes) if text)
        lines.append(f'  n{number} [label="{label}"];')
        lines += [f"  n{source} -> n{number};" for source in step.reads]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def write_tensorboard(build: Callable[[], Any], input_shape: Sequence[int], folder: Path) -> Path:
    """An event file in ``folder`` with the operations on an image (C, H, W), which TensorBoard folds by layers.

    **Raises** ArgumentError without tensorboardX.
    """
    try:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
    except ImportError as error:
        raise ArgumentError(
            f"look graph: --tensorboard needs tensorboardX ({error}); fix: pip install 'minicnn[tensorboard]'"
        ) from error
    with abstract():
        graph = graph_def(build(), input_shape)
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time_ns()  # so that no two files have one name
    events = EventsWriter(str(folder / "events"), f".{now}")
    events.write_event(Event(graph_def=graph.SerializeToString(), wall_time=now / 1e9))
    events.close()
    (path,) = folder.glob(f"*.{now}")
    return path
