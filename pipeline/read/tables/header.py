"""Which row of a table names its columns.

Output contract: `header_at` gives the index of the first row, or of a later one below title lines. A title line has
fewer than two cells with text, or fewer than half as many as the rows have cells.
This module does not know what columns mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

SAMPLE = 30  # rows that say how wide a table is
TITLES = 10  # rows that may stand above the header


def header_at(rows: Sequence[Sequence[str]]) -> int:
    """Returns the index of the row with the names; `rows`: the first rows of a table, none of them blank."""
    ((width, _),) = Counter(map(len, rows)).most_common(1)  # of equal ones the first

    def names(row: Sequence[str]) -> bool:
        return sum(bool(cell.strip()) for cell in row) >= max(2, width / 2)

    if width < 2 or names(rows[0]):
        return 0
    return next((at for at, row in enumerate(rows[: TITLES + 1]) if len(row) == width and names(row)), 0)
