"""Options of the optimiser's step, each seen to act: on weights after steps, against formulas written out here."""

import dataclasses

import numpy as np
import pytest

from minicnn import nn, ops
from minicnn.data.augment import CutMix, MixUp, OneOf, RandomFlip
from minicnn.errors import ArgumentError
from minicnn.tensor import Tensor
from minicnn.train import TrainArgs, new_run
from minicnn.train.groups import freeze, parameter_groups, rate_patterns, training_mode
from minicnn.train.objective import answer_of, loss_of
from minicnn.train.recipe import augmentation, build_optimizer, model_options


def plain_model(args, dataset):
    """Nothing that looks at the whole batch: pieces of it give the batch's gradient."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh(), nn.Linear(10, len(dataset.classes)))


@pytest.fixture
def trained(tiny, tmp_path, monkeypatch):
    """``trained(accumulate=4)``: a trainer after one epoch of the plain model."""
    monkeypatch.setattr("minicnn.train.loop.build_model", plain_model)
    number = iter(range(100))

    def run(**options):
        args = dataclasses.replace(tiny, **{"epochs": 1, "ema": 0.0, "augment": False, "lr": 0.1, **options})
        trainer = new_run(args, tmp_path / str(next(number)), quiet=True)
        trainer.fit()
        return trainer

    return run


def weights(trainer):
    return np.concatenate([p.numpy().ravel() for p in trainer.model.parameters()])


def close(a, b, tol):
    return np.abs(a - b).max() <= tol * np.abs(b).max()


@pytest.mark.parametrize("pieces", [2, 5, 32, 100])
def test_a_batch_in_pieces_is_the_batch(trained, pieces):
    whole, parts = trained(), trained(accumulate=pieces)
    assert close(weights(parts), weights(whole), 1e-5)
    assert parts.rows[0]["train_loss"] == pytest.approx(whole.rows[0]["train_loss"], rel=1e-5)
    assert parts.rows[0]["train_accuracy"] == whole.rows[0]["train_accuracy"]
    assert parts.step == whole.step == 5


def test_an_observer_hears_of_steps_and_not_of_pieces(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.train.loop.build_model", plain_model)
    told = {}
    for pieces in (1, 3):
        trainer = new_run(dataclasses.replace(tiny, epochs=1, accumulate=pieces), tmp_path / str(pieces), quiet=True)
        told[pieces] = []
        trainer.observers[0].step = told[pieces].append
        trainer.fit()
    assert len(told[1]) == len(told[3]) == 5
    for one, three in zip(told[1], told[3], strict=True):
        assert one == pytest.approx(three, rel=1e-4)


def moved(trained, monkeypatch, **options):
    """Gradients (steps, D) as the optimiser saw them."""
    from minicnn.optim import SGD

    seen, step = [], SGD.step

    def spy(self):
        grads = [p.grad.numpy().ravel() for g in self.param_groups for p in g["params"]]
        seen.append(np.concatenate(grads))
        step(self)

    monkeypatch.setattr(SGD, "step", spy)
    trained(**options)
    return np.array(seen)


def test_gradients_are_clipped(trained, monkeypatch):
    free = moved(trained, monkeypatch)
    assert np.linalg.norm(free[0]) > 0.11 and np.abs(free).max() > 0.02
    clipped = moved(trained, monkeypatch, clip_norm=0.1)
    assert np.allclose(np.linalg.norm(clipped, axis=1), 0.1, rtol=1e-3)
    assert close(clipped[0], free[0] * 0.1 / np.linalg.norm(free[0]), 1e-4)
    valued = moved(trained, monkeypatch, clip_value=0.01)
    assert close(valued[0], free[0].clip(-0.01, 0.01), 1e-6)


def lonely():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    for p in model.parameters():
        p.grad = Tensor(np.zeros(p.shape, np.float32))
    return model


@pytest.mark.parametrize(("decay", "who"), [("weights", {"0.weight", "3.weight"}), ("all", None)])
def test_what_decays(decay, who):
    model = lonely()
    before = model.state_dict()
    build_optimizer(TrainArgs(lr=0.5, weight_decay=0.1, momentum=0.0, decay=decay), model).step()
    for name, p in model.named_parameters():
        factor = 0.95 if who is None or name in who else 1.0
        assert close(p.numpy(), before[name] * factor, 1e-6) if before[name].any() else not p.numpy().any()


def test_the_forms_of_momentum_part_when_the_rate_falls():
    found = {}
    for form, nesterov in (("torch", False), ("caffe", False), ("torch", True)):
        w = nn.Linear(1, 1, bias=False)
        w.weight.data[...] = 0
        optimizer = build_optimizer(
            TrainArgs(momentum=0.5, weight_decay=0.0, sgd_form=form, nesterov=nesterov, lr=1.0), w
        )
        for lr in (1.0, 0.1):
            optimizer.lr = lr
            w.weight.grad = Tensor(np.ones((1, 1), np.float32))
            optimizer.step()
        found[form, nesterov] = float(w.weight.numpy()[0, 0])
    assert found == pytest.approx({("torch", False): -1.15, ("caffe", False): -1.6, ("torch", True): -1.675})


def test_numbers_of_rmsprop_and_adam_reach_them():
    args = TrainArgs(alpha=0.9, eps=0.5)
    rms = build_optimizer(dataclasses.replace(args, optimizer="rmsprop"), lonely())
    assert (rms.param_groups[0]["alpha"], rms.param_groups[0]["eps"]) == (0.9, 0.5)
    assert build_optimizer(dataclasses.replace(args, optimizer="adamw"), lonely()).param_groups[0]["eps"] == 0.5


def test_rates_by_pattern_the_last_that_fits_counts():
    groups = parameter_groups(TrainArgs(lr=0.5, lr_groups="0=0.1, *.bias=2,3.bias=4"), lonely())
    names = {name: group["lr"] / 0.5 for group in groups for name, _ in group["params"]}
    expected = {"0.weight": 0.1, "0.bias": 2, "1.weight": 1, "1.bias": 2, "3.weight": 1, "3.bias": 4}
    assert names == pytest.approx(expected)
    for text, message in (("0.1", "expected a pattern"), ("0=x", "expected a pattern"), ("head=1", "fits 'head'")):
        with pytest.raises(ArgumentError, match=message):
            parameter_groups(TrainArgs(lr_groups=text), lonely())
    assert rate_patterns(TrainArgs(lr_groups="")) == {}


def test_a_rate_of_a_group_is_its_share_of_the_schedule(trained):
    still = trained(lr_groups="1=0")
    begun = plain_model_weights(still)
    assert np.array_equal(still.model.state_dict()["1.weight"], begun["1.weight"])
    assert not np.array_equal(still.model.state_dict()["3.weight"], begun["3.weight"])
    assert still.rows[0]["lr"] == pytest.approx(still.rate(4))


def plain_model_weights(trainer):
    from minicnn import random

    random.manual_seed(trainer.args.seed)
    return plain_model(trainer.args, trainer.data["train"]).state_dict()


def test_frozen_layers_stay_and_their_batch_norms_stay_in_eval_mode():
    model, args = lonely(), TrainArgs(freeze="0.*,1.*")
    assert freeze(model, args) == 2 * 9 + 2 + 4
    assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 2
    training_mode(model, args)
    assert [module.training for module in model.children()] == [False, False, True, True]
    before = model.state_dict()
    x = Tensor(np.random.default_rng(0).standard_normal((4, 1, 4, 4)).astype(np.float32))
    optimizer = build_optimizer(args, model)
    ops.sum(ops.mul(model(x), model(x))).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not np.array_equal(value, before[name])}
    assert changed == {"3.weight", "3.bias"}
    with pytest.raises(ArgumentError, match="leaves nothing to train"):
        freeze(lonely(), TrainArgs(freeze="*"))
    with pytest.raises(ArgumentError, match="no parameter that is trained fits 'features"):
        freeze(lonely(), TrainArgs(freeze="features.*"))


def test_a_frozen_run(tiny, tmp_path):
    trainer = new_run(dataclasses.replace(tiny, freeze="0,1"), tmp_path / "run", quiet=True)
    before = trainer.model.state_dict()
    trainer.fit()
    after = trainer.model.state_dict()
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert same == {name for name in before if name[0] in "01"}
    assert trainer.notes == ["48 parameters stay as they are (0,1)"]


def cross_entropy(scores, labels):
    """In float64, by its definition."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return -np.log(shares[np.arange(len(labels)), labels]).mean()


