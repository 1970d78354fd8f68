"""The pieces a page is built of.

Output contract: strings of HTML; all text given is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def card(title: str, body: str, wide: bool = False) -> str:
    """Returns a box with a heading; `body` is HTML."""
    return f'<div class="card{" wide" if wide else ""}"><h3>{escape(title)}</h3>{body}</div>'


def paragraph(sentences: Iterable[str], kind: str = "note") -> str:
    """Returns sentences as one paragraph."""
    return f'<p class="{kind}">{escape(" ".join(sentences))}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1) -> str:
    """Returns a table that scrolls sideways where it must; the first `words` columns are words, which may wrap, the
    others numbers, which do not."""

    def line(cells: Sequence[object], tag: str) -> str:
        kinds = ["" if n >= words else ' class="word"' for n in range(len(cells))]
        texts = (f"{cell:,}" if type(cell) is int else str(cell) for cell in cells)
        parts = (f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table>{line(head, "th")}{body}</table></div>'


def folded(title: str, body: str) -> str:
    """Returns something that opens on a click; `body` is HTML."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"
