"""The ladder of convolution algorithms: every rung computes the convolution; the program's rows and exit codes."""

import json
import math

import conv_report
import numba
import numpy as np
import peaks
import pytest
import threadpoolctl
import timing
from conv_shapes import Conv
from rungs import ladder, run, taps

from tests.ops.cases_conv import conv2d_oracle

RUNGS = ladder.ladder(with_torch=False)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(run, "SIZES", {"small": Conv(3, 6, 5, 3, 1, 1), "large": Conv(2, 7, 3, 5, 1, 2)})
    monkeypatch.setattr(peaks, "SIZES", {"cpu": (64, 1 << 16)})
    monkeypatch.setattr(timing, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-4)
    monkeypatch.setattr(timing, "WARM_SECONDS", 0.0)
    threads = numba.get_num_threads()
    with threadpoolctl.threadpool_limits():
        yield
    numba.set_num_threads(threads)


def climbed(tmp_path, *arguments):
    path = tmp_path / "figures.json"
    code = run.main([*arguments, "--samples", "1", "--threads", "1", "--no-torch", "--json", str(path)])
    return code, json.loads(path.read_text(encoding="utf-8"))


KERNELS = [(rung, kernel) for rung in RUNGS for kernel in ((3, 3), (2, 4)) if rung.kernel in (None, kernel[0])]


@pytest.mark.parametrize(("rung", "kernel"), KERNELS, ids=lambda value: getattr(value, "name", str(value)))
def test_a_rung_is_the_convolution(rung, kernel):
    """Sizes that are no multiple of any tile, two images, sides that differ."""
    rng = np.random.default_rng(7)
    x, weight = (rng.standard_normal(shape, np.float32) for shape in ((2, 3, 7, 5), (6, 3, *kernel)))
    expected = conv2d_oracle(x=x.astype(float), weight=weight.astype(float), bias=None, stride=1, padding=1, groups=1)
    y = rung.convolve(x, weight, 1)
    assert y.dtype == np.float32 and y.shape == expected.shape
    assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_last_rung_is_pytorchs():
    pytest.importorskip("torch")
    *_, ours, last = ladder.ladder(with_torch=True)
    x, weight = np.ones((1, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32)
    assert last.name == "PyTorch" and last.lines is ours.lines is None
    assert np.array_equal(last.convolve(x, weight, 1), ours.convolve(x, weight, 1))


def test_every_rung_has_its_figures(tmp_path, capsys):
    code, figures = climbed(tmp_path, "--size", "small", "--batch", "2", "--picture", str(tmp_path / "a.png"))
    assert code == 0 and [row["rung"] for row in figures["rows"]] == [rung.name for rung in RUNGS]
    first, second = figures["rows"][:2]
    for row in figures["rows"]:
        assert row["state"] == "right" and 0 <= row["error"] < run.TOLERANCE and row["workspace_bytes"] >= 0
        assert row["times_first"] == pytest.approx(first["milliseconds"] / row["milliseconds"])
        flops = 2 * 2 * 5 * 6 * 6 * 3 * 9
        assert row["flops_per_second"] == pytest.approx(1000 * flops / row["milliseconds"])
        share = 100 * row["flops_per_second"] / figures["product_flops_per_second"]
        assert row["percent_of_product"] == pytest.approx(share)
    assert first["times_before"] == 1 and second["times_before"] == second["times_first"]
    third = figures["rows"][2]
    assert third["times_before"] == pytest.approx(second["milliseconds"] / third["milliseconds"])
    assert third["workspace_bytes"] >= 4 * 2 * 27 * 36, "the columns"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "Winograd" in capsys.readouterr().out


def test_a_rung_that_cannot_is_refused_with_its_reason(tmp_path):
    code, figures = climbed(tmp_path, "--size", "large")
    refused = {row["rung"]: row["reason"] for row in figures["rows"] if row["state"] == "refused"}
    assert code == 0 and refused == dict.fromkeys(("Winograd F(2,3)", "Winograd F(4,3)"), "only 3x3 filters")


@pytest.mark.parametrize("damage", [1.001, math.nan])
def test_a_wrong_rung_has_no_time_and_fails_the_run(tmp_path, monkeypatch, capsys, damage):
    broken = RUNGS[1]._replace(convolve=lambda *arguments: taps.convolve(*arguments) * np.float32(damage))
    monkeypatch.setattr(run, "ladder", lambda _: [RUNGS[2], broken, RUNGS[3]])
    code, figures = climbed(tmp_path, "--size", "small")
    assert code == 1 and [row["state"] for row in figures["rows"]] == ["right", "wrong", "right"]
    assert figures["rows"][1]["milliseconds"] is None
    assert figures["rows"][2]["times_before"] == figures["rows"][2]["times_first"]
    output = capsys.readouterr()
    assert "WRONG" in output.out and "1 of 3 rungs are wrong" in output.err


def test_a_slow_rung_is_timed_by_its_second_call(tmp_path, monkeypatch):
    made = []
    counted = RUNGS[1]._replace(convolve=lambda *arguments: made.append(0) or taps.convolve(*arguments))
    monkeypatch.setattr(run, "ladder", lambda _: [counted])
    monkeypatch.setattr(run, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(run, "PATIENCE_SECONDS", 0.0)
    _, figures = climbed(tmp_path, "--size", "small")
    (row,) = figures["rows"]
    assert len(made) == 2 and row["samples"] == 1 and row["workspace_bytes"] is None


def test_more_threads_than_there_are_is_refused(capsys):
    assert run.main(["--threads", "100000"]) == 2
    assert capsys.readouterr().err.startswith("rungs: threads: 100000 is more")


def test_lines_of_code_are_those_that_hold_code():
    function = 'def f(\n    x,\n):\n    """One."""\n    # nothing\n    return x\n'
    source = '"""Text\nof two."""\n\nimport math  # why\n\n\n' + function
    assert ladder.code_lines(source) == 5
    assert ladder.code_lines('x = """a\nb"""\n') == 2, "a text that is no docstring"


def test_a_cell_without_a_figure_is_empty():
    assert conv_report.number(None, "{:.1f}") == "" and conv_report.number(0.25, "{:.1f}") == "0.2"


def test_settling_waits_until_this_process_uses_no_processor_time(monkeypatch):
    """Two intervals in which threads spin, then one in which none does."""
    used = iter([0.0, 0.010, 0.010, 0.014, 0.014, 0.0141, 9.0])
    monkeypatch.setattr(timing.time, "process_time", lambda: next(used))
    timing.settle()
    assert next(used) == 9.0
