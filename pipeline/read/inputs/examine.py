"""One pass over a file's content: size, digest, encoding.

Output contract: `examine` reads a file once and returns `Facts`. Raises `InputError` for one that is a known kind of
binary file, and for an archive that grows without end.
This module does not know formats.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.read.inputs import archives, encodings
from pipeline.read.inputs.open_inputs import BLOCK, open_bytes
from pipeline.read.inputs.walk import Found


@dataclass(frozen=True)
class Facts:
    size: int  # bytes
    digest: str  # BLAKE2b-128 of the content, hex
    encoding: str  # of a text; "" for a binary file


def is_binary(head: bytes) -> bool:
    """Tells whether a reader takes a file as bytes: a workbook or Parquet."""
    return head.startswith((archives.PARQUET, archives.OLD_OFFICE)) or archives.kind_of(head) is not None


def examine(found: Found, encoding: str | None) -> Facts:
    """Reads a file; `encoding`: what the settings say it is in, None to detect it. A byte order mark counts before."""
    if what := archives.foreign(found.head):
        raise InputError(
            f"{found.path} is not a text but {what}: give its content as CSV, JSON, Markdown or HTML, or leave it out "
            "with curate.read.ignore"
        )
    text = not is_binary(found.head)
    digest, size, detector = hashlib.blake2b(digest_size=16), 0, encodings.Detector()
    detect = text and not encoding
    with open_bytes(found.uri) as stream:
        while block := stream.read(BLOCK):
            if found.budget is not None:
                found.budget.take(len(block))
            if detect:
                detector.add(block)
            digest.update(block)
            size += len(block)
    if not text:
        return Facts(size, digest.hexdigest(), "")
    said = encodings.marked(found.head) or encoding or detector.encoding()
    return Facts(size, digest.hexdigest(), said)
