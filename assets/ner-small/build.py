"""Rebuild ner-small: train a small spaCy NER for English and German from scratch on CPU.

    python assets/ner-small/build.py --out assets/ner-small

Writes config.cfg, meta.json, tokenizer and ner/ (what `spacy.load(FOLDER)` reads), SHA256 and ordinary.txt, the words
that no PERSON mark may consist of (`pipeline/screen/pii/person_filter.py`). Every training text is
written by `ner_sentences.py` from the lists and patterns in this folder. Seeded, one thread. It measures nothing:
`measure_ner.py` does.
"""

import argparse
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import spacy
from ner_phrases import ordinary
from ner_sentences import LABELS, Writer
from spacy.tokens import Doc
from spacy.training import Example

SEED = 30
STEPS = 3200
WORDS_PER_BATCH = 1200
PEAK_RATE = 0.002
DROPOUT = 0.1
WIDTH = 48
SPEAKER = r"(?<=[^\W\d_]):[\"'“„»]"  # Anna:"What?", which spaCy's rules for all languages take for one word
SHIPPED = ("config.cfg", "meta.json", "tokenizer", "ner/cfg", "ner/model", "ner/moves")


def main() -> None:
    """Read the arguments, train, write the folder."""
    parser = argparse.ArgumentParser(description="Rebuild the ner-small model.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write the model to")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    spacy.util.fix_random_seed(SEED)
    spacy.require_cpu()
    nlp = new_model()
    optimizer = nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("x"), {"entities": []})])
    started, loss, words = time.monotonic(), 0.0, 0
    for step, batch in enumerate(batches(nlp, Random(SEED), arguments.steps), 1):
        optimizer.learn_rate = PEAK_RATE * min(
            step / 200, 1.0, (arguments.steps - step) / (arguments.steps * 0.6) + 0.02
        )
        loss += nlp.update(batch, sgd=optimizer, drop=DROPOUT)["ner"]
        words += sum(len(example.reference) for example in batch)
        if step % 200 == 0:
            print(
                f"{step}/{arguments.steps} loss per word {loss / words:.4f} {time.monotonic() - started:.0f} s",
                flush=True,
            )
            loss, words = 0.0, 0
    with nlp.use_params(optimizer.averages):
        save(nlp, arguments.out)


def new_model() -> Any:
    """Returns an untrained pipeline of one component: hashed word features, windows of words, a transition parser."""
    nlp = spacy.blank("xx")
    infixes = spacy.util.compile_infix_regex([*nlp.Defaults.infixes, SPEAKER])
    nlp.tokenizer.infix_finditer = infixes.finditer
    tok2vec = {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": WIDTH,
            "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
            "rows": [10000, 500, 4000, 1500],
            "include_static_vectors": False,
        },
        "encode": {
            "@architectures": "spacy.MaxoutWindowEncoder.v2",
            "width": WIDTH,
            "depth": 2,
            "window_size": 1,
            "maxout_pieces": 2,
        },
    }
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": WIDTH,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": tok2vec,
    }
    ner = nlp.add_pipe("ner", config={"model": parser})
    for label in LABELS:
        ner.add_label(label)
    return nlp


def batches(nlp: Any, rng: Random, count: int) -> Iterator[list[Example]]:
    """Yields `count` batches of about WORDS_PER_BATCH words, English and German in turn."""
    writers = [Writer(lang, rng) for lang in ("en", "de")]
    written = 0
    for _ in range(count):
        batch: list[Example] = []
        words = 0
        while words < WORDS_PER_BATCH:
            text, spans = writers[written % 2].document()
            written += 1
            reference = labelled(nlp, text, spans)
            if reference is not None:
                batch.append(Example(nlp.make_doc(text), reference))
                words += len(reference)
        yield batch


def labelled(nlp: Any, text: str, spans: list[tuple[int, int, str]]) -> Doc | None:
    """Returns the tokenised text with its entities, or None where a span does not fall on token boundaries."""
    doc = nlp.make_doc(text)
    found = [doc.char_span(start, end, label) for start, end, label in spans]
    if None in found:
        return None
    doc.set_ents(found)
    return doc


def save(nlp: Any, out: Path) -> None:
    """Write the model without the strings seen in training, which nobody needs, and the SHA-256 of every file."""
    nlp.meta.update(
        name="ner_small",
        version="1.0",
        license="Apache-2.0",
        description="Persons, organisations and places in English and German support text",
    )
    nlp.to_disk(out, exclude=["vocab"])
    sums = [f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}\n" for name in SHIPPED]
    (out / "ordinary.txt").write_text("\n".join(ordinary()) + "\n", encoding="utf-8")
    (out / "SHA256").write_text("".join(sums), encoding="utf-8")


if __name__ == "__main__":
    main()
