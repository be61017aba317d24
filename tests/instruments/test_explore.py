"""The page to click through: its numbers are the library's, its texts harmless, its size bounded; and in a browser."""

import base64
import hashlib
import json
import re

import pytest

import minicnn
from minicnn import models, nn
from minicnn.cli import main
from minicnn.instruments import explore
from minicnn.instruments.explore.settings import FACTORS
from minicnn.models.efficientnet import RELEASED
from tests.train import browser

MEASURES = ("params", "macs", "flops", "weight_bytes", "forward_bytes", "training_bytes")
LIMIT = 1_000_000


def told(page):
    """The tables of a page."""
    (text,) = re.findall(r'<script type="application/json" id="tables">(.*)</script>', page)
    return json.loads(text)


def lines(data, setting):
    """(path, is it a block, facts, field) of every line, read as the script reads them."""
    path, found = [], []
    labels, fields = (data["columns"][setting[name]] for name in ("tree", "fields"))
    for label, field, facts in zip(labels, fields, setting["facts"], strict=True):
        name, level, block = data["labels"][label]
        path[level:] = [name]
        found.append((".".join(path), bool(block), data["facts"][facts], data["fields"][field]))
    return found


def written(shape):
    return ", ".join(map(written, shape)) if isinstance(shape, list) else "x".join(map(str, shape))


def holds(data, setting, counted):
    """The page's setting says what the summary says, layer by layer."""
    assert setting["totals"] == [getattr(counted, name) for name in MEASURES]
    layers = [line for line in lines(data, setting) if not line[1]]
    found = sorted(
        (re.sub(r" \(call \d+\)$", "", path).removesuffix(".(itself)"), facts[0], str(facts), field)
        for path, _, facts, field in layers
    )
    rows = []
    for row in counted.rows:
        numbers = [getattr(row, name) for name in MEASURES]
        facts = [row.kind, written(row.input_shape), written(row.output_shape), *numbers]
        rows.append((row.path, row.kind, str(facts), row.cells()[-1]))
    assert found == sorted(rows)
    assert len({path for path, *_ in lines(data, setting)}) == len(lines(data, setting))


@pytest.fixture(scope="module")
def mobile():
    return explore.explore_page("mobilenet_v1_0.5_160")


@pytest.mark.parametrize("name", ["lenet5", "resnet152", "densenet201", "googlenet"])
def test_a_page_says_what_the_summary_says(name):
    page = explore.explore_page(name)
    data = told(page)
    assert len(data["settings"]) == 1 and data["knobs"] == [] and data["title"] == name
    holds(data, data["settings"][0], minicnn.summary(getattr(models, name), models.info(name).input_shape))
    assert len(page.encode()) < LIMIT


def test_every_mobilenet_is_the_one_of_the_catalog(mobile):
    data = told(mobile)
    assert [knob["name"] for knob in data["knobs"]] == ["width", "resolution"] and len(data["settings"]) == 16
    assert data["settings"][data["start"]]["at"] == [0.5, 160]
    for setting in data["settings"]:
        width, side = setting["at"]
        name = f"mobilenet_v1_{width}_{side}"
        holds(data, setting, minicnn.summary(lambda name=name: models.create(name), models.info(name).input_shape))


def test_blocks_are_the_sums_of_their_layers(mobile):
    data = told(mobile)
    found = lines(data, data["settings"][data["start"]])
    assert sum(block for _, block, *_ in found) == 5 + 13 + 1
    for path, block, facts, _ in found:
        inside = [line[2] for line in found if not line[1] and line[0].startswith(f"{path}.")]
        if block:
            assert facts[0] == f"{len(inside)} layer{'s' * (len(inside) > 1)}"
            assert facts[3:] == [sum(column) for column in zip(*(line[3:] for line in inside), strict=True)]


def test_the_offered_efficientnets_are_the_released_ones():
    offered = explore.choices("efficientnet_b3")
    named = {setting.name: setting for setting in offered.settings if setting.name}
    assert offered.settings[offered.start].name == "B3" and len(named) == 9 + 7
    for name, architecture in RELEASED.items():
        assert named[name.upper()].build.keywords["architecture"]._replace(dropout=0) == architecture._replace(
            dropout=0
        )
        assert named[name.upper()].values == FACTORS[name][:3]
    rule = named["\u03c6 = 3"]
    assert rule.values == (1.331, 1.728, round(224 * 1.15**3))
    assert len({setting.values for setting in offered.settings}) == len(offered.settings) == 9 + 7 + 27 - 3


