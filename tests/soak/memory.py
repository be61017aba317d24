"""Whether a training run's memory stays flat: ``python -m tests.soak.memory --steps 5000`` (Linux).

LeNet-5 in batches of 8, with checkpoints, metrics and steps written; the memory held is read every 50 steps. After the
first fifth, in which caches fill, the median of the slopes between far samples may not reach ``BYTES_A_STEP``: what a
single forgotten array of a batch would cost is a multiple of that.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from minicnn.train import TrainArgs, Trainer, new_run
from minicnn.train.observer import Observer

BYTES_A_STEP = 500
EVERY = 50


class Sample(NamedTuple):
    """The memory held after a step."""

    step: int
    kilobytes: int


class Watch(Observer):
    """Notes the memory held; ``each`` is called after every step."""

    def __init__(self, each: Callable[[], None] = lambda: None) -> None:
        self.samples: list[Sample] = []
        self.each = each

    def step(self, figures: dict[str, float]) -> None:
        self.each()
        step = int(figures["step"])
        if step % EVERY == 0:
            self.samples.append(Sample(step, held()))


def held() -> int:
    """The memory of this process, kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def slope(samples: list[Sample]) -> float:
    """Bytes a step: the median over pairs of samples, a third of the run apart or more, that follow the first fifth."""
    late = [sample for sample in samples if sample.step > samples[-1].step / 5]
    apart = (late[-1].step - late[0].step) / 3
    pairs = [(a, b) for a in late for b in late if b.step - a.step >= apart]
    return median(1024 * (b.kilobytes - a.kilobytes) / (b.step - a.step) for a, b in pairs)


def trained(folder: Path, steps: int, each: Callable[[], None] = lambda: None) -> list[Sample]:
    """The memory over a run of at least so many steps."""
    args = TrainArgs(batch_size=8, epochs=1, workers=1, ema=0.9, checkpoint_every="100", log="csv,steps")
    trainer: Trainer = new_run(args, folder / "one", quiet=True)
    epochs = math.ceil(steps / len(trainer.loader))
    trainer = new_run(TrainArgs(**{**args.as_dict(), "epochs": epochs}), folder / "run", quiet=True)
    watch = Watch(each)
    trainer.observers.append(watch)
    trainer.fit()
    return watch.samples


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--leak", type=int, default=0, help="bytes to forget every step, to see this fail")
    chosen = parser.parse_args(arguments)
    forgotten: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        samples = trained(Path(folder), chosen.steps, lambda: forgotten.append(b"x" * chosen.leak))
    for sample in samples[:: max(1, len(samples) // 20)]:
        print(f"step {sample.step:6}: {sample.kilobytes / 1000:8.2f} MB")
    found = slope(samples)
    print(f"{found:.1f} bytes a step over {samples[-1].step} steps, allowed {BYTES_A_STEP}")
    return int(found > BYTES_A_STEP)


if __name__ == "__main__":
    sys.exit(main())
