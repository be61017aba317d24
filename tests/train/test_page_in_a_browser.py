"""The page of a run in a real browser: no complaint, no request, values under the pointer, nothing wider than it."""

import pytest

from minicnn.train import page
from tests.train.stories import story
from tests.train.test_page import HOSTILE

pytestmark = pytest.mark.slow

STORIES = {
    "three": lambda: story(("cat", "dog", "owl")),
    "hostile": lambda: story((*HOSTILE, "a name that goes on and on without a reason or an end")),
    "twenty": lambda: story([f"number {k}" for k in range(20)], epochs=60),
    "hundred": lambda: story([f"class {k:03}" for k in range(100)], epochs=400, count=1000, wrong=2),
    "running": lambda: story(("cat", "dog", "owl"), finished=False, epochs=1),
}
FIGURES = "[...document.querySelectorAll('.chart:not(.still)')]"


@pytest.fixture(scope="module", params=STORIES)
def written(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    page.write(path, STORIES[request.param]())
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_opens_without_a_complaint_and_asks_for_nothing(chromium, written, width, dark):
    chromium.open(written, width, dark=dark)
    assert chromium.complaints == []
    assert [address for address in chromium.requests if not address.startswith("data:")] == [written.as_uri()]
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value(f"{FIGURES}.length") == 4
    lost = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert chromium.value(lost) == 0
    small = "Math.min(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height))"
    assert chromium.value(small) >= 11
    paper, ink = (chromium.value(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    assert (luminance(paper) < luminance(ink)) == dark
    assert abs(luminance(paper) - luminance(ink)) > 0.6


def luminance(colour):
    """Of ``rgb(r, g, b)``, 0 to 1, roughly."""
    red, green, blue = (int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def test_the_pointer_shows_values(chromium, tmp_path):
    page.write(tmp_path / "report.html", story(("a", "b", "c"), epochs=5))
    chromium.open(tmp_path / "report.html", 1280)
    box = chromium.value(f"JSON.parse(JSON.stringify({FIGURES}[0].querySelector('svg').getBoundingClientRect()))")
    says = f"{FIGURES}[0].querySelector('output').textContent"
    assert chromium.value(says) == ""
    chromium.point(box["left"] + 0.99 * box["width"], box["top"] + box["height"] / 2)
    assert chromium.value(says) == "epoch 5: training 0.46, validation 0.506"
    chromium.point(box["left"] + 0.5 * box["width"], box["top"] + box["height"] / 2)
    assert chromium.value(says).startswith("epoch 3: training 0.76667, validation 0.84333")
    chromium.point(5, 5)
    assert chromium.value(says) == ""
    chromium.value(f"{FIGURES}[1].focus()")
    chromium.press("ArrowLeft")
    chromium.press("ArrowLeft")
    assert chromium.value(f"{FIGURES}[1].querySelector('output').textContent").startswith("epoch 4: training 22.5")


def test_the_browser_refuses_what_slips_in(chromium, tmp_path):
    """Were a text not escaped, its script would still not run and its picture not be fetched."""
    text = page.render(story(("a", "b")))
    evil = "<script>document.title = 'taken'</script><img src='http://127.0.0.1:9/x.png'>"
    path = tmp_path / "report.html"
    path.write_text(text.replace("</main>", evil + "</main>"), encoding="utf-8")
    chromium.open(path, 1280)
    assert chromium.value("document.title") == "resnet20 on shapes"
    assert len([c for c in chromium.complaints if "Content Security Policy" in c]) == 2
