"""The page to click through: its numbers and its edges are the library's, its texts harmless, its size bounded."""

import base64
import hashlib
import json
import re
from functools import cache

import pytest

import minicnn
from minicnn import models, nn
from minicnn.cli import main
from minicnn.errors import ArgumentError
from minicnn.instruments import explore
from minicnn.instruments.explore.settings import FACTORS
from minicnn.models.efficientnet import RELEASED

MEASURES = ("params", "macs", "flops", "weight_bytes", "forward_bytes", "training_bytes")
LIMIT = 1_000_000


def told(page):
    """The tables of a page."""
    (text,) = re.findall(r'<script type="application/json" id="tables">(.*)</script>', page)
    return json.loads(text)


def lines(data, setting):
    """(path, sort, facts, field) of every line, read as the script reads them: sort 1 is a block, 2 an operation."""
    path, found = [], []
    labels, fields = (data["columns"][setting[name]] for name in ("tree", "fields"))
    for label, field, facts in zip(labels, fields, setting["facts"], strict=True):
        name, level, sort = data["labels"][label]
        path[level:] = [name]
        found.append((".".join(path), sort, data["facts"][facts], data["fields"][field]))
    return found


def reading(data, setting):
    """Which lines each line reads: path -> paths."""
    paths = [path for path, *_ in lines(data, setting)]
    backs = [data["reads"][number] for number in data["columns"][setting["reads"]]]
    pairs = enumerate(zip(paths, backs, strict=True))
    return {path: [paths[at - back] for back in found] for at, (path, found) in pairs}


def written(shape):
    return ", ".join(map(written, shape)) if isinstance(shape, list) else "x".join(map(str, shape))


def holds(data, setting, counted):
    """The page's setting says what the summary says, layer by layer."""
    assert setting["totals"] == [getattr(counted, name) for name in MEASURES]
    counted_lines = [line for line in lines(data, setting) if line[1] != 1 and len(line[2]) > 3]
    found = sorted(
        (re.sub(r"(\.?\(\w+\))?( \(call \d+\))?$", "", path), facts[0], str(facts), field)
        for path, _, facts, field in counted_lines
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
    assert sum(sort == 1 for _, sort, *_ in found) == 5 + 13 + 1
    for path, sort, facts, _ in found:
        inside = [line[2] for line in found if line[1] != 1 and line[0].startswith(f"{path}.")]
        if sort == 1:
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
    assert lines(told(page), told(page)["settings"][0])[1][0] == "</script><b>x"


def test_the_command_writes_the_page(tmp_path, capsys):
    path = tmp_path / "pages" / "lenet.html"
    with pytest.raises(SystemExit) as stopped:
        main(["explore", "lenet5", "-o", str(path), "--json"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(path), "model": "lenet5", "settings": 1}
    assert path.read_text(encoding="utf-8") == explore.explore_page("lenet5")
    with pytest.raises(SystemExit) as stopped:
        main(["explore", "lenet5", "lenet_caffe", "-o", str(path)])
    assert stopped.value.code == 0 and path.read_text(encoding="utf-8") == explore.explore_page("lenet5", "lenet_caffe")
    for arguments in (["lenet55"], ["lenet5", "lenet5"], [], ["lenet5", "-o", str(path / "below.html")]):
        with pytest.raises(SystemExit) as stopped:
            main(["explore", *arguments])
        assert stopped.value.code == 2


def test_a_page_says_what_reads_what():
    data = told(explore.explore_page("googlenet"))
    reads = reading(data, data["settings"][0])
    assert reads["inception3a.(cat)"] == [
        *("inception3a.branch1.relu", "inception3a.branch2.1.relu"),
        *("inception3a.branch3.1.relu", "inception3a.branch4.1.relu"),
    ]
    for first in ("branch1.conv", "branch2.0.conv", "branch3.0.conv", "branch4.0"):
        assert reads[f"inception3b.{first}"] == ["inception3a.(cat)"]
    assert reads["inception3a"] == [] and reads["(image)"] == [] and reads["fc"] == ["dropout"]


def test_a_block_that_runs_in_parts_is_none():
    data = told(explore.explore_page("preresnet18"))
    reads, sorts = (
        reading(data, data["settings"][0]),
        {path: sort for path, sort, *_ in lines(data, data["settings"][0])},
    )
    assert sorts["layer1.1"] == 1 and "layer1.1.convs" not in sorts
    assert reads["layer1.1.convs.1"] == ["layer1.1.dropout"]
    assert reads["layer1.1.(add)"] == ["layer1.1.shortcut", "layer1.1.convs.1"]


def test_several_networks_are_as_published():
    page = explore.explore_page("resnet18", "efficientnet", "mobilenet_v1")
    data = told(page)
    names = ["resnet18", "efficientnet_b0", "mobilenet_v1_1.0_224"]
    assert [setting["name"] for setting in data["settings"]] == names
    assert (data["start"], data["against"], data["knobs"]) == (0, 1, [])
    assert "<h1>resnet18, efficientnet_b0 and mobilenet_v1_1.0_224</h1>" in page
    for setting, name in zip(data["settings"], names, strict=True):
        holds(data, setting, minicnn.summary(lambda name=name: models.create(name), (3, 224, 224)))
    with pytest.raises(ArgumentError, match=r"efficientnet_b0 is named twice; .*fix: name each of them once"):
        explore.choices("efficientnet", "resnet18", "efficientnet_b0")
    with pytest.raises(ArgumentError, match="resnet188"):
        explore.choices("resnet18", "resnet188")


# ---- everything of the largest families


@cache
def efficientnet():
    """The page of the family with most settings."""
    return explore.explore_page("efficientnet")


@pytest.mark.slow
def test_every_efficientnet_is_counted_by_the_library():
    page = efficientnet()
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


LARGEST = [
    "resnet1202_cifar10",
    "preresnet1001_cifar10",
    "polynet",
    "densenet264_k48",
    "nasnet_a_large",
    "mobilenet_v1",
]


@pytest.mark.slow
@pytest.mark.parametrize("names", [*LARGEST, tuple(LARGEST[1:4])])
def test_no_page_is_large_and_data_always_goes_down(names):
    page = explore.explore_page(*([names] if isinstance(names, str) else names))
    assert len(page.encode()) < LIMIT
    assert all(back > 0 for found in told(page)["reads"] for back in found)
