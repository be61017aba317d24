"""The graph of a model for TensorBoard: what the tape records when the model runs on shapes alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.context import abstract, enable_grad
from minicnn.kernels.shape_array import ShapeArray
from minicnn.tape import Node
from minicnn.tensor import Tensor


def graph_def(model: Any, shape: Sequence[int]) -> Any:
    """A TensorFlow ``GraphDef`` of ``model`` for one input of ``shape`` (C, H, W), in eval mode.

    An operation is called by the path of its layer and its own name (``layer1/0/conv1/conv2d``), so that TensorBoard
    folds it into its layer; a parameter by its name in the state dict. Every operation has the shape it puts out.
    """
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.versions_pb2 import VersionDef

    modes = [(part, part.training) for part in model.modules()]
    x = Tensor(ShapeArray((1, *shape), np.dtype("float32")), requires_grad=True)
    try:
        with abstract(), enable_grad():
            y = model.eval()(x)
    finally:
        for part, mode in modes:
            part.training = mode
    nodes = _reachable(y.node)
    names = _names(model, nodes)
    leaves = {id(p): name.replace(".", "/") for name, p in model.named_parameters()} | {id(x): "input"}
    # what flows along an edge: the shape is known to who reads it; the key of a leaf is its id
    shapes: dict[Any, tuple[int, ...]] = {(y.node, y.output): y.shape}
    inputs: dict[Node, list[str]] = {node: [] for node in nodes}
    for node in nodes:
        for edge, fact in zip(node.edges, node.inputs, strict=True):
            if edge is not None:
                key: Any = edge if isinstance(edge, tuple) else id(edge)
                shapes.setdefault(key, fact[0])
                inputs[node].append(names[edge[0]] if isinstance(edge, tuple) else leaves[key])
    read = [
        _entry(name, "Input" if key == id(x) else "Parameter", (), shapes[key])
        for key, name in leaves.items()
        if key in shapes
    ]
    done = [_entry(names[node], node.name, inputs[node], shapes.get((node, 0), ())) for node in nodes]
    return GraphDef(node=read + done, versions=VersionDef(producer=22))


def _reachable(last: Node) -> list[Node]:
    """The nodes behind ``last``, oldest first."""
    found, waiting = {last}, [last]
    while waiting:
        for edge in waiting.pop().edges:
            if isinstance(edge, tuple) and edge[0] not in found:
                found.add(edge[0])
                waiting.append(edge[0])
    return sorted(found, key=lambda node: node.sequence)


def _names(model: Any, nodes: Sequence[Node]) -> dict[Node, str]:
    """A name each; a layer that runs again has its operations numbered."""
    paths = {id(part): path.replace(".", "/") for path, part in model.named_modules()}
    names: dict[Node, str] = {}
    taken: dict[str, int] = {}
    for node in nodes:
        path = paths.get(id(node.layers[-1]), "") if node.layers else ""
        name = f"{path}/{node.name}" if path else node.name
        taken[name] = taken.get(name, 0) + 1
        names[node] = name if taken[name] == 1 else f"{name}_{taken[name] - 1}"
    return names


def _entry(name: str, op: str, sources: Sequence[str], shape: Sequence[int]) -> Any:
    from tensorboardX.proto.attr_value_pb2 import AttrValue
    from tensorboardX.proto.node_def_pb2 import NodeDef
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    sizes = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    output = AttrValue(list=AttrValue.ListValue(shape=[sizes]))
    return NodeDef(name=name, op=op, input=list(sources), attr={"_output_shapes": output})
