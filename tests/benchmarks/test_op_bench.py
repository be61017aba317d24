"""The benchmark of all that is no convolution: its rows are verified, its peer does the same work; on small shapes."""

import json
import math

import numba
import numpy as np
import op_bench
import op_rows
import pytest
import threadpoolctl
import timing

from minicnn import ops

SMALL = [op._replace(shape=(6, 7, 9) if len(op.shape) == 3 else (2000,)) for op in op_rows.OPS]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(op_bench, "OPS", SMALL)
    monkeypatch.setattr(op_bench, "NET", "lenet5")
    monkeypatch.setattr(timing, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-4)
    monkeypatch.setattr(timing, "WARM_SECONDS", 0.0)
    threads = numba.get_num_threads()
    with threadpoolctl.threadpool_limits():
        yield
    numba.set_num_threads(threads)


def run(tmp_path, *arguments):
    path = tmp_path / "figures.json"
    shared = ["--batch", "2", "--samples", "1", "--threads", "1", "--no-torch", "--json", str(path)]
    return op_bench.main([*shared, *arguments]), json.loads(path.read_text(encoding="utf-8"))["rows"]


def test_every_row_is_right_and_has_its_figures(tmp_path, capsys):
    code, rows = run(tmp_path, "--picture", str(tmp_path / "a.png"))
    assert code == 0 and len(rows) == 2 * len(SMALL) + 2
    for row in rows:
        assert row["state"] == "right" and 0 <= row["error"] <= op_bench.TOLERANCE[row["pass"]]
        assert row["of_copy"] == pytest.approx(row["copy_milliseconds"] / row["milliseconds"])
        assert row["torch_milliseconds"] is row["ratio"] is None
    assert rows[0]["bytes"] == 4 * 2 * 6 * (7 * 9 + 4 * 5), "x and y of the pool"
    sgd, adam = rows[-2:]
    assert (sgd["shape"], sgd["bytes"], adam["bytes"]) == ([61706], 5 * 4 * 61706, 7 * 4 * 61706), "LeNet-5"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "Adam" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [1.01, math.nan])
def test_a_wrong_operation_has_no_time_and_fails_the_run(tmp_path, monkeypatch, capsys, damage):
    right = ops.avg_pool2d
    monkeypatch.setattr(ops, "avg_pool2d", lambda *arguments: right(*arguments) * np.float32(damage))
    code, rows = run(tmp_path)
    wrong = [(row["operation"], row["pass"]) for row in rows if row["milliseconds"] is None]
    assert code == 1 and wrong == [("avg pool 2/2", "forward"), ("avg pool 2/2", "backward")]
    assert f"2 of {len(rows)} rows are wrong" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0.4, 1.0])
def test_a_dropout_of_another_share_is_wrong(keep):
    mask = np.random.default_rng(0).random((2, 2000)) < keep
    assert np.isnan(op_rows._dropout(np.ones(mask.shape), 2.0 * mask)).all()


@pytest.mark.parametrize("op", [op for op in SMALL if op.name != "dropout"], ids=lambda op: f"{op.name} {op.where}")
def test_pytorch_is_given_the_same_work(op):
    pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    x, others = op_rows.distinct_values(rng, (2, *op.shape)), op.others(rng, (2, *op.shape))
    gy = rng.standard_normal(op.run(ops, op_bench.minicnn_library().tensor(x, False), *others).shape, np.float32)
    libraries = (op_bench.minicnn_library(), op_bench.torch_library())
    ours, theirs = (op_bench.op_calls(library, op, x, gy, others) for library in libraries)
    for which in ("forward", "backward", "backward"):  # the second time through the same graph adds nothing
        a, b = ours[which]().numpy(), theirs[which]().numpy()
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_pytorchs_optimisers_make_the_same_steps():
    pytest.importorskip("torch")
    libraries = {"ours": op_bench.minicnn_library(), "torch": op_bench.torch_library()}
    rng = np.random.default_rng(3)
    weight, gradient = (rng.standard_normal(50, np.float32) for _ in range(2))
    for name, options, twin, _ in op_rows.OPTIMISERS:
        for library in libraries.values():
            parameter = library.tensor(weight.copy(), True)
            parameter.grad = library.tensor(gradient, False)
            optimiser = getattr(library.optimisers, name)([parameter], **options)
            for _ in range(3):
                optimiser.step()
            expected = twin(weight.astype(float), gradient.astype(float), 3)
            assert np.abs(parameter.detach().numpy() - expected).max() <= 1e-5 * np.abs(expected).max()
