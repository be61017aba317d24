"""The page of a run: its numbers against plain counting, its texts harmless, its size bounded."""

import base64
import dataclasses
import hashlib
import io
import json
import math
import re
import shlex
from html.parser import HTMLParser
from statistics import NormalDist
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from minicnn.cli.train import command
from minicnn.errors import ArgumentError
from minicnn.train import TrainArgs, page
from minicnn.train.evaluate import Samples
from minicnn.train.page import charts, scores
from tests.train.stories import pictures, rows, story

HOSTILE = ("<script>alert(1)</script>", "\"><img src=x onerror='alert(2)'>", "</td></table> &amp; $title")


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the page."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text, self.scripts, self.inside = [], "", [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, text):
        if self.inside == "script":
            self.scripts.append(text)
        self.text += text


def of(tag, elements):
    return [attributes for name, attributes in elements.found if name == tag]


# ---- numbers


@pytest.mark.parametrize(("correct", "total"), [(295, 360), (0, 5), (5, 5), (1, 1), (9990, 10000)])
def test_the_interval_holds_what_a_test_would_not_reject(correct, total):
    """Its ends solve |share - p| = z sqrt(p (1 - p) / n), a quadratic equation in p."""
    z, share = NormalDist().inv_cdf(0.975), correct / total
    roots = sorted(np.roots([1 + z**2 / total, -(2 * share + z**2 / total), share**2]).real)
    assert scores.interval(correct, total) == pytest.approx(roots, abs=1e-6)


def test_scores_of_classes_and_pairs():
    confusion = np.array([[8, 2, 0], [1, 4, 0], [0, 5, 0]])
    found = scores.class_scores(confusion)
    assert [(s.label, s.images, s.recall) for s in found] == [(2, 5, 0.0), (1, 5, 0.8), (0, 10, 0.8)]
    assert math.isnan(found[0].precision) and [s.precision for s in found[1:]] == [4 / 11, 8 / 9]
    assert scores.confused_pairs(confusion, 2) == [(2, 1, 5), (0, 1, 2)]
    assert scores.confused_pairs(confusion, 9) == [(2, 1, 5), (0, 1, 2), (1, 0, 1)]
    assert [s.label for s in scores.class_scores(np.diag([3, 0]))] == [0]  # a class without images has no score


def test_calibration_against_a_loop():
    random = np.random.default_rng(0)
    confidence, right = random.random(200), random.random(200) < 0.5
    confidence[:2] = 0.0, 1.0
    bins, error = scores.calibration(Samples(np.zeros(200, int), np.where(right, 0, 1), confidence, confidence))
    expected = 0.0
    for b in bins:
        inside = [k for k in range(200) if b.low <= confidence[k] < b.high or confidence[k] == b.high == 1]
        assert b.answers == len(inside)
        assert b.accuracy == pytest.approx(sum(right[k] for k in inside) / len(inside))
        expected += len(inside) / 200 * abs(b.accuracy - sum(confidence[k] for k in inside) / len(inside))
    assert error == pytest.approx(expected) and sum(b.answers for b in bins) == 200


def test_the_worst_mistakes_come_first_and_show_the_raw_pixels():
    told = story(("a", "b", "c"))
    dataset = pictures(told.classes, 300, (3, 12, 12))
    losses = told.test.samples.losses
    wrong = sorted((k for k in range(6, 300, 7)), key=lambda k: -losses[k])
    assert [m.number for m in told.mistakes] == wrong[:24]
    first = told.mistakes[0]
    assert (first.true, first.answer, first.confidence) == (first.number % 3, (first.number + 1) % 3, 0.9)
    assert first.probability == pytest.approx(math.exp(-losses[first.number]))
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(first.picture.partition(",")[2]))))
    raw = np.random.default_rng(0).random((300, 3, 12, 12), np.float32)[first.number]
    assert np.abs(shown.transpose(2, 0, 1) / 255 - raw).max() < 0.51 / 255
    assert dataset.shape == told.shape


# ---- charts


def drawn(figure):
    return ElementTree.fromstring(figure[figure.index("<svg") : figure.index("</svg>") + 6])


def points(figure):
    lines = [line.get("points").split() for line in drawn(figure).iter("polyline")]
    return [[tuple(map(float, point.split(","))) for point in line] for line in lines]


@pytest.mark.parametrize("log", [False, True])
def test_lines_lie_where_their_values_say(log):
    values = [4.0, 2.0, 1.0, 0.5]
    figure, known = charts.line_chart("loss", [1, 2, 3, 4], [charts.Series("v", "val", values)], log)
    (line,) = points(figure)
    assert [x for x, _ in line] == known["at"] and known["series"] == [{"name": "v", "values": values}]
    steps = np.diff([y for _, y in line])
    assert steps[0] > 0  # what falls goes down
    assert steps == pytest.approx([steps[0]] * 3 if log else [4 * steps[2], 2 * steps[2], steps[2]], abs=0.2)
    labels = {text.text: float(text.get("y")) - 4 for text in drawn(figure).iter("text") if text.get("class") == "y"}
    assert labels["2"] == pytest.approx(line[1][1], abs=0.1)


