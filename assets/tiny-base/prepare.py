"""From sources to token arrays, in two steps that a rerun skips when their result exists.

`read_sources` writes WORK/corpus.json (plain text of every source); `prepare` turns it into WORK/prepared/: the
tokenizer, text.npy (one token stream), chat_ids.npy, chat_labels.npy, chat_starts.npy (a stream of chats, -100 outside
answers, and where each chat starts), held-out streams and evaluation questions. Everything is seeded; the number of
processes changes the time only. Not done here: training.
"""

import json
import multiprocessing
import random
import re
from collections import Counter
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import phrases
from paraphrases import INSTRUCTION, LANGS, Paraphraser, Phrases
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SEED = 20261123
VOCABULARY = 6144
SPECIAL = ["<pad>", "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
# A message is <|role|>text<|end|>: adding a message only ever appends text, so renders are prefixes of each other.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SYSTEM = [
    "You are a helpful assistant.",
    "You work in customer support.",
    "Du bist ein hilfreicher Assistent.",
    "Be brief.",
]
REPEATS = {"support_kb/de": 2, "apache2-doc/de": 2, "kicad-doc-de": 2, "support_kb/en": 2, "rust_book": 2}
DRAWN = {"en": 200_000, "de": 100_000}
REWRITTEN = {"en": 40_000, "de": 15_000}
CHUNK = 5_000
Chat = tuple[str, str]
Pair = tuple[str, str]


def read_sources(data: Path, texts: Path, path: Path) -> None:
    """Read every source and write corpus.json."""
    sources = {
        "documents": [asdict(d) for d in corpus.read_corpus(data, texts)],
        "chats": corpus.chat_pairs(data),
        "banking": {split: phrases.banking_questions(data, split) for split in ("train", "test")},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sources), encoding="utf-8")


def _rewrite(task: tuple[str, int, list[str]]) -> list[Pair]:
    lang, number, texts = task
    drawn = Paraphraser(lang, SEED + number)
    return [(text, new) for text in texts if (new := drawn.rewrite(text)) is not None]


def _draw(task: tuple[str, int, Phrases]) -> list[Pair]:
    lang, number, real = task
    drawn = Paraphraser(lang, SEED + number, real)
    return [drawn.pair() for _ in range(CHUNK)]


def real_sentences(text: str) -> list[str]:
    """One or two consecutive sentences of 8-40 words, to be rewritten by rule."""
    sentences = re.split(r"(?<=[.?!])\s+", text)
    found = []
    for i in range(0, len(sentences) - 1, 5):
        pair = sentences[i] if i % 2 else sentences[i] + " " + sentences[i + 1]
        if 8 <= len(pair.split()) <= 40 and pair[0].isupper() and pair[-1] in ".?!" and ":" not in pair:
            found.append(pair)
    return found


def common_words(texts: list[str], lang: str) -> list[str]:
    """Words to exchange: frequent lower-case English words, German nouns."""
    pattern = r"(?<= )[a-z]{4,12}(?=[ .,])" if lang == "en" else r"(?<=[a-z] )[A-ZÄÖÜ][a-zäöüß]{3,14}(?=[ .,])"
    counts = Counter(chain.from_iterable(re.findall(pattern, t) for t in texts))
    return [word for word, n in counts.most_common(8_000) if n >= 5][150:]


