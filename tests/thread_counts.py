"""Every operation, forward and backward, at 1, 2 and 4 threads: a program that prints what has other bits.

    NUMBA_NUM_THREADS=4 python -m tests.thread_counts [NAME ...]

The small geometries are those of ``tests/ops``; ``LARGE`` has arrays that several threads really share. NumPy compares
bytes, so that NaN equals itself and 0 is not -0.
"""

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np

import minicnn
from minicnn import Tensor, ops
from tests.ops.case import arrays_of, tensors_of
from tests.ops.drawn import drawn
from tests.ops.test_ops import CASES

COUNTS = (1, 2, 4)
SEED = 7
Run = Callable[[], list[bytes]]


def forward_and_backward(call: Callable[..., Any], tensors: list[Tensor]) -> list[bytes]:
    """The bytes of the outputs and of the gradients; the upstream gradients are drawn."""
    rng = np.random.default_rng(SEED)
    outputs = call()
    found = []
    for y in outputs if isinstance(outputs, (tuple, list)) else [outputs]:
        found.append(np.asarray(y.numpy()).tobytes())
        if y.node is not None:
            y.backward(rng.standard_normal(y.shape).astype(y.dtype), retain_graph=True)
    return found + [tensor.grad.numpy().tobytes() for tensor in tensors if tensor.grad is not None]


def of_case(case: Any, geometry: Any, dtype: Any) -> list[bytes]:
    tensors = tensors_of(geometry, arrays_of(geometry, SEED, dtype), requires_grad=case.gradient)
    leaves = [t for value in tensors.values() for t in (value if isinstance(value, list) else [value])]
    return forward_and_backward(lambda: case.run(**tensors), [t for t in leaves if isinstance(t, Tensor)])


def small(words: list[str]) -> Iterator[tuple[str, Run]]:
    for case in [case for case in CASES if not words or any(word in case.id for word in words)]:
        geometries = [*case.edges.values(), *(geometry for geometry, _ in drawn(case, 2, same=True))]
        for dtype in (np.float32, np.float64):
            for number, geometry in enumerate(geometries):
                name = f"{case.id} {np.dtype(dtype)} {number}"
                yield name, lambda case=case, geometry=geometry, dtype=dtype: of_case(case, geometry, dtype)


# ---- arrays that several threads share

