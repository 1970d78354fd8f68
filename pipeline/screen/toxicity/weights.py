"""Detoxify's models: an official one by name, or a checkpoint folder in its format.

Output contract: `load` returns a `detoxify.Detoxify`. A checkpoint is a pickle, which can run code. Detoxify unpickles
only an official checkpoint whose whole SHA-256 is pinned here and verified. Every other one, a folder's always, is read
as tensors and plain values. torch.hub downloads an official model at first use; a folder needs no network.
This module scores nothing.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, MissingModelError
from pipeline.storage import sha256

PINNED = {  # whole SHA-256 of Detoxify's official checkpoints, where published; 8 digits in a file name are no pin
    "original": "c1212f89ac23307ab33932ce29dc446a6e030fb3f384a500890bbe662b7b544a",
    "unbiased": "c7548aa09468726af4cfdd0959912467784de4a076786913ada9f0f21b68f60d",
}


def load(model: str, device: str) -> Any:
    """Returns Detoxify with an official model or a folder's, on a device.

    Raises `MissingModelError` where it is not there and `IntegrityError` where its checkpoint is not the stated one.
    """
    try:
        import detoxify
        from transformers.utils import logging
    except ImportError as error:
        raise MissingModelError("toxicity needs detoxify: pip install 'solotune[curate]'") from error
    logging.disable_progress_bar()  # "Loading weights", once per actor
    official = detoxify.detoxify.MODEL_URLS
    if model in official:
        return _official(detoxify, model, official[model], device)
    folder = Path(model)
    if not (folder.is_absolute() and folder.is_dir()):
        raise MissingModelError(
            f"curate.toxicity.model: {model} is neither a folder, seen from the configuration file, nor a Detoxify "
            f"model ({', '.join(official)})"
        )
    return _local(detoxify, folder, device)


def _official(detoxify: Any, model: str, url: str, device: str) -> Any:
    """Downloads an official checkpoint at first use, verifies it, and loads it from torch.hub's cache."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    expected = PINNED.get(model) or path.stem.rsplit("-", 1)[-1]  # the name ends with the digest's first 8 digits
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=False)
        _verify(path, expected)
        if model in PINNED:
            return detoxify.Detoxify(model, device=device)
        return detoxify.Detoxify(checkpoint=_saved(_read(path, device)), device=device)
    except (OSError, RuntimeError) as error:
        raise MissingModelError(
            f"Detoxify's `{model}` is not on this machine and cannot be downloaded ({type(error).__name__}): run once "
            f"with network, or name a checkpoint folder in curate.toxicity.model"
        ) from error


def _local(detoxify: Any, folder: Path, device: str) -> Any:
    """Loads a folder: one *.ckpt, SHA256 as sha256sum writes it, config.json and a tokenizer."""
    checkpoints = sorted(folder.glob("*.ckpt"))
    if len(checkpoints) != 1:
        raise MissingModelError(f"{folder} must hold exactly one *.ckpt, it holds {len(checkpoints)}")
    checkpoint = checkpoints[0]
    _verify(checkpoint, _stated_digest(folder, checkpoint.name))
    loaded = _read(checkpoint, device)
    # Detoxify looks these two up before it honours huggingface_config_path; a hub name here would need the network
    loaded["config"]["arch"]["args"]["model_type"] = str(folder)
    return detoxify.Detoxify(checkpoint=_saved(loaded), device=device, huggingface_config_path=str(folder))


def _read(checkpoint: Path, device: str) -> Any:
    """Returns a checkpoint's tensors and plain values; raises `MissingModelError` where it holds anything else."""
    import torch

    try:
        return torch.load(checkpoint, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise MissingModelError(
            f"{checkpoint} holds more than tensors and plain values, which could run code when read: it is not loaded; "
            "save it again without the rest"
        ) from error


def _saved(loaded: Any) -> io.BytesIO:
    """Returns safely read values as a checkpoint for Detoxify, which unpickles without a check."""
    import torch

    buffer = io.BytesIO()
    torch.save(loaded, buffer)
    buffer.seek(0)
    return buffer


def _stated_digest(folder: Path, name: str) -> str:
    """Returns the SHA-256 of a file as the folder's `SHA256` states it."""
    sums = folder / "SHA256"
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    stated = {words[-1].lstrip("*"): words[0].lower() for words in map(str.split, lines) if len(words) == 2}
    if len(stated.get(name, "")) != 64:
        raise MissingModelError(f"{folder} states no SHA-256 for {name}: write it with `sha256sum *.ckpt > SHA256`")
    return stated[name]


def _verify(path: Path, expected: str) -> None:
    """Raises `IntegrityError` unless the file's SHA-256 starts with `expected`."""
    if not sha256(path).startswith(expected):
        raise IntegrityError(f"{path} does not have the expected SHA-256 {expected}: delete it and fetch it again")
