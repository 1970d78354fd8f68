"""Finding what there is to read, and saying so before any work starts.

Output contract: `discover` returns every readable file of the inputs, sorted, each with its format, source name,
encoding, size and digest, and what is left out with the reason; or raises `InputError` with one sentence about what is
wrong and what to do. A file's content says what it is where its name is wrong. Mails of one source are one file,
because a reply may be in another one.
This module reads headers and digests, no rows; JSON documents and workbooks it reads through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline.config import Read, TableSource
from pipeline.errors import InputError
from pipeline.read import layouts, table_files
from pipeline.read.inputs import archives, left_out
from pipeline.read.inputs.examine import examine
from pipeline.read.inputs.input_file import PAGES, Format, InputFile, together
from pipeline.read.inputs.left_out import LeftOut
from pipeline.read.inputs.walk import Found, walk
from pipeline.read.joins import conversations_together

SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".xls": "xlsx",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".md": "markdown",
    ".mdx": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".eml": "mail",
    ".mbox": "mail",
}
TEXTS = (".txt", ".tab", ".dat", ".asc")  # tables, if an entry of curate.read.tables names the suffix
READS = ", ".join(SUFFIXES)
NOTION_ID = re.compile(r"\s+[0-9a-f]{32}(?=/|$)")
START = b"\xef\xbb\xbf \t\r\n"  # may stand before the first character of a text


@dataclass(frozen=True)
class Discovery:
    files: tuple[InputFile, ...]
    left_out: tuple[LeftOut, ...]


def _name(root: str) -> str:
    """Returns the last part of an input's path: the name of the folder or file."""
    path = unquote(urlsplit(root).path) if "://" in root else str(Path(root).resolve())
    return PurePosixPath(path.rstrip("/")).name or "input"


def _source(found: Found, format_: Format) -> str:
    """Returns what a file's rows are counted under: a table by its own name, pages and mails by their first folder."""
    name = NOTION_ID.sub("", str(PurePosixPath(found.name).with_suffix("")))
    if format_ not in (*PAGES, "mail"):
        return name
    if not found.below:
        return PurePosixPath(name).name
    first, slash, _ = name.partition("/")
    alone = first != str(PurePosixPath(found.name).with_suffix(""))  # a page of Notion beside the folder of its pages
    return first if slash or alone else NOTION_ID.sub("", _name(found.root))


def _format(found: Found) -> Format:
    """Returns how to read a file: by its name, or by its first bytes where they tell otherwise."""
    format_ = SUFFIXES.get(found.suffix)
    if found.office or found.head.startswith(archives.OLD_OFFICE):
        return "xlsx"
    if found.head.startswith(archives.PARQUET):
        return "parquet"
    start = found.head.lstrip(START)[:1]
    if format_ == "xlsx":
        if start == b"<":
            raise InputError(f"{found.path} is no workbook but HTML or XML: open it in Excel and save it as .xlsx")
        return "csv"
    if format_ is None:
        return "json" if start in (b"{", b"[") else "csv"
    return format_


def _page(found: Found) -> bool:
    """Tells whether a file is content: Confluence's table of contents is not."""
    return not (
        PurePosixPath(found.name).name == "index.html" and b'<div id="main-content" class="pageSection' in found.head
    )


def _files(found: Found, settings: Read) -> Iterator[InputFile | LeftOut]:
    """Yields what is read of a file, and what is not; what belongs to an export is read if an entry fits it."""
    entry = layouts.entry_for((found.path, found.name), settings)
    why = left_out.part_of_export(found.path)
    try:
        if not why or entry is not None:
            yield from list(_content(found, entry, settings))
            return
    except InputError:
        if not why:
            raise
    yield LeftOut(found.path, why)


def _content(found: Found, entry: TableSource | None, settings: Read) -> Iterator[InputFile | LeftOut]:
    format_ = _format(found)
    facts = examine(found, (entry.encoding if entry else None) or settings.encoding)
    file = InputFile(
        _source(found, format_), format_, found.uri, found.path, facts.size, facts.digest, facts.encoding, entry=entry
    )
    if format_ not in (*PAGES, "mail"):
        yield from table_files.tables(file)
    elif facts.size and not facts.encoding:
        raise InputError(f"{found.path} is not a text, whatever its name says: leave it out with curate.read.ignore")
    elif format_ == "html" and not _page(found):
        yield LeftOut(found.path, left_out.INDEX)
    else:
        yield replace(file, entry=None)


def _mails_together(files: Iterable[InputFile]) -> list[InputFile]:
    """Returns the files with all mails of a source as one: the reply to a mail is often in another file."""
    others: list[InputFile] = []
    mails: dict[str, list[InputFile]] = {}
    for file in files:
        if file.format == "mail":
            mails.setdefault(file.source, []).append(file)
        else:
            others.append(file)
    for source, parts in mails.items():
        whole = together(sorted(parts, key=lambda file: (file.path, file.uri)))
        others.append(whole if len(parts) == 1 else replace(whole, path=source))
    return others


def _check_names(files: Sequence[tuple[str, InputFile]]) -> None:
    """Raises `InputError` when two files could not be told apart in metrics and rejects; `files`: with their inputs."""
    seen: dict[tuple[str, ...], tuple[str, InputFile]] = {}
    for root, file in files:
        whose = ("table", file.source) if file.format not in (*PAGES, "mail") else ("page", file.source, file.path)
        for key in (("uri", file.uri, file.part), whose):
            other_root, other = seen.setdefault(key, (root, file))
            if other is file:
                continue
            if key[0] == "uri":
                raise InputError(f"{file.uri} is given twice: by {other_root} and by {root}")
            if other_root == root:
                raise InputError(
                    f"{other.path} and {file.path} would both be the source `{file.source}`: rename one of them, or "
                    "leave one out with curate.read.ignore"
                )
            raise InputError(
                f"{other.uri} and {file.uri} would both be {file.path} of the source `{file.source}`: "
                "give the folder above both as the input instead"
            )


def discover(inputs: Sequence[str], settings: Read) -> Discovery:
    """Finds the files below `inputs` (files, folders, URIs); raises `InputError`. Reads every file once."""
    if not inputs:
        raise InputError(f"no input: give a file or folder with --input (read are {READS}, packed or not)")

    def wanted(path: str) -> bool:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in SUFFIXES:
            return True
        entry = layouts.entry_for((path,), settings) if suffix in TEXTS else None
        return entry is not None and entry.match.lower().endswith(suffix)

    files: list[tuple[str, InputFile]] = []
    left: list[LeftOut] = []
    for root in inputs:
        before, passed = len(files), len(left)
        for found in walk(root, wanted, settings.ignore):
            for file in [found] if isinstance(found, LeftOut) else _files(found, settings):
                if isinstance(file, LeftOut):
                    left.append(file)
                else:
                    files.append((root, file))
        if before == len(files):
            first = "".join(f"; {file.path} is {file.why}" for file in left[passed : passed + 1])
            raise InputError(f"nothing to read in {root}: read are files that end in {READS}, packed or not{first}")
    _check_names(files)
    together = _mails_together(conversations_together(files))
    if all(file.blank or file.size == 0 for file in together):
        raise InputError(f"nothing to read: {', '.join(file.path for file in together[:5])} - every file is empty")
    together.sort(key=lambda file: (file.source, file.path, file.uri))
    return Discovery(tuple(together), tuple(sorted(left, key=lambda file: file.path)))
