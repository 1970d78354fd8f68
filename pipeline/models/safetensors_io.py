"""A model folder's safetensors, one tensor at a time.

Output contract: `read` and `shapes` give every tensor of a folder, in the same order, with one shard open; `Shards`
writes tensors into numbered files of a limited size and their index when there are several, and takes no name twice.
What is read are the files that transformers would read. A folder without such weights, with a shard missing, cut short
or a pointer of git-lfs is a `MissingModelError`, and `require_finite` makes one of NaN.
This module computes nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import IntegrityError, MissingModelError

if TYPE_CHECKING:
    import torch

LIMIT = 4 << 30  # bytes of a file: so much of the merged model is in memory at a time
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec"
"""How a file begins that git-lfs has left in place of the real one."""
_OTHERS = {  # what else weights come as, and what to do about it
    "*model*.bin *.pt *.pth *.ckpt": "pickles, which may run code when they are read: where you trust it, load it with "
    "transformers and save it with `save_pretrained`",
    "*.gguf": "a GGUF file: name the file itself as base_model",
    "adapter_model.safetensors": "those of an adapter: merge it into its base first",
    "*.safetensors": f"safetensors without {SINGLE} or {INDEX}: download the model again, or convert it with "
    "transformers",
    "*.h5 *.msgpack *.onnx": "those of another framework: convert it with transformers",
}


def files(folder: Path) -> list[Path]:
    """Returns the files with a folder's weights, those that transformers reads; raises `MissingModelError` where there
    are none or one is missing."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        raise MissingModelError(f"{folder} has no safetensors weights{_instead(folder)}")
    try:
        names = sorted({str(name) for name in json.loads((folder / INDEX).read_text())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingModelError(_unreadable(folder / INDEX, "index of weights")) from error
    if missing := [name for name in names if not (folder / name).is_file()]:
        others = f" and {len(missing) - 1} more files of weights are" if missing[1:] else " is"
        raise MissingModelError(f"{folder} is incomplete: {missing[0]}{others} missing; download the model again")
    return [folder / name for name in names]


def _instead(folder: Path) -> str:
    for patterns, what in _OTHERS.items():
        if found := sorted(path for pattern in patterns.split() for path in folder.glob(pattern)):
            return f", but {found[0].name}: its weights are {what}"
    return ": download the model again"


def is_pointer(path: Path) -> bool:
    """Tells whether git-lfs has left a file's address in its place."""
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER


def _unreadable(path: Path, what: str) -> str:
    if is_pointer(path):
        return f"{path} is a pointer of git-lfs, not the file: run `git lfs pull` there"
    return f"{path} is no {what}, or is cut short: download or convert the model again"


def _open(folder: Path) -> Iterator[Any]:
    """Yields every shard of a folder, opened."""
    from safetensors import SafetensorError, safe_open

    for path in files(folder):
        try:
            shard = safe_open(path, framework="pt")
        except (SafetensorError, OSError, ValueError) as error:
            raise MissingModelError(_unreadable(path, "safetensors file")) from error
        with shard:
            yield shard


def read(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the name and the content of every tensor, on the CPU."""
    for shard in _open(folder):
        for name in shard.keys():  # noqa: SIM118 -- not a dict
            yield name, shard.get_tensor(name)


def require_finite(folder: Path) -> None:
    """Raises `MissingModelError` for a folder with a weight that is NaN or infinite; reads every one (3 s for a 7B)."""
    import torch

    for name, tensor in read(folder):
        if tensor.numel() and tensor.is_floating_point():
            least, most = torch.aminmax(tensor if tensor.element_size() > 1 else tensor.float())  # NaN comes through
            if not (torch.isfinite(least) and torch.isfinite(most)):
                raise MissingModelError(
                    f"{folder} is damaged: {name} holds NaN or infinite numbers; download or convert the model again"
                )


def shapes(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the name and the shape of every tensor; reads no weights."""
    for shard in _open(folder):
        for name in shard.keys():  # noqa: SIM118 -- not a dict
            yield name, tuple(shard.get_slice(name).get_shape())


class Shards:
    """Writes tensors into files of at most `LIMIT` bytes each; counts what it was given."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.pending: dict[str, torch.Tensor] = {}
        self.shards: list[list[str]] = []
        self.size = self.pending_size = self.parameters = self.tensors = 0
        self.dtype: torch.dtype | None = None
        self.seen: set[str] = set()

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Adds a tensor; writes a shard when it would grow over the limit. Raises `IntegrityError` for a name added
        twice."""
        if name in self.seen:
            raise IntegrityError(f"the base has {name} in two of its files: nothing was published")
        self.seen.add(name)
        if self.pending and self.pending_size + tensor.nbytes > LIMIT:
            self._write()
        self.pending[name] = tensor.contiguous()
        self.pending_size += tensor.nbytes
        self.size += tensor.nbytes
        self.parameters += tensor.numel()
        self.tensors += 1
        self.dtype = self.dtype or tensor.dtype

    def _write(self) -> None:
        from safetensors.torch import save_file

        save_file(self.pending, self.target / f"part-{len(self.shards)}", metadata={"format": "pt"})
        self.shards.append(list(self.pending))
        self.pending, self.pending_size = {}, 0

    def close(self) -> None:
        """Gives the files their final names and writes the index."""
        self._write()
        count = len(self.shards)
        names = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        if count == 1:
            names = ["model.safetensors"]
        for number, name in enumerate(names):
            (self.target / f"part-{number}").rename(self.target / name)
        if count > 1:
            where = {tensor: name for name, shard in zip(names, self.shards, strict=True) for tensor in shard}
            index = {"metadata": {"total_size": self.size}, "weight_map": dict(sorted(where.items()))}
            (self.target / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
