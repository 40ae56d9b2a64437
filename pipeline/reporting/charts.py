"""Small charts as SVG text: no script, no font, no file; colours come from the page's CSS.

Every mark carries a <title>, which browsers show on hover. Shares are floats from 0 to 1.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 440, 248  # viewBox units; the page decides the size on screen
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 14, 42
_PLOT_W, _PLOT_H = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM


class Series(NamedTuple):
    """One colour of a chart: its name and a value (or None) a label."""

    name: str
    values: Sequence[float | None]


def bars(title: str, labels: Sequence[str], series: Sequence[Series], x_name: str) -> str:
    """Draw groups of bars, one group a label, one bar a series; values are shares."""
    highest = max((v for one in series for v in one.values if v), default=0.0)
    top, marks = _scale(highest), []
    slot = _PLOT_W / max(len(labels), 1)
    wide = min(26.0, 0.76 * slot / len(series))
    for i, label in enumerate(labels):
        start = _LEFT + slot * (i + 0.5) - wide * len(series) / 2
        for j, one in enumerate(series):
            value = one.values[i]
            if value is None:
                continue
            height = _PLOT_H * value / top
            said = escape(f"{label}, {one.name}: {value:.1%}")
            marks.append(
                f'<rect class="s{j}" x="{start + j * wide + 0.5:.1f}" '
                f'y="{_TOP + _PLOT_H - height:.1f}" width="{wide - 1:.1f}" height="{height:.1f}" '
                f'rx="1.5"><title>{said}</title></rect>'
            )
    return _frame(title, [_grid(top), *marks, _labels(labels), _axis_name(x_name)])


def intervals(
    title: str,
    labels: Sequence[str],
    points: Sequence[tuple[float, float, float] | None],
    x_name: str,
) -> str:
    """Draw (value, low, high), all shares, as dots with whiskers on a scale from 0 to 1."""
    slot, marks = _PLOT_W / max(len(labels), 1), []
    for i, point in enumerate(points):
        if point is None:
            continue
        x, (y, low, high) = _LEFT + slot * (i + 0.5), (_height(value) for value in point)
        said = escape(f"{labels[i]}: {point[0]:.1%} ({point[1]:.1%} to {point[2]:.1%})")
        marks.append(
            f'<g class="s0"><title>{said}</title>'
            f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 5:.1f} {low:.1f}h10'
            f'M{x - 5:.1f} {high:.1f}h10"/><circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/></g>'
            f'<text class="value" x="{x + 9:.1f}" y="{y + 3.5:.1f}">{point[0]:.0%}</text>'
        )
    return _frame(title, [_grid(1.0), *marks, _labels(labels), _axis_name(x_name)])


def curves(
    title: str,
    x: Sequence[float],
    series: Sequence[Series],
    x_name: str,
    *,
    log: bool = False,
    plain: bool = False,
) -> str:
    """Draw shares over `x` (ascending) as steps.

    `x` is time in seconds, or, with `log`, counts from 1 on a logarithmic scale, or a `plain`
    number.
    """
    shift: Callable[[float], float] = (lambda v: math.log(max(v, 1))) if log else float
    first, last = (shift(x[0]) if log else 0.0), shift(x[-1])
    across = [_LEFT + _PLOT_W * (shift(v) - first) / ((last - first) or 1) for v in x]
    lines, drawn_at = [], []
    for j, one in enumerate(series):
        path = "".join(
            f"{'H' if i else 'M'}{a:.1f}{'V' if i else ' '}{_height(v or 0):.1f}"
            for i, (a, v) in enumerate(zip(across, one.values, strict=True))
        )
        path += f"H{_LEFT + _PLOT_W}" if len(x) == 1 else ""
        lines.append(f'<path class="line l{j}" d="{path}"><title>{escape(one.name)}</title></path>')
        drawn_at.append(_height(one.values[-1] or 0))
    write: Callable[[float], str] = (lambda v: f"{v:,.4g}") if plain or log else _clock
    marked = _powers(x[-1]) if log else _round_steps(x[-1]) if plain else _times(x[-1])
    ticks = [
        f'<text class="tick" x="{_LEFT + _PLOT_W * (shift(v) - first) / ((last - first) or 1):.1f}"'
        f' y="{_TOP + _PLOT_H + 16}">{write(v)}</text>'
        for v in marked
    ]
    return _frame(title, [_grid(1.0), *lines, *ticks, _axis_name(x_name)])


def histogram(title: str, width: int, series: Sequence[Series], x_name: str) -> str:
    """Draw one or two histograms of equal bins over each other, as shares of their own totals."""
    highest = max((v for one in series for v in one.values if v), default=0.0)
    top, bins = _scale(highest), max((len(one.values) for one in series), default=0)
    slot, marks = _PLOT_W / max(bins, 1), []
    for j, one in enumerate(series):
        steps = "".join(
            f"V{_TOP + _PLOT_H * (1 - (v or 0) / top):.1f}H{_LEFT + slot * (i + 1):.1f}"
            for i, v in enumerate(one.values)
        )
        base = _TOP + _PLOT_H
        marks.append(
            f'<path class="area s{j} l{j}" d="M{_LEFT} {base}{steps}V{base}Z">'
            f"<title>{escape(one.name)}</title></path>"
        )
    every = max(1, math.ceil(bins / 6))
    ticks = [
        f'<text class="tick" x="{_LEFT + slot * i:.1f}" y="{_TOP + _PLOT_H + 16}">{i * width:,}'
        "</text>"
        for i in range(0, bins + 1, every)
    ]
    return _frame(title, [_grid(top), *marks, *ticks, _axis_name(x_name)])


def dots(title: str, groups: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Draw groups of points, each (across, up) from 0 to 1, the last group on top."""
    side = _HEIGHT - 2 * _TOP
    marks = []
    for j, (name, points) in enumerate(groups):
        places = "".join(
            f"M{_TOP + x * (_WIDTH - 2 * _TOP):.1f} {_TOP + (1 - y) * side:.1f}h0"
            for x, y in points
        )
        said = f"<title>{escape(name)}: {len(points):,}</title>"
        marks.append(f'<path class="dots d{j}" d="{places}">{said}</path>')
    return _frame(title, marks)


