"""Toxicity: Detoxify's score of prompt and response, of every row or of those that a screen does not let pass.

Output contract: `ToxicityStage` judges prompt and response apart, so that a polite answer does not dilute an abusive
question, and marks `(toxicity, toxicity, score, threshold)` where the higher of the two reaches the threshold. A text
longer than the model is scored in overlapping windows, and the highest counts. Scores have 3 decimals. With a screen,
texts under its cut are not judged, except in the rows that the audit draws; what it counted is in `judged`.
This module does not train and keeps no scores but those of the rows it marks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import Toxicity
from pipeline.screen import audit
from pipeline.screen.audit import Audit
from pipeline.screen.distil import Screen, digest
from pipeline.screen.weights import load

OVERLAP = 64  # tokens that neighbouring windows of a long text share
BF16_WEIGHTS = 20_000_000  # that a token meets; a smaller model is fast in float32, which scores alike everywhere
MOST_ODDS = 8.0  # a hint's, either way
TEXTS = ("prompt", "response")


@dataclass(frozen=True)
class Plan:
    """How a pass judges: every text (`screen` None), or those over a screen's cut and an audit of the rest."""

    screen: Screen | None = None
    floor: float = 1.0  # probability with which a row that the screen lets pass is audited, at least


@dataclass(frozen=True)
class Judged:
    """What became of one table: distinct texts in it, how many of them the model scored, and the audit's counts."""

    texts: int
    scored: int
    audit: Audit

    def __add__(self, other: Judged) -> Judged:
        return Judged(self.texts + other.texts, self.scored + other.scored, self.audit + other.audit)


class ToxicityStage:
    """Marks toxic rows; one instance per actor, on the GPU when there is one."""

    def __init__(self, settings: Toxicity, plan: Plan | None = None) -> None:
        self._threshold = np.float32(settings.threshold)
        self._plan = plan or Plan()
        self._judge = Scorer(settings.model, settings.batch_tokens)
        self._hint = Hint(settings if self._plan.screen else None)
        self.judged = Judged(0, 0, Audit.nobody(self._plan.floor))  # of the last table

    def __call__(self, table: pa.Table) -> pa.Table:
        live = table.filter(pa.array(schema.unmarked(table)))
        texts, at = _distinct(live)
        if self._plan.screen is None:
            values = self._judge(texts)[at]
            found = int((values >= self._threshold).any(axis=0).sum())
            self.judged = Judged(len(texts), len(texts), replace(Audit.nobody(self._plan.floor), found=found))
        else:
            values = self._screened(self._plan.screen, texts, at, live["id"].to_pylist())
        scores = np.full(table.num_rows, np.nan, dtype=np.float32)
        scores[schema.unmarked(table)] = np.fmax(*values)  # of the texts that were judged; nan: neither was
        field = schema.WORKING.field("toxicity")
        column = pa.array(scores, field.type, mask=np.isnan(scores))
        table = table.set_column(table.schema.get_field_index("toxicity"), field, column)
        return schema.mark(table, scores >= self._threshold, "toxicity", "toxicity", scores, float(self._threshold))

    def _screened(self, screen: Screen, texts: list[str], at: np.ndarray, ids: list[str]) -> np.ndarray:
        """Returns the scores of the rows' texts (2, rows), nan where not judged. `at`: which of `texts` they are."""
        known = [screen.known.get(digest(text), np.nan) if text.strip() else 0.0 for text in texts]
        scores = np.array(known, dtype=np.float32)
        before = int(np.isnan(scores).sum())
        odds = screen.linear(texts, self._hint(texts))
        self._fill(scores, texts, np.isnan(scores) & (odds >= screen.cut))
        values = scores[at]
        dropped = (values >= self._threshold).any(axis=0)
        left = np.isnan(values)
        passed = np.flatnonzero(left.any(axis=0) & ~dropped)
        below = screen.cut - np.where(left, odds[at], -np.inf).max(axis=0, initial=-np.inf)[passed]
        strata = audit.strata(below, screen.scale)
        audited = audit.drawn([ids[row] for row in passed.tolist()], strata, self._plan.floor)
        chosen = np.zeros(len(texts), dtype=bool)
        chosen[at[:, passed[audited]]] = True
        self._fill(scores, texts, np.isnan(scores) & chosen)
        values[:, passed[audited]] = scores[at[:, passed[audited]]]  # not in other rows with the same text: no audit
        missed = (values >= self._threshold).any(axis=0)[passed]
        counted = Audit.of(self._plan.floor, int(dropped.sum()), strata, audited, missed)
        self.judged = Judged(len(texts), before - int(np.isnan(scores).sum()), counted)
        return np.asarray(values)

    def _fill(self, values: np.ndarray, texts: list[str], chosen: np.ndarray) -> None:
        rows = np.flatnonzero(chosen)
        values[rows] = self._judge([texts[row] for row in rows.tolist()])


def _distinct(table: pa.Table) -> tuple[list[str], np.ndarray]:
    """Returns the table's distinct texts, null as empty, and where each row's prompt and response are (2, rows)."""
    place: dict[str, int] = {}
    at = [[place.setdefault(text or "", len(place)) for text in table[name].to_pylist()] for name in TEXTS]
    return list(place), np.array(at, dtype=np.int64).reshape(len(TEXTS), -1)


class Hint:
    """Log odds of the small model that a screen is helped by: 0 for every text where there is none."""

    def __init__(self, settings: Toxicity | None) -> None:
        small = settings.screen_model if settings and settings.screen_model != settings.model else None
        self._score = Scorer(small, settings.batch_tokens) if settings and small else None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        if self._score is None:
            return np.zeros(len(texts))
        score = self._score(texts).astype(np.float64)
        return np.clip(np.log((score + 5e-4) / (1.0005 - score)), -MOST_ODDS, MOST_ODDS)


class Scorer:
    """Detoxify's toxicity of texts, in batches of similar length."""

    def __init__(self, model: str, batch_tokens: int) -> None:
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        detoxify = load(model, self._device)
        self._model = detoxify.model.eval()
        self._tokenizer = detoxify.tokenizer
        self._column = detoxify.class_names.index("toxicity")
        self._batch_tokens = batch_tokens
        self._limit = _limit(self._model.config, self._tokenizer)
        self._bf16 = _weights(self._model.config) >= BF16_WEIGHTS and _bf16(self._device)

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
        # cut here and not by the tokenizer: tokenizers 0.23.2 loses all windows of a text but two
        encoded = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        first, last = self._tokenizer("")["input_ids"]
        room = self._limit - 2
        windows = [
            ([first, *ids[at : at + room], last], text)
            for text, ids in zip(texts, encoded, strict=True)
            for at in range(0, max(1, len(ids) - OVERLAP), room - OVERLAP)
        ]
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


def _weights(config: Any) -> int:
    """Returns about how many weights a token is multiplied by; ALBERT's layers share theirs, but take as long."""
    return 12 * int(config.num_hidden_layers) * int(config.hidden_size) ** 2


def _bf16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 faster than float32."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.read_text().split())
