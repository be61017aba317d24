"""Our convolutions against the machine's own roofs and against PyTorch, layer by layer, pass by pass.

    python benchmarks/conv_bench.py --device cpu|gpu [--quick] [--json FILE] [--picture FILE.png]

Every distinct convolution of nine networks, forward and both gradients. A row is first verified against float64 and
only timed when it is right; then it is timed in turns with PyTorch, in one process, with the same threads and the
same precision. Exit code 0: all rows are right; 1: one is wrong; 2: cannot run as asked; 130: interrupted.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import conv_report
import goals
import numpy as np
import peaks
import roofline
from conv_rows import PASSES, TOLERANCE, Setting, rows
from conv_shapes import NETWORKS, Conv, distinct
from machine import headline, machine, positive, set_threads
from timing import Cpu, Gpu
from torch_peer import Torch

from minicnn.devices import choose_device
from minicnn.errors import ArgumentError, DeviceError
from minicnn.kernels.conv.plan import KNOBS
from minicnn.kernels.precision import set_float32_precision

BATCH = {"cpu": 8, "gpu": 64}
QUICK_BATCH, QUICK_SAMPLES = 2, 3


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    made.add_argument(
        "--dtype", choices=tuple(TOLERANCE), default="float32", help="tf32: float32 arrays, tf32 products"
    )
    made.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS), metavar="NAME")
    made.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES), metavar="PASS")
    made.add_argument("--batch", type=positive, help=f"images ({BATCH['cpu']} on the CPU, {BATCH['gpu']} on the GPU)")
    made.add_argument("--threads", type=positive, help="of Numba, BLAS and PyTorch (all cores)")
    made.add_argument(
        "--samples", type=positive, help=f"times a row ({Cpu.samples} on the CPU, {Gpu.samples} on the GPU)"
    )
    made.add_argument("--plan", choices=KNOBS, default="auto", help="force how convolutions are computed")
    made.add_argument("--quick", action="store_true", help="one convolution of each kind, a small batch, few samples")
    made.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    made.add_argument("--json", type=Path, help="write the figures to this file, again after every row")
    made.add_argument("--resume", action="store_true", help="keep the rows that --json already holds")
    made.add_argument("--picture", type=Path, help="draw the roofline to this PNG")
    return made


class Bench:
    """One run: what is asked for, and the figures so far."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        trouble = "" if chosen.no_torch else Torch.trouble(chosen.device)
        if trouble:
            print(trouble)
        peer = None if chosen.no_torch or trouble else Torch(chosen.device, chosen.dtype)
        threads = set_threads(chosen.threads, peer is not None)
        self.setting = Setting(
            device=Gpu() if chosen.device == "gpu" else Cpu(),
            precision=chosen.dtype,
            dtype=dtype_of(chosen.device, chosen.dtype),
            batch=chosen.batch or (QUICK_BATCH if chosen.quick else BATCH[chosen.device]),
            samples=chosen.samples or (QUICK_SAMPLES if chosen.quick else None),
            threads=threads["numba"],
            knob=chosen.plan,
            peer=peer,
        )
        asked = {name: getattr(chosen, name) for name in ("device", "dtype", "plan", "networks", "passes", "quick")}
        self.figures: dict[str, Any] = {
            "machine": machine(chosen.device),
            "threads": threads,
            "settings": {**asked, "batch": self.setting.batch, "torch": peer is not None},
            "controls": [],
            "drift": None,
            "rows": [],
            "summary": {},
            "finished": False,
        }

    def run(self) -> None:
        """Measure what is asked for; the figures are on disk after every row."""
        if self.chosen.resume:
            self.figures["rows"] = self._kept()
        print(headline(self.figures["machine"]))
        print("threads: " + ", ".join(f"{name} {count}" for name, count in self.figures["threads"].items()))
        roofs = self._control("beginning")
        done = {(row["convolution"], row["pass"]) for row in self.figures["rows"]}
        work = self._work()
        for number, (conv, networks) in enumerate(work.items(), 1):
            missing = [which for which in self.chosen.passes if (str(conv), which) not in done]
            for row in rows(self.setting, conv, missing, roofs) if missing else ():
                self.figures["rows"].append({**row, "networks": networks})
                self.save()
                time = "" if row["milliseconds"] is None else f", {row['milliseconds']:.3f} ms"
                print(f"{number}/{len(work)}  {conv}  {row['pass']}: {row['state']}{time}", file=sys.stderr, flush=True)
        end = self._control("end")
        self.figures["drift"] = {name: getattr(end, name) / getattr(roofs, name) - 1 for name in roofs._fields}
        self.figures["finished"] = True
        self.save()

    def save(self) -> None:
        """Replace the file in one step: whoever reads it, or kills this process, finds whole rows."""
        asked = goals.of_convolutions(self.figures["rows"]) if self.chosen.device == "cpu" else []
        self.figures["summary"] = {"networks": conv_report.summary(self.figures["rows"]), "goals": asked}
        if self.chosen.json:
            unfinished = self.chosen.json.with_name(self.chosen.json.name + ".unfinished")
            unfinished.write_text(json.dumps(self.figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            unfinished.replace(self.chosen.json)

    def _work(self) -> dict[Conv, dict[str, int]]:
        every = distinct(self.chosen.networks)
        if not self.chosen.quick:
            return every
        first: dict[str, Conv] = {}
        for conv in every:
            first.setdefault(conv.kind, conv)
        return {conv: every[conv] for conv in first.values()}

    def _kept(self) -> list[dict[str, Any]]:
        if not self.chosen.json:
            raise ArgumentError("--resume needs the file to go on with; fix: --json FILE")
        if not self.chosen.json.exists():
            return []
        before = json.loads(self.chosen.json.read_text(encoding="utf-8"))
        if before["settings"] != self.figures["settings"]:
            raise ArgumentError(f"--resume: {self.chosen.json} has other settings: {before['settings']}")
        rows: list[dict[str, Any]] = before["rows"]
        return rows

    def _control(self, when: str) -> peaks.Peaks:
        setting = self.setting
        found = peaks.measure(setting.device, setting.dtype, setting.threads, setting.samples)
        self.figures["controls"].append({"when": when, **found._asdict()})
        flops, moved = found.flops_per_second / 1e9, found.bytes_per_second / 1e9
        print(f"control at the {when}: product {flops:,.0f} GFLOP/s, copy {moved:,.1f} GB/s", flush=True)
        self.save()
        return found


def dtype_of(device: str, precision: str) -> np.dtype[Any]:
    """The dtype of the arrays."""
    if device == "cpu" and precision not in ("float32", "float64"):
        raise ArgumentError(f"--dtype {precision}: the CPU computes in float32 and float64; fix: --device gpu")
    if precision == "bfloat16":
        import ml_dtypes  # where NumPy and CuPy have it from

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype("float32" if precision == "tf32" else precision)


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    interrupted = False
    try:
        choose_device(chosen.device)
        bench = Bench(chosen)
        with set_float32_precision("tf32") if chosen.dtype == "tf32" else contextlib.nullcontext():
            try:
                bench.run()
            except KeyboardInterrupt:
                interrupted = True
    except (ArgumentError, DeviceError) as trouble:
        print(f"conv_bench: {trouble}", file=sys.stderr)
        return 2
    return report(bench, interrupted)


def report(bench: Bench, interrupted: bool) -> int:
    """Print and draw what there is; the exit code."""
    measured, drift = bench.figures["rows"], bench.figures["drift"]
    conv_report.print_rows(measured)
    conv_report.print_summary(bench.figures["summary"]["networks"])
    goals.show(bench.figures["summary"]["goals"])
    if drift:
        print("drift, end against beginning: " + ", ".join(f"{name} {100 * x:+.1f} %" for name, x in drift.items()))
    if bench.chosen.picture and measured:
        roofline.draw(bench.figures, bench.chosen.picture)
    if measured and all(row["state"] == "refused" for row in measured):
        print(f"conv_bench: {measured[0]['reason']}", file=sys.stderr)
        return 2
    wrong = sum(row["state"] == "wrong" for row in measured)
    if wrong:
        print(f"conv_bench: {wrong} of {len(measured)} rows are wrong", file=sys.stderr)
    if interrupted:
        where = f"the rows are in {bench.chosen.json}" if bench.chosen.json else "without --json no file is kept"
        print(f"conv_bench: interrupted after {len(measured)} rows; {where}", file=sys.stderr)
    return 1 if wrong else 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