IMAGE = (8, 24, 29, 31)
CONVOLUTIONS = {  # name: (weight, options)
    "3x3": ((40, 24, 3, 3), {"padding": 1}),
    "3x3 stride 2": ((40, 24, 3, 3), {"padding": 1, "stride": 2}),
    "5x5 dilated": ((16, 24, 5, 5), {"dilation": 2}),
    "1x1": ((72, 24, 1, 1), {}),
    "1x1 stride 2": ((72, 24, 1, 1), {"stride": 2}),
    "3 groups": ((30, 8, 3, 3), {"padding": 1, "groups": 3}),
    "6 groups of 4": ((24, 4, 3, 3), {"padding": 1, "groups": 6}),
    "depthwise": ((24, 1, 3, 3), {"padding": 1, "groups": 24}),
    "depthwise 5x5 stride 2": ((24, 1, 5, 5), {"padding": 2, "stride": 2, "groups": 24}),
    "7x7 stride 2": ((64, 24, 7, 7), {"padding": 3, "stride": 2}),
}
PLANS = ("auto", "im2col", "direct", "winograd")
LARGE: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {  # name: (call, shapes of its arguments)
    "relu": (ops.relu, (IMAGE,)),
    "gelu": (ops.gelu, (IMAGE,)),
    "prelu": (ops.prelu, (IMAGE, (24,))),
    "softmax": (lambda x: ops.softmax(x, 1), (IMAGE,)),
    "add": (lambda x, y: x + y, (IMAGE, IMAGE)),
    "mul broadcast": (lambda x, y: x * y, (IMAGE, (8, 24, 1, 1))),
    "cat": (lambda x, y: ops.cat([x, y], 1), (IMAGE, IMAGE)),
    "sum": (lambda x: x.sum((0, 2, 3)), (IMAGE,)),
    "mean": (lambda x: x.mean(), (IMAGE,)),
    "sum of rows": (lambda x: x.sum(0), ((6272, 768),)),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 3, 2, 1), (IMAGE,)),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, 3, 2, 1), (IMAGE,)),
    "global average": (lambda x: ops.adaptive_avg_pool2d(x, 1), (IMAGE,)),
    "batch_norm": (lambda x, w, b: ops.batch_norm_train(x, w, b)[0], (IMAGE, (24,), (24,))),
    "group_norm": (lambda x, w, b: ops.group_norm(x, 4, w, b), (IMAGE, (24,), (24,))),
    "layer_norm": (lambda x, w, b: ops.layer_norm(x, (768,), w, b), ((300, 768), (768,), (768,))),
    "local_response_norm": (lambda x: ops.local_response_norm(x, 5), (IMAGE,)),
    "linear": (ops.linear, ((64, 1000), (513, 1000), (513,))),
    "linear of one image": (ops.linear, ((1, 4096), (1000, 4096), (1000,))),
    "matmul": (ops.matmul, ((5, 130, 257), (5, 257, 90))),
    "cross_entropy": (lambda x: ops.cross_entropy(x, np.arange(512) % 1000), ((512, 1000),)),
    "conv_transpose2d": (lambda x, w: ops.conv_transpose2d(x, w, stride=2), (IMAGE, (24, 16, 3, 3))),
    "unfold": (lambda x: ops.unfold(x, 3), (IMAGE,)),
    "dropout": (lambda x: ops.dropout(x, 0.3, seed=3), (IMAGE,)),
    "grid_sample": (lambda x, g: ops.grid_sample(x, ops.tanh(g)), (IMAGE, (8, 20, 20, 2))),
    "interpolate": (lambda x: ops.interpolate(x, scale_factor=2, mode="bilinear"), (IMAGE,)),
}


def large() -> Iterator[tuple[str, Run]]:
    def run(call: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]) -> list[bytes]:
        rng = np.random.default_rng(SEED)
        tensors = [Tensor(rng.standard_normal(shape, np.float32), requires_grad=True) for shape in shapes]
        return forward_and_backward(lambda: call(*tensors), tensors)

    for name, (call, shapes) in LARGE.items():
        yield f"large {name}", lambda call=call, shapes=shapes: run(call, shapes)
    for plan in PLANS:
        for name, (weight, options) in CONVOLUTIONS.items():
            if plan != "winograd" or name == "3x3":

                def call(x: Tensor, w: Tensor, plan: str = plan, options: Any = options) -> Tensor:
                    with minicnn.conv_plan(plan):
                        return ops.conv2d(x, w, **options)

                yield f"large conv2d {name}, {plan}", lambda call=call, weight=weight: run(call, (IMAGE, weight))


def differing(runs: Iterator[tuple[str, Run]], counts: tuple[int, ...] = COUNTS) -> list[str]:
    """The names of those whose bits depend on the number of threads, and how."""
    before, complaints = minicnn.get_num_threads(), []
    try:
        for name, run in runs:
            results = []
            for count in counts:
                minicnn.set_num_threads(count)
                results.append(run())
            wrong = [
                f"result {number} at {count} threads"
                for count, result in zip(counts[1:], results[1:], strict=True)
                for number, (one, other) in enumerate(zip(results[0], result, strict=True))
                if one != other
            ]
            complaints += [f"{name}: {', '.join(wrong)}"] if wrong else []
    finally:
        minicnn.set_num_threads(before)
    return complaints


def main(wanted: list[str]) -> int:
    chosen = [each for each in large() if not wanted or any(word in each[0] for word in wanted)]
    with np.errstate(all="ignore"):
        complaints = differing(chain(chosen, small(wanted)))
    print("\n".join(complaints) or "the same bits at any number of threads")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
