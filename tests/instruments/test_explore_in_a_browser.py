"""The page to click through in a real browser: layers, knobs, keys, the way of data, and two networks side by side."""

import itertools
import re

import pytest

import minicnn
from minicnn import models, nn
from minicnn.instruments import explore
from tests.instruments.test_explore import LIMIT, MEASURES, efficientnet, hostile, reading, told

pytestmark = pytest.mark.slow

LINE = "[...document.querySelectorAll('#tree-first .line')].find(l => l.dataset.key === '{}')"


@pytest.fixture(scope="module")
def efficient(tmp_path_factory):
    """The page of the largest family."""
    path = tmp_path_factory.mktemp("page") / "efficientnet.html"
    path.write_text(efficientnet(), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_opens_without_a_complaint_and_asks_for_nothing(chromium, efficient, width, dark):
    chromium.open(efficient, width, dark=dark)
    assert efficient.stat().st_size < LIMIT
    for action in ("0", "document.getElementById('compare').click()", "document.getElementById('unfold').click()"):
        chromium.value(action)
        assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.complaints == []
    assert [address for address in chromium.requests if not address.startswith("data:")] == [efficient.as_uri()]


def shown(chromium, folder, *names, width=1280):
    """The page of these networks, opened."""
    path = folder / "page.html"
    page = explore.explore_page(*names)
    path.write_text(page, encoding="utf-8")
    chromium.open(path, width)
    return page


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


def test_a_click_shows_a_layers_row(chromium, tmp_path):
    shown(chromium, tmp_path, "resnet50")
    for key in ("layer3", "layer3", "layer3.2", "layer3.2.conv2"):
        chromium.value(f"{LINE.format(key)}.click()")
    rows = minicnn.summary(models.resnet50, (3, 224, 224)).rows
    row = next(row for row in rows if row.path == "layer3.2.conv2")
    assert chromium.value("document.querySelector('#detail h2').textContent") == "layer3.2.conv2"
    assert cells(chromium, "output") == ["1\u00d7256\u00d714\u00d714"] and cells(chromium, "kind") == ["Conv2d"]
    assert cells(chromium, "parameters") == [f"{row.params:,}"] and cells(chromium, "FLOPs") == [f"{row.flops:,}"]
    assert cells(chromium, "activations, training, bytes") == [f"{row.training_bytes:,}"]
    assert cells(chromium, "receptive field") == [row.cells()[-1]] and chromium.complaints == []


def test_turning_knobs_shows_the_librarys_totals(chromium, efficient, tmp_path):
    shown(chromium, tmp_path, "mobilenet_v1_0.5_160")
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


def test_the_keys_walk_open_and_close(chromium, efficient):
    chromium.open(efficient, 1280)
    chosen = "document.activeElement.dataset.key"
    chromium.value("document.querySelector('#tree-first [tabindex=\"0\"]').focus()")
    assert chromium.value(chosen) == "features"
    for key, there in (
        *(("ArrowDown", "features.0"), ("ArrowDown", "features.1"), ("ArrowRight", "features.1")),
        *(("ArrowRight", "features.1.0"), ("ArrowLeft", "features.1"), ("ArrowLeft", "features.1")),
        *(("Enter", "features.1"), ("ArrowDown", "features.1.0"), ("End", "classifier.1"), ("Home", "(image)")),
        *(("ArrowDown", "features"), ("ArrowDown", "features.0"), ("ArrowUp", "features"), (" ", "features")),
        ("ArrowDown", "avgpool"),
    ):
        chromium.press(key)
        assert chromium.value(chosen) == there, key
        assert chromium.value("document.querySelector('#detail h2').textContent") == there
    assert chromium.complaints == []


def test_a_hostile_name_is_only_text(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(hostile(), encoding="utf-8")
    chromium.open(path, 375)
    assert chromium.complaints == [] and chromium.value("document.querySelector('h1').textContent").startswith(
        "<script>"
    )
    assert chromium.value("document.querySelector('#detail h2').textContent") == "</script><b>x"


class Shortcut(nn.Module):
    """Two layers and the way round them."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1))

    def forward(self, x):
        return self.b(self.a(x)) + x


class Small(nn.Module):
    """A layer, a block, and a layer that reads the block."""

    def __init__(self):
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(3, 3, 1), Shortcut(), nn.ReLU()

    def forward(self, x):
        return self.head(self.block(self.stem(x)))


WAY = r"M([\d.]+) ([\d.]+)V([\d.]+)(?:Q[\d.]+ ([\d.]+) [\d.]+ [\d.]+H([\d.]+))?"
ALL = {("(image)", "stem"), ("stem", "block.a"), ("block.a", "block.b.0"), ("block.b.0", "block.b.1")}
ALL |= {("stem", "block.(add)"), ("block.b.1", "block.(add)"), ("block.(add)", "head")}


def ways(chromium, name, side="first"):
    """(lane, source row, reader row, lane there) of every edge in a path of the picture."""
    text = chromium.value(f"document.querySelector('#lanes-{side} .{name}').getAttribute('d')")
    height = chromium.value("document.querySelector('.line').getBoundingClientRect().height")
    assert re.sub(WAY, "", text) == ""
    found = []
    for x, y, down, low, across in re.findall(WAY, text):
        found.append((float(x), int(float(y) // height), int(float(low or down) // height), float(across or x)))
    return found


def edges(chromium, name="thin", side="first"):
    keys = chromium.value(f"[...document.querySelectorAll('#tree-{side} .line')].map(l => l.dataset.key)")
    return [(keys[source], keys[reader]) for _, source, reader, _ in ways(chromium, name, side)]


def test_the_lines_are_the_way_of_the_data(chromium, tmp_path):
    path = tmp_path / "page.html"
    settings = [explore.Setting("", (), lambda: Small(), (3, 4, 4))]
    path.write_text(explore.render(explore.Choices("small", (), settings)), encoding="utf-8")
    chromium.open(path, 1280)
    chromium.value("document.getElementById('unfold').click()")
    assert len(edges(chromium)) == len(ALL) and set(edges(chromium)) == ALL and edges(chromium, "thick") == []
    chromium.value(f"{LINE.format('block.(add)')}.click()")
    assert set(edges(chromium, "chosen")) == {edge for edge in ALL if "block.(add)" in edge}
    assert cells(chromium, "reads from") == ["stemblock.b.1"] and cells(chromium, "is read by") == ["head"]
    box = chromium.value(f"JSON.parse(JSON.stringify({LINE.format('stem')}.getBoundingClientRect()))")
    chromium.point(box["left"] + 100, box["top"] + 5)
    assert set(edges(chromium, "pointed")) == {edge for edge in ALL if "stem" in edge}
    chromium.value(f"{LINE.format('block.b')}.click()")  # closed: its edges go to its row
    assert set(edges(chromium)) == {
        *(("(image)", "stem"), ("stem", "block.a"), ("block.a", "block.b")),
        *(("stem", "block.(add)"), ("block.b", "block.(add)"), ("block.(add)", "head")),
    }
    chromium.value(f"{LINE.format('block')}.click()")
    assert edges(chromium) == [("(image)", "stem"), ("stem", "block"), ("block", "head")]
    assert cells(chromium, "reads from") == ["stem"] and cells(chromium, "is read by") == ["head"]
    chromium.value("document.querySelector('#detail .link').click()")
    assert chromium.value("document.querySelector('#detail h2').textContent") == "stem"
    assert chromium.value("document.activeElement.dataset.key") == "stem" and chromium.complaints == []


@pytest.mark.parametrize("name", ["googlenet", "densenet121", "nasnet_a_mobile"])
@pytest.mark.parametrize("width", [375, 1280])
def test_a_lane_carries_one_output_at_a_time(chromium, tmp_path, name, width):
    data = told(shown(chromium, tmp_path, name, width=width))
    chromium.value("document.getElementById('unfold').click()")
    thin, thick = ways(chromium, "thin"), ways(chromium, "thick")
    ends = {}
    for lane, source, reader, _ in thin:
        ends[lane, source] = max(reader, ends.get((lane, source), 0))
    for lane in {lane for lane, _ in ends}:
        spans = sorted((source, last) for (at, source), last in ends.items() if at == lane)
        assert all(last <= source for (_, last), (source, _) in itertools.pairwise(spans))
    said = chromium.value("document.getElementById('bundled').textContent")
    assert len({lane for lane, *_ in thick}) <= 1
    bundled = len({source for _, source, *_ in thick})
    assert f", {bundled} outputs in all" in said if bundled else said == ""
    marks = [
        chromium.value(f"document.querySelector('.mark.{name}').getAttribute('d')") for name in ("layer", "operation")
    ]
    assert sum(text.count("M") for text in marks) == len({row for _, *rows, _ in thin + thick for row in rows})
    setting = data["settings"][0]
    assert len(thin) + len(thick) == sum(map(len, reading(data, setting).values()))
    assert chromium.complaints == [] and chromium.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [375, 1280])
def test_two_networks_stand_side_by_side(chromium, tmp_path, width):
    shown(chromium, tmp_path, "resnet34", "plain34", "resnet18", width=width)
    a, b, c = (minicnn.summary(getattr(models, name), (3, 224, 224)) for name in ("resnet34", "plain34", "resnet18"))
    assert totals(chromium) == [getattr(net, name) for name in MEASURES for net in (a, b)]
    chromium.value(f"{LINE.replace('first', 'second').format('layer2.0')}.click()")
    assert "add" in str(edges(chromium)) and "add" not in str(edges(chromium, side="second"))
    chromium.value(f"{LINE.replace('first', 'second').format('layer2.0.conv1')}.click()")
    chosen = "[...document.querySelectorAll('#tree-{} [aria-selected=true]')].map(l => l.dataset.key + l.className)"
    assert chromium.value(chosen.format("second")) == ["layer2.0.conv1line"]
    chromium.press("ArrowDown")
    chromium.press("ArrowUp")
    active = "document.activeElement.closest('[role=tree]').id + document.activeElement.dataset.key"
    assert chromium.value(active) == "tree-secondlayer2.0.conv1"
    assert chromium.value(chosen.format("first")) == ["layer2.0.conv1line linked"]
    row = {net: next(row for row in net.rows if row.path == "layer2.0.conv1") for net in (a, b)}
    assert cells(chromium, "multiply-adds") == [f"{row[a].macs:,}", f"{row[b].macs:,}", "equal"]
    assert cells(chromium, "is read by") == ["layer2.0.bn1", "layer2.0.bn1", ""]
    chromium.value(f"{LINE.format('layer2.0.relu (call 2)')}.click()")
    assert cells(chromium, "reads from") == ["layer2.0.(add)", "layer2.0.bn2", ""]
    chromium.value(f"{LINE.format('layer2.0.(add)')}.click()")  # which the other does not have
    assert cells(chromium, "output")[1] == "no such layer" and chromium.value(chosen.format("second")) == []
    turn(chromium, "second", "name", 2)
    assert totals(chromium) == [getattr(net, name) for name in MEASURES for net in (a, c)]
    tops = "SIDES.map(side => document.getElementById(`box-${side}`).getBoundingClientRect().top)"
    first, second = chromium.value(tops)
    assert (first == second) == (width == 1280) and chromium.complaints == []
    chromium.value("document.getElementById('compare').click()")
    assert totals(chromium) == [getattr(a, name) for name in MEASURES]
    assert chromium.value("document.documentElement.scrollWidth") <= width


def test_a_layer_of_another_shape_is_linked_as_such(chromium, tmp_path):
    shown(chromium, tmp_path, "resnet34", "resnet50")
    for key, there in (("layer2", "line block linked differs"), ("conv1", "line linked")):
        chromium.value(f"{LINE.format(key)}.click()")
        assert chromium.value("document.querySelector('#tree-second [aria-selected=true]').className") == there
