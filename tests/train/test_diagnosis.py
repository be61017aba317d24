"""A loss that is no number names the first layer, gradient or picture that is none."""

import re

import numpy as np
import pytest

from minicnn import nn, ops
from minicnn.errors import NonFiniteLossError
from minicnn.random import default_generator
from minicnn.train import load_checkpoint, new_run
from minicnn.train.diagnosis import Batch, first_bad_layer


class Between(nn.Module):
    """Two layers, and something in between that no layer does."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.second(ops.log(self.first(x) * 0 - 1))


@pytest.fixture
def trainer(tiny, tmp_path):
    return new_run(tiny, tmp_path / "run", quiet=True)


def at_step(trainer, monkeypatch, number, change):
    """Call ``change(images)`` before step ``number``; the images are those it returns, or the same."""
    step = trainer._train_step

    def changed(images, labels):
        if trainer.step + 1 == number:
            images = change(images)
        return step(images, labels)

    monkeypatch.setattr(trainer, "_train_step", changed)


def message(trainer):
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.fit()
    return str(caught.value)


def test_a_picture_with_nan_is_named_with_its_place_in_the_dataset(trainer, monkeypatch):
    def spoil(images):
        images[17, 0, 3, 3] = np.nan
        return images

    at_step(trainer, monkeypatch, 7, spoil)
    image = trainer.loader.order(1)[32 + 17]
    text = message(trainer)
    assert "the loss is nan at step 7 (epoch 2)" in text
    assert f"the input batch has 1 NaN of {32 * 64} values, first in sample 17 of it (image {image} of" in text
    assert "are from before it" in text and load_checkpoint(trainer.run.last).state["epoch"] == 1


def test_a_weight_that_is_no_number_is_named(trainer, monkeypatch):
    def spoil(images):
        trainer.model[5].weight.data[3, :2] = np.inf
        return images

    at_step(trainer, monkeypatch, 3, spoil)
    text = message(trainer)
    assert re.search(r"at step 3 .*; first at 5: its weight has 2 infinite of 640 values .since the step before.", text)
    assert "nothing was saved before" in text


def test_the_first_output_that_overflows_is_named_and_not_those_after_it(trainer, monkeypatch):
    def spoil(images):
        trainer.model[0].weight.data[0] = 3e38
        return np.abs(images) + 1

    at_step(trainer, monkeypatch, 3, spoil)
    text = message(trainer)
    found = re.search(r"first at 0: its output has (.*) of 2048 values; its weight and bias are finite; at most", text)
    assert found and "infinite" in found[1]


def test_a_loss_that_alone_overflows_is_said_to(trainer, monkeypatch):
    def spoil(images):
        trainer.model[5].bias.data[...] = [3e38, -3e38] * 5
        return images

    at_step(trainer, monkeypatch, 2, spoil)
    assert "every layer's output is finite, the largest logit is 3e+38: it is the loss that overflows" in message(
        trainer
    )


def test_what_a_forward_computes_between_its_layers_is_told_apart():
    model = Between()
    batch = Batch(np.ones((2, 4), np.float32), [])
    found = first_bad_layer(model, batch, np.arange(2), "cpu")
    assert found == "first at the input of second, computed in the forward of the model: it has 8 NaN of 8 values"


def test_the_second_run_has_the_same_masks_and_leaves_no_trace(trainer):
    model = trainer.model
    before, drawn = model.state_dict(), default_generator().state()
    images = np.random.default_rng(0).standard_normal((8, 1, 8, 8), dtype=np.float32)
    masks = []
    with model[4].register_forward_hook(lambda module, args, output: masks.append(output.numpy() != 0)):
        for seeds in ([11], [11], [12]):
            assert "every layer's output is finite" in first_bad_layer(model, Batch(images, seeds), np.arange(8), "cpu")
    assert np.array_equal(masks[0], masks[1]) and not np.array_equal(masks[0], masks[2])
    after = model.state_dict()
    assert all(np.array_equal(after[name], array) for name, array in before.items())
    assert default_generator().state() == drawn
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_weights_that_a_gradient_ruined_are_named_with_the_gradient(trainer, monkeypatch):
    """The last step of an epoch: its loss was fine, what it left is not, and ``last`` stays as it was."""
    step = trainer.optimizer.step

    def ruins():
        if trainer.step == 9:
            trainer.model[1].weight.grad.data[2] = np.nan
        step()

    monkeypatch.setattr(trainer.optimizer, "step", ruins)
    text = message(trainer)
    assert "at step 10 (epoch 2)" in text and load_checkpoint(trainer.run.last).state["epoch"] == 1
    assert re.search(r"first (in backward )?at 1.weight", text)
