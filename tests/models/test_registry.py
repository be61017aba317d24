"""The catalog: the index is complete, every model has its published counts, names lead to models kindly."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.random import Generator

FOLDER = Path(models.__file__).parent


def test_the_index_names_every_family_file_and_every_model_in_it():
    files = {path.stem for path in FOLDER.glob("*.py") if "\nTABLE" in path.read_text(encoding="utf-8")}
    assert files == set(models.INDEX)
    for family, names in models.INDEX.items():
        assert tuple(row.info.name for row in import_module(f"minicnn.models.{family}").TABLE) == names
    everything = [name for names in models.INDEX.values() for name in names]
    assert len(set(everything)) == len(everything) and not set(models.ALIASES) & set(everything)
    assert set(models.ALIASES.values()) <= set(everything)


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("lenet5", 61_706, 416_520),
        ("resnet34", 21_797_672, 3_663_761_408),
        ("resnet50", 25_557_032, 4_089_184_256),
        ("resnet50_v1", 25_557_032, 3_857_973_248),
        ("plain34", 21_623_848, 3_644_493_824),
        ("resnet110_cifar10", 1_727_962, 252_887_680),
    ],
)
def test_counts_everybody_quotes(name, params, macs):
    assert models.counts(name) == (params, macs)


def test_options_override_the_row():
    with minicnn.abstract():
        net = models.create("resnet18", num_classes=7, in_channels=1, shortcut="A")
        same = models.resnet18(7, 1, shortcut="A")
    assert net.conv1.weight.shape == (64, 1, 7, 7) and net.fc.weight.shape == (7, 512)
    assert net.layer2[0].downsample.new_channels == 64
    assert [p.shape for p in net.parameters()] == [p.shape for p in same.parameters()]


def test_an_alias_is_the_full_name():
    assert models.info("resnet20") == models.info("resnet20_cifar10")
    assert models.info("plain110").name == "plain110_cifar10"
    assert models.resnet20.__name__ == "resnet20" and "3x32x32 to 10 classes" in models.resnet20.__doc__


def test_patterns():
    assert models.names("resnet1?") == ["resnet18"]
    assert models.names("LeNet*") == ["lenet5_1998", "lenet5", "lenet_caffe"]
    assert set(models.names("LeNet")) > {"googlenet", "lenet5"}  # without a sign: anywhere in the name
    assert models.names("nothing") == []
    assert {"resnet34", "create", "resnet20"} <= set(dir(models))


def test_weights_come_from_the_generator():
    first, again, other = (models.lenet5(generator=Generator(seed)).fc2.weight.numpy() for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.create("resnt34"), "no model is called 'resnt34'; nearest: resnet34"),
        (lambda: models.info("xyz"), r"minicnn.models.names\(\) lists all"),
        (lambda: models.create("resnet34", nclasses=3), "no option 'nclasses'; did you mean 'num_classes'"),
        (lambda: models.resnet34(shortcut="D"), "shortcut='D' is unknown"),
        (lambda: models.resnet34(block="thin"), "block='thin' is unknown"),
        (lambda: models.resnet20(depth=21), "depth=21, expected 6n"),
        (lambda: models.resnet20(shortcut="a"), "shortcut='a' is unknown"),
        (lambda: models.lenet5(num_classes=0), "out_features"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()


def test_a_misspelt_model_function_names_the_nearest():
    with pytest.raises(AttributeError, match="nearest models: resnet18"):
        _ = models.renset18


def test_families_load_on_demand():
    code = (
        "import sys, minicnn.models as m; m.names(); "
        "assert not [n for n in sys.modules if n.startswith('minicnn.models.res')]; "
        "m.resnet20; assert 'minicnn.models.resnet_cifar' in sys.modules and 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(minicnn.__file__).parents[1])


@pytest.mark.parametrize("name", ["lenet5", "lenet_caffe", "resnet20"])
def test_every_parameter_learns(name):
    info = models.info(name)
    net = models.create(name, generator=Generator(0))
    x = np.random.default_rng(0).standard_normal((2, *info.input_shape)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([1, 7])).backward()
    for path, parameter in net.named_parameters():
        grad = parameter.grad.numpy()
        assert grad.dtype == np.float32 and np.isfinite(grad).all(), path
        assert np.abs(grad).max() > 0, path


def test_every_module_has_a_mode_and_a_tree():
    with minicnn.abstract():
        text = repr(models.resnet18())
    assert "(downsample): Sequential(" in text and text.count("BasicBlock(") == 8
    assert isinstance(nn.Module(), nn.Module)
