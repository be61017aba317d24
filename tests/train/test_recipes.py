"""The papers' recipes against what the catalog says of each model, and the order in which options count."""

import tomllib
from fnmatch import fnmatchcase

import pytest

import minicnn
from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.train import TrainArgs, new_run, resolve, resumed_run
from minicnn.train.recipe import model_options
from minicnn.train.recipes import paper, recipes

SCHEDULES = {"steps": ("milestones", "exponential"), "plateau": ("plateau",), "polynomial": ("poly",)}


def with_paper():
    """The first model of each recipe."""
    firsts = {}
    for name in models.names():
        fitting = (k for k, r in enumerate(recipes()) if any(fnmatchcase(name, pattern) for pattern in r.models))
        firsts.setdefault(next(fitting, None), name)
    return [name for recipe, name in firsts.items() if recipe is not None]


def test_every_recipe_is_of_a_model_and_cites_its_source():
    assert len(recipes()) >= 35
    assert len(with_paper()) == len(recipes())
    assert all(len(recipe.source) > 15 for recipe in recipes())


@pytest.mark.parametrize("name", with_paper())
def test_a_recipe_agrees_with_the_catalog(name):
    args, said = paper(name).args, models.info(name).recipe
    assert (args["optimizer"], args["lr"], args["batch_size"]) == (said.optimizer, said.lr, said.batch)
    facts = dict(said.options)
    if said.epochs is not None:
        assert args["epochs"] == said.epochs
    length = facts.get("iterations", facts.get("steps"))
    if length:
        assert (args["epochs"] - 1) * 1281167 < length * said.batch <= args["epochs"] * 1281167 or said.epochs
    if said.weight_decay:
        assert args["weight_decay"] == said.weight_decay
    if said.momentum:
        assert args["momentum"] == said.momentum
    if said.milestones:
        assert tuple(float(word) for word in args["milestones"].split(",")) == said.milestones
        assert args["gamma"] == said.gamma
    if "step_epochs" in facts:
        assert (args["decay_epochs"], args["gamma"]) == (facts["step_epochs"], said.gamma)
    for theirs, ours in (
        ("label_smoothing", "label_smoothing"),
        ("aux_weight", "aux_weight"),
        ("clip_norm", "clip_norm"),
    ):
        assert args.get(ours, 0) == facts.get(theirs, 0) or theirs not in facts
    for option in ("nesterov", "warmup_epochs", "power", "alpha"):
        assert option not in facts or args[option] == facts[option]
    if "eps" in facts:  # inside the root: 0.001 is as small a divisor as 0.0316 outside
        assert args["eps"] == facts["eps"] or args["eps"] == pytest.approx(facts["eps"] ** 0.5, rel=1e-3)
    assert bool(args["ema"]) == bool(facts.get("polyak_averaging", False))
    assert bool(args.get("lr_groups")) == (facts.get("bias_lr") == 2.0) or "biases learn twice" in said.notes
    if said.schedule in SCHEDULES:
        assert args["schedule"] in SCHEDULES[said.schedule]


@pytest.mark.parametrize("name", with_paper())
def test_a_recipe_is_valid_and_its_model_has_the_options(name):
    args, origin = resolve({"model": name}, ["paper"])
    assert origin["lr"] == f"paper, {paper(name).file}" and origin["model"] == "flag" and origin["seed"] == "default"
    with minicnn.abstract():
        options = model_options(args.options)
        net = models.create(name, num_classes=10, **options)
        if "aux" in args.options:
            x = minicnn.Tensor(minicnn.ShapeArray((2, *models.info(name).input_shape), "float32"))
            assert isinstance(net(x), tuple)


def test_a_flag_counts_more_than_a_file_and_that_more_than_the_paper(tmp_path):
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text('[args]\nlr = 0.5\nmomentum = 0.8\nmodel = "wrn16_8_cifar10"\n', encoding="utf-8")
    two.write_text("[args]\nmomentum = 0.7\nseed = 3\n", encoding="utf-8")
    args, origin = resolve({"seed": 4}, [str(one), "paper", str(two)])
    assert (args.lr, args.momentum, args.seed, args.weight_decay) == (0.5, 0.7, 4, 5e-4)
    expected = {"lr": str(one), "momentum": str(two), "seed": "flag", "weight_decay": "paper, wide_resnet.toml"}
    assert {name: origin[name] for name in expected} == expected
    assert origin["data"] == "default" and args.data == TrainArgs.data


def test_what_a_paper_is_silent_about_is_not_done():
    args, _ = resolve({"model": "fractalnet20_cifar10"}, ["paper"])
    assert (args.weight_decay, args.nesterov, args.warmup_epochs, args.decay) == (0.0, False, 0, "all")
    assert resolve({"model": "all_cnn_c"}, ["paper"])[0].augment is False


def test_times_stretch_with_the_epochs_of_a_higher_layer():
    args, origin = resolve({"model": "wrn16_8_cifar10", "epochs": 20}, ["paper"])
    assert args.milestones == "6,12,16" and origin["milestones"] == "paper, wide_resnet.toml, stretched by flag"
    assert resolve({"model": "googlenet", "epochs": 25}, ["paper"])[0].decay_epochs == 0.8
    kept = resolve({"model": "wrn16_8_cifar10", "epochs": 20, "milestones": "5"}, ["paper"])[0]
    assert kept.milestones == "5"


def test_iterations_are_epochs_of_the_authors_images():
    assert resolve({"model": "squeezenet1_1"}, ["paper"])[0].epochs == 68  # 85,000 x 1,024 / 1,281,167 = 67.94


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (
            ["paper"],
            {"model": "resnet152_sd"},
            "how resnet152_sd was trained is not written down here; nearest: resnet152",
        ),
        (["papr"], {}, "recipe papr: there is no such file; expected 'paper' or the path"),
        (["paper"], {"model": "resnet21"}, "no model is called 'resnet21'"),
    ],
)
def test_recipes_that_are_not_there(names, given, message):
    with pytest.raises(ArgumentError, match=message.replace("(", r"\(")):
        resolve(given, names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[args]\nlrr = 1", "unknown option 'lrr'; did you mean 'lr'"),
        ("[args]\nlr = 'a'", "lr='a' is a str"),
        ("x", "TOML"),
    ],
)
def test_a_file_of_ones_own_that_is_wrong(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError, match=message) as raised:
        resolve({}, [str(path)])
    assert "mine.toml" in str(raised.value)


def test_a_run_remembers_where_its_options_came_from(tiny, tmp_path):
    given = {**tiny.as_dict(), "epochs": 1}
    args, origin = resolve(given)
    trainer = new_run(args, tmp_path / "run", quiet=True, origin=origin)
    trainer.fit()
    assert tomllib.loads(trainer.run.args.read_text(encoding="utf-8"))["from"] == origin
    resumed_run(tmp_path / "run", quiet=True, epochs=2)
    again = tomllib.loads(trainer.run.args.read_text(encoding="utf-8"))
    assert again["from"]["epochs"] == "flag" and again["args"]["epochs"] == 2
    same, where = resolve({}, [str(trainer.run.args)])
    assert same == TrainArgs.read(trainer.run.args) and set(where.values()) == {str(trainer.run.args)}
