"""What is there to read: folders are walked, archives and compressed files opened.

Output contract: `walk` yields every file below an input as `Found`, in the order of their paths, with its first bytes;
what no reader takes as `LeftOut`. Hidden files and folders are not looked at. What is inside a file is named as if the
file were a folder (`export.zip/tickets.csv`); what a compressed file holds has the file's name. An archive cannot grow
beyond its `Budget`: its content is counted as it is read. Raises `InputError` in one sentence.
This module knows what packs files, not what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pyarrow import fs as pafs

from pipeline.errors import InputError
from pipeline.read.inputs import archives, left_out
from pipeline.read.inputs.archives import Budget
from pipeline.read.inputs.left_out import LeftOut
from pipeline.read.inputs.open_inputs import BLOCK, Member, archive, below, locate, open_bytes

UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
HEAD = 1 << 16  # first bytes of a file, by which it is recognised
COMPRESSED = frozenset({".gz", ".gzip", ".zst", ".zstd"})
PACKED = frozenset({".zip", *COMPRESSED})


@dataclass(frozen=True)
class Found:
    """A file, or something inside one. `name`: its path as it would be unpacked."""

    root: str  # the input as it was given
    uri: str
    path: str  # relative to its input, with forward slashes
    name: str
    below: bool  # found in a folder or an archive, not named itself
    head: bytes = b""
    office: str = ""  # an archive that is an office program's file: `workbook`
    budget: Budget | None = None

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()


def _local(folder: Path, above: frozenset[Path], wanted: Callable[[str], bool]) -> Iterator[tuple[Path, bool]]:
    """Yields (path, is a file) of what is below a folder; a link back to a folder `above` it is not followed."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            if not entry.exists() and wanted(entry.name):
                raise InputError(f"{entry} is a link to a file that does not exist: remove it or put the file there")
            yield entry, entry.is_file()
        elif (real := entry.resolve()) not in above:
            yield from _local(entry, above | {real}, wanted)


def _listing(filesystem: pafs.FileSystem, place: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bool]]:
    """Yields (path relative to the folder, is a file) of everything in it that is not hidden, in no order."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        for found, is_file in _local(Path(place), frozenset({Path(place).resolve()}), wanted):
            yield found.relative_to(place).as_posix(), is_file
        return
    for entry in filesystem.get_file_info(pafs.FileSelector(place, recursive=True)):
        path = entry.path[len(place) :].lstrip("/")
        if entry.type == pafs.FileType.File and not any(part.startswith(".") for part in path.split("/")):
            yield path, True


def _files(root: str, wanted: Callable[[str], bool]) -> Iterator[tuple[Found, bool]]:
    """Yields what is in an input, and whether it is a file (and not a pipe or a device)."""
    filesystem, place = locate(root)
    try:
        info = filesystem.get_file_info(place)
        if info.type == pafs.FileType.File:
            name = PurePosixPath(place).name
            yield Found(root, root if "://" in root else place, name, name, False), True
            return
        if info.type != pafs.FileType.Directory:
            what = "does not exist" if info.type == pafs.FileType.NotFound else "is neither a file nor a folder"
            raise InputError(f"the input {root} {what}")
        listed = sorted(_listing(filesystem, place, wanted))
    except OSError as error:
        raise InputError(f"cannot read the input {root}: {error.strerror or error}") from error
    for path, is_file in listed:
        yield Found(root, below(root, path), _fit(path, root), path, True), is_file


def _fit(path: str, where: str) -> str:
    if UNFIT.search(path):
        raise InputError(f"the name {path!r} in {where} is not valid UTF-8 or holds control characters: rename it")
    return path


def ignored(found: Found, globs: tuple[str, ...]) -> bool:
    """Tells whether one of the globs matches a file's name or its path."""
    names = (found.path, PurePosixPath(found.path).name, found.name, PurePosixPath(found.name).name)
    return any(fnmatchcase(name, glob) for glob in globs for name in names)


