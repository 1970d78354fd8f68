"""Finding what there is to read, and saying so before any work starts.

Output contract: `discover` returns every readable file below the inputs, sorted, each with its format, source name,
encoding, size and digest, or raises `InputError` with one sentence about what is wrong and what to do. Hidden files and
folders are not looked at; other files are listed as ignored.
This module reads headers and digests, no rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from pyarrow import fs as pafs

from pipeline.config import Columns, Read
from pipeline.errors import InputError
from pipeline.read import freshdesk, table, zendesk
from pipeline.read.csvfile import read_header
from pipeline.read.open_inputs import Span, below, examine, locate
from pipeline.read.ticket import Layout

Format = Literal["zendesk", "freshdesk", "csv", "jsonl", "parquet", "markdown"]
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".md": "markdown",
    ".mdx": "markdown",
    ".markdown": "markdown",
}
UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
READS = ", ".join(SUFFIXES)
EXAMPLE = '{match: "NAME.csv", columns: {prompt: QUESTION COLUMN, response: ANSWER COLUMN}}'


@dataclass(frozen=True)
class InputFile:
    """One file to read. `columns`: the column map of a generic table; `blank`: a table file with nothing in it."""

    source: str
    format: Format
    uri: str  # absolute local path or URI
    path: str  # relative to its input, with forward slashes
    columns: Columns | None
    size: int  # bytes
    digest: str  # BLAKE2b-128 of the content, hex
    encoding: str  # of a text file; "" for Parquet
    blank: bool
    span: Span | None = None  # the part of the file that is to be read, None: all of it


@dataclass(frozen=True)
class Discovery:
    files: tuple[InputFile, ...]
    ignored: tuple[str, ...]  # relative paths of files with other suffixes


@dataclass(frozen=True)
class _Found:
    root: str  # the input as it was given
    uri: str
    path: str
    below: bool  # found in a folder, not named itself


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _name(root: str) -> str:
    """Returns the last part of an input's path: the name of the folder or file."""
    path = unquote(urlsplit(root).path) if "://" in root else str(Path(root).resolve())
    return PurePosixPath(path.rstrip("/")).name or "input"


def _local(folder: Path, above: frozenset[Path]) -> Iterator[tuple[Path, bool]]:
    """Yields (path, is a file) of what is below a folder; a link back to a folder `above` it is not followed."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            if not entry.exists() and _suffix(entry.name) in SUFFIXES:
                raise InputError(f"{entry} is a link to a file that does not exist: remove it or put the file there")
            yield entry, entry.is_file()
        elif (real := entry.resolve()) not in above:
            yield from _local(entry, above | {real})


def _listing(filesystem: pafs.FileSystem, place: str) -> Iterator[tuple[str, bool]]:
    """Yields (path relative to the folder, is a file) of everything in it that is not hidden, in no order."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        for found, is_file in _local(Path(place), frozenset({Path(place).resolve()})):
            yield found.relative_to(place).as_posix(), is_file
        return
    for entry in filesystem.get_file_info(pafs.FileSelector(place, recursive=True)):
        path = entry.path[len(place) :].lstrip("/")
        if entry.type == pafs.FileType.File and not any(part.startswith(".") for part in path.split("/")):
            yield path, True


def _walk(root: str) -> Iterator[tuple[_Found, bool]]:
    """Yields what is in an input, and whether it is a file (and not a pipe or a device)."""
    filesystem, place = locate(root)
    try:
        info = filesystem.get_file_info(place)
        if info.type == pafs.FileType.File:
            yield _Found(root, root if "://" in root else place, PurePosixPath(place).name, False), True
            return
        if info.type != pafs.FileType.Directory:
            what = "does not exist" if info.type == pafs.FileType.NotFound else "is neither a file nor a folder"
            raise InputError(f"the input {root} {what}")
        listed = sorted(_listing(filesystem, place))
    except OSError as error:
        raise InputError(f"cannot read the input {root}: {error.strerror or error}") from error
    for path, is_file in listed:
        if UNFIT.search(path):
            raise InputError(f"the name {path!r} in {root} is not valid UTF-8 or holds control characters: rename it")
        yield _Found(root, below(root, path), path, True), is_file


def _source(found: _Found, format_: Format) -> str:
    if format_ != "markdown":
        return str(PurePosixPath(found.path).with_suffix(""))
    if not found.below:
        return PurePosixPath(found.path).stem
    first, slash, _ = found.path.partition("/")
    return first if slash else _name(found.root)


