"""A Detoxify checkpoint of ALBERT-base's shape, trained from random weights on CPU: the bench's judge.

Detoxify's own `*-small` models are ALBERT-base: 12 layers that share their weights, hidden 768, embedding 128. This one
learns from tweets (Davidson et al.; the label is the share of annotators who saw hate or offence; the split and the
tokenizer of assets/toxicity-small) and clean business text. What makes a deep post-norm network learn in minutes: word
embeddings from a bag model; token types that carry a constant, which keeps layer norm from blowing up words that mean
nothing; and first 2 or 3 layers whose residual branches count 12/2 or 12/3 times, then all 12 of them: a layer is a
step along one path, taken in few long strides or in many short ones.
Output contract: `teacher(data, folder)` returns a folder that `curate.toxicity.model` takes; one made from the same
texts by the same code is used again. One to four minutes of two cores. Nothing of it is shipped.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
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
TOKENS = 64  # per text in training
BATCH = 1024  # padded tokens
LAYERS = 12
BAG = 40_000  # texts that the word embeddings are learned from
STEPS = ((5_000, 2e-4, (2, 3)), (1_000, 5e-5, (LAYERS,)))  # texts, learning rate, how many layers they may pass
HELD_OUT = 300  # texts of either kind that it is measured on
LEAST_AUC = 0.95  # a training that stalls has 0.5
LEAST, MOST = 0.02, 0.98  # labels
BRANCH = 0.005  # standard deviation of a residual branch's weights at first: short steps

Example = tuple[str, float]


def corpus(data: Path) -> Any:
    """Returns (training, held out) texts, split as for assets/toxicity-small."""
    return _asset("toxicity_corpus").load(data, SEED)


def _asset(module: str) -> Any:
    """Imports a module of assets/toxicity-small."""
    sys.path.insert(0, str(ASSET))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(ASSET))


def teacher(data: Path, folder: Path) -> Path:
    """Trains the checkpoint, unless `folder` holds it already. Raises RuntimeError when it did not learn."""
    key = hashlib.sha256(Path(__file__).read_bytes() + _tweets(data).read_bytes()).hexdigest()[:12]
    place = folder / f"teacher-{key}"
    if not (place / "SHA256").is_file():
        _save(_train(data), place)
    return place


def _tweets(data: Path) -> Path:
    return data / "toxicity" / "labeled_data.csv"


def _labels(data: Path) -> dict[str, float]:
    """Returns of each tweet the share of its annotators who saw hate or offence."""
    clean = _asset("toxicity_corpus").clean_tweet
    with _tweets(data).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {clean(row["tweet"]): 1 - int(row["neither"]) / int(row["count"]) for row in rows}


def _examples(train: Any, labels: dict[str, float], rng: Random, size: int) -> list[Example]:
    toxic = [text for text in train.toxic if len(text) > 8]
    passages = train.passages["en"] + train.passages["de"]
    business = train.banking + train.questions[:1500]
    business += [text[: 120 if at % 3 else 250] for at, text in enumerate(passages)]
    examples: list[Example] = []
    for _ in range(size):
        draw, tweet, other = rng.random(), rng.choice(toxic), rng.choice(business)
        if draw < 0.35:
            examples.append((tweet, labels[tweet]))
        elif draw < 0.5:
            parts = [tweet, other[:100]]
            rng.shuffle(parts)
            examples.append((" ".join(parts), labels[tweet]))
        elif draw < 0.72:
            tweet = rng.choice(train.neither)
            examples.append((tweet, labels[tweet]))
        else:
            examples.append((other, 0.0))
    return [(text, LEAST + (MOST - LEAST) * label) for text, label in examples]


def _batches(tokenizer: Any, examples: list[Example], rng: Random, budget: int) -> Iterator[tuple[Any, Any]]:
    import torch

    found = zip(tokenizer.encode_batch([text for text, _ in examples]), examples, strict=True)
    rows = sorted(((each.ids, label) for each, (_, label) in found), key=lambda row: (len(row[0]) // 4, rng.random()))
    batches: list[list[tuple[list[int], float]]] = [[]]
    for row in rows:
        if batches[-1] and len(row[0]) * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(row)
    rng.shuffle(batches)
    for batch in batches:
        width = max(len(ids) for ids, _ in batch)
        padded = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
        yield padded, torch.tensor([label for _, label in batch])


def _train(data: Path) -> Any:
    import torch
    from tokenizers import Tokenizer
    from transformers import AlbertConfig, AlbertForSequenceClassification

    torch.manual_seed(1)
    rng, (train, held) = Random(1), corpus(data)
    labels = _labels(data)
    tokenizer = Tokenizer.from_file(str(ASSET / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    config = AlbertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=3072,
        num_hidden_layers=LAYERS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
        id2label={0: "toxicity"},
        label2id={"toxicity": 0},
        architectures=["AlbertForSequenceClassification"],
    )
    model = AlbertForSequenceClassification(config)
    words = _bag(config, _batches(tokenizer, _examples(train, labels, rng, BAG), rng, 2048))
    embeddings = model.albert.embeddings
    with torch.no_grad():
        embeddings.word_embeddings.weight.copy_(words / words.norm(dim=1).quantile(0.99) * config.embedding_size**0.5)
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.copy_(torch.randint(0, 2, (2, config.embedding_size)) * 2.0 - 1)
    layer = model.albert.encoder.albert_layer_groups[0].albert_layers[0]
    layer.activation = torch.nn.GELU(approximate="tanh")  # the same function as gelu_new, in one kernel
    for branch in (layer.attention.dense, layer.ffn_output):
        torch.nn.init.normal_(branch.weight, std=BRANCH)
        branch.register_forward_hook(lambda _, __, out: out * (LAYERS / model.config.num_hidden_layers))
    for size, rate, depths in STEPS:
        batches = list(_batches(tokenizer, _examples(train, labels, rng, size), rng, BATCH))
        _fit(model, batches, rate, [rng.choice(depths) for _ in batches])
    auc = _auc(model, tokenizer, held, rng)
    if auc < LEAST_AUC:
        raise RuntimeError(f"the teacher did not learn: AUC {auc:.3f} on texts it has not seen")
    return model


def _auc(model: Any, tokenizer: Any, held: Any, rng: Random) -> float:
    """Returns the area under the ROC curve of held-out toxic tweets against decent ones and banking questions."""
    import torch

    toxic = [(text, 1.0) for text in rng.sample(held.toxic, HELD_OUT)]
    decent = [(text, 0.0) for half in (held.neither, held.banking) for text in rng.sample(half, HELD_OUT // 2)]
    model.eval()
    scores, labels = [], []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for ids, batch in _batches(tokenizer, toxic + decent, rng, BATCH):
            scores += model(input_ids=ids, attention_mask=(ids != 0).long()).logits[:, 0].float().tolist()
            labels += (batch == 1).tolist()
    area: float = _asset("measure_toxicity").roc_auc(scores, labels)
    return area


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

    optimizer = torch.optim.AdamW(model.parameters(), rate, (0.9, 0.99), weight_decay=0.01)
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
