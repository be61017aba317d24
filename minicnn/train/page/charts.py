"""Charts of a run's page: SVG that is complete without a script, and the figures that the script shows on hover."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from minicnn.train.page.scores import Bin

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 454, 12, 216  # the plot inside the picture
MOST_POINTS = 500  # more than a screen shows
LOG_STEPS = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))  # of a decade

Place = Callable[[float], float]  # from a value to its place in the picture


class Series(NamedTuple):
    """One line of a chart: ``kind`` is its class in the style sheet."""

    name: str
    kind: str
    values: Sequence[float]


def line_chart(
    title: str, x: Sequence[float], series: Sequence[Series], log: bool = False
) -> tuple[str, dict[str, Any]]:
    """A figure by epoch, and its data for the script: the epochs, where they are drawn, and each line's values.

    On a log scale what is not positive lies at the foot, where the label says 0.
    """
    kept = [*range(0, len(x) - 1, -(-len(x) // MOST_POINTS)), len(x) - 1]
    x, series = [x[k] for k in kept], [s._replace(values=[s.values[k] for k in kept]) for s in series]
    across = _scale(min(x), max(x) if max(x) > min(x) else min(x) + 1, LEFT + 8, RIGHT - 8)
    up, ticks = _upwards([v for s in series for v in s.values if math.isfinite(v)], log)
    parts = [_grid(up(at), label) for at, label in ticks]
    parts += [_below(across(epoch), f"{epoch:g}") for epoch in _whole_ticks(x[0], x[-1])]
    for line in series:
        points = [(across(e), up(v)) for e, v in zip(x, line.values, strict=True) if math.isfinite(v)]
        parts.append(f'<polyline class="{line.kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        if len(points) < 4:
            parts += [f'<circle class="{line.kind}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in points]
    legend = "".join(f'<span class="{s.kind}">{escape(s.name)}</span>' for s in series if len(series) > 1)
    figure = (
        f'<figure class="chart" tabindex="0"><figcaption><b>{escape(title)}</b> {legend}<output></output></figcaption>'
        f"{_picture(title, parts)}</figure>"
    )
    lines = [{"name": s.name, "values": [_figure(v) for v in s.values]} for s in series]
    return figure, {"x": list(x), "at": [round(across(e), 1) for e in x], "series": lines}


def reliability_chart(bins: Sequence[Bin]) -> str:
    """Bars of accuracy by confidence beside the diagonal, on which a calibrated network's bars would end."""
    across, up = _scale(0, 1, LEFT, RIGHT), _scale(0, 1, BOTTOM, TOP)
    parts = [_grid(up(k / 4), f"{25 * k} %") for k in range(5)]
    parts += [_below(across(k / 5), f"{20 * k} %") for k in range(6)]
    for b in bins:
        says = f"{b.answers:,} answers with {100 * b.low:.0f} to {100 * b.high:.0f} % confidence, "
        says += f"{100 * b.confidence:.1f} % on average: {100 * b.accuracy:.1f} % right"
        left, right, top = across(b.low) + 1, across(b.high) - 1, min(up(b.accuracy), BOTTOM - 1)
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{BOTTOM - top:.1f}">'
            f"<title>{says}</title></rect>"
        )
    parts.append(f'<line class="ideal" x1="{LEFT}" y1="{BOTTOM}" x2="{RIGHT}" y2="{TOP}"/>')
    return _picture("accuracy by confidence", parts)


def _picture(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}'
        f'<line class="here" y1="{TOP}" y2="{BOTTOM}"/></svg>'
    )


def _grid(y: float, label: str) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="y" x="{LEFT - 6}" y="{y + 4:.1f}">{label}</text>'
    )


def _below(x: float, label: str) -> str:
    return f'<text class="x" x="{x:.1f}" y="{BOTTOM + 19}">{label}</text>'


def _scale(low: float, high: float, first: float, last: float) -> Place:
    return lambda value: first + (value - low) / (high - low) * (last - first)


def _upwards(values: Sequence[float], log: bool) -> tuple[Place, list[tuple[float, str]]]:
    """Where values lie above each other, and the ticks with their labels."""
    if not log:
        top = 1.08 * max(values, default=0) or 1.0
        step = _step(top / 6)
        ticks = [k * step for k in range(7) if k * step <= top]
        return _scale(0, top, BOTTOM, TOP), [(tick, f"{tick:,.6g}") for tick in ticks]
    positive = [v for v in values if v > 0]
    low = min(positive, default=1.0) / 1.15
    high = max(max(positive, default=1.0) * 1.15, 2 * low)
    foot = low / 2 if len(positive) < len(values) else low
    place = _scale(math.log(foot), math.log(high), BOTTOM, TOP)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = next(s for s in LOG_STEPS if len(s) * math.log10(high / low) < 8 or len(s) == 1)
    found = [m * 10.0**d for d in decades for m in steps if low <= m * 10.0**d <= high] or [low, high]
    found = found[:: -(-len(found) // 8)]
    ticks_at = [(tick, f"{tick:,.6g}") for tick in found] + ([(0.0, "0")] if foot < low else [])
    return lambda value: place(math.log(max(value, foot))), ticks_at


def _step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def _whole_ticks(first: float, last: float) -> list[float]:
    step = max(_step(max(last - first, 1) / 8), 1)
    return [k * step for k in range(math.ceil(first / step), math.floor(last / step) + 1)]


def _figure(value: float) -> float | None:
    """Five digits; JSON has no NaN."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
