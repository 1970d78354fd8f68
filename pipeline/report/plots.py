"""Plots without a library: bars as HTML, lines as inline SVG.

Output contract: strings of HTML that need no script, no font and no network, readable from 320 px of width up, in light
and dark. All text is escaped here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from html import escape

from pipeline.report.elements import NONE

WIDTH, HEIGHT = 420, 220  # of a line plot, in SVG units: about the pixels it has on a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 30  # margins
DOTS = 40  # points of a curve that are drawn one by one


def bars(items: Sequence[tuple[str, float]], note: Sequence[str] | None = None, tone: str = "a") -> str:
    """Returns one horizontal bar per (name, value), scaled to the largest; `note` replaces the number printed."""
    top = max((value for _, value in items), default=0) or 1
    texts = note or [f"{value:,.0f}" for _, value in items]
    rows = [
        f'<div class="bar"><span class="name">{escape(name)}</span>'
        f'<span class="track"><i class="{tone}" style="width:{100 * value / top:.2f}%"></i></span>'
        f'<span class="value">{escape(text)}</span></div>'
        for (name, value), text in zip(items, texts, strict=True)
    ]
    return f'<div class="bars">{"".join(rows)}</div>' if rows else NONE


def histogram(edges: Sequence[int], counts: Sequence[int], unit: str) -> str:
    """Returns columns, one per bin; `edges` are the lower edges, the last bin is open."""
    top = max(counts, default=0) or 1
    labels = [f"{low}–{high - 1}" for low, high in itertools.pairwise(edges)] + [f"{edges[-1]}+"]
    columns = "".join(
        _column(label, f"{label} {unit}: {count:,}", count, f'<i style="height:{88 * count / top:.1f}%"></i>')
        for label, count in zip(labels, counts, strict=True)
    )
    return f'<div class="histogram">{columns}</div><p class="unit">{escape(unit)}</p>'


def scores(edges: Sequence[float], series: Sequence[tuple[str, Sequence[int]]], threshold: float | None) -> str:
    """Returns stacked columns of scores from 0 to 1, one per bin, with a line at the threshold; up to two series."""
    tops = [*edges[1:], 1.0]
    totals = [sum(counts) for counts in zip(*(counts for _, counts in series), strict=True)]
    most = max(totals, default=0) or 1
    columns = []
    for column, (low, high) in enumerate(zip(edges, tops, strict=True)):
        label = f"{low:g}–{high:g}"
        title = ", ".join(f"{counts[column]:,} {name}" for name, counts in series)
        stacked = "".join(
            f'<i class="{tone}" style="height:{88 * counts[column] / most:.1f}%"></i>'
            for tone, (_, counts) in reversed(list(zip("ab", series, strict=False)))
            if counts[column]
        )
        columns.append(_column(label, f"{label}: {title}", totals[column], stacked))
    return f'{_legend(series)}<div class="histogram">{"".join(columns)}{_threshold(edges, tops, threshold)}</div>'


def _threshold(edges: Sequence[float], tops: Sequence[float], threshold: float | None) -> str:
    if threshold is None:
        return ""
    column = max(n for n, low in enumerate(edges) if low <= threshold)
    across = 100 * (column + (threshold - edges[column]) / ((tops[column] - edges[column]) or 1)) / len(edges)
    return f'<div class="threshold" style="left:{across:.2f}%"><b>{threshold:g}</b></div>'


def _column(label: str, title: str, count: int, bars: str) -> str:
    return (
        f'<div class="column" title="{escape(title)}"><div class="rise"><b>{_short(count)}</b>{bars}</div>'
        f"<span>{label}</span></div>"
    )


def _legend(series: Sequence[tuple[str, object]]) -> str:
    parts = (
        f'<span><i class="{tone}"></i>{escape(name)}</span>' for tone, (name, _) in zip("abc", series, strict=False)
    )
    return f'<div class="legend">{"".join(parts)}</div>'


def _short(count: int) -> str:
    """Returns a count in at most five characters; nothing for none."""
    if count < 10_000:
        return f"{count:,}" if count else ""
    return f"{count / 1e6:.1f}M" if count >= 999_500 else f"{count / 1000:.0f}k"


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Returns round numbers that cover [low, high]."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / count))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    first = math.floor(low / step)
    return [number * step for number in range(first, math.ceil(high / step) + 1)]


def _scale(ticks: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """Returns the function that maps the ticks' range to `start` ... `end`, in SVG units."""
    span = (ticks[-1] - ticks[0]) or 1
    return lambda value: start + (value - ticks[0]) / span * (end - start)


def lines(series: Sequence[tuple[str, Sequence[tuple[float, float]]]], x: str, y: str) -> str:
    """Returns a line plot of up to three named series of (x, y) points; points that are not finite are left out."""
    finite = [(name, [point for point in points if all(map(math.isfinite, point))]) for name, points in series]
    everything = [point for _, points in finite for point in points]
    if not everything:
        return '<p class="none">no points yet</p>'
    xs, ys = (_ticks(min(values), max(values)) for values in zip(*everything, strict=True))
    across, up = _scale(xs, LEFT, WIDTH - RIGHT), _scale(ys, HEIGHT - BOTTOM, TOP)
    parts = [_grid_line(up(tick), f"{tick:g}") for tick in ys]
    below = HEIGHT - BOTTOM + 16
    parts += [f'<text x="{across(tick):.1f}" y="{below}" text-anchor="middle">{tick:g}</text>' for tick in xs]
    for tone, (_, points) in zip("abc", finite, strict=False):
        parts.append(_curve(tone, [(across(a), up(b)) for a, b in points]))
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{escape(x)}</text>')
    title = escape(f"{y} over {x}")
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return _legend(finite) + svg


def _grid_line(y: float, label: str) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _curve(tone: str, points: Sequence[tuple[float, float]]) -> str:
    """Returns a curve through points in SVG units, with a dot on each where there are few."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = points if len(points) <= DOTS else ()
    circles = (f'<circle class="{tone}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in dots)
    return f'<polyline class="{tone}" points="{path}"/>{"".join(circles)}'
