"""The benchmark of the convolutions as a program: its figures, its file, its exit codes; on small convolutions."""

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import conv_bench
import conv_reference
import conv_report
import conv_rows
import conv_shapes
import numba
import numpy as np
import peaks
import pytest
import threadpoolctl
import timing
from conv_shapes import Conv, Trace
from torch_peer import Torch

from minicnn.kernels import conv as K
from minicnn.kernels import launch
from minicnn.kernels.arrays import allocate
from tests.emulator import emulated_gpu
from tests.ops.cases_conv import conv2d_oracle

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {"machine", "threads", "settings", "controls", "drift", "rows", "summary", "finished"}
ROW = {
    *("convolution", "pass", "shape", "plan", "reason", "networks", "state", "error", "tolerance"),
    *("flops", "bytes", "bound_by", *conv_rows.MEASURED),
}


def first():
    image = Trace(9, 4)
    image.conv(6, 3, 2, groups=2)
    image.conv(6)
    image.conv(6)
    return image


def second():
    image = Trace(5, 6)
    image.conv(6)
    image.depthwise(3, 1)
    return image


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two small networks, small controls, and the threads as they were."""
    networks = {"first": first, "second": second}
    for module in (conv_shapes, conv_bench):
        monkeypatch.setattr(module, "NETWORKS", networks)
    monkeypatch.setattr(peaks, "SIZES", {"cpu": (64, 1 << 16), "gpu": (64, 1 << 16)})
    monkeypatch.setattr(timing, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-4)
    monkeypatch.setattr(timing, "WARM_SECONDS", 0.0)
    monkeypatch.setattr(timing, "FLUSH_BYTES", 1 << 10)
    threads = numba.get_num_threads()
    with threadpoolctl.threadpool_limits():
        yield
    numba.set_num_threads(threads)


def run(*arguments, torch=False, samples=2):
    return conv_bench.main([*arguments, "--samples", str(samples), *([] if torch else ["--no-torch"])])


def figures_of(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_convolution_and_pass_has_a_row_that_is_right(tmp_path, capsys, dtype):
    path = tmp_path / "figures.json"
    assert run("--json", str(path), "--batch", "5", "--dtype", dtype, "--threads", "1") == 0
    figures = figures_of(path)
    assert set(figures) == FIGURES and figures["finished"]
    assert figures["threads"] == {"numba": 1, "blas": 1}
    assert [(row["convolution"], row["pass"]) for row in figures["rows"]] == [
        (str(conv), which) for conv in conv_shapes.distinct(["first", "second"]) for which in conv_rows.PASSES
    ]
    for row in figures["rows"]:
        assert set(row) == ROW and row["state"] == "right"
        assert 0 <= row["error"] <= row["tolerance"] == conv_rows.TOLERANCE[dtype]
        assert row["milliseconds"] > 0 and row["samples"] == 2 and row["ratio"] is None
        assert (row["copy_milliseconds"] is None) == (row["bound_by"] == "product")
    assert [row["networks"] for row in figures["rows"][3:6]] == [{"first": 2, "second": 1}] * 3
    table = " ".join(capsys.readouterr().out.split())  # cells may be folded
    assert all(words in table for words in ("drift", "im2col", "pointwise", "first ×2, second"))


def test_figures_follow_from_time_and_shape(tmp_path):
    path = tmp_path / "figures.json"
    run("--json", str(path), "--batch", "3", "--networks", "first", "--passes", "grad_x")
    figures = figures_of(path)
    row, control = figures["rows"][0], figures["controls"][0]
    assert row["shape"] == Conv(4, 9, 6, 3, 2, 1, 2)._asdict()
    assert row["flops"] == 2 * 3 * (6 * 5 * 5) * 2 * 9
    assert row["bytes"] == 4 * (3 * 4 * 81 + 6 * 2 * 9 + 3 * 6 * 25)
    seconds = row["milliseconds"] / 1000
    assert row["flops_per_second"] == pytest.approx(row["flops"] / seconds)
    assert row["bytes_per_second"] == pytest.approx(row["bytes"] / seconds)
    assert row["percent_of_product"] == pytest.approx(100 * row["flops"] / seconds / control["flops_per_second"])
    assert row["percent_of_copy"] == pytest.approx(100 * row["bytes"] / seconds / control["bytes_per_second"])
    assert row["percent_of_roof"] == pytest.approx(max(row["percent_of_product"], row["percent_of_copy"]))
    assert row["bound_by"] == max(("product", "copy"), key=lambda name: row[f"percent_of_{name}"])


def test_controls_stand_at_both_ends_and_give_the_drift(tmp_path, monkeypatch):
    path, found = tmp_path / "figures.json", iter([peaks.Peaks(100e9, 10e9), peaks.Peaks(80e9, 11e9)])
    monkeypatch.setattr(peaks, "measure", lambda *_: next(found))
    run("--json", str(path), "--networks", "second")
    figures = figures_of(path)
    assert [control["when"] for control in figures["controls"]] == ["beginning", "end"]
    assert figures["drift"] == pytest.approx({"flops_per_second": -0.2, "bytes_per_second": 0.1})


@pytest.mark.parametrize(("which", "damage"), [("forward", 1.01), ("grad_x", 0.0), ("grad_w", math.nan)])
def test_a_wrong_kernel_fails_its_rows_and_the_run(tmp_path, capsys, monkeypatch, which, damage):
    path, right = tmp_path / "figures.json", getattr(K, f"conv2d_{which}")
    monkeypatch.setattr(K, f"conv2d_{which}", lambda *arguments: right(*arguments) * np.float32(damage))
    assert run("--json", str(path), "--networks", "second") == 1
    rows = figures_of(path)["rows"]
    assert {row["pass"] for row in rows if row["state"] == "wrong"} == {which}
    for row in rows:
        assert (row["milliseconds"] is None) == (row["pass"] == which), "a wrong result has no time"
    output = capsys.readouterr()
    assert "WRONG" in output.out and "2 of 6 rows are wrong" in output.err


@pytest.mark.parametrize("image", [0, 2, 4])
def test_one_wrong_image_of_the_batch_is_seen(tmp_path, monkeypatch, image):
    right = K.conv2d_forward

    def wrong(*arguments):
        y = right(*arguments)
        y[image, -1, -1, -1] += 1
        return y

    monkeypatch.setattr(K, "conv2d_forward", wrong)
    assert run("--networks", "second", "--batch", "5", "--passes", "forward") == 1


def test_an_interrupted_run_keeps_its_rows_and_can_go_on(tmp_path, capsys, monkeypatch):
    path, right = tmp_path / "figures.json", K.conv2d_grad_w

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(K, "conv2d_grad_w", interrupted)
    assert run("--json", str(path)) == 130
    assert "interrupted after 2 rows" in capsys.readouterr().err
    kept = figures_of(path)
    assert len(kept["rows"]) == 2 and not kept["finished"] and kept["summary"]["networks"]
    monkeypatch.setattr(K, "conv2d_grad_w", right)
    assert run("--json", str(path), "--resume", "--batch", "7") == 2
    assert "other settings" in capsys.readouterr().err
    assert run("--json", str(path), "--resume") == 0
    figures = figures_of(path)
    assert figures["rows"][:2] == kept["rows"] and len(figures["rows"]) == 9 and figures["finished"]
    assert len({(row["convolution"], row["pass"]) for row in figures["rows"]}) == 9
    assert [other.name for other in tmp_path.iterdir()] == ["figures.json"]


def test_a_killed_run_leaves_whole_rows(tmp_path):
    """The file is replaced, never written into: what an open handle reads stays as it was."""
    bench = conv_bench.Bench(conv_bench.parser().parse_args(["--json", str(tmp_path / "f.json"), "--no-torch"]))
    bench.save()
    with (tmp_path / "f.json").open(encoding="utf-8") as before:
        bench.figures["finished"] = True
        bench.save()
        assert json.load(before)["finished"] is False
    assert figures_of(tmp_path / "f.json")["finished"] is True


def test_quick_takes_one_of_each_kind(tmp_path):
    path = tmp_path / "figures.json"
    assert run("--json", str(path), "--quick", "--passes", "forward") == 0
    figures = figures_of(path)
    kinds = [Conv(**row["shape"]).kind for row in figures["rows"]]
    assert kinds == ["grouped", "pointwise", "depthwise"]
    assert figures["settings"]["batch"] == conv_bench.QUICK_BATCH


def test_a_forced_plan_is_the_one_that_runs(tmp_path, monkeypatch):
    path, ran = tmp_path / "figures.json", []
    for name, passes in K.PLANS.items():
        noted = passes._replace(forward=lambda *a, name=name, f=passes.forward: (ran.append(name), f(*a)))
        monkeypatch.setitem(K.PLANS, name, noted)
    assert run("--json", str(path), "--plan", "direct", "--passes", "forward") == 0
    assert {row["plan"] for row in figures_of(path)["rows"]} == {"direct"} == set(ran)


def test_a_plan_that_cannot_run_here_is_refused_not_timed(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert run("--json", str(path), "--plan", "implicit_gemm", "--networks", "second") == 2
    assert {row["state"] for row in figures_of(path)["rows"]} == {"refused"}
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("conv_bench: conv_plan('implicit_gemm'): the arrays are on the CPU")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("moved", [8, 1000, 4004])
def test_a_copy_reads_half_of_the_bytes_and_writes_the_other(moved, threads):
    device = timing.Cpu()
    made = {}
    device.put = lambda array: made.setdefault(float(array[0]), array)
    with ThreadPoolExecutor(threads) as pool:
        peaks.copier(device, moved, pool, threads)()
    assert (made[0.0] == 1).all() and made[0.0].nbytes == made[1.0].nbytes == moved // 8 * 4


def test_what_is_bound_by_memory_has_the_time_of_copying_its_bytes(tmp_path, monkeypatch):
    """Under a low roof of the copy every row is bound by it, and nothing under a high one."""
    path, copied, real = tmp_path / "figures.json", [], peaks.copier

    def noted(device, moved, *rest):
        copied.append(moved)
        return real(device, moved, *rest)

    monkeypatch.setattr(conv_rows, "copier", noted)
    for bytes_per_second, bound_by in ((1.0, "copy"), (1e18, "product")):
        monkeypatch.setattr(peaks, "measure", lambda *_, b=bytes_per_second: peaks.Peaks(1e9, b))
        run("--json", str(path), "--networks", "second", "--batch", "2")
        rows = figures_of(path)["rows"]
        assert {row["bound_by"] for row in rows} == {bound_by}
        assert [row["copy_milliseconds"] is None for row in rows] == [bound_by == "product"] * 6
        assert bound_by == "product" or all(row["copy_milliseconds"] > 0 for row in rows)
    assert copied == [rows[0]["bytes"], rows[3]["bytes"]], "once a convolution"


# ---- on the GPU


@pytest.mark.parametrize(
    "dtype", ["float32", *(pytest.param(d, marks=pytest.mark.slow) for d in ("float64", "float16", "bfloat16", "tf32"))]
)
def test_the_gpu_path_runs_on_the_emulator(tmp_path, capsys, monkeypatch, dtype):
    path = tmp_path / "figures.json"
    monkeypatch.setattr(launch, "THREADS", 64)
    with emulated_gpu():
        assert run("--device", "gpu", "--quick", "--dtype", dtype, "--json", str(path), torch=True) == 0
    figures = figures_of(path)
    assert len(figures["rows"]) == 9 and all(row["state"] == "right" for row in figures["rows"])
    assert all(row["milliseconds"] > 0 and row["ratio"] is None for row in figures["rows"])
    tensor_cores = {row["convolution"] for row in figures["rows"] if row["plan"] == "implicit_gemm"}
    assert len(tensor_cores) == (2 if dtype in ("float16", "bfloat16", "tf32") else 0), "all but the depthwise one"
    assert figures["machine"]["gpu"] == "emulated GPU" and len(figures["controls"]) == 2
    assert "no ratios" in capsys.readouterr().out


def test_the_workspace_on_the_gpu_is_what_the_pool_had_to_get():
    with emulated_gpu() as cupy:
        gpu = timing.Gpu()

        def call():
            scratch = cupy.zeros((3, 1000), np.float32)
            return cupy.zeros((128, 4), np.float32) + scratch[0, 0]

        scratch, kept = 3 * 1000 * 4, 128 * 4 * 4
        assert scratch <= gpu.workspace(call) <= scratch + kept + 1024


def test_without_a_gpu_one_line_says_what_to_do():
    done = subprocess.run(
        [sys.executable, "benchmarks/conv_bench.py", "--device", "gpu"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("conv_bench: device 'gpu': ") and "fix: " in line and line.endswith("--device cpu")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dtype", "float16"], "fix: --device gpu"),
        (["--dtype", "tf32"], "fix: --device gpu"),
        (["--resume"], "fix: --json FILE"),
        (["--threads", "100000"], "fix: NUMBA_NUM_THREADS=100000"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(capsys, arguments, expected):
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("conv_bench: ") and line.endswith(expected)


# ---- the parts


@pytest.mark.parametrize("conv", [Conv(4, 9, 6, 3, 2, 1, 2), Conv(4, 6, 4, 3, 1, 0, 4), Conv(3, 8, 5, 1, 3)], ids=str)
def test_the_reference_is_the_convolution_and_its_transposes(conv):
    """Forward equals the oracle of the operation; the gradients pass the inner product test with it."""
    rng = np.random.default_rng(4)
    shapes = (conv.x_shape(2), conv.weight_shape, conv.y_shape(2))
    x, weight, gy = (rng.standard_normal(shape) for shape in shapes)
    y = conv_reference.reference("forward", conv, x, weight, gy)
    expected = conv2d_oracle(
        x=x, weight=weight, bias=None, stride=conv.stride, padding=conv.padding, groups=conv.groups
    )
    assert conv_reference.error(y, expected) < 1e-13
    inner = (y * gy).sum()  # y is linear in x and in weight
    gx = conv_reference.reference("grad_x", conv, x, weight, gy)
    gw = conv_reference.reference("grad_w", conv, x, weight, gy)
    assert gx.shape == x.shape and gw.shape == weight.shape
    assert (gx * x).sum() == pytest.approx(inner) == (gw * weight).sum()


def test_the_summary_weighs_by_multiplicity_but_not_in_the_geometric_mean():
    def row(convolution, ours, theirs, networks, which="forward"):
        times = {"milliseconds": ours, "torch_milliseconds": theirs, "ratio": theirs and theirs / ours}
        return {"convolution": convolution, "pass": which, "networks": networks, **times}

    rows = [row("a", 1.0, 4.0, {"n": 3}), row("b", 2.0, 2.0, {"n": 1, "m": 1}), row("wrong", None, None, {"n": 9})]
    lines = {line["network"]: line for line in conv_report.summary(rows)}
    assert set(lines) == {"n", "m", "all"}
    assert lines["n"] == {
        **{"network": "n", "pass": "forward", "rows": 2, "milliseconds": 5.0, "torch_milliseconds": 14.0},
        **{"ratio": pytest.approx(14 / 5), "geometric_mean": pytest.approx(2.0)},
    }
    assert lines["all"]["milliseconds"] == 3 * 1 + 2 * 2 and lines["m"]["ratio"] == 1.0
    alone = conv_report.summary([row("a", 1.0, None, {"n": 1})])
    assert alone[0]["ratio"] is None and alone[0]["milliseconds"] == 1.0


def test_calls_are_timed_in_turns():
    ran = []
    calls = {"ours": lambda: ran.append("ours"), "torch": lambda: ran.append("torch")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "SAMPLE_SECONDS", 0.0)
        patch.setattr(timing, "WARM_SECONDS", -1.0)
        times = timing.Cpu().times(calls, 3)
    assert ran[4:] == ["ours", "ours", "torch", "torch"] * 3, "one untimed call, one timed, after two for the repeats"
    assert all(time.samples == 3 and time.best <= time.median <= time.worst for time in times.values())


def test_the_workspace_is_what_lives_beside_the_result():
    def call():
        scratch = np.ones(1_000_000, np.float32)
        return scratch[:10] * 2

    assert 4_000_000 <= timing.Cpu().workspace(call) < 4_100_000
    assert timing.Cpu().workspace(lambda: np.ones(1_000_000)) < 100_000
    x = np.zeros(1, np.float32)
    for _ in range(2):  # the second time too, where memory of the first would do
        allocate(x, (1_000_000,))
        assert timing.Cpu().workspace(lambda: allocate(x, (1_000_000,))[:10] * 2) >= 4_000_000


def test_with_torch_rows_have_ratios_and_the_picture_is_drawn(tmp_path, capsys):
    pytest.importorskip("torch")
    path, picture = tmp_path / "figures.json", tmp_path / "roofline.png"
    assert run("--json", str(path), "--picture", str(picture), "--threads", "1", torch=True) == 0
    figures = figures_of(path)
    assert figures["settings"]["torch"] and figures["threads"]["torch"] == 1
    for row in figures["rows"]:
        assert row["ratio"] == pytest.approx(row["torch_milliseconds"] / row["milliseconds"])
    assert all(line["geometric_mean"] > 0 for line in figures["summary"]["networks"])
    forward, step, each, *others = figures["summary"]["goals"]
    assert (forward["count"], step["count"], each["count"]) == (3, 3, 9) and len(others) == 3
    same = next(x for x in figures["summary"]["networks"] if (x["network"], x["pass"]) == ("all", "forward"))
    assert forward["measured"] == pytest.approx(same["geometric_mean"])
    assert "What is asked" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("conv", [Conv(4, 9, 6, 3, 2, 1, 2), Conv(5, 4, 3)], ids=str)
def test_torch_is_given_the_same_work(conv):
    """The peer's three passes are those of the reference: a ratio compares like with like."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    shapes = (conv.x_shape(2), conv.weight_shape, conv.y_shape(2))
    x, weight, gy = (rng.standard_normal(shape) for shape in shapes)
    calls = Torch("cpu", "float64").calls(conv, x, weight, gy)
    assert tuple(calls) == conv_rows.PASSES
    for which, call in calls.items():
        assert conv_reference.error(call().numpy(), conv_reference.reference(which, conv, x, weight, gy)) < 1e-13
