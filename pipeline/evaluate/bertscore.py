"""BERTScore: how much of an answer's meaning is in the reference, by an encoder's token vectors.

Output contract: F1 of greedy matching by cosine similarity (Zhang et al. 2020, without idf weights and without baseline
rescaling), special tokens left out; one number per pair. The score depends on encoder and layer, so both are reported.
The bert-score package does the same and brings plotting and data-frame packages along. This module never downloads
where a folder is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.evaluate.bootstrap import Statistics
from pipeline.models.load import find_folder

BATCH = 32


class Encoder:
    """An encoder whose token vectors are compared; raises `MissingModelError` where its weights are not to be had."""

    def __init__(self, name: str, layer: int | None, device: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        place = find_folder(name)
        self.layer = -1 if layer is None else layer
        self._tokenizer = AutoTokenizer.from_pretrained(place)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model = AutoModel.from_pretrained(place, local_files_only=True).to(device).eval()

    def _vectors(self, texts: Sequence[str]) -> list[Any]:
        """Returns each text's unit vectors without special tokens; shape (tokens, width), on the CPU."""
        import torch

        most = min(self._tokenizer.model_max_length, self._model.config.max_position_embeddings)
        vectors = []
        for start in range(0, len(texts), BATCH):
            batch = self._tokenizer(
                list(texts[start : start + BATCH]),
                truncation=True,
                max_length=most,
                padding=True,
                return_tensors="pt",
                return_special_tokens_mask=True,
            )
            kept = (batch.pop("special_tokens_mask") == 0) & (batch["attention_mask"] == 1)
            with torch.inference_mode():
                out = self._model(**batch.to(self._model.device), output_hidden_states=True).hidden_states[self.layer]
            unit = torch.nn.functional.normalize(out.float(), dim=-1).cpu()
            vectors += [row[mask] for row, mask in zip(unit, kept, strict=True)]
        return vectors

    def counts(self, references: Sequence[str], predictions: Sequence[str]) -> Statistics:
        """Returns each pair's F1 and 1; shape (rows, 2), for `text_metrics.ratio`. An empty text scores 0."""
        pairs = zip(self._vectors(references), self._vectors(predictions), strict=True)
        return np.array([[_f1(a, b), 1.0] for a, b in pairs]).reshape(-1, 2)


def _f1(reference: Any, prediction: Any) -> float:
    if not len(reference) or not len(prediction):
        return 0.0
    cosines = prediction @ reference.T
    precision, recall = float(cosines.max(1).values.mean()), float(cosines.max(0).values.mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
