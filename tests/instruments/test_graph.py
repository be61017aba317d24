"""Where data goes: which step reads which, said by hand for small networks; and the files of the graph."""

import re
import sys
from functools import partial

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from minicnn import models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.instruments.flow import flow
from minicnn.instruments.graph import dot, write_tensorboard


class Everything(nn.Module):
    """Branches, a shortcut round a layer that hands on, a layer that runs twice, halves, a gate, two answers."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(4, 4, 1)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.LocalResponseNorm(3)
        self.gate = nn.Sequential(nn.GlobalAvgPool2d(), nn.Sigmoid())

    def forward(self, x):
        y = self.twice(x)
        y = self.drop(y) + y
        a, b = ops.chunk(y, 2, dim=1)
        y = self.norm(ops.cat((b, x, a), dim=1))
        return y * self.gate(y), self.twice(x)


def told(steps):
    """Of each step what it is and what it reads."""
    names = [f"{step.path}|{step.op or step.kind}" for step in steps]
    return [(name, [names[source] for source in step.reads]) for name, step in zip(names, steps, strict=True)]


def test_every_step_reads_what_the_network_gave_it():
    steps = flow(Everything, (4, 6, 6))
    assert told(steps) == [
        ("|image", []),
        ("twice|Conv2d", ["|image"]),
        ("drop|Dropout", ["twice|Conv2d"]),
        ("|add", ["twice|Conv2d", "drop|Dropout"]),
        ("|chunk", ["|add"]),
        ("|cat", ["|image", "|chunk"]),
        ("norm|LocalResponseNorm", ["|cat"]),
        ("gate.0|GlobalAvgPool2d", ["norm|LocalResponseNorm"]),
        ("gate.1|Sigmoid", ["gate.0|GlobalAvgPool2d"]),
        ("|mul", ["norm|LocalResponseNorm", "gate.1|Sigmoid"]),
        ("twice|Conv2d", ["|image"]),
    ]
    assert steps[4].outputs == [(1, 2, 6, 6)] * 2 and steps[5].inputs == [(1, 2, 6, 6), (1, 4, 6, 6), (1, 2, 6, 6)]
    assert [step.outputs for step in steps[5:]] == [
        *([(1, 8, 6, 6)],) * 2,
        *([(1, 8, 1, 1)],) * 2,
        [(1, 8, 6, 6)],
        [(1, 4, 6, 6)],
    ]


def test_a_dense_layer_reads_all_before_it():
    steps = told(flow(partial(models.create, "densenet121"), (3, 224, 224)))
    block = "features.denseblock3"
    reads = [found for name, found in steps if re.fullmatch(rf"{block}(\.\w+)?\|cat", name)]
    made = ["features.transition2.pool|AvgPool2d", *(f"{block}.denselayer{k}.drop|Identity" for k in range(1, 25))]
    assert reads == [made[:count] for count in range(1, 26)]


def nodes_and_edges(text):
    nodes = dict(re.findall(r'^  (n\d+) \[label="(.*)"\];$', text, re.M))
    return nodes, [(nodes[a], nodes[b]) for a, b in re.findall(r"^  (\w+) -> (\w+);$", text, re.M)]


def test_the_dot_of_a_residual_network():
    text = dot(partial(models.create, "resnet20_cifar10"), (3, 32, 32), 'a "net"')
    assert text.startswith('digraph "a \\"net\\"" {') and text.count("{") == text.count("}") == 1
    nodes, edges = nodes_and_edges(text)
    kinds = [label.split("\\n")[-2] for label in nodes.values()]
    assert kinds.count("Conv2d") == 19 and kinds.count("Linear") == 1 and kinds.count("add") == 9
    assert [a for a, _ in edges].count("image\\n3x32x32") == 1
    into = [b for _, b in edges]
    for label, kind in zip(nodes.values(), kinds, strict=True):
        assert label == "image\\n3x32x32" or into.count(label) in ({2, 1} if kind == "ReLU" else {1 + (kind == "add")})
    assert {"layer2.0.conv1\\nConv2d\\n32x16x16", "fc\\nLinear\\n10"} <= set(nodes.values())
    assert ("layer1.0.bn2\\nBatchNorm2d\\n16x32x32", "layer1.0\\nadd\\n16x32x32") in edges


@pytest.mark.slow  # three seconds of imports
def test_tensorboard_shows_the_graph(tmp_path):
    path = write_tensorboard(models.googlenet, (3, 224, 224), tmp_path / "a" / "folder")
    assert write_tensorboard(models.lenet5, (1, 32, 32), tmp_path / "other") != path
    assert [path] == list((tmp_path / "a" / "folder").iterdir())
    found = EventAccumulator(str(path))
    found.Reload()
    nodes = {node.name: node for node in found.Graph().node}
    branches = [f"inception3a/branch{k}" for k in (1, 2, 3, 4)]
    assert [source.rsplit("/", 1)[0] for source in nodes["inception3a/cat"].input] == [
        *(
            f"{branch}{deeper}"
            for branch, deeper in zip(branches, ("/relu", "/1/relu", "/1/relu", "/1/relu"), strict=True)
        )
    ]
    assert nodes["conv1/conv/conv2d"].input[0] == "input" and nodes["fc/linear"].op == "linear"


def test_tensorboard_needs_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(ArgumentError, match=r"--tensorboard needs tensorboardX .*pip install 'minicnn\[tensorboard\]'"):
        write_tensorboard(models.lenet5, (1, 32, 32), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
