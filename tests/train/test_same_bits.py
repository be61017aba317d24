"""The same seed gives the same bits: at any count of threads, and compiled just now or read from the cache."""

import os
import subprocess
import sys

import numpy as np
import pytest

from minicnn import Tensor, optim

OPTIMIZERS = {
    "sgd": lambda w: optim.SGD([w], lr=0.03, weight_decay=5e-4),
    "nesterov": lambda w: optim.SGD([w], lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adam": lambda w: optim.Adam([w], lr=0.01, weight_decay=5e-4),
    "adamw": lambda w: optim.AdamW([w], lr=0.01),
    "rmsprop": lambda w: optim.RMSprop([w], lr=0.01, momentum=0.9, weight_decay=5e-4),
}


def moved(make, start, gradients):
    weight = Tensor(start.copy(), requires_grad=True)
    optimizer = make(weight)
    for gradient in gradients:
        weight.grad = Tensor(gradient.copy())
        optimizer.step()
    return weight.numpy()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_does_not_depend_on_where_threads_share_the_work(name):
    """A product fused into a sum in vector code but not in the rest of a chunk would show here."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal(2001, dtype=np.float32)
    gradients = rng.standard_normal((20, 2001), dtype=np.float32)
    whole = moved(OPTIMIZERS[name], start, gradients)
    cuts = [slice(0, 3), slice(3, 10), slice(10, 1001), slice(1001, 2001)]
    pieces = [moved(OPTIMIZERS[name], start[cut], gradients[:, cut]) for cut in cuts]
    assert np.array_equal(whole, np.concatenate(pieces))


TRAIN = """
import sys
from pathlib import Path
from minicnn.train import TrainArgs, train
result = train(TrainArgs(epochs=4), Path(sys.argv[1]), quiet=True)
print([(row["train_loss"], row["val_loss"]) for row in result.rows], result.test.loss)
"""


@pytest.mark.slow
def test_a_cold_cache_and_one_thread_give_the_bits_of_a_warm_cache(tmp_path):
    def run(name, **settings):
        environment = os.environ | {"MINICNN_CACHE_DIR": str(tmp_path / "cache")} | settings
        command = [sys.executable, "-c", TRAIN, str(tmp_path / name)]
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout

    cold = run("cold")
    assert run("warm") == cold
    assert run("one", NUMBA_NUM_THREADS="1") == cold