def walk(root: str, wanted: Callable[[str], bool], globs: tuple[str, ...] = ()) -> Iterator[Found | LeftOut]:
    """Yields what is in an input; `wanted` tells by a path whether a reader takes it, `globs` what is ignored."""
    for found, is_file in _files(root, lambda path: wanted(path) or PurePosixPath(path).suffix.lower() in PACKED):
        if not is_file:
            yield LeftOut(found.path, left_out.NO_FILE)
        else:
            yield from _open_up(found, wanted, globs, 0)


def _open_up(
    found: Found, wanted: Callable[[str], bool], globs: tuple[str, ...], depth: int
) -> Iterator[Found | LeftOut]:
    """Yields a file, or what is inside it."""
    if ignored(found, globs):
        yield LeftOut(found.path, left_out.IGNORED)
        return
    if not wanted(found.name) and found.suffix not in PACKED:
        yield LeftOut(found.path, left_out.why(found.name))
        return
    with open_bytes(found.uri) as stream:
        found = replace(found, head=stream.read(HEAD))
    kind = archives.kind_of(found.head)
    if kind is None and found.suffix in PACKED and found.head:
        raise InputError(
            f"{found.path} is neither a ZIP archive nor compressed, whatever its name says: export it again"
        )
    if kind is None:
        yield found if wanted(found.name) else LeftOut(found.path, left_out.why(found.name))
        return
    if depth == archives.DEEPEST:
        raise InputError(f"{found.path} is an archive inside of {depth} others: unpack it")
    if found.budget is None:
        found = replace(found, budget=Budget.of(found.path, _size(found.uri)))
    if kind == "zip":
        yield from _unzip(found, wanted, globs, depth)
        return
    inside = replace(found, uri=Member(found.uri, kind), name=decompressed(found.name))
    yield from _open_up(inside, _or_unnamed(wanted), globs, depth + 1)


def _unzip(
    found: Found, wanted: Callable[[str], bool], globs: tuple[str, ...], depth: int
) -> Iterator[Found | LeftOut]:
    if isinstance(found.uri, Member) and found.budget:
        count(found.uri, found.budget)  # an archive in an archive is taken out of it as a whole
    packed = archive(found.uri)
    office = archives.office(frozenset(packed.namelist()))
    if office == "workbook":
        yield replace(found, office=office)
        return
    if found.suffix in (".xlsx", ".xlsm"):
        raise InputError(f"{found.path} is not a whole Excel workbook: save it again, or as CSV")
    if office:
        yield LeftOut(found.path, left_out.why("x.docx"))
        return
    try:
        names = sorted(archives.entries(packed))
    except archives.BrokenError as error:
        raise InputError(f"{found.path} {error}") from error
    if not names:
        yield LeftOut(found.path, left_out.EMPTY_ARCHIVE)
    inside = str(PurePosixPath(found.name).with_suffix("")) if found.suffix == ".zip" else found.name
    for name in names:
        path = _fit(archives.path_in(name), found.path)
        member = Found(
            found.root, Member(found.uri, "zip", name), f"{found.path}/{path}", f"{inside}/{path}", True,
            budget=found.budget,
        )  # fmt: skip
        yield from _open_up(member, wanted, globs, depth + 1)


def _size(uri: str) -> int:
    files, place = locate(uri)
    return int(files.get_file_info(place).size or 0)


def count(uri: str, budget: Budget) -> None:
    """Reads a file and takes its bytes from a budget."""
    with open_bytes(uri) as stream:
        while block := stream.read(BLOCK):
            budget.take(len(block))


def decompressed(name: str) -> str:
    """Returns the name of what a compressed file holds: `tickets.csv` of `tickets.csv.gz`."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in COMPRESSED else name


def _or_unnamed(wanted: Callable[[str], bool]) -> Callable[[str], bool]:
    """`tickets.gz` does not say what it holds: its content will."""
    return lambda path: wanted(path) or not PurePosixPath(path).suffix
