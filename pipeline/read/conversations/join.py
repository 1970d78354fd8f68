"""Documents of one conversation, put together: tickets in one file, their messages in others, in any order.

Output contract: `joined` yields each key once, in the order in which keys were first seen, with everything of that key
joined in the order it came. Memory: one conversation and a few pages. What waits lies in a temporary SQLite database
without a name, which the operating system removes with the process; it holds what `Conversation` holds, so no note.
A conversation of more than `MOST` bytes is damaged: a key that is no key would gather a whole file.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

from pipeline.read.conversations.conversation import Conversation
from pipeline.read.text.numbers import number

MOST = 64 << 20  # bytes of one conversation
CACHE = 8 << 20  # bytes of the database in memory
Place = tuple[str, int]
"""A file's path and a line in it."""
Told = tuple[Place, Conversation | None]
"""What stands in a place of a file; None: it is damaged."""


def joined(documents: Iterable[Told]) -> Iterator[Told]:
    """Yields (place of the first document, conversation) per key; a damaged document (None) as it comes, by itself."""
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE; "
            f"PRAGMA cache_size=-{CACHE >> 10};"
            "CREATE TABLE pieces (key TEXT, path TEXT, line INTEGER, piece BLOB); BEGIN"
        )
        for place, piece in documents:
            if piece is None:
                yield place, None
                continue
            row = (number(piece.key), *place, pickle.dumps(piece, pickle.HIGHEST_PROTOCOL))
            database.execute("INSERT INTO pieces VALUES (?, ?, ?, ?)", row)
        database.execute("CREATE INDEX by_key ON pieces (key)")
        keys = database.execute("SELECT key, SUM(LENGTH(piece)) FROM pieces GROUP BY key ORDER BY MIN(rowid)")
        for key, size in keys:
            pieces = database.execute("SELECT path, line, piece FROM pieces WHERE key = ? ORDER BY rowid", (key,))
            path, line, piece = next(pieces)
            if size > MOST:
                yield (path, line), None
                continue
            whole: Conversation = pickle.loads(piece)  # written above, to a file that only this process has
            for _, _, piece in pieces:
                whole.join(pickle.loads(piece))
            yield (path, line), whole
