"""The texts toxicity-small learns from and is measured on: public comments and support text, composed into tickets.

`load(data)` reads the data sets and splits them once, seeded, before anything else happens; of the public comments
(`public_sets`) whole sets are kept apart instead. `training_epoch` yields (text, is_toxic) pairs; long tickets are
support sentences with an abusive or a decent sentence placed among them, in equal form on both sides, so that neither
length nor style gives the label away. Writes no file.
"""

import csv
import html
import re
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import public_sets
from abuse_grammar import Grammar, disguise, mask_swearing, swears
from public_sets import Public

Example = tuple[str, bool]
HELD_OUT_SHARE = 0.1
OFFENSIVE_TAG = "W"  # support_qa's own mark for questions with swear words in them
LANGUAGES = ("en", "de")
PUBLIC_ROWS = 12_000  # of a label and a language, in an epoch
IDENTITY_ROWS = 2_000  # phrases about groups of people, of a language, in an epoch
SHORT = 200  # characters of a public comment that may stand in a ticket
CLEAN_KINDS = {"contrast": 2500, "decent": 1500, "hard": 1500, "neutral": 1500, "words": 2000}


@dataclass
class Split:
    """Real texts of one side (training or held out): tweets by label, support sentences and passages by language."""

    toxic: list[str] = field(default_factory=list)
    swearing: list[str] = field(default_factory=list)
    neither: list[str] = field(default_factory=list)
    raw_tweets: list[Example] = field(default_factory=list)
    banking: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    passages: dict[str, list[str]] = field(default_factory=lambda: {"en": [], "de": []})
    public: Public = field(default_factory=Public)


def load(data: Path, seed: int) -> tuple[Split, Split]:
    """Training and held-out texts. Tweets: 10 % per class; banking77: its own test file; questions: 10 %;
    documentation: 10 % of pages, a page and its translation on the same side. Raises FileNotFoundError."""
    train, held = Split(), Split()
    _load_tweets(data / "toxicity/labeled_data.csv", train, held, seed)
    train.banking = [row["text"].strip() for row in _rows(data / "banking77/train.csv")]
    held.banking = [row["text"].strip() for row in _rows(data / "banking77/test.csv")]
    rows = _rows(data / "support_qa/bitext_customer_support_v2.csv")
    questions = [row["instruction"].strip() for row in rows if OFFENSIVE_TAG not in row["tags"]]
    for text, is_held in zip(questions, _held_flags(len(questions), Random(seed + 1)), strict=True):
        (held if is_held else train).questions.append(text)
    _load_pages(data, train, held, seed)
    train.public = public_sets.training(data / "public")
    for texts in (*train.public.toxic.values(), *train.public.clean.values()):
        texts[:] = [text.strip() for text in texts if text.strip()]
    return train, held


def clean_tweet(tweet: str) -> str:
    """The words of a tweet without what only Twitter has: RT, @names, addresses, entities, hash signs, quote marks."""
    text = html.unescape(html.unescape(tweet))
    text = re.sub(r"https?://\S*|\bRT\b:?|@\w+:?|[#\"“”]", " ", text)
    text = re.sub(r"[^\x00-\xff\u2010-\u2027\u20ac]", " ", text)
    return re.sub(r"\s+", " ", text).strip(" !.:,-")


def ticket(core: list[str], lang: str, split: Split, held_out: bool, rng: Random) -> str:
    """A message of about 20-90 words: support sentences of `lang` with the `core` sentences placed among them."""
    grammar = Grammar(lang, held_out)
    parts = [_support_sentence(lang, split, grammar, rng) for _ in range(rng.choice((1, 2, 3, 4, 5, 6)))]
    if rng.random() < 0.06:
        parts += [rng.choice(split.passages[lang])[:300] for _ in range(rng.choice((1, 2)))]
    for sentence in core:
        parts.insert(rng.randrange(len(parts) + 1), sentence)
    if rng.random() < 0.3:
        parts.insert(0, grammar.sentence("neutral", rng))
    return rng.choice((" ", " ", " ", "\n", "\n\n")).join(parts)


