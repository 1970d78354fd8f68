"""BERTScore: how much of an answer's meaning is in the reference, by an encoder's token vectors.

Output contract: F1 of greedy matching by cosine similarity (Zhang et al. 2020, without idf weights and without baseline
rescaling), special tokens left out; one number per pair. Texts are compared in Unicode's form NFC, and up to the
encoder's longest input; how many are longer is told. The score depends on encoder and layer, so both are reported.
The bert-score package does the same and brings plotting and data-frame packages along. This module never downloads
where a folder is named.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError
from pipeline.evaluate.bootstrap import Statistics
from pipeline.evaluate.text_metrics import nfc
from pipeline.models.load import config_file, find_folder

BATCH = 32


def check(name: str | None, layer: int | None) -> None:
    """Returns where BERTScore can be had of this encoder, or none is named; reads no weights.

    Raises `MissingModelError` for an encoder that is not to be had, and `ConfigError` for a folder that holds none, or
    a layer that it has not.
    """
    if name is not None:
        _layer(find_folder(name), name, layer)


def _layer(place: Path, name: str, layer: int | None) -> int:
    """Returns the layer that is compared: 0 is the embeddings, and so many as the encoder has the last."""
    from transformers import AutoConfig

    config_file(place)
    try:
        config = AutoConfig.from_pretrained(place)
        layers = int(config.get_text_config().num_hidden_layers)
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"evaluate.bertscore: {name} is no encoder that transformers knows: {error}") from error
    if config.is_encoder_decoder:
        raise ConfigError(f"evaluate.bertscore: {name} is an encoder with a decoder: name an encoder alone")
    if layer is not None and layer > layers:
        raise ConfigError(f"evaluate.bertscore_layer: {name} has {layers} layers, no layer {layer}")
    return layers if layer is None else layer


class Encoder:
    """An encoder whose token vectors are compared; raises what `check` raises."""

    def __init__(self, name: str, layer: int | None, device: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        place = find_folder(name)
        self.layer = _layer(place, name, layer)
        self._tokenizer = AutoTokenizer.from_pretrained(place)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model = AutoModel.from_pretrained(place, local_files_only=True).to(device).eval()
        self.longest = min(self._tokenizer.model_max_length, _positions(self._model))

    def longer(self, texts: Sequence[str]) -> int:
        """Returns how many of the texts are longer than `longest` tokens, special ones included, and compared up to
        there."""
        ids = self._tokenizer([nfc(text) for text in texts], verbose=False).input_ids if texts else []
        return sum(len(row) > self.longest for row in ids)

    def _vectors(self, texts: Sequence[str]) -> list[Any]:
        """Returns each text's unit vectors without special tokens; shape (tokens, width), on the CPU."""
        import torch

        vectors = []
        for start in range(0, len(texts), BATCH):
            batch = self._tokenizer(
                [nfc(text) for text in texts[start : start + BATCH]],
                truncation=True,
                max_length=self.longest,
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


def _positions(model: Any) -> int:
    """Returns the most tokens that the encoder has positions for: RoBERTa's kin number theirs from the padding on."""
    positions = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if not positions or positions < 0:
        return sys.maxsize
    padding = getattr(table, "padding_idx", None)
    return int(positions) if padding is None else int(positions) - padding - 1


def _f1(reference: Any, prediction: Any) -> float:
    if not len(reference) or not len(prediction):
        return 0.0
    cosines = prediction @ reference.T
    precision, recall = float(cosines.max(1).values.mean()), float(cosines.max(0).values.mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
