"""Checkpoints that are whole or absent: what `save` was killed in the middle of, `newest` passes over.

Output contract: `checkpoints/step-00000042/` holds the files its writer put there and, written last, `manifest.json`
with the step, the key of the training it belongs to and the SHA-256 of every file. It is filled under a temporary name,
flushed to disk and renamed. Only the newest two are kept, or as many as the caller wants.
This module does not know what is in a checkpoint; `trainer` writes the adapter, optimizer, scheduler, random states
and position.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.storage import lent, sha256, storage_errors, to_disk

KEPT = 2
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A valid checkpoint: every file is there with the content its manifest names."""

    path: Path
    step: int


def save(root: Path, step: int, key: str, write: Callable[[Path], None], kept: int = KEPT) -> Path:
    """Makes the checkpoint of `step`; `write` fills the folder it is given. Returns the folder under its final name.

    Raises `StorageError` when the disk is full; nothing half-written then bears a checkpoint's name or takes up space.
    A checkpoint of a later step is not one of this training, or was passed over when it was resumed: it goes.
    """
    final, temporary = root / f"step-{step:08d}", root / f".step-{step:08d}.tmp"
    for unfinished in root.glob(".step-*.tmp"):
        shutil.rmtree(unfinished)
    with storage_errors(str(final)), lent(temporary):
        write(temporary)
        hashes = {path.relative_to(temporary).as_posix(): sha256(path) for path in files_of(temporary)}
        (temporary / MANIFEST).write_text(json.dumps({"step": step, "key": key, "files": hashes}, indent=2) + "\n")
        publish(temporary, final)
    checkpoints = sorted(root.glob("step-*"))
    stale = [path for path in checkpoints if path.name > final.name]
    for old in [*stale, *checkpoints[: max(0, len(checkpoints) - len(stale) - kept)]]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest(root: Path, key: str) -> tuple[Checkpoint | None, list[str]]:
    """Returns the newest valid checkpoint of the training `key`, None without one, and a note on each passed over."""
    notes: list[str] = []
    for path in sorted(root.glob("step-*"), reverse=True):
        try:
            manifest = json.loads((path / MANIFEST).read_text())
            problem = _problem(path, manifest, key)
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"its manifest cannot be read ({type(error).__name__})"
        if problem is None:
            return Checkpoint(path, int(manifest["step"])), notes
        notes.append(f"{path.name} passed over: {problem}")
    return None, notes


def _problem(path: Path, manifest: dict[str, object], key: str) -> str | None:
    if manifest["key"] != key:
        return "it belongs to other data, settings or formats"
    files = manifest["files"]
    if not isinstance(files, dict):
        return "its manifest lists no files"
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if sha256(file) != expected:
            return f"{name} is not what was written"
    return None


def files_of(folder: Path) -> list[Path]:
    """Returns every file under a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def publish(temporary: Path, final: Path) -> None:
    """Gives a folder that is whole its final name, in place of an older one; it survives a power cut."""
    for path in (*files_of(temporary), temporary):
        to_disk(path)
    if final.exists():
        shutil.rmtree(final)
    temporary.replace(final)
    to_disk(final.parent)
