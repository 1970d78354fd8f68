"""Plots without a library: bars as HTML, lines as inline SVG.

Output contract: strings of HTML that need no script, no font and no network, readable from 320 px of width up, in light
and dark. All text is escaped here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 420, 220  # of a line plot, in SVG units: about the pixels it has on a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 30


def bars(items: Sequence[tuple[str, float]], note: Sequence[str] | None = None, tone: str = "a") -> str:
    """Returns one horizontal bar per (name, value), scaled to the largest; `note` replaces the number printed."""
    top = max((value for _, value in items), default=0) or 1
    rows = []
    for index, (name, value) in enumerate(items):
        text = note[index] if note else f"{value:,.0f}"
        width = 100 * value / top
        rows.append(
            f'<div class="bar"><span class="name">{escape(name)}</span>'
            f'<span class="track"><i class="{tone}" style="width:{width:.2f}%"></i></span>'
            f'<span class="value">{escape(text)}</span></div>'
        )
    return f'<div class="bars">{"".join(rows)}</div>' if rows else '<p class="none">none</p>'


def histogram(edges: Sequence[int], counts: Sequence[int], unit: str) -> str:
    """Returns columns, one per bin; `edges` are the lower edges, the last bin is open."""
    top = max(counts, default=0) or 1
    labels = [f"{low}–{high - 1}" for low, high in itertools.pairwise(edges)] + [f"{edges[-1]}+"]
    columns = "".join(
        f'<div class="column" title="{label} {unit}: {count:,}"><div class="rise"><b>{_short(count)}</b>'
        f'<i style="height:{88 * count / top:.1f}%"></i></div><span>{label}</span></div>'
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
        parts = "".join(
            f'<i class="{tone}" style="height:{88 * counts[column] / most:.1f}%"></i>'
            for tone, (_, counts) in reversed(list(zip("ab", series, strict=False)))
            if counts[column]
        )
        columns.append(
            f'<div class="column" title="{label}: {escape(title)}">'
            f'<div class="rise"><b>{_short(totals[column])}</b>{parts}</div><span>{label}</span></div>'
        )
    line = ""
    if threshold is not None:
        column = max(n for n, low in enumerate(edges) if low <= threshold)
        across = 100 * (column + (threshold - edges[column]) / ((tops[column] - edges[column]) or 1)) / len(edges)
        line = f'<div class="threshold" style="left:{across:.2f}%"><b>{threshold:g}</b></div>'
    return f'{_legend(series)}<div class="histogram">{"".join(columns)}{line}</div>'


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


def lines(series: Sequence[tuple[str, Sequence[tuple[float, float]]]], x: str, y: str) -> str:
    """Returns a line plot of up to three named series of (x, y) points; points that are not finite are left out."""
    clean = [(name, [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)]) for name, points in series]
    everything = [point for _, points in clean for point in points]
    if not everything:
        return '<p class="none">no points yet</p>'
    xs = _ticks(min(a for a, _ in everything), max(a for a, _ in everything))
    ys = _ticks(min(b for _, b in everything), max(b for _, b in everything))

    def at(a: float, b: float) -> tuple[float, float]:
        across = LEFT + (a - xs[0]) / ((xs[-1] - xs[0]) or 1) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (b - ys[0]) / ((ys[-1] - ys[0]) or 1) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ys:
        _, v = at(xs[0], tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{v:.1f}" y2="{v:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{v + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in xs:
        h, _ = at(tick, ys[0])
        parts.append(f'<text x="{h:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for tone, (_, points) in zip("abc", clean, strict=False):
        path = " ".join(f"{h:.1f},{v:.1f}" for h, v in (at(a, b) for a, b in points))
        parts.append(f'<polyline class="{tone}" points="{path}"/>')
        if len(points) <= 40:
            dots = (at(a, b) for a, b in points)
            parts.extend(f'<circle class="{tone}" cx="{h:.1f}" cy="{v:.1f}" r="2.5"/>' for h, v in dots)
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{escape(x)}</text>')
    title = escape(f"{y} over {x}")
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return _legend(clean) + svg