def rephrase_chats(documents: list[corpus.Document], banking: list[tuple[str, str]]) -> list[Chat]:
    """(user message, answer) of every paraphrase source, instruction included."""
    chats: list[Chat] = []
    with multiprocessing.Pool() as pool:
        for lang in LANGS:
            texts = [d.text for d in documents if d.lang == lang and d.source != "wordnet-base"]
            real = list(chain.from_iterable(real_sentences(t) for t in texts))
            random.Random(SEED).shuffle(real)
            real = real[: REWRITTEN[lang]] + [t for t, _ in banking if lang == "en" for _ in range(4)]
            tasks = [(lang, i, real[i : i + CHUNK]) for i in range(0, len(real), CHUNK)]
            pairs = list(chain.from_iterable(pool.map(_rewrite, tasks, chunksize=1)))
            alike = list(phrases.banking_pairs(banking, SEED)) if lang == "en" else []
            known = [p for p in pairs if "?" in p[0]] + alike
            some = texts[::2] if lang == "en" else texts
            found = Phrases(phrases.actions(some, lang), phrases.clauses(some, lang), known, common_words(some, lang))
            print(lang, {k: len(v) for k, v in asdict(found).items()}, "rewritten", len(pairs), flush=True)
            draws = pool.map(_draw, [(lang, i, found) for i in range(DRAWN[lang] // CHUNK)], chunksize=1)
            pairs += alike + alike + list(chain.from_iterable(draws))
            chats += [(INSTRUCTION[lang] + source, target) for source, target in pairs]
    random.Random(SEED).shuffle(chats)
    return chats


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of VOCABULARY tokens; digits are split one by one so that any number can be copied."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|end|>",
        pad_token="<pad>",
        model_max_length=1024,
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def encode_chats(tokenizer: PreTrainedTokenizerFast, chats: list[Chat]) -> dict[str, np.ndarray]:
    """One stream of chats: ids uint16, labels int16 (-100 except on an answer and its <|end|>), starts int64."""
    # One chat in ten opens with a system message, so that the token means something to the model.
    system = [f"<|system|>{SYSTEM[i // 10 % len(SYSTEM)]}<|end|>" if i % 10 == 0 else "" for i in range(len(chats))]
    questions = [f"<s>{s}<|user|>{q}<|end|><|assistant|>" for s, (q, _) in zip(system, chats, strict=True)]
    asked = tokenizer(questions, add_special_tokens=False)["input_ids"]
    answered = tokenizer([f"{a}<|end|>" for _, a in chats], add_special_tokens=False)["input_ids"]
    lengths = np.array([len(q) + len(a) for q, a in zip(asked, answered, strict=True)])
    labels = chain.from_iterable([-100] * len(q) + a for q, a in zip(asked, answered, strict=True))
    ids = chain.from_iterable(q + a for q, a in zip(asked, answered, strict=True))
    return {
        "chat_ids": np.fromiter(ids, np.uint16, lengths.sum()),
        "chat_labels": np.fromiter(labels, np.int16, lengths.sum()),
        "chat_starts": np.concatenate([[0], np.cumsum(lengths)[:-1]]),
    }


def encode_texts(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> np.ndarray:
    """One uint16 token stream: every document opens with <s> and closes with <|end|>."""
    encoded = tokenizer([f"<s>{t}<|end|>" for t in texts], add_special_tokens=False)["input_ids"]
    return np.concatenate([np.asarray(row, np.uint16) for row in encoded])


def prepare(source: Path, folder: Path) -> None:
    """Tokenizer, token arrays and evaluation questions into `folder`, from corpus.json."""
    sources = json.loads(source.read_text(encoding="utf-8"))
    train, heldout = corpus.split_heldout([corpus.Document(**d) for d in sources["documents"]])
    chats = rephrase_chats(train, [tuple(row) for row in sources["banking"]["train"]])
    general = [(q[:450], a[:450].rsplit(". ", 1)[0].rstrip(".") + ".") for q, a, _ in sources["chats"]]
    sampled = chain.from_iterable(chats[:: 1 + len(chats) // 30_000])
    questions = [text.removeprefix(INSTRUCTION["en"]).removeprefix(INSTRUCTION["de"]) for text in sampled]
    documents = [d.text for d in train for _ in range(REPEATS.get(d.source, 1))]
    # Customer questions as running text, twenty to a document, so that the language of the domain is pretrained too.
    documents += ["\n".join(questions[i : i + 20]) for i in range(0, len(questions), 20)]
    random.Random(SEED).shuffle(documents)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer").exists():
        train_tokenizer(documents).save_pretrained(folder / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    np.save(folder / "text.npy", encode_texts(tokenizer, documents))
    for lang in LANGS:
        held = [d.text for d in heldout if d.lang == lang]
        np.save(folder / f"heldout_{lang}.npy", encode_texts(tokenizer, held))
        (folder / f"heldout_{lang}.bytes").write_text(str(sum(len(t.encode()) for t in held)))
    for name, array in encode_chats(tokenizer, chats + general * 8).items():
        np.save(folder / f"{name}.npy", array)
    (folder / "questions.json").write_text(json.dumps(evaluation_questions(sources["banking"]["test"])))


def evaluation_questions(banking: list[list[str]]) -> dict[str, list[list[Any]]]:
    """[question, lang] lists never trained on: banking77 test rows of 8-40 words, and held-out grammar meanings."""
    long = [t for t, _ in banking if 8 <= len(t.split()) <= 40]
    drawn = {lang: Paraphraser(lang, SEED - 1) for lang in LANGS}
    grammar = {lang: [drawn[lang].pair(heldout=True)[0] for _ in range(200)] for lang in LANGS}
    return {
        "banking77 test (en)": [[q, "en"] for q in random.Random(SEED).sample(long, 200)],
        "held-out grammar (en)": [[q, "en"] for q in grammar["en"]],
        "held-out grammar (de)": [[q, "de"] for q in grammar["de"]],
    }