def _unknown(found: _Found, names: Sequence[str], what: str) -> InputError:
    return InputError(
        f"{found.path} is {what}; its columns are {table.listing(names)}. "
        f"Say which column is the question and which the answer, in curate.read.tables: {EXAMPLE}"
    )


def _table(
    found: _Found, format_: Format, encoding: str, size: int, settings: Read
) -> tuple[Format, Columns | None, bool]:
    """Returns (format, column map, whether it is blank) of a table; raises `InputError` for one that nothing fits."""
    if format_ == "csv":
        header = read_header(found.uri, encoding)
        names = None if header is None else list(header.names)
    elif format_ == "jsonl":
        names = table.jsonl_names(found.uri, encoding, size)
    else:
        names = table.parquet_names(found.uri)
    if names is None:
        return format_, None, True
    if not any(names):
        where = f"in one of its first {table.SAMPLE} lines" if format_ == "jsonl" else "in its first line"
        what = "no JSON object" if format_ == "jsonl" else "no column names"
        raise InputError(f"{found.path} has {what} {where}")
    filename = PurePosixPath(found.path).name
    for entry in settings.tables:
        if fnmatchcase(filename, entry.match) or fnmatchcase(found.path, entry.match):
            table.check(entry.columns, names, found.path)
            return format_, entry.columns, False
    if format_ != "csv":
        raise _unknown(found, names, "a table that no entry in curate.read.tables matches")
    layouts: dict[Format, Layout] = {"zendesk": zendesk.LAYOUT, "freshdesk": freshdesk.LAYOUT}
    likeliest = max(layouts, key=lambda name: layouts[name].score(names))
    if layouts[likeliest].score(names) >= 2:
        layouts[likeliest].locate(names, found.path)
        return likeliest, None, False
    raise _unknown(found, names, "neither a Zendesk nor a Freshdesk export")


def _file(found: _Found, settings: Read) -> InputFile:
    format_ = SUFFIXES[_suffix(found.path)]
    size, digest, encoding = examine(found.uri, text=format_ != "parquet")
    source = _source(found, format_)
    columns, blank = None, format_ != "markdown" and size == 0
    if format_ != "markdown" and not blank:
        format_, columns, blank = _table(found, format_, encoding, size, settings)
    return InputFile(source, format_, found.uri, found.path, columns, size, digest, encoding, blank)


def _check_names(files: Sequence[tuple[_Found, Format]]) -> None:
    """Raises `InputError` when two files could not be told apart in metrics and rejects."""
    seen: dict[tuple[str, ...], _Found] = {}
    for found, format_ in files:
        source = _source(found, format_)
        for key in (("uri", found.uri), ("page", source, found.path) if format_ == "markdown" else ("table", source)):
            other = seen.setdefault(key, found)
            if other is found:
                continue
            if key[0] == "uri":
                raise InputError(f"{found.uri} is given twice: by {other.root} and by {found.root}")
            if other.root == found.root:
                raise InputError(
                    f"{other.path} and {found.path} would both be the source `{source}`: rename one of them"
                )
            raise InputError(
                f"{other.uri} and {found.uri} would both be {found.path} of the source `{source}`: "
                "give the folder above both as the input instead"
            )


def discover(inputs: Sequence[str], settings: Read) -> Discovery:
    """Finds the files below `inputs` (files, folders, URIs); raises `InputError`. Reads every file once."""
    if not inputs:
        raise InputError(f"no input: give a file or folder with --input (read are {READS})")
    wanted: list[tuple[_Found, Format]] = []
    ignored: list[str] = []
    for root in inputs:
        count = len(wanted)
        for found, is_file in _walk(root):
            if is_file and (format_ := SUFFIXES.get(_suffix(found.path))):
                wanted.append((found, format_))
            else:
                ignored.append(found.path)
        if count == len(wanted):
            raise InputError(f"nothing to read in {root}: read are files that end in {READS}")
    _check_names(wanted)
    files = [_file(found, settings) for found, _ in wanted]
    if all(file.blank or file.size == 0 for file in files):
        raise InputError(f"nothing to read: {', '.join(file.path for file in files[:5])} - every file is empty")
    files.sort(key=lambda file: (file.source, file.path, file.uri))
    return Discovery(tuple(files), tuple(sorted(ignored)))
