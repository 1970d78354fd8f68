"""Rebuild toxicity-small: train a tiny BERT from scratch on CPU and write it in Detoxify's checkpoint format.

    python assets/toxicity-small/build.py --data DATA_FOLDER --out assets/toxicity-small

DATA_FOLDER holds toxicity/, banking77/, support_qa/, support_kb/ and wiki/ as the card names them. Writes
toxicity-small.ckpt (float16 tensors and plain Python values only, so `weights_only=True` reads it), config.json,
tokenizer.json and tokenizer_config.json. Seeded, one thread. It measures nothing: `measure_toxicity.py` does.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import torch
import toxicity_corpus
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from pipeline.screen.toxicity.first_state import first_state

SEED = 20
VOCABULARY = 16_000
LAYERS = 1
HEADS = 8
MAX_TOKENS = 512
TRAINED_TOKENS = 192
TOKENS_PER_BATCH = 4096
NOISY_SHARE = 0.3
PEAK_RATE = 2e-3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CAUTION = 1.0  # taken off every logit: a decent ticket wrongly dropped costs more than an insult kept
CHECKPOINT = "toxicity-small.ckpt"


def main() -> None:
    """Read the arguments, train, write the folder."""
    parser = argparse.ArgumentParser(description="Rebuild the toxicity-small checkpoint.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the five data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the asset to")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = Random(SEED)
    train, _ = toxicity_corpus.load(arguments.data, SEED)
    epochs = [toxicity_corpus.training_epoch(train, rng) for _ in range(arguments.epochs)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer([text for text, _ in epochs[0]], arguments.out)
    model = BertForSequenceClassification(tiny_bert())
    fit(model, tokenizer, epochs, rng)
    with torch.no_grad():
        model.classifier.bias -= CAUTION
    save(model, arguments.out)


def tiny_bert() -> BertConfig:
    """One layer of 128 with one sigmoid output, about 2.3 M parameters, 2.0 M of them the vocabulary."""
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=512,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=MAX_TOKENS,
        id2label={0: "toxicity"},
        label2id={"toxicity": 0},
        dtype="float32",
        architectures=["BertForSequenceClassification"],
    )


def train_tokenizer(texts: list[str], out: Path) -> Tokenizer:
    """A lower-casing WordPiece vocabulary of VOCABULARY entries, accents stripped, saved as a BertTokenizer."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, limit_alphabet=300, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=True, model_max_length=MAX_TOKENS).save_pretrained(out)
    return Tokenizer.from_file(str(out / "tokenizer.json"))


def fit(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    epochs: list[list[toxicity_corpus.Example]],
    rng: Random,
) -> None:
    """AdamW, linear warm-up and decay, binary cross-entropy, batches of similar length. Changes `model`."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(TRAINED_TOKENS)
    innocent = innocent_tokens(tokenizer, epochs[0])
    batches = [batch for examples in epochs for batch in make_batches(tokenizer, examples, innocent, rng)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    warm_up = len(batches) // 20
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / warm_up, (len(batches) - step) / (len(batches) - warm_up))
    )
    loss_of = torch.nn.BCEWithLogitsLoss()
    model.train()
    started, recent = time.monotonic(), 0.0
    for step, (ids, labels) in enumerate(batches):
        loss = loss_of(logits_of(model, ids, positions(ids, rng)), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent += float(loss.detach())
        if (step + 1) % 200 == 0:
            print(f"{step + 1}/{len(batches)} loss {recent / 200:.4f} {time.monotonic() - started:.0f} s", flush=True)
            recent = 0.0


def logits_of(model: BertForSequenceClassification, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The logits (rows,) of padded ids (rows, width), as `pipeline.screen.toxicity.encoder` computes them."""
    base, mask = model.bert, ids != 0
    states = base.embeddings(input_ids=ids, position_ids=places)
    for layer in base.encoder.layer[:-1]:
        states = layer(states, mask[:, None, None])
    pooled = base.pooler(first_state(base.encoder.layer[-1], states, mask))
    return model.classifier(model.dropout(pooled))[:, 0]


def make_batches(
    tokenizer: Tokenizer, examples: list[toxicity_corpus.Example], innocent: list[int], rng: Random
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Padded (ids, labels) of about TOKENS_PER_BATCH tokens each, rows of similar length together, order shuffled."""
    encoded = [found.ids for found in tokenizer.encode_batch([text for text, _ in examples])]
    encoded = [with_unknown_words(ids, innocent, rng) if rng.random() < NOISY_SHARE else ids for ids in encoded]
    order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i]) // 4, rng.random()))
    batches: list[tuple[torch.Tensor, torch.Tensor]] = []
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and len(encoded[order[stop]]) // 4 * 4 * (stop - start) < TOKENS_PER_BATCH:
            stop += 1
        rows = order[start:stop]
        width = max(len(encoded[i]) for i in rows)
        ids = torch.tensor([encoded[i] + [0] * (width - len(encoded[i])) for i in rows])
        batches.append((ids, torch.tensor([float(examples[i][1]) for i in rows])))
        start = stop
    rng.shuffle(batches)
    return batches


def innocent_tokens(tokenizer: Tokenizer, examples: list[toxicity_corpus.Example]) -> list[int]:
    """Ids of the tokens that no more than 60 % of the examples holding them are toxic for, unseen ones included."""
    toxic, seen = Counter[int](), Counter[int]()
    for found, (_, label) in zip(tokenizer.encode_batch([text for text, _ in examples]), examples, strict=True):
        seen.update(set(found.ids))
        toxic.update(set(found.ids) if label else ())
    return [token for token in range(len(SPECIAL), tokenizer.get_vocab_size()) if toxic[token] <= 0.6 * seen[token]]


def with_unknown_words(ids: list[int], innocent: list[int], rng: Random) -> list[int]:
    """`ids` with runs of one to four random innocent tokens inserted, so that a word never seen is no sign of abuse."""
    noisy = list(ids)
    for _ in range(1 + len(ids) // 25):
        place = rng.randrange(1, len(noisy))
        noisy[place:place] = rng.choices(innocent, k=rng.randint(1, 4))
    return noisy


def positions(ids: torch.Tensor, rng: Random) -> torch.Tensor:
    """Positions of one batch; half the time all but [CLS] are shifted, to learn places beyond TRAINED_TOKENS."""
    width = ids.shape[1]
    shift = rng.randrange(MAX_TOKENS - width + 1) if rng.random() < 0.5 else 0
    places = torch.arange(width) + shift
    places[0] = 0
    return places.unsqueeze(0)


def save(model: BertForSequenceClassification, out: Path) -> None:
    """Write config.json and the checkpoint, whose `model_type` "." a loader replaces by the folder's path."""
    (out / "config.json").write_text(json.dumps(model.config.to_diff_dict(), indent=2, sort_keys=True) + "\n")
    state = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    arch: dict[str, Any] = {
        "model_type": ".",
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": 1,
    }
    config = {"dataset": {"args": {"classes": ["toxicity"]}}, "arch": {"args": arch}}
    torch.save({"config": config, "state_dict": state}, out / CHECKPOINT)


if __name__ == "__main__":
    main()