def test_charts_of_odd_runs():
    """One epoch, errors of 0, all alike, NaN, thousands of epochs: everything lies inside the picture."""
    many = [1 / k for k in range(1, 5001)]
    for log in (False, True):
        for values in ([0.5], [0.0, 0.0], [3.0, 3.0, 3.0], [1.0, math.nan, 0.0, 1e-9], [math.nan], many, [1e30, 1e-30]):
            epochs = list(range(1, len(values) + 1))
            figure, known = charts.line_chart("x", epochs, [charts.Series("v", "val", values)], log)
            assert json.dumps(known, allow_nan=False) and len(known["x"]) <= 501 and known["x"][-1] == len(values)
            for x, y in (point for line in points(figure) for point in line):
                assert charts.LEFT <= x <= charts.RIGHT and charts.TOP - 0.1 <= y <= charts.BOTTOM + 0.1
            assert 2 <= sum(text.get("class") == "y" for text in drawn(figure).iter("text")) <= 14


# ---- the whole page


def test_no_text_from_outside_becomes_markup():
    told = dataclasses.replace(story(HOSTILE, folder="runs/$(rm) <b>"), summary=("<i>a</i>",))
    text = page.render(told)
    elements = Elements(text)
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"b1", "i", "iframe"} and len(of("script", elements)) == 2
    assert all(image["src"].startswith("data:image/png") and "onerror" not in image for image in of("img", elements))
    assert all(name in elements.text for name in HOSTILE) and "<i>a</i>" in elements.text
    plain = Elements(page.render(story(("a", "b", "c"))))
    assert len(of("td", elements)) == len(of("td", plain)) and len(of("table", elements)) == len(of("table", plain))


def test_the_browser_is_told_to_fetch_nothing_and_to_run_one_script():
    text = page.render(story(("a", "b")))
    elements = Elements(text)
    assert re.findall(r"https?://", text) == [] and "@import" not in text and "url(" not in text
    assert {link["href"] for link in of("link", elements)} == {"data:,"}
    (policy,) = (m["content"] for m in of("meta", elements) if m.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(elements.scripts[-1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy


def test_a_line_of_figures_cannot_end_its_script(monkeypatch):
    monkeypatch.setattr("minicnn.train.page.sections.curves", lambda story: ("", [{"name": "</script><b>"}]))
    elements = Elements(page.render(story(("a", "b"))))
    assert json.loads(elements.scripts[0]) == [{"name": "</script><b>"}]


def test_headline_confusion_and_classes():
    text = Elements(page.render(story(("cat", "dog", "owl")))).text
    low, _ = scores.interval(258, 300)
    assert f"86.00 % test accuracy\n258 of 300 test images right; 95 % confidence interval {100 * low:.2f}" in text
    assert "the weights of epoch 5" in text and "5 epochs in 0:08" in text
    counts = re.findall(r'<td class="(right|wrong)[^>]*>(\d+)</td>', page.render(story(("cat", "dog", "owl"))))
    assert sum(int(n) for _, n in counts) == 300 and sum(int(n) for kind, n in counts if kind == "wrong") == 42
    assert "<made> of & sand" in text and "too sure" in text
    assert re.search(r"waiting for data\s*20\.0 % of it", text)


def test_a_hundred_classes_and_noise_stay_small():
    names = [f"class {k:04}" for k in range(100)]
    text = page.render(story(names, epochs=400, count=200, shape=(3, 100, 120), wrong=2))
    assert len(text) < 10**6
    assert "Most confused classes" in text and "85 more" in text and 'class="confusion"' not in text
    assert Elements(text).text.count("class 0001") >= 2
    perfect = page.render(story(names, wrong=10**9, count=200))
    assert perfect.count("every test image was recognised") == 2


def test_a_run_that_goes_on_shows_no_test_part():
    told = story(("a", "b"), finished=False)
    text = Elements(page.render(told)).text
    assert "epoch 5 of 10" in text and "best validation accuracy so far 81.00 %" in text
    assert "test accuracy" not in text and "Confusion" not in text and "Calibration" not in text
    assert "Curves" not in Elements(page.render(dataclasses.replace(told, rows=()))).text


def test_the_commands_do_what_they_say():
    args = TrainArgs(model="resnet20", epochs=7, lr=0.125, augment=False, schedule="step", seed=3, ema=0.9)
    told = dataclasses.replace(story(("a", "b")), args=args)
    words = shlex.split(told.repeat)
    given = command.make_context("train", words[2:]).params
    assert TrainArgs.of({k: v for k, v in given.items() if k in args.as_dict() and v is not None}) == args
    spaced = story(("a", "b"), folder="my runs/one")
    assert shlex.split(spaced.go_on) == ["minicnn", "train", "--resume", "my runs/one"]
    assert "--resume 'my runs/one' --epochs 10" in Elements(page.render(spaced)).text


def test_a_folder_whose_name_is_no_utf8(tmp_path):
    page.write(tmp_path / "page.html", story(("a", "b"), folder="runs/\udcff"))
    assert "--resume &#x27;runs/?&#x27;" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "[1]", "{", "\x00"])
def test_facts_that_are_no_table_are_named(tmp_path, text):
    page.write_facts(tmp_path, {"threads": "2"})
    assert page.read_facts(tmp_path) == {"threads": "2"} and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "facts.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError, match=r"facts\.json: is no table in JSON .*; fix: correct it, or remove it"):
        page.read_facts(tmp_path)


def test_rows_of_a_made_run_are_those_of_the_loop(finished):
    assert rows(1)[0].keys() == finished[1].rows[0].keys()