def _frame(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _height(share: float) -> float:
    return _TOP + _PLOT_H * (1 - share)


def _grid(top: float) -> str:
    """Draw horizontal lines at quarters of the scale (fifths where the top is no multiple of 4)."""
    steps = 4 if round(top * 100) % 4 == 0 else 5
    digits = 0 if round(top * 100) % steps == 0 else 1
    parts = []
    for i in range(steps + 1):
        y, value = _TOP + _PLOT_H * (1 - i / steps), top * i / steps
        kind = "base" if i == 0 else "grid"
        parts.append(
            f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="y" x="{_LEFT - 6}" y="{y + 3.5:.1f}">{value:.{digits}%}</text>'
        )
    return "".join(parts)


def _labels(labels: Sequence[str]) -> str:
    slot = _PLOT_W / max(len(labels), 1)
    room = max(3, int(slot / 6))  # characters
    short = [label if len(label) <= room else label[: room - 1] + "…" for label in labels]
    return "".join(
        f'<text class="tick" x="{_LEFT + slot * (i + 0.5):.1f}" y="{_TOP + _PLOT_H + 16}">'
        f"{escape(label)}<title>{escape(labels[i])}</title></text>"
        for i, label in enumerate(short)
    )


def _axis_name(name: str) -> str:
    return f'<text class="axis" x="{_LEFT + _PLOT_W / 2}" y="{_HEIGHT - 6}">{escape(name)}</text>'


def _scale(highest: float) -> float:
    """Return the smallest round share that is not below `highest`."""
    rounds = (0.01, 0.02, 0.04, 0.05, 0.08, 0.1, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8)
    return next((top for top in rounds if top >= highest), 1.0)


def _powers(last: float) -> list[float]:
    powers = [2.0**i for i in range(int(math.log2(max(last, 1))) + 1)]
    return powers[:: math.ceil(len(powers) / 7)]


def _round_steps(last: float) -> list[float]:
    """Return about five round numbers from 0 to `last`."""
    unit = 10.0 ** math.floor(math.log10(last / 5)) if last > 0 else 1.0
    size = next(m * unit for m in (1, 2, 5, 10) if 6 * m * unit >= last)
    return [size * i for i in range(int(last / size) + 1)]


def _times(last: float) -> list[float]:
    """Return about five round times from 0 to `last` seconds."""
    sizes = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400)
    size = next((size for size in sizes if 6 * size >= last), math.ceil(last / 5))
    return [float(size * i) for i in range(int(last / size) + 1)]


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"
