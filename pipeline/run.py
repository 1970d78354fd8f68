"""The run folder: everything about one model, local or on any filesystem that pyarrow reads.

Output contract: a file appears under its name only when it is whole (temporary name, fsync, rename; object stores put
whole objects). A stage counts as finished only when its `stages/<stage>/_manifest.json` carries the expected key and
every output the manifest lists is there with its size. `begin` withdraws the manifest before anything is rewritten: a
process killed at any moment leaves the old finished stage or an unfinished one, never a mixture taken for whole.
This module does not know what the stages do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from pipeline import __version__, storage
from pipeline.errors import IntegrityError, MissingStageError, StorageError, UserError
from pipeline.schema import completed
from pipeline.storage import storage_errors


def fingerprint(*parts: Any) -> str:
    """Returns 32 hex digits that change when any part does; parts are anything JSON can write."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass
class Stage:
    """A stage being written, with its outputs so far. Made by `Run.begin`, closed by `Run.commit`."""

    name: str
    key: str
    started: float = field(default_factory=time.time)
    outputs: dict[str, int] = field(default_factory=dict)  # path in the run -> bytes


@dataclass(frozen=True)
class Run:
    """A run folder. `uri` is an absolute local path or a URI such as `s3://bucket/runs/2026-11`. Picklable."""

    uri: str

    @classmethod
    def open(cls, path: str, make: bool = True) -> Run:
        """Makes the folder if it is missing, unless told not to; raises `StorageError` when it cannot be used."""
        storage.refuse_credentials(path)
        run = cls(path if "://" in path else str(Path(path).absolute()))
        try:
            with run._located("") as (filesystem, root):
                if make:
                    filesystem.create_dir(root, recursive=True)
        except (pa.ArrowException, OSError) as error:
            raise StorageError(f"cannot use {run.uri} as a run folder: {error}") from error
        return run

    @contextlib.contextmanager
    def _located(self, path: str, verb: str = "write") -> Iterator[tuple[pafs.FileSystem, str]]:
        """Hands out the filesystem and a path's location on it; names the path in a `StorageError` of the block."""
        filesystem, root = storage.filesystem(self.uri)
        with storage_errors(self.full(path), verb):
            yield filesystem, f"{root}/{path}".rstrip("/")

    def local(self, path: str = "") -> Path:
        """Returns a local path, for what cannot live on an object store (checkpoints, model folders)."""
        with self._located(path) as (filesystem, location):
            if isinstance(filesystem, pafs.LocalFileSystem):
                return Path(location)
        raise UserError(f"{self.uri} is not a local folder: this job needs one (curate works on any filesystem)")

    def full(self, path: str) -> str:
        """Returns the path or URI of something in the run, as other libraries take it."""
        return storage.join(self.uri, path)

    # -- files --------------------------------------------------------------------------------------------------------

    def _sizes(self, paths: Iterable[str]) -> list[int | None]:
        """Returns sizes in bytes, None where there is no such file; one request for all of them."""
        with self._located("", "read") as (filesystem, root):
            infos = filesystem.get_file_info([f"{root}/{path}" for path in paths])
        return [info.size if info.type == pafs.FileType.File else None for info in infos]

    def size(self, path: str) -> int | None:
        """Returns a file's size in bytes, None where there is no such file."""
        return self._sizes([path])[0]

    def exists(self, path: str) -> bool:
        """Returns whether there is a file or folder of that path; raises `StorageError`."""
        with self._located(path, "read") as (filesystem, location):
            return bool(filesystem.get_file_info(location).type != pafs.FileType.NotFound)

    def write_bytes(self, path: str, data: bytes | pa.Buffer, private: bool = False) -> int:
        """Writes a whole file or nothing; returns its size in bytes. On a local disk nobody but its owner can read a
        private one, at any moment."""
        content = memoryview(data)
        with self._located(path) as (filesystem, location):
            if isinstance(filesystem, pafs.LocalFileSystem):
                storage.write_whole(Path(location), content, private)
            else:
                if storage.has_folders(filesystem):
                    filesystem.create_dir(location.rsplit("/", 1)[0], recursive=True)
                with filesystem.open_output_stream(location, compression=None) as stream:  # there once it is closed
                    stream.write(content)
        return content.nbytes

    def read_bytes(self, path: str) -> bytes:
        """Returns the content of a file; raises `StorageError`."""
        with (
            self._located(path, "read") as (filesystem, location),
            filesystem.open_input_stream(location, compression=None) as stream,
        ):
            return bytes(stream.read())

    def write_json(self, path: str, value: Any) -> int:
        """Writes a JSON file, whole; returns its size in bytes."""
        return self.write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def read_json(self, path: str) -> Any:
        """Returns the value in a JSON file; raises `StorageError`, or `ValueError` where it is not JSON."""
        return json.loads(self.read_bytes(path))

    def write_table(self, path: str, table: pa.Table, compression: str = "zstd", use_dictionary: bool = True) -> int:
        """Writes one Parquet file, whole; the same table gives the same bytes. Returns its size in bytes."""
        sink, how = pa.BufferOutputStream(), {"compression": compression, "use_dictionary": use_dictionary}
        pq.write_table(table.combine_chunks(), sink, row_group_size=20_000, **how)
        return self.write_bytes(path, sink.getvalue())

    def read_table(self, path: str, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
        """Reads a Parquet file; `columns` and `filters` as in `pyarrow.parquet.read_table`."""
        with self._located(path, "read") as (filesystem, location):
            return pq.read_table(location, columns=columns, filters=filters, filesystem=filesystem, partitioning=None)

    def scan(self, paths: Sequence[str], schema: pa.Schema, where: Any) -> pa.Table:
        """Returns the rows of many Parquet files for which `where`, a `pyarrow.dataset` expression, holds.

        They have the columns of `schema` (null where a file lacks one) and `file`, the path in the run. Only these
        columns are read, which are also those that `where` may name, and no row group whose statistics rule it out.
        """
        import pyarrow.dataset as ds

        columns = [*schema.names, "__filename"]
        if not paths:
            return schema.append(pa.field("file", pa.string())).empty_table()
        with self._located("", "read") as (filesystem, root):
            files = [f"{root}/{path}" for path in paths]
            dataset = ds.dataset(files, schema=schema, format="parquet", filesystem=filesystem)
            table = dataset.to_table(columns=columns, filter=where)
        names = pc.utf8_slice_codeunits(table["__filename"], start=len(root) + 1)
        return table.drop_columns(["__filename"]).append_column("file", names)

    def count_rows(self, path: str) -> int:
        """Returns how many rows a Parquet file says it has."""
        with self._located(path, "read") as (filesystem, location):
            return int(pq.read_metadata(location, filesystem=filesystem).num_rows)

    def read_outputs(self, manifest: dict[str, Any], folder: str) -> pa.Table:
        """Returns the records of all Parquet files that a finished stage has put below a folder, by name."""
        paths = [path for path in outputs(manifest, folder) if path.endswith(".parquet")]
        return pa.concat_tables([completed(self.read_table(path)) for path in paths])

    def list(self, folder: str) -> list[str]:
        """Returns the sorted paths (in the run) of the files directly in a folder; temporary names are left out."""
        with self._located(folder, "read") as (filesystem, location):
            infos = filesystem.get_file_info(pafs.FileSelector(location, allow_not_found=True))
        names = [info.base_name for info in infos if info.type == pafs.FileType.File]
        return [f"{folder}/{name}" for name in sorted(names) if not name.startswith(".")]

    def delete(self, path: str) -> None:
        """Deletes a file or a folder with all it holds; nothing happens where there is none."""
        with self._located(path, "delete") as (filesystem, location):
            kind = filesystem.get_file_info(location).type
            if kind == pafs.FileType.File:
                filesystem.delete_file(location)
            elif kind == pafs.FileType.Directory:
                filesystem.delete_dir(location)

    # -- stages -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _manifest(stage: str) -> str:
        return f"stages/{stage}/_manifest.json"

    def manifest(self, stage: str, key: str | None = None) -> dict[str, Any] | None:
        """Returns a finished stage's manifest, None when it is not finished or has another key."""
        path = self._manifest(stage)
        if not self.exists(path):
            return None
        try:
            manifest: dict[str, Any] = self.read_json(path)
        except ValueError as error:
            raise IntegrityError(f"{self.full(path)} is not JSON: delete it and run the job again") from error
        if key is not None and manifest["key"] != key:
            return None
        return manifest if self._sizes(manifest["outputs"]) == [*manifest["outputs"].values()] else None

    def require(self, stage: str) -> dict[str, Any]:
        """Returns the manifest of a stage that an earlier job must have finished, or raises `MissingStageError`."""
        manifest = self.manifest(stage)
        if manifest is None:
            if not self.exists("stages"):
                raise MissingStageError(f"{self.uri} is no run folder: `jobs.curate` makes one")
            job = stage.split("/", 1)[0]
            raise MissingStageError(
                f"{self.uri} holds no finished `{stage}`: run `jobs.{job}` on this run folder first"
            )
        return manifest

    def begin(self, stage: str, key: str) -> Stage:
        """Withdraws the stage's manifest and its intermediates; what follows is unfinished until `commit`.

        A run folder belongs to one job at a time: unfinished files that a killed one left anywhere in it go as well.
        """
        self.delete(self._manifest(stage))
        self.delete(f"stages/{stage}")
        with self._located("") as (filesystem, root):
            if isinstance(filesystem, pafs.LocalFileSystem):
                storage.sweep(Path(root))
        return Stage(stage, key)

    def put(self, stage: Stage, path: str, table: pa.Table) -> None:
        """Writes a Parquet file as an output of the stage."""
        stage.outputs[path] = self.write_table(path, table)

    def put_json(self, stage: Stage, path: str, value: Any) -> None:
        """Writes a JSON file as an output of the stage."""
        stage.outputs[path] = self.write_json(path, value)

    def add(self, stage: Stage, paths: Iterable[str]) -> None:
        """Lists files that others (Ray tasks, a trainer) have written whole as outputs of the stage."""
        for path in paths:
            size = self.size(path)
            if size is None:
                raise IntegrityError(f"stage `{stage.name}` lists {path}, which is not in {self.uri}")
            stage.outputs[path] = size

    def commit(
        self, stage: Stage, inputs: Any, rows: dict[str, int], report: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Declares the stage finished: writes the manifest, last. Returns it. `report`: what it measured."""
        manifest = {
            "stage": stage.name,
            "key": stage.key,
            "inputs": inputs,
            "version": __version__,
            "rows": rows,
            "report": report or {},
            "seconds": round(time.time() - stage.started, 3),
            "outputs": dict(sorted(stage.outputs.items())),
        }
        self.write_json(self._manifest(stage.name), manifest)
        return manifest


def outputs(manifest: dict[str, Any], folder: str) -> list[str]:
    """Returns the sorted paths of a finished stage's outputs that lie directly or deeper in a folder of the run."""
    return [path for path in sorted(manifest["outputs"]) if path.startswith(f"{folder}/")]
