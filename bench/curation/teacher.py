"""A Detoxify checkpoint of ALBERT-base's shape, trained from random weights on CPU: the bench's judge.

Detoxify's own `*-small` models are ALBERT-base: 12 layers that share their weights, hidden 768, embedding 128. This one
learns from tweets (Davidson et al.: hate and offensive against neither, the split of assets/toxicity-small, whose
tokenizer it uses) and clean business text. Three steps make a deep post-norm network learn in minutes: a bag of
embeddings first; then 1 to 3 layers at random; then all 12. Token types carry a constant that keeps layer norm from
blowing up words that mean nothing.
Output contract: `teacher(data, folder, quick)` returns a folder that `curate.toxicity.model` takes; one that is there
already is used again. About 10 minutes of two cores, 3 with `quick`. Nothing of it is shipped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from bench.curation.sample import ROOT

ASSET = ROOT / "assets" / "toxicity-small"
SEED = 20  # of the asset's split: what it held out is held out here
TOKENS = 128  # per text in training
BATCH = 512  # padded tokens
SIZES = {False: (40_000, 10_000, 5_000), True: (40_000, 8_000, 1_200)}  # texts per step

Example = tuple[str, bool]


def corpus(data: Path) -> Any:
    """Returns (training, held out) texts, split as for assets/toxicity-small."""
    sys.path.insert(0, str(ASSET))
    try:
        import toxicity_corpus  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(ASSET))
    return toxicity_corpus.load(data, SEED)


def teacher(data: Path, folder: Path, quick: bool) -> Path:
    """Trains the checkpoint, unless `folder` holds one of this size already."""
    place = folder / ("teacher-quick" if quick else "teacher")
    if not (place / "SHA256").is_file():
        _save(_train(data, SIZES[quick]), place)
    return place


def _examples(train: Any, rng: Random, size: int) -> list[Example]:
    toxic = [text for text in train.toxic if len(text) > 8]
    passages = train.passages["en"] + train.passages["de"]
    business = train.banking + [text[: 200 if at % 3 else 500] for at, text in enumerate(passages)]
    examples: list[Example] = []
    for _ in range(size):
        draw, tweet, other = rng.random(), rng.choice(toxic), rng.choice(business)
        if draw < 0.3:
            examples.append((tweet, True))
        elif draw < 0.5:
            parts = [tweet, other[:120]]
            rng.shuffle(parts)
            examples.append((" ".join(parts), True))
        else:
            examples.append((rng.choice(train.neither) if draw < 0.72 else other, False))
    return examples


def _batches(tokenizer: Any, examples: list[Example], rng: Random, budget: int) -> Iterator[tuple[Any, Any]]:
    import torch

    found = zip(tokenizer.encode_batch([text for text, _ in examples]), examples, strict=True)
    rows = sorted(((each.ids, label) for each, (_, label) in found), key=lambda row: (len(row[0]) // 4, rng.random()))
    batches: list[list[tuple[list[int], bool]]] = [[]]
    for row in rows:
        if batches[-1] and len(row[0]) * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(row)
    rng.shuffle(batches)
    for batch in batches:
        width = max(len(ids) for ids, _ in batch)
        padded = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
        yield padded, torch.tensor([float(label) for _, label in batch])


def _train(data: Path, sizes: tuple[int, int, int]) -> Any:
    import torch
    from tokenizers import Tokenizer
    from transformers import AlbertConfig, AlbertForSequenceClassification

    torch.manual_seed(1)
    rng, (train, _) = Random(1), corpus(data)
    tokenizer = Tokenizer.from_file(str(ASSET / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    config = AlbertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=3072,
        num_hidden_layers=12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
        id2label={0: "toxicity"},
        label2id={"toxicity": 0},
        architectures=["AlbertForSequenceClassification"],
    )
    model = AlbertForSequenceClassification(config)
    words = _bag(config, _batches(tokenizer, _examples(train, rng, sizes[0]), rng, 2048))
    embeddings = model.albert.embeddings
    with torch.no_grad():
        embeddings.word_embeddings.weight.copy_(words / words.norm(dim=1).quantile(0.99) * config.embedding_size**0.5)
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.copy_(torch.randint(0, 2, (2, config.embedding_size)) * 2.0 - 1)
    for size, rate, depths in ((sizes[1], 3e-4, (1, 2, 3)), (sizes[2], 1e-4, (12,))):
        batches = list(_batches(tokenizer, _examples(train, rng, size), rng, BATCH))
        _fit(model, batches, rate, [rng.choice(depths) for _ in batches])
    return model


def _bag(config: Any, batches: Iterator[tuple[Any, Any]]) -> Any:
    """Returns word embeddings of a logistic model on their mean."""
    import torch

    bag = torch.nn.EmbeddingBag(config.vocab_size, config.embedding_size, padding_idx=0, mode="mean")
    head = torch.nn.Linear(config.embedding_size, 1)
    torch.nn.init.normal_(bag.weight, std=0.02)
    optimizer = torch.optim.AdamW([*bag.parameters(), *head.parameters()], 1e-2, weight_decay=0.1)
    for ids, labels in batches:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(bag(ids))[:, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return bag.weight.detach()


def _fit(model: Any, batches: list[tuple[Any, Any]], rate: float, depths: list[int]) -> None:
    """AdamW, warm-up and linear decay, bfloat16 autocast; `depths`: how many layers each batch passes."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    steps, warm = len(batches), max(1, len(batches) // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.02, (steps - step) / (steps - warm + 1)))
    )
    model.train()
    for (ids, labels), depth in zip(batches, depths, strict=True):
        model.config.num_hidden_layers = model.albert.encoder.config.num_hidden_layers = depth
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits[:, 0].float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _save(model: Any, place: Path) -> None:
    """Writes the folder; SHA256 last, so that a broken run leaves none."""
    import torch

    place.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ASSET / name, place / name)
    (place / "config.json").write_text(json.dumps(model.config.to_diff_dict(), indent=2, sort_keys=True))
    names = {"model_name": "AlbertForSequenceClassification", "tokenizer_name": "BertTokenizer"}
    arch = {"args": {"model_type": ".", **names, "num_classes": 1}}
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    file = place / "teacher.ckpt"
    torch.save({"config": {"dataset": {"args": {"classes": ["toxicity"]}}, "arch": arch}, "state_dict": state}, file)
    (place / "SHA256").write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n")
