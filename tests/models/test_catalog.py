"""Every model has the parameters and multiply-adds of the reference, stages, and a row that says where it is from."""

from pathlib import Path

import pytest

import minicnn
from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.models import Counts, counts
from minicnn.models.network import Network
from tests import catalog_document
from tests.models.catalog import BLOCKS, EXCLUDED, OTHER_MACS, OTHER_PARAMS, rows, smallest_of_each_class


def all_but_slow(*fast):
    """All networks; those whose class has a smaller one are left to the slow tests, unless they are ``fast``."""
    fast = {*fast, *(name for family in models.INDEX for name in smallest_of_each_class(family))}
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in models.names()]


@pytest.mark.parametrize("name", all_but_slow(*(name for name in models.names() if models.info(name).torchvision)))
def test_counts_equal_the_reference(name):
    reference, counted = rows()[name], counts(name)
    assert reference.params is None or counted.params == reference.params or name in OTHER_PARAMS
    assert reference.macs is None or counted.macs == reference.macs or name in OTHER_MACS


@pytest.mark.parametrize("name", models.names())
def test_facts_equal_the_reference(name):
    reference, info = rows()[name], models.info(name)
    assert "x".join(map(str, info.input_shape)) == reference.input.split(" ")[0]
    assert info.num_classes == int(reference.num_classes)
    assert info.torchvision in ("", reference.torchvision) and info.timm in ("", *reference.timm.split(","))
    assert info.name == name and info.paper and 1980 < info.year < 2030


def expected_counts(name):
    """Those of the reference, which ``test_counts_equal_the_reference`` compares; where it has others or none, ours."""
    reference = rows()[name]
    if name in {*OTHER_PARAMS, *OTHER_MACS} or None in (reference.params, reference.macs):
        return counts(name)
    return Counts(reference.params, reference.macs)


def test_the_document_is_up_to_date(monkeypatch):
    monkeypatch.setattr(models, "counts", expected_counts)
    written = (Path(__file__).resolve().parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")
    assert written == catalog_document.document(), "run `python -m tests.catalog_document --write docs/catalog.md`"


@pytest.mark.parametrize("name", all_but_slow())
def test_stages(name):
    """Every model says its stages; strides and channels are those of shapes, the last one is the Grad-CAM layer."""
    with minicnn.abstract():
        net = models.create(name)
    assert isinstance(net, Network) and net.info == models.info(name)
    facts = repr(net).splitlines()[1]
    assert name in facts and net.info.form in facts
    stages = net.stages
    strides = [stage.stride for stage in stages]
    assert stages and strides == sorted(strides) and all(stage.channels > 0 for stage in stages)
    assert net.cam_layer in list(net.modules())


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("lenet5", (2, 4)),
        ("resnet50", (2, 4, 8, 16, 32)),
        ("resnet20", (1, 1, 2, 4)),
        ("alexnet", (4, 8, 16)),
        ("squeezenet1_0", (2, 4, 8, 16)),
        ("densenet121", (4, 4, 8, 16, 32)),
    ],
)
def test_strides_are_those_of_the_layers(name, strides):
    """Not of the sizes: 227 pixels become 13, and the stride is 16."""
    with minicnn.abstract():
        assert tuple(stage.stride for stage in models.create(name).stages) == strides


def test_excluded_rows_exist_and_are_not_registered():
    assert set(EXCLUDED) <= set(rows()) and len(EXCLUDED) <= 12
    assert not set(EXCLUDED) & set(models.names())


def test_every_row_of_the_reference_has_one_place():
    """Registered, a block, or excluded; and nothing is registered that is not in the reference."""
    places = (set(models.names()), set(BLOCKS), set(EXCLUDED))
    assert set.union(*places) == set(rows()) and sum(map(len, places)) == len(rows())


@pytest.mark.parametrize(("name", "test"), [*BLOCKS.items(), *OTHER_PARAMS.items(), *OTHER_MACS.items()])
def test_rows_counted_elsewhere_exist(name, test):
    file, _, function = test.partition("::")
    assert name in rows() and (name in BLOCKS) != (name in models.names())
    assert f"def {function}(" in (Path(__file__).parent / file).read_text(encoding="utf-8")


def test_a_library_name_leads_to_the_same_network():
    assert {models.info(n).torchvision for n in models.names("resnet*")} >= {"resnet18", "resnet50"}
    with minicnn.abstract():
        assert models.create("torchvision/resnet50").info.name == "resnet50"
    with pytest.raises(ArgumentError, match="nearest: resnet50"):
        models.create("torchvision/resnet51")
    with pytest.raises(ArgumentError, match="unknown library 'keras'"):
        models.create("keras/resnet50")