def test_the_page_asks_for_nothing_and_runs_one_script(mobile):
    assert "http" not in mobile.replace("http-equiv", "") and not re.search(r"(?:src|href)=(?!\"data:)", mobile)
    (script,) = re.findall(r"<script>(.*)</script>", mobile, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in mobile
    assert "innerHTML" not in script and len(mobile.encode()) < LIMIT


class Hostile(nn.Module):
    """A layer whose name is markup."""

    def __init__(self):
        super().__init__()
        self.add_module("</script><b>x", nn.Linear(4, 2))

    def forward(self, x):
        return next(self.children())(x)


def hostile():
    setting = explore.Setting("<i>$title</i>", (), lambda: Hostile(), (1, 4))
    return explore.render(explore.Choices("<script>alert(1)</script>", (), [setting]))


def test_names_are_escaped():
    page = hostile()
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "<b>x" not in page and "<i>" not in page and "<script>alert" not in page
    assert lines(told(page), told(page)["settings"][0])[0][0] == "</script><b>x"


def test_the_command_writes_the_page(tmp_path, capsys):
    path = tmp_path / "pages" / "lenet.html"
    with pytest.raises(SystemExit) as stopped:
        main(["explore", "lenet5", "-o", str(path), "--json"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(path), "model": "lenet5", "settings": 1}
    assert path.read_text(encoding="utf-8") == explore.explore_page("lenet5")
    for arguments in (["explore", "lenet55"], ["explore", "lenet5", "-o", str(path / "below.html")]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2


# ---- everything of the largest families, and a browser

LINE = "[...document.querySelectorAll('.line')].find(l => l.dataset.key === '{}')"


@pytest.fixture(scope="module")
def efficient(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "efficientnet.html"
    path.write_text(explore.explore_page("efficientnet"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if browser.PROGRAM is None:
        pytest.skip("there is no chromium")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.slow
def test_every_efficientnet_is_counted_by_the_library(efficient):
    page = efficient.read_text(encoding="utf-8")
    data, offered = told(page), explore.choices("efficientnet")
    assert len(page.encode()) < LIMIT and len(data["settings"]) == len(offered.settings)
    for setting, chosen in zip(data["settings"], offered.settings, strict=True):
        build, shape = chosen.build, chosen.input_shape
        if chosen.name.startswith("B"):
            name = f"efficientnet_{chosen.name.lower()}"
            build, shape = getattr(models, name), models.info(name).input_shape
        holds(data, setting, minicnn.summary(build, shape))


@pytest.mark.slow
def test_every_mobilenet_v2_is_the_one_of_the_catalog():
    data = told(explore.explore_page("mobilenet_v2"))
    for setting in data["settings"]:
        name = "mobilenet_v2_{}_{}".format(*setting["at"])
        if name in models.names("mobilenet_v2*"):
            holds(data, setting, minicnn.summary(lambda name=name: models.create(name), models.info(name).input_shape))


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_opens_without_a_complaint_and_asks_for_nothing(chromium, efficient, width, dark):
    chromium.open(efficient, width, dark=dark)
    for action in ("0", "document.getElementById('compare').click()", "document.getElementById('unfold').click()"):
        chromium.value(action)
        assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.complaints == []
    assert [address for address in chromium.requests if not address.startswith("data:")] == [efficient.as_uri()]


def cells(chromium, row):
    return chromium.value(
        "[...[...document.querySelectorAll('#detail tr')].find(r => r.cells[0].textContent === "
        f"'{row}').cells].slice(1).map(c => c.textContent)"
    )


def totals(chromium):
    texts = chromium.value("[...document.querySelectorAll('.exact')].map(e => e.textContent)")
    return [int(text.replace(",", "")) for text in texts]


def turn(chromium, field, knob, value):
    found = f"document.querySelector('#{field} [data-knob=\"{knob}\"]')"
    chromium.value(f"{found}.value = '{value}'; {found}.dispatchEvent(new Event('change', {{bubbles: true}}))")


@pytest.mark.slow
def test_a_click_shows_a_layers_row(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(explore.explore_page("resnet50"), encoding="utf-8")
    chromium.open(path, 1280)
    for key in ("layer3", "layer3", "layer3.2", "layer3.2.conv2"):
        chromium.value(f"{LINE.format(key)}.click()")
    rows = minicnn.summary(models.resnet50, (3, 224, 224)).rows
    row = next(row for row in rows if row.path == "layer3.2.conv2")
    assert chromium.value("document.querySelector('#detail h2').textContent") == "layer3.2.conv2"
    assert cells(chromium, "output") == ["1\u00d7256\u00d714\u00d714"] and cells(chromium, "kind") == ["Conv2d"]
    assert cells(chromium, "parameters") == [f"{row.params:,}"] and cells(chromium, "FLOPs") == [f"{row.flops:,}"]
    assert cells(chromium, "activations, training, bytes") == [f"{row.training_bytes:,}"]
    assert cells(chromium, "receptive field") == [row.cells()[-1]] and chromium.complaints == []


@pytest.mark.slow
def test_turning_knobs_shows_the_librarys_totals(chromium, efficient, tmp_path, mobile):
    path = tmp_path / "page.html"
    path.write_text(mobile, encoding="utf-8")
    chromium.open(path, 1280)
    expected = {}
    for width, side in ((0.5, 160), (0.75, 160), (0.75, 224)):
        turn(chromium, "first", 0, width)
        turn(chromium, "first", 1, side)
        counted = minicnn.summary(
            lambda width=width: models.create("mobilenet_v1_1.0_224", width=width), (3, side, side)
        )
        expected[width, side] = [getattr(counted, name) for name in MEASURES]
        assert totals(chromium) == expected[width, side]
    chromium.value("document.getElementById('compare').click()")
    turn(chromium, "second", 0, 0.5)
    turn(chromium, "second", 1, 160)
    a, b = expected[0.75, 224], expected[0.5, 160]
    assert totals(chromium) == [number for pair in zip(a, b, strict=True) for number in pair]
    chromium.value(f"{LINE.format('classifier')}.click()")
    assert cells(chromium, "multiply-adds") == ["768,000", "512,000", "\u2212256,000 \u00d70.667"]
    chromium.open(efficient, 1280)
    turn(chromium, "first", "name", 4)  # B4 lies on the grid: one knob moves alone
    turn(chromium, "first", 2, 600)
    at = "[...document.querySelectorAll('#first select')].slice(1).map(s => s.value).join()"
    assert chromium.value(at) == "1.4,1.8,600"
    turn(chromium, "first", "name", 5)  # B5 does not: the nearest that was counted
    turn(chromium, "first", 2, 224)
    assert chromium.value(at) == "1.4,1.8,224" and chromium.complaints == []


@pytest.mark.slow
def test_the_keys_walk_open_and_close(chromium, efficient):
    chromium.open(efficient, 1280)
    chosen = "document.activeElement.dataset.key"
    chromium.value("document.querySelector('#tree [tabindex=\"0\"]').focus()")
    assert chromium.value(chosen) == "features"
    for key, there in (
        *(("ArrowDown", "features.0"), ("ArrowDown", "features.1"), ("ArrowRight", "features.1")),
        *(("ArrowRight", "features.1.0"), ("ArrowLeft", "features.1"), ("ArrowLeft", "features.1")),
        *(("Enter", "features.1"), ("ArrowDown", "features.1.0"), ("End", "classifier.1"), ("Home", "features")),
        *(("ArrowDown", "features.0"), ("ArrowUp", "features"), (" ", "features"), ("ArrowDown", "avgpool")),
    ):
        chromium.press(key)
        assert chromium.value(chosen) == there, key
        assert chromium.value("document.querySelector('#detail h2').textContent") == there
    assert chromium.complaints == []


@pytest.mark.slow
def test_a_hostile_name_is_only_text(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(hostile(), encoding="utf-8")
    chromium.open(path, 375)
    assert chromium.complaints == [] and chromium.value("document.querySelector('h1').textContent").startswith(
        "<script>"
    )
    assert chromium.value("document.querySelector('#detail h2').textContent") == "</script><b>x"
