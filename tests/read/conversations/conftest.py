"""What the tests of conversations share: exports in memory, through recognition and joins, to rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.config import Read
from pipeline.read.conversation_rows import rows
from pipeline.read.conversations.conversation import Conversation
from pipeline.read.conversations.join import Place, joined
from pipeline.read.conversations.products import recognise
from pipeline.read.rows import Row

Export = list[dict[str, Any]] | str
"""JSON objects, or a CSV as text."""
NOTES = ("fraud", "VIP", "geheim")
"""Words of every internal note in these tests."""


def _pieces(number: int, export: Export) -> tuple[str, bool, Iterator[tuple[Place, Conversation | None]]]:
    if isinstance(export, str):
        header, *records = list(csv.reader(io.StringIO(export)))
        layout = recognise(header)
        assert layout is not None
        pieces = layout.of_records(header, enumerate(records, 2))
    else:
        layout = recognise(key for document in export for key in document)
        assert layout is not None
        pieces = layout.of_documents(enumerate(export, 1))
    return layout.name, bool(layout.joined), (((str(number), line), piece) for line, piece in pieces)


@pytest.fixture
def read_export() -> Callable[..., list[Row]]:
    """Reads exports as files of one join; checks the layouts' names and that no internal note is in a row."""

    def work(names: str | list[str], *exports: Export, **settings: Any) -> list[Row]:
        files = [_pieces(number, export) for number, export in enumerate(exports)]
        assert [name for name, _, _ in files] == ([names] if isinstance(names, str) else names)
        documents = (document for _, _, pieces in files for document in pieces)
        found = list(rows(joined(documents) if files[0][1] else documents, Read(**settings)))
        for row in found:
            assert not any(word in text for word in NOTES for text in (row.prompt, row.response, *row.later))
        return found

    return work
