"""Measure toxicity-small on held-out data and print the table of its card.

    python assets/toxicity-small/measure_toxicity.py --data DATA_FOLDER

Loads the checkpoint as users do, through `Detoxify(checkpoint=…, huggingface_config_path=…)`. Prints ROC-AUC, recall
and false drops at 0.9 on public sets of other origin than the training data, ROC-AUC on held-out tweets, the
false-positive rate at 0.9 on held-out support text, recall at 0.9 and decent tickets under 0.5 on composed tickets, and
the speed. It trains nothing and writes nothing but a temporary patched checkpoint.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import public_sets
import torch
import toxicity_corpus
from build import CHECKPOINT, SEED
from detoxify import Detoxify

THRESHOLD = 0.9
TICKETS = 1000


def main() -> None:
    """Read the arguments and print one line per measurement."""
    parser = argparse.ArgumentParser(description="Measure the toxicity-small checkpoint.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the five data sets")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, help="folder of the checkpoint")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = open_detoxify(arguments.model)
    for name, read in {**public_sets.MEASURED, **public_sets.CHOSEN}.items():
        examples = read(arguments.data / "public")
        labels = [label for _, label in examples]
        scores = score(model, [text for text, _ in examples])
        toxic, other = (
            [value for value, label in zip(scores, labels, strict=True) if label is side] for side in (True, False)
        )
        print(
            f"{name}: {len(toxic)} toxic and {len(other)} other texts, ROC-AUC {roc_auc(scores, labels):.4f}, toxic >= "
            f"{THRESHOLD} {share(toxic):.4f}, other >= {THRESHOLD} {share(other):.4f}"
        )
    _, held = toxicity_corpus.load(arguments.data, SEED)
    labels = [label for _, label in held.raw_tweets]
    raw = [tweet for tweet, _ in held.raw_tweets]
    for name, tweets in (("as written", raw), ("cleaned", [toxicity_corpus.clean_tweet(tweet) for tweet in raw])):
        print(f"ROC-AUC, {len(raw)} held-out tweets {name}: {roc_auc(score(model, tweets), labels):.4f}")
    negatives = {
        "banking77 test": held.banking,
        "support_qa questions": held.questions,
        "documentation en": held.passages["en"],
        "documentation de": held.passages["de"],
    }
    for name, texts in negatives.items():
        scores = score(model, texts)
        print(f"{name}: {len(texts)} texts, share >= {THRESHOLD}: {share(scores):.4f}, highest {max(scores):.3f}")
    rng = Random(SEED + 100)
    for lang in toxicity_corpus.LANGUAGES:
        tickets = toxicity_corpus.held_out_tickets(held, lang, TICKETS, rng)
        started = time.monotonic()
        scores = score(model, [text for text, _ in tickets])
        seconds = time.monotonic() - started
        toxic, decent = scores[:TICKETS], scores[TICKETS:]
        print(
            f"tickets {lang}: recall at {THRESHOLD} {share(toxic):.4f}; decent >= {THRESHOLD} {share(decent):.4f}, "
            f"decent < 0.5 {1 - share(decent, 0.5):.4f}; {len(tickets) / seconds:.0f} tickets/s on one thread"
        )


def open_detoxify(folder: Path) -> Any:
    """Detoxify over the checkpoint in `folder`, its `model_type` pointed there: Detoxify looks that up first."""
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    content["config"]["arch"]["args"]["model_type"] = str(folder)
    with tempfile.TemporaryDirectory() as scratch:
        patched = Path(scratch) / CHECKPOINT
        torch.save(content, patched)
        return Detoxify(checkpoint=str(patched), huggingface_config_path=str(folder))


def score(model: Any, texts: Sequence[str]) -> list[float]:
    """Toxicity of every text, 0-1, in the order given; scored in batches of similar length."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    scores = [0.0] * len(texts)
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        found = model.predict([texts[i] for i in rows])["toxicity"]
        for row, value in zip(rows, found if len(rows) > 1 else [found], strict=True):
            scores[row] = value
    return scores


def share(scores: Sequence[float], threshold: float = THRESHOLD) -> float:
    """The share of scores at or over the threshold."""
    return sum(value >= threshold for value in scores) / len(scores)


def roc_auc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Area under the ROC curve by the rank sum (Mann-Whitney), tied scores sharing their mean rank."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    positives = sum(labels)
    rank_sum = float(sum(rank for rank, label in zip(ranks, labels, strict=True) if label))
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


if __name__ == "__main__":
    main()
