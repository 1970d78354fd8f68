"""Detoxify's models: an official one by name, or a checkpoint folder in its format.

Output contract: `load` returns a `detoxify.Detoxify`. A checkpoint is a pickle, which can run code: its SHA-256 is
verified before anything is loaded, and one that is not on the pinned list is read as tensors and plain values only. An
official model is downloaded by torch.hub at first use; a folder needs no network.
This module scores nothing.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, MissingModelError

PINNED = {  # SHA-256 of Detoxify's official checkpoints: in full where published, else the 8 digits of the file name
    "original": "c1212f89ac23307ab33932ce29dc446a6e030fb3f384a500890bbe662b7b544a",
    "unbiased": "c7548aa09468726af4cfdd0959912467784de4a076786913ada9f0f21b68f60d",
    "multilingual": "0b549669",
    "original-small": "0e1d6498",
    "unbiased-small": "c8519128",
}


def load(model: str, device: str) -> Any:
    try:
        import detoxify
        from transformers.utils import logging
    except ImportError as error:
        raise MissingModelError("toxicity needs detoxify: pip install 'solotune[curate]'") from error
    logging.disable_progress_bar()  # "Loading weights", once per actor, says nothing to anybody
    if model in PINNED:
        return _official(detoxify, model, device)
    folder = Path(model)
    if not (folder.is_absolute() and folder.is_dir()):
        raise MissingModelError(
            f"curate.toxicity.model: {model} is neither a folder, seen from the configuration file, nor a Detoxify "
            f"model ({', '.join(PINNED)})"
        )
    return _local(detoxify, folder, device)


def _official(detoxify: Any, model: str, device: str) -> Any:
    """Downloads an official checkpoint at first use, verifies it, and lets Detoxify load it from torch.hub's cache."""
    import torch
    from detoxify.detoxify import MODEL_URLS

    url = MODEL_URLS[model]
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=PINNED[model], progress=False)
        _verify(path, PINNED[model])
        return detoxify.Detoxify(model, device=device)
    except (OSError, RuntimeError) as error:
        raise MissingModelError(
            f"Detoxify's `{model}` is not on this machine and cannot be downloaded ({type(error).__name__}): run once "
            f"with network, or name a checkpoint folder in curate.toxicity.model"
        ) from error


def _local(detoxify: Any, folder: Path, device: str) -> Any:
    """Loads a folder: one *.ckpt, SHA256 as sha256sum writes it, config.json and a tokenizer."""
    import torch

    found = sorted(folder.glob("*.ckpt"))
    if len(found) != 1:
        raise MissingModelError(f"{folder} must hold exactly one *.ckpt, it holds {len(found)}")
    checkpoint = found[0]
    _verify(checkpoint, _recorded(folder, checkpoint.name))
    pinned = any(_digest(checkpoint).startswith(digest) for digest in PINNED.values())
    loaded = torch.load(checkpoint, map_location=device, weights_only=not pinned)
    # Detoxify looks these two up before it honours huggingface_config_path; a hub name here would need the network
    loaded["config"]["arch"]["args"]["model_type"] = str(folder)
    buffer = io.BytesIO()
    torch.save(loaded, buffer)
    buffer.seek(0)
    return detoxify.Detoxify(checkpoint=buffer, device=device, huggingface_config_path=str(folder))


def _recorded(folder: Path, name: str) -> str:
    """Returns the SHA-256 that the folder's `SHA256` states for a file."""
    sums = folder / "SHA256"
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    stated = {words[-1].lstrip("*"): words[0].lower() for words in map(str.split, lines) if len(words) == 2}
    if len(stated.get(name, "")) != 64:
        raise MissingModelError(f"{folder} states no SHA-256 for {name}: write it with `sha256sum *.ckpt > SHA256`")
    return stated[name]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _verify(path: Path, expected: str) -> None:
    """Raises `IntegrityError` unless the file's SHA-256 starts with `expected`."""
    if not _digest(path).startswith(expected):
        raise IntegrityError(f"{path} does not have the expected SHA-256 {expected}: delete it and fetch it again")
