"""What is not read, and what to do about it.

Output contract: `why` gives the reason for a file that no reader takes, by its name; `summary` puts many such files
together, for metrics. Each reason says what to do where something can be done.
This module looks into no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

REASONS = {
    ".txt .log .text": "text without structure: name a page .md; a table needs an entry in curate.read.tables",
    ".doc .docx .odt .rtf .pdf .ppt .pptx .odp .pages": "an office document: export it as Markdown or HTML",
    ".ods .xlsb .numbers": "a spreadsheet of a kind that is not read: save it as .xlsx or .csv",
    ".7z .rar .tar .tgz .bz2 .tbz .xz .lz4 .cab": "an archive of a kind that is not read: unpack it, or pack it as ZIP",
    ".xml": "XML: export CSV, JSON or HTML instead",
    ".msg .pst .ost .dbx": "Outlook's own format: export the mails as .eml or .mbox",
    ".db .sqlite .sqlite3 .sql .mdb .accdb .bak .dump": "a database: export its tables as CSV or JSON lines",
    ".png .jpg .jpeg .gif .bmp .svg .webp .tif .tiff .ico .heic .mp3 .mp4 .wav .ogg .mov .avi .webm": "a picture or a "
    "recording, which has no text",
    ".css .js .map .woff .woff2 .ttf .eot": "a web page's style or script, which has no text",
}
REASON = {suffix: why for suffixes, why in REASONS.items() for suffix in suffixes.split()}
UNKNOWN = "of a kind that no reader knows: export it as CSV, JSON lines or Markdown"
NO_FILE = "neither a file nor a folder"
IGNORED = "matches curate.read.ignore"
EMPTY_ARCHIVE = "an archive with nothing in it"
NOTION = "a database of Notion, whose rows are pages beside it: an entry in curate.read.tables reads it as a table"
ATTACHMENT = "attached to a page of Confluence: give it as an input of its own if it holds tickets or pages"
INDEX = "Confluence's table of contents"
NOTION_TABLE = re.compile(r"\s[0-9a-f]{32}(?:_all)?\.csv$")
ATTACHED = re.compile(r"(?:^|/)attachments/\d+/")
EXAMPLES = 3  # paths that are named for each reason


@dataclass(frozen=True)
class LeftOut:
    """A file that is not read. `path`: relative to its input."""

    path: str
    why: str


def why(path: str) -> str:
    """Returns why no reader takes a file of this name."""
    return REASON.get(PurePosixPath(path).suffix.lower(), UNKNOWN)


def part_of_export(path: str) -> str:
    """Returns why a file that a reader could take is not content: it belongs to an export; "" for others."""
    if NOTION_TABLE.search(path):
        return NOTION
    return ATTACHMENT if ATTACHED.search(path) else ""


def summary(files: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """Returns `{why, files, examples}` for each reason, the most frequent first."""
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(file.why, []).append(file.path)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"why": why, "files": len(paths), "examples": sorted(paths)[:EXAMPLES]} for why, paths in ordered]
