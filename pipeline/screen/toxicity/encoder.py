"""Detoxify's transformer, layer by layer: a text that the first layers show to be harmless stops there.

A text is cut into windows of the model's length; windows of similar length share a batch. With an `ExitHead`, a batch
passes the first `depth` layers, and a linear head on the hidden states decides which windows go on. Those wait until
they fill a batch of their own and pass the other layers from there: no layer is computed twice. Of the last layer only
the first token is computed (`first_state`): the classifier reads no other.
Output contract: `Encoder` returns scores with 3 decimals; without a head, those of the plain forward pass. They depend
on a text alone, up to the rounding of bfloat16, which may differ with the width of a batch.
This module fits nothing and knows no rows.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.screen import text_windows
from pipeline.screen.text_windows import Batch
from pipeline.screen.toxicity.first_state import first_state
from pipeline.screen.toxicity.weights import load

BATCH_TOKENS = 4096  # padded tokens of a forward pass: fills a GPU, and is 20 MB a layer on a CPU
OVERLAP = 64  # tokens that neighbouring windows of a long text share
MIN_LAYERS = 6  # of a model with an early exit
CHUNK = 4_096  # windows whose features are float64 at a time
MIN_TOKENS = 512  # of a batch on CPU before it may end because windows grow longer
GATHERED = 4  # batches' worth of windows that go on together, so that those of similar length share a batch
LARGE = 20_000_000  # weights per token; a smaller model is fast in float32, which scores alike everywhere


@dataclass(frozen=True)
class ExitHead:
    """After `depth` layers, windows whose predicted log odds lie below `cut` stop."""

    depth: int
    weights: np.ndarray  # of `Encoder.features`, float32 (3 * hidden,)
    bias: float
    cut: float

    def odds(self, features: np.ndarray) -> np.ndarray:
        """Returns predicted log odds with 3 decimals, float64 (windows,), of features (windows, 3 * hidden)."""
        weights = self.weights.astype(np.float64)
        chunks = (features[start : start + CHUNK].astype(np.float64) for start in range(0, len(features), CHUNK))
        sums = [np.einsum("ij,j->i", chunk, weights) for chunk in chunks]  # BLAS would round by a window's neighbours
        return np.asarray(np.round(np.concatenate([np.zeros(0), *sums]) + self.bias, 3))


class Encoder:
    """Detoxify's toxicity of texts, on a GPU where there is one."""

    def __init__(self, model: str, batch_tokens: int = BATCH_TOKENS) -> None:
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        detoxify = load(model, self._device)
        self._model = detoxify.model.eval()
        self._tokenizer = detoxify.tokenizer
        self._column = detoxify.class_names.index("toxicity")
        self._batch_tokens = batch_tokens
        config = self._model.config
        self._limit = _limit(config, self._tokenizer)
        self._layers = _layers(self._model)
        self.depth = len(self._layers)
        large = _weights(self.depth, config.hidden_size) >= LARGE
        self._bf16 = large and _bf16(self._device)
        # a GPU and a small model need many tokens at once; otherwise padding costs more than a call
        self._min_tokens = min(MIN_TOKENS, batch_tokens) if large and self._device == "cpu" else batch_tokens
        _fuse_gelu(self._model)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns scores from 0 to 1 with 3 decimals, float32 (texts,); 0 for an empty text."""
        return self.score(texts, None)[0]

    def score(self, texts: Sequence[str], head: ExitHead | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns scores, float32 (texts,), and predicted log odds, float64 (texts,): the highest of a text's windows.

        A score is nan where all windows left early, and 0 for an empty text; the log odds are nan without a head.
        """
        windows, owners = self._windows(texts)
        scores = np.full(len(windows), np.nan, dtype=np.float32)
        odds = np.full(len(windows), np.nan)
        waiting: list[Batch] = []
        with self._precision():
            for batch in self._embedded(windows):
                if head is not None:
                    self._run(batch, 0, head.depth)
                    odds[batch.windows] = head.odds(self._features(batch))
                    batch = text_windows.select(batch, np.flatnonzero(odds[batch.windows] >= head.cut))
                waiting.append(batch)
                if head is None or sum(each.mask.numel() for each in waiting) >= GATHERED * self._batch_tokens:
                    self._finish(waiting, head.depth if head else 0, scores)
                    waiting = []
            self._finish(waiting, head.depth if head else 0, scores)
        empty = np.array([0.0 if not text.strip() else np.nan for text in texts], dtype=np.float32)
        return np.round(_highest(scores, owners, empty), 3), _highest(odds, owners, np.full(len(texts), np.nan))

    def features(self, texts: Sequence[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the windows' features after `depth` layers, float16 (windows, 3 * hidden), and the text of each
        window, int64 (windows,)."""
        windows, owners = self._windows(texts)
        features = np.zeros((len(windows), 3 * self._model.config.hidden_size), dtype=np.float16)
        with self._precision():
            for batch in self._embedded(windows):
                self._run(batch, 0, depth)
                features[batch.windows] = self._features(batch)
        return features, owners

    def score_with_features(self, texts: Sequence[str], depths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores of texts, none of them empty, float32 (texts,), and their features after each of `depths`
        (rising) layers, float16 (depths, texts, 3 * hidden): those of the window with the highest score."""
        windows, owners = self._windows(texts)
        scores = np.full(len(windows), np.nan, dtype=np.float32)
        features = np.zeros((len(depths), len(windows), 3 * self._model.config.hidden_size), dtype=np.float16)
        with self._precision():
            for batch in self._embedded(windows):
                for number, (start, stop) in enumerate(pairwise([0, *depths])):
                    self._run(batch, start, stop)
                    features[number, batch.windows] = self._features(batch)
                self._finish([batch], depths[-1], scores)
        order = np.lexsort((scores, owners))
        last = order[np.searchsorted(owners[order], np.arange(len(texts)), side="right") - 1]
        return np.round(scores[last], 3), features[:, last]

    def _windows(self, texts: Sequence[str]) -> tuple[list[list[int]], np.ndarray]:
        """Returns the token ids of all windows, shortest first, and the text of each, int64 (windows,)."""
        full = [number for number, text in enumerate(texts) if text.strip()]
        if not full:
            return [], np.zeros(0, dtype=np.int64)
        # cut here and not by the tokenizer: tokenizers 0.23.2 loses all windows of a text but two
        encoded = self._tokenizer([texts[number] for number in full], add_special_tokens=False, verbose=False)
        first, last = self._tokenizer("")["input_ids"]
        room = self._limit - 2
        windows = [
            ([first, *ids[start : start + room], last], number)
            for number, ids in zip(full, encoded["input_ids"], strict=True)
            for start in range(0, max(1, len(ids) - OVERLAP), room - OVERLAP)
        ]
        windows.sort(key=lambda window: (len(window[0]), window[0], window[1]))
        return [ids for ids, _ in windows], np.array([number for _, number in windows], dtype=np.int64)

    def _embedded(self, windows: list[list[int]]) -> Iterator[Batch]:
        import torch

        base = self._model.base_model
        for start, stop in self._split([len(ids) for ids in windows]):
            rows, width = windows[start:stop], len(windows[stop - 1])
            ids = torch.full((len(rows), width), self._tokenizer.pad_token_id, dtype=torch.long)
            mask = torch.zeros((len(rows), width), dtype=torch.bool)
            for row, tokens in enumerate(rows):
                ids[row, : len(tokens)] = torch.tensor(tokens)
                mask[row, : len(tokens)] = True
            states = base.embeddings(input_ids=ids.to(self._device))
            if hasattr(base.encoder, "embedding_hidden_mapping_in"):  # ALBERT
                states = base.encoder.embedding_hidden_mapping_in(states)
            yield Batch(np.arange(start, stop), states, mask.to(self._device))

    def _split(self, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
        return text_windows.split(lengths, self._batch_tokens, self._min_tokens)

    def _run(self, batch: Batch, start: int, stop: int) -> None:
        """Passes a batch through the layers from `start` to `stop`."""
        from transformers.masking_utils import create_bidirectional_mask

        mask = create_bidirectional_mask(
            config=self._model.config, inputs_embeds=batch.states, attention_mask=batch.mask.long()
        )
        for layer in self._layers[start:stop]:
            batch.states = layer(batch.states, mask)

    def _features(self, batch: Batch) -> np.ndarray:
        """Returns each window's first state, and the mean and maximum of its states, float16 (windows, 3 * hidden)."""
        import torch

        states, mask = batch.states.float(), batch.mask[:, :, None]
        mean = (states * mask).sum(1) / mask.sum(1)
        highest = states.masked_fill(~mask, -torch.inf).amax(1)
        return np.asarray(torch.cat((states[:, 0], mean, highest), 1).half().cpu())

    def _finish(self, waiting: list[Batch], depth: int, scores: np.ndarray) -> None:
        """Passes the waiting windows, shortest first, through all layers from `depth` on and writes their scores."""
        waiting = [batch for batch in waiting if len(batch.windows)]
        if not waiting:
            return
        batch = text_windows.concat(waiting)
        lengths = batch.mask.sum(1).tolist()
        order = np.argsort(lengths, kind="stable")
        splits = list(self._split(sorted(lengths)))
        for start, stop in splits:
            rows = batch if len(splits) == 1 else text_windows.select(batch, order[start:stop])
            self._run(rows, depth, self.depth - 1)
            self._classify(rows, scores)

    def _classify(self, batch: Batch, scores: np.ndarray) -> None:
        """Passes windows through the last layer and writes their scores."""
        import torch

        base, last = self._model.base_model, self._layers[-1]
        if hasattr(getattr(last, "attention", None), "self"):
            states = first_state(last, batch.states, batch.mask)
        else:  # ALBERT
            self._run(batch, self.depth - 1, self.depth)
            states = batch.states
        if getattr(base, "pooler_activation", None) is not None:  # ALBERT
            states = base.pooler_activation(base.pooler(states[:, 0]))
        elif base.pooler is not None:  # BERT; RoBERTa's classifier takes the states themselves
            states = base.pooler(states)
        logits = self._model.classifier(states)[:, self._column].float()
        scores[batch.windows] = torch.sigmoid(logits).cpu().numpy()

    def _precision(self) -> Any:
        import torch

        stack = contextlib.ExitStack()
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(self._device, torch.bfloat16, enabled=self._bf16))
        return stack


def _layers(model: Any) -> list[Any]:
    """Returns the encoder's layers in order; ALBERT's share their weights within a group."""
    encoder, layers = model.base_model.encoder, model.config.num_hidden_layers
    if hasattr(encoder, "layer"):
        return list(encoder.layer)
    groups = encoder.albert_layer_groups
    return [groups[number * len(groups) // layers] for number in range(layers)]


def _highest(values: np.ndarray, owners: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Writes the highest value of each text's windows into `start`, nan ignored, and returns it."""
    np.fmax.at(start, owners, values)
    return start


def _fuse_gelu(model: Any) -> None:
    """Replaces GELU's tanh form, written out as eight operations, by the one kernel that computes it."""
    import torch
    from transformers.activations import NewGELUActivation

    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))


def _limit(config: Any, tokenizer: Any) -> int:
    """Returns the model's longest input in tokens, special ones included."""
    # RoBERTa counts positions from the padding index: 514 embeddings hold 512 tokens
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(min(tokenizer.model_max_length, config.max_position_embeddings - offset))


def early_exit_pays(model: str) -> bool:
    """Whether an early exit can save time: a model like toxicity-small costs less than a calibration."""
    if not Path(model).is_absolute():
        return True  # an official model: all have 12 layers of 768
    file = Path(model) / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    layers = int(config.get("num_hidden_layers", 0))
    return layers >= MIN_LAYERS and _weights(layers, int(config["hidden_size"])) >= LARGE


def _weights(layers: int, hidden: int) -> int:
    """Returns the approximate number of weights per token; ALBERT's layers share theirs, but take as long."""
    return 12 * layers * hidden**2


def _bf16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 faster than float32."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.read_text().split())