def training_epoch(split: Split, rng: Random) -> list[Example]:
    """One epoch's examples, about 120,000. Toxic and clean come in the same forms."""
    examples: list[Example] = [(mask_swearing(text, 0.1, rng), True) for text in rng.sample(split.toxic, 8000)]
    clean = split.neither * 2 + rng.sample(split.banking, 4000) + rng.sample(split.questions, 1500)
    for lang in LANGUAGES:
        for text, toxic in public_sets.sample(split.public, lang, PUBLIC_ROWS, IDENTITY_ROWS, rng):
            text = clean_tweet(text) if rng.random() < 0.5 else text
            examples.append((disguise(mask_swearing(text, 0.1, rng), 0.05, rng) if toxic else text, toxic))
        grammar = Grammar(lang, held_out=False)
        clean += rng.sample(split.passages[lang], 1500)
        for kind, rows in CLEAN_KINDS.items():
            clean += [grammar.sentence(kind, rng) for _ in range(rows)]
        examples += [(grammar.sentence("abuse", rng), True) for _ in range(3000)]
        for _ in range(6000):
            examples.append((ticket(_abusive_core(lang, split, False, rng), lang, split, False, rng), True))
            clean.append(ticket(_decent_core(lang, split, False, rng), lang, split, False, rng))
    examples += [(text, False) for text in clean]
    rng.shuffle(examples)
    return [(text, label) for text, label in examples if text]


def held_out_tickets(split: Split, lang: str, rows: int, rng: Random) -> list[Example]:
    """`rows` abusive and `rows` decent tickets from held-out frames, tweets and support texts."""
    abusive = [ticket(_abusive_core(lang, split, True, rng), lang, split, True, rng) for _ in range(rows)]
    decent = [ticket(_decent_core(lang, split, True, rng), lang, split, True, rng) for _ in range(rows)]
    return [(text, True) for text in abusive] + [(text, False) for text in decent]


def _abusive_core(lang: str, split: Split, held_out: bool, rng: Random) -> list[str]:
    grammar = Grammar(lang, held_out)
    if not held_out and rng.random() < 0.3:
        texts = split.swearing if lang == "en" and rng.random() < 0.4 else _short(split.public.toxic[lang], rng)
        return [mask_swearing(rng.choice(texts), 0.1, rng)]
    core = [grammar.sentence("abuse", rng)]
    if rng.random() < 0.4:
        core.append(grammar.sentence(rng.choice(("abuse", "decent", "contrast", "hard")), rng))
    return core


def _decent_core(lang: str, split: Split, held_out: bool, rng: Random) -> list[str]:
    grammar = Grammar(lang, held_out)
    if lang == "en" and rng.random() < 0.15:
        return [rng.choice(split.neither)]
    if not held_out and rng.random() < 0.2:
        return [rng.choice(_short(split.public.clean[lang], rng))]
    kinds = rng.choices(("decent", "contrast", "neutral" if held_out else "hard"), k=rng.choice((1, 2, 3)))
    return [grammar.sentence(kind, rng) for kind in kinds]


def _short(texts: list[str], rng: Random) -> list[str]:
    """Two of `texts` or more, the shorter ones where there are any."""
    drawn = rng.sample(texts, 8)
    return [text for text in drawn if len(text) <= SHORT] or drawn[:2]


def _support_sentence(lang: str, split: Split, grammar: Grammar, rng: Random) -> str:
    draw = rng.random()
    if rng.random() < 0.15:
        return grammar.sentence("words", rng)
    if lang == "en" and draw < 0.55:
        return rng.choice(split.banking)
    if lang == "en" and draw < 0.75:
        return rng.choice(split.questions)
    if draw > 0.88 or (lang == "de" and draw > 0.7):
        passage = rng.choice(split.passages[lang])
        return rng.choice(re.split(r"(?<=[.!?:]) ", passage))[:150]
    return grammar.sentence("neutral" if draw < 0.8 else "decent", rng)


def _load_tweets(path: Path, train: Split, held: Split, seed: int) -> None:
    rows = list(_rows(path))
    for label in ("0", "1", "2"):
        tweets = [row["tweet"] for row in rows if row["class"] == label]
        for raw, is_held in zip(tweets, _held_flags(len(tweets), Random(seed + int(label))), strict=True):
            side = held if is_held else train
            side.raw_tweets.append((raw, label != "2"))
            (side.neither if label == "2" else side.toxic).append(clean_tweet(raw))
    for side in (train, held):
        side.swearing = [tweet for tweet in side.toxic if swears(tweet)]


def _load_pages(data: Path, train: Split, held: Split, seed: int) -> None:
    english = sorted((data / "support_kb/en").rglob("*.md")) + sorted((data / "wiki").rglob("*.mdx"))
    for lang, pages in (("en", english), ("de", sorted((data / "support_kb/de").rglob("*.md")))):
        for page in pages:
            is_held = Random(f"{seed} {page.name}").random() < HELD_OUT_SHARE
            side = held if is_held else train
            side.passages[lang] += _passages(page.read_text(encoding="utf-8"))


def _passages(markdown: str) -> list[str]:
    body = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    parts = (" ".join(part.split()) for part in body.split("\n\n"))
    return [part[:1500] for part in parts if len(part) >= 40]


def _held_flags(count: int, rng: Random) -> list[bool]:
    flags = [i < round(count * HELD_OUT_SHARE) for i in range(count)]
    rng.shuffle(flags)
    return flags


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
