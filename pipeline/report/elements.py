"""The elements a page is built of.

Output contract: strings of HTML; all text given is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

NONE = '<p class="none">none</p>'


def section(title: str, boxes: Iterable[str], lead: str = "", above: str = "") -> str:
    """Returns a section of a page: title, lead, the HTML `above`, and the boxes as a grid."""
    introduction = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f'<h2>{escape(title)}</h2>{introduction}{above}<div class="grid2">{"".join(boxes)}</div>'


def box(title: str, body: str, kind: str = "") -> str:
    """Returns a box with a heading; `body` is HTML, `kind` a class of the style sheet (`wide`: across the page)."""
    return f'<div class="{f"box {kind}".strip()}"><h3>{escape(title)}</h3>{body}</div>'


def paragraph(sentences: Iterable[str]) -> str:
    """Returns sentences as one paragraph."""
    return f'<p class="note">{escape(" ".join(sentences))}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1) -> str:
    """Returns a table that scrolls sideways where it must; the first `words` columns are words, which may wrap, the
    others numbers, which do not. An empty head is left out."""

    def line(cells: Sequence[object], tag: str) -> str:
        kinds = ["" if n >= words else ' class="word"' for n in range(len(cells))]
        texts = (f"{cell:,}" if type(cell) is int else str(cell) for cell in cells)
        parts = (f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table>{line(head, "th") if head else ""}{body}</table></div>'


def folded(title: str, body: str) -> str:
    """Returns an element that opens on a click; `body` is HTML."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"
