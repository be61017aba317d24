"""The parts of a run's page, each a function from a `Story` to HTML; texts from outside go through ``escape``."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from minicnn.train.page import scores
from minicnn.train.page.charts import Series, line_chart, reliability_chart
from minicnn.train.page.story import Story
from minicnn.train.report import duration

MOST_IN_MATRIX = 20  # classes; of more, a matrix cannot be read
MOST_ROWS = 15  # of a list that begins with the worst; the others are folded
MOST_CLASSES = 300
ALWAYS = ("model", "data", "size", "epochs", "batch_size", "optimizer", "lr", "schedule", "seed")  # options shown


def headline(story: Story) -> str:
    """The result first: test accuracy and how far it can be trusted; before the end, how far the run is."""
    done, epochs = len(story.rows), story.args.epochs
    if story.test is None:
        so_far = max((row["val_accuracy"] for row in story.rows), default=math.nan)
        score = f"epoch {done} of {epochs}"
        says = f"best validation accuracy so far {percent(so_far)}; the test part is looked at once, at the end"
    else:
        test = story.test
        low, high = scores.interval(test.correct, test.total)
        score = f"{percent(test.accuracy)} test accuracy"
        says = (
            f"{test.correct:,} of {test.total:,} test images right; 95 % confidence interval {100 * low:.2f} to "
            f"{percent(high)}; cross-entropy {test.loss:.4g}"
        )
        if story.rows:
            best = max(story.rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
            says += f"; the weights of epoch {best['epoch']:.0f}, best on validation"
    time = f"{done} epochs in {duration(sum(row['seconds'] for row in story.rows))}" if done else "no epoch yet"
    summary = escape(", ".join([*story.summary, time]))
    return f'<p class="score">{score}</p>\n<p>{says}</p>\n<p class="soft">{summary}</p>'


def curves(story: Story) -> tuple[str, list[Any]]:
    """Loss, error, learning rate and speed by epoch; and their values for the script."""
    if not story.rows:
        return "", []
    epochs = column(story, "epoch")
    errors = [[100 - 100 * v for v in column(story, f"{part}_accuracy")] for part in ("train", "val")]
    drawn = (
        line_chart("loss", epochs, _pair(column(story, "train_loss"), column(story, "val_loss")), log=True),
        line_chart("error, %", epochs, _pair(*errors), log=True),
        line_chart("learning rate", epochs, [Series("learning rate", "rate", column(story, "lr"))]),
        line_chart("training images a second", epochs, [Series("images/s", "rate", column(story, "images_per_s"))]),
    )
    figures = "\n".join(figure for figure, _ in drawn)
    return section("Curves", columns(figures)), [data for _, data in drawn]


def column(story: Story, name: str) -> list[float]:
    return [row[name] for row in story.rows]


def _pair(train: Sequence[float], val: Sequence[float]) -> list[Series]:
    return [Series("training", "train", train), Series("validation", "val", val)]


def mistakes(story: Story) -> str:
    """The wrong answers of the highest loss, as pictures."""
    if story.test is None:
        return ""
    if not story.mistakes:
        return section("Worst mistakes", "<p>None: every test image was recognised.</p>")
    wrong = story.test.total - story.test.correct
    note = f"{len(story.mistakes)} of {wrong:,} mistakes on the test part, the highest loss first."
    figures = []
    for m in story.mistakes:
        true, answer = escape(story.classes[m.true]), escape(story.classes[m.answer])
        sure, other = (percent(p, 1).replace(" ", "&nbsp;") for p in (m.confidence, m.probability))
        small = ' class="small"' if max(story.shape[1:]) < 64 else ""
        figures.append(
            f'<figure><img{small} src="{m.picture}" alt="test image {m.number}: {true}">'
            f"<b>{answer}</b> {sure}<br>is {true} {other}"
            f'<br><span class="soft">test image {m.number:,}</span></figure>'
        )
    return section("Worst mistakes", f'<p class="soft">{note}</p><div class="mistakes">{"".join(figures)}</div>')


def confusion(story: Story) -> str:
    """The matrix as a table; of many classes, the pairs that are confused most."""
    if story.test is None:
        return ""
    if len(story.classes) <= MOST_IN_MATRIX:
        note = '<p class="soft">Rows are the true class, columns the answer. The colour is the share of the row.</p>'
        return section("Confusion", note + _matrix(story))
    pairs = scores.confused_pairs(story.test.confusion, MOST_ROWS)
    totals = story.test.confusion.sum(axis=1)
    rows = [
        (story.classes[t], story.classes[p], f"{count:,}", f"{percent(count / totals[t], 1)}") for t, p, count in pairs
    ]
    if not rows:
        return section("Most confused classes", "<p>None: every test image was recognised.</p>")
    return section("Most confused classes", table(("true class", "taken for", "how often", "of its images"), rows))


def _matrix(story: Story) -> str:
    assert story.test is not None
    counts = story.test.confusion
    names = [escape(name) for name in story.classes]
    long = ' class="long"' if max(map(len, story.classes)) > 3 else ""
    head = "".join(f'<th scope="col"{long}><span title="{name}">{name}</span></th>' for name in names)
    rows = []
    for t, name in enumerate(names):
        cells = "".join(_cell(int(counts[t, p]), int(counts[t].sum()), t == p) for p in range(len(names)))
        rows.append(f'<tr><th scope="row"><span title="{name}">{name}</span></th>{cells}</tr>')
    return _scrolled("confusion", f"<th></th>{head}", rows)


def _cell(count: int, total: int, right: bool) -> str:
    """The root of the share lets a single mistake be seen."""
    if not count:
        return "<td></td>"
    share = math.sqrt(count / total)
    kind = ("right" if right else "wrong") + (" deep" if share > 0.55 else "")
    return f'<td class="{kind}" style="--share:{share:.2f}">{count:,}</td>'


def classes(story: Story) -> str:
    """Precision and recall of each class, and how far the network's confidence can be believed."""
    if story.test is None:
        return ""
    found = scores.class_scores(story.test.confusion)
    rows = [
        (story.classes[s.label], f"{s.images:,}", percent(s.precision, 1), percent(s.recall, 1))
        for s in found[:MOST_CLASSES]
    ]
    head = ("class", "images", "precision", "recall")
    body = table(head, rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        left_out = f", of {len(found):,} classes" if len(found) > len(rows) else ""
        more = f"<summary>{len(rows) - MOST_ROWS:,} more{left_out}</summary>{table(head, rows[MOST_ROWS:])}"
        body += f"<details>{more}</details>"
    note = '<p class="soft">The worst first. Precision: of the answers, recall: of the images, the share right.</p>'
    bins, error = scores.calibration(story.test.samples)
    trust = (
        f'<figure class="chart still">{reliability_chart(bins)}</figure>'
        f'<p class="soft">Share of right answers by the confidence they were given with. Bars below the dashed line: '
        f"too sure. Expected calibration error {percent(error, 1)}.</p>"
    )
    return columns(section("Classes", note + body) + section("Calibration", trust))


def settings(story: Story) -> str:
    """The options in force, first those that were chosen, and what they ran on."""
    values = [(f, getattr(story.args, f.name)) for f in dataclasses.fields(story.args)]
    chosen, others = (
        [(f.name.replace("_", " "), str(v)) for f, v in values if (f.name in ALWAYS or v != f.default) == shown]
        for shown in (True, False)
    )
    seconds = column(story, "seconds")
    facts = dict(story.facts)
    if seconds:
        facts |= {"time an epoch": f"{statistics.median(seconds):.3g} s (median)"}
        facts |= {"waiting for data": f"{100 * sum(column(story, 'waited')) / sum(seconds):.1f} % of it"}
    folded = f"<details><summary>{len(others)} more, as by default</summary>{_facts(others)}</details>"
    return columns(section("Configuration", _facts(chosen) + folded) + section("Ran with", _facts(facts.items())))


def commands(story: Story) -> str:
    """How to do it again, how to go on."""
    more = f" --epochs {2 * story.args.epochs}" if len(story.rows) >= story.args.epochs else ""
    return section(
        "Again",
        f"<p>The same run:</p><pre>{escape(story.repeat)}</pre>"
        f"<p>{'Longer' if more else 'Go on'}:</p><pre>{escape(story.go_on + more)}</pre>",
    )


def section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>\n{body}\n</section>\n"


def columns(parts: str) -> str:
    """Side by side where there is room."""
    return f'<div class="columns">{parts}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Names on the left, figures on the right."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for row in rows:
        cells = "".join(
            f'<th scope="row">{escape(text)}</th>'
            if head[k] in ("class", "true class", "taken for")
            else f"<td>{escape(text)}</td>"
            for k, text in enumerate(row)
        )
        lines.append(f"<tr>{cells}</tr>")
    return _scrolled("numbers", top, lines)


def _scrolled(kind: str, head: str, rows: Iterable[str]) -> str:
    """A table that scrolls inside a page too narrow for it."""
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    lines = [f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in rows]
    return f'<table class="facts">{"".join(lines)}</table>'


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %" if math.isfinite(share) else "none"