def test_auxiliary_answers_count_less():
    rng = np.random.default_rng(1)
    scores = [rng.standard_normal((5, 4)).astype(np.float32) for _ in range(3)]
    labels = np.array([0, 3, 1, 1, 2])
    outputs = tuple(Tensor(score) for score in scores)
    expected = [cross_entropy(score.astype(np.float64), labels) for score in scores]
    found = loss_of(outputs, Tensor(labels), TrainArgs(aux_weight=0.3)).numpy()
    assert found == pytest.approx(expected[0] + 0.3 * (expected[1] + expected[2]), rel=1e-6)
    assert loss_of(outputs[0], Tensor(labels), TrainArgs()).numpy() == pytest.approx(expected[0], rel=1e-6)
    assert answer_of(outputs) is outputs[0] is answer_of(outputs[0])


class Headed(nn.Module):
    """An auxiliary answer while training."""

    def __init__(self, classes):
        super().__init__()
        self.flatten, self.head, self.aux = nn.Flatten(), nn.Linear(64, classes), nn.Linear(64, classes)

    def forward(self, x):
        x = self.flatten(x)
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_auxiliary_heads_train(tiny, tmp_path, monkeypatch, share):
    monkeypatch.setattr("minicnn.train.loop.build_model", lambda args, dataset: Headed(len(dataset.classes)))
    args = dataclasses.replace(tiny, aux_weight=share, weight_decay=0.0, ema=0.0)
    trainer = new_run(args, tmp_path / "run", quiet=True)
    before = trainer.model.state_dict()["aux.weight"]
    rows = trainer.fit().rows
    assert rows[1]["val_loss"] < rows[0]["val_loss"] < 2.5
    assert np.array_equal(trainer.model.state_dict()["aux.weight"], before) == (share == 0)


