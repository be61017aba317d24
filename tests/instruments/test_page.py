"""The page of one picture: what stands on it, and that it runs and fetches nothing."""

import re

import numpy as np
import pytest

from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.instruments import drawing
from minicnn.instruments.maps import pixel_gradient
from minicnn.instruments.page import View, answer, page, views, write
from tests.close import assert_close

HOSTILE = "<script>alert(1)</script> & $title"


@pytest.fixture(scope="module")
def shown():
    """All views and the answer, drawn small."""
    net = models.create("resnet20_cifar10")
    image = np.random.default_rng(0).standard_normal((3, 32, 32)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "DPI", 24)
        found = views(net, image, ["<b>"] * 10, 3)
    return found, answer(net, image, [f"kind {k}" for k in range(10)])


def test_every_view_says_how_to_read_it(shown):
    found, said = shown
    assert [view.name for view in found] == ["where", "gradients", "filters", "units", *(f"maps_{s}" for s in STAGES)]
    for view in found:
        assert len(view.caption) > 60 and "{" not in view.caption and view.png.startswith(b"\x89PNG")
        assert all(40 < side < 400 for side in view.size), view.name
    assert "the same for every picture" in found[1].caption
    assert re.fullmatch(r"The network's answer: (kind \d [\d.]+ %(, )?){3}\.", said)


STAGES = ("stem", "stage1", "stage2", "stage3")


def test_the_page_runs_nothing_and_fetches_nothing(shown, tmp_path):
    found, said = shown
    files = write(tmp_path / "new", HOSTILE, found, said)
    assert [path.name for path in files] == [*(f"{view.name}.png" for view in found), "index.html"]
    text = files[-1].read_text(encoding="utf-8")
    assert "<script" not in text and "script-src 'none'" in text and "default-src 'none'" in text
    assert text.count('src="data:image/png;base64,') == len(found) and "&lt;b&gt;" in text
    assert "$" not in text.replace("$title</", "") and said in text.replace("&#x27;", "'")


def test_without_max_pools_a_deconvnet_draws_the_same_for_every_picture():
    net, random = models.create("resnet20_cifar10"), np.random.default_rng(1)
    images = random.standard_normal((2, 3, 32, 32)).astype(np.float32)
    first, second = pixel_gradient(net, images, [3, 3], "deconvnet")
    assert_close(first, second, 1e-6)
    guided = pixel_gradient(net, images, [3, 3], "guided")
    assert np.abs(guided[0] - guided[1]).max() > 0.1 * np.abs(guided).max()


def test_pictures_have_the_size_that_the_page_reserves():
    view = View("a", "b", "c", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (900).to_bytes(4) + (7).to_bytes(4))
    assert view.size == (900, 7) and 'class="wide" width="900" height="7"' in page("t", [view])


def test_heat_lies_over_the_picture_that_the_maps_saw(monkeypatch):
    """Behind a spatial transformer that is what it puts out; behind two there is none."""
    bases = []
    monkeypatch.setattr(drawing, "overlaid", lambda picture, heat: bases.append(picture) or picture)
    net = models.create("stn_mnist_tutorial")
    net.transformer.localisation.fc2.bias.copy_(np.array([0, -1, 0, 1, 0, 0], np.float32))  # a quarter of a turn
    image = np.random.default_rng(3).standard_normal((1, 28, 28)).astype(np.float32)
    found = {view.name: view for view in views(net, image)}
    turned = drawing.visible(np.rot90(image, -1, (1, 2)))
    assert min(np.abs(bases[0] - other).max() for other in (turned, turned[::-1, ::-1])) < 1e-5
    assert {"where", "transformer"} <= set(found)


def test_what_a_network_has_not_is_left_out():
    image = np.random.default_rng(2).standard_normal((1, 28, 28)).astype(np.float32)
    found = [view.name for view in views(models.create("highway_fc10_mnist"), image)]
    assert "gradients" in found and "filters" not in found, "no layer of it is a convolution"


def test_a_class_that_is_not_there():
    with pytest.raises(ArgumentError, match="class 10, expected one of 0 to 9"):
        views(models.create("lenet5"), np.zeros((1, 32, 32), np.float32), wanted=10)
