"""Toxicity with Detoxify: an official model by name, or a checkpoint folder in Detoxify's format.

Output contract: `ToxicityStage` scores prompt and response apart, so that a polite answer does not dilute an abusive
question, writes the higher of the two as `toxicity` and marks `(toxicity, toxicity, score, threshold)` where it reaches
the threshold. A text longer than the model is scored in overlapping windows, and the highest counts. Scores have 3
decimals.
A checkpoint is a pickle, which can run code: its SHA-256 is verified before anything is loaded, and one that is not on
the pinned list is read as tensors and plain values only. An official model is downloaded by torch.hub at first use.
This module does not train.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Toxicity
from pipeline.errors import IntegrityError, MissingModelError

PINNED = {  # SHA-256 of Detoxify's official checkpoints: in full where published, else the 8 digits of the file name
    "original": "c1212f89ac23307ab33932ce29dc446a6e030fb3f384a500890bbe662b7b544a",
    "unbiased": "c7548aa0",
    "multilingual": "0b549669",
    "original-small": "0e1d6498",
    "unbiased-small": "c8519128",
}
OVERLAP = 64  # tokens that neighbouring windows of a long text share
BF16_PARAMETERS = 20_000_000  # a smaller model is fast enough in float32, which scores alike on every machine


class ToxicityStage:
    """Marks toxic rows; one instance per actor, on the GPU when there is one."""

    def __init__(self, settings: Toxicity) -> None:
        self._threshold = settings.threshold
        self._scorer = Scorer(settings.model, settings.batch_tokens)

    def __call__(self, table: pa.Table) -> pa.Table:
        live = np.flatnonzero(schema.unmarked(table))
        scores = np.zeros(table.num_rows, dtype=np.float32)
        if live.size:
            texts = [
                text or "" for name in ("prompt", "response") for text in table[name].take(pa.array(live)).to_pylist()
            ]
            scores[live] = self._scorer(texts).reshape(2, -1).max(axis=0)
        scored = np.zeros(table.num_rows, dtype=bool)
        scored[live] = True
        field = schema.WORKING.field("toxicity")
        column = pa.array(scores, field.type, mask=~scored)
        table = table.set_column(table.schema.get_field_index("toxicity"), field, column)
        return schema.mark(
            table, scores >= np.float32(self._threshold), "toxicity", "toxicity", scores, self._threshold
        )


class Scorer:
    """Detoxify's toxicity of texts, in batches of similar length."""

    def __init__(self, model: str, batch_tokens: int) -> None:
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        detoxify = _load(model, self._device)
        self._model = detoxify.model.eval()
        self._tokenizer = detoxify.tokenizer
        self._column = detoxify.class_names.index("toxicity")
        self._batch_tokens = batch_tokens
        self._limit = _limit(self._model.config, self._tokenizer)
        self._bf16 = _bf16(self._device) and sum(p.numel() for p in self._model.parameters()) >= BF16_PARAMETERS

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 scores between 0 and 1 with 3 decimals, one per text; an empty text has 0."""
        scores = np.zeros(len(texts), dtype=np.float32)
        unique: dict[str, list[int]] = {}
        for position, text in enumerate(texts):
            if text.strip():
                unique.setdefault(text, []).append(position)
        windows = self._windows(list(unique))
        for start, stop in _batches([len(ids) for ids, _ in windows], self._batch_tokens):
            batch = windows[start:stop]
            for (_, text), score in zip(batch, self._forward([ids for ids, _ in batch]), strict=True):
                scores[unique[text]] = np.maximum(scores[unique[text]], score)
        return np.round(scores, 3)

    def _windows(self, texts: list[str]) -> list[tuple[list[int], str]]:
        """Returns (token ids, text) for every window of every text, shortest first, in an order of their own."""
        if not texts:
            return []
        encoded = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._limit,
            stride=OVERLAP,
            return_overflowing_tokens=True,
            verbose=False,
        )
        owners = (texts[position] for position in encoded["overflow_to_sample_mapping"])
        windows = zip(encoded["input_ids"], owners, strict=True)
        return sorted(windows, key=lambda window: (len(window[0]), window[1], window[0]))

    def _forward(self, rows: list[list[int]]) -> np.ndarray:
        import torch

        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=self._bf16):
            logits = self._model(input_ids=ids.to(self._device), attention_mask=mask.to(self._device)).logits
        return np.asarray(torch.sigmoid(logits[:, self._column].float()).cpu())


def _batches(lengths: Sequence[int], budget: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) over ascending lengths: as many rows as `budget` padded tokens hold, at least one."""
    edges = [0]
    for position, length in enumerate(lengths):
        if position > edges[-1] and (position + 1 - edges[-1]) * length > budget:
            edges.append(position)
    return pairwise([*edges, len(lengths)] if lengths else [])


def _limit(config: Any, tokenizer: Any) -> int:
    """Returns how many tokens the model takes, special ones included."""
    # RoBERTa counts positions from the padding index: 514 embeddings hold 512 tokens
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(min(tokenizer.model_max_length, config.max_position_embeddings - offset))


def _bf16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 faster than float32."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.read_text().split())


# -- loading ----------------------------------------------------------------------------------------------------------


def _load(model: str, device: str) -> Any:
    try:
        import detoxify
        from transformers.utils import logging
    except ImportError as error:
        raise MissingModelError("toxicity needs detoxify: pip install 'solotune[curate]'") from error
    logging.disable_progress_bar()  # "Loading weights", once per actor, says nothing to anybody
    if model in PINNED:
        return _official(detoxify, model, device)
    folder = Path(model)
    if not folder.is_dir():
        raise MissingModelError(
            f"curate.toxicity.model: {model} is neither a folder nor a Detoxify model ({', '.join(PINNED)})"
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