def test_augmentation_and_mixes_are_those_of_the_text(tiny, tmp_path):
    assert "RandomFlip" in repr(augmentation(TrainArgs(augmentation="flip,crop:2")))
    assert augmentation(TrainArgs(augmentation="flip", augment=False)) is None
    options = {"mix": "mixup:0.4,cutmix:1", "augmentation": "flip"}
    trainer = new_run(dataclasses.replace(tiny, **options), tmp_path / "run", quiet=True)
    assert isinstance(trainer.loader.mix, OneOf)
    assert [type(mix) for mix in trainer.loader.mix.mixes] == [MixUp, CutMix]
    assert isinstance(trainer.loader.augment.transforms[0], RandomFlip)
    assert np.isfinite([row["train_loss"] for row in trainer.fit().rows]).all()


def test_options_of_the_model_are_toml():
    assert model_options('dropout=0.3, aux_logits=true, norm="batch", filters=[1, 2]') == {
        **{"dropout": 0.3, "aux_logits": True, "norm": "batch", "filters": (1, 2)},
    }
    for text in ("dropout", "dropout=", "a=1}\nb={", "a=1 b=2"):
        with pytest.raises(ArgumentError, match="cannot be read"):
            model_options(text)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("accumulate", 0, "accumulate=0 is too small"),
        ("clip_norm", -1.0, "clip_norm=-1.0"),
        ("gamma", 0.0, "gamma=0.0, expected a positive"),
        ("alpha", 1.0, "alpha=1.0"),
        ("sgd_form", "cafe", "did you mean 'caffe'"),
        ("decay", "weight", "did you mean 'weights'"),
        ("schedule", "polly", "did you mean 'poly'"),
    ],
)
def test_values_out_of_range(name, value, message):
    with pytest.raises(ArgumentError, match=message):
        TrainArgs(**{name: value})
