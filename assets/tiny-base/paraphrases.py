"""Paraphrase pairs that teach tiny-base to rephrase customer questions, in English and German.

Seeded sources: our own grammar (grammar.en.txt, grammar.de.txt: one meaning, several phrasings), the same question
frames around open-vocabulary phrases of real text, and rule rewrites of real sentences. In half of the grammar pairs
the words that both sides share are exchanged for random ones: the model then has to carry words over instead of
recalling a known meaning. Every pair keeps the numbers and <PLACEHOLDERS> of its question, and its ROUGE-L lies in
ROUGE_RANGE. Meanings kept for the evaluation never occur in training pairs. Not done here: reading data, tokenising.
"""

import random
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LANGS = ("en", "de")
ROUGE_RANGE = (0.15, 0.72)
OPEN_SHARE = 0.5  # of the drawn pairs, built around real phrases instead of a meaning of the grammar
INSTRUCTION = {"en": "Rephrase the question: ", "de": "Formuliere die Frage um: "}
WORD = re.compile(r"[^\W_]+")
_KEPT = re.compile(r"<[A-Z_]+>|\d+(?:[.,:-]\d+)*")
_FREE_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-ZÄÖÜ<])")

_ARTICLES = (
    (re.compile(r"\b([Aa]) (?=(?:issue|error|incorrect|additional|extra|ATM)\b)"), r"\1n "),
    (re.compile(r"\b([Aa])n (?=(?:problem|wrong|cash|failure)\b)"), r"\1 "),
)

Grammar = dict[str, list[list[str]]]


def rouge_l(a: str, b: str) -> float:
    """ROUGE-L F1 over lower-cased words, by bit-parallel longest common subsequence (Hyyrö 2004)."""
    x, y = (WORD.findall(t.lower()) for t in (a, b))
    if not x or not y:
        return 0.0
    masks: dict[str, int] = defaultdict(int)
    for i, word in enumerate(x):
        masks[word] |= 1 << i
    full = (1 << len(x)) - 1
    row = full
    for word in y:
        hit = row & masks.get(word, 0)
        row = ((row + hit) | (row - hit)) & full
    return 2 * (len(x) - row.bit_count()) / (len(x) + len(y))


def kept_tokens(text: str) -> set[str]:
    """The numbers and <PLACEHOLDERS> of a text: what a paraphrase must keep."""
    return set(_KEPT.findall(text))


def acceptable(source: str, target: str) -> bool:
    """Whether `target` may be taught for `source`: near enough, far enough, nothing numeric lost or added."""
    closing = {"<PERSON>"}
    kept, got = kept_tokens(source), kept_tokens(target)
    return kept - closing <= got and got <= kept and ROUGE_RANGE[0] < rouge_l(source, target) < ROUGE_RANGE[1]


def load_grammar(lang: str) -> Grammar:
    """Sections of the grammar file: name -> lines -> alternatives. "info" and "rewrite" lines keep their raw form."""
    sections: Grammar = {}
    name = ""
    for line in (HERE / f"grammar.{lang}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            name = line[3:].split(":")[0]
            sections[name] = []
        elif line and not line.startswith("#"):
            sections[name].append([line] if name in {"info", "rewrite"} else line.split(" | "))
    return sections


def split_meanings(lines: list[list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """(training, evaluation only): every 14th meaning of a grammar section is kept for the evaluation."""
    return [x for i, x in enumerate(lines) if i % 14 != 5], lines[5::14]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


@dataclass(frozen=True)
class Phrases:
    """Real material of one language: verb phrases, statements, ready pairs, and words to exchange."""

    actions: list[str]
    clauses: list[str]
    pairs: list[tuple[str, str]]
    words: list[str]


class Paraphraser:
    """Draws paraphrase pairs of one language from a seeded generator; without `phrases`, from the grammar alone."""

    def __init__(self, lang: str, seed: int, phrases: Phrases | None = None) -> None:
        self.lang = lang
        self.phrases = phrases
        self.rng = random.Random(f"{lang}{seed}")
        self.grammar = load_grammar(lang)
        self.synonyms = {w: [o for o in group if o != w] for group in self.grammar["synonym"] for w in group}
        longest_first = sorted(self.synonyms, key=len, reverse=True)
        self.any_synonym = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
        # Words of the question frames stay when shared words are exchanged.
        kinds = ["ask action", "ask problem", "ask info", "greeting", "closing"]
        frames = [frame for kind in kinds for line in self.grammar[kind] for frame in line]
        self.fixed = {w.lower() for f in frames for w in re.findall(r"[^\W\d_]+", f)} | {"euro", "euros"}
        self.openers = set(" ".join(self.grammar["openers"][0]).split())
        self.rewrites = []
        for (line,) in self.grammar["rewrite"]:
            pattern, ways = line.split(" => ")
            self.rewrites.append((re.compile(pattern, re.IGNORECASE if lang == "en" else 0), ways.split(" | ")))

    def _lower_start(self, text: str) -> str:
        """Lower-case a first word that is capitalised only because it opens a sentence."""
        first = text.split(" ", 1)[0].split("'")[0]
        return text[:1].lower() + text[1:] if first.lower() in self.openers and first != "I" else text

    def _value(self, name: str) -> str:
        return self.rng.choice(self.grammar[f"values {name}"][0])

    def _slots(self) -> dict[str, str]:
        rng, de = self.rng, self.lang == "de"
        number = f"{rng.randint(1, 9999)}" + (f".{rng.randint(0, 99):02d}" if rng.random() < 0.6 else "")
        amounts = [number, f"{float(number) + rng.randint(5, 90):.2f}"]
        if de:
            amounts = [a.replace(".", ",") for a in amounts]
        style = rng.choice(["{} €", "{} Euro", "EUR {}"] if de else ["{} EUR", "€{}", "{} euros", "£{}", "${}"])
        month, day = self._value("month"), rng.randint(1, 28)
        dates = (
            [f"{day}. {month}", f"{day:02d}.{rng.randint(1, 12):02d}.2026"]
            if de
            else [f"{day} {month}", f"{month} {day}"]
        )
        name = _upper("".join(self._value("syllable") for _ in range(rng.randint(2, 4))))
        return {
            "amount": style.format(amounts[0]),
            "amount2": style.format(amounts[1]),
            "month": month,
            "date": rng.choice(dates),
            "city": self._value("city"),
            "tool": self._value("tool"),
            "merchant": rng.choice(
                [name, name, f"{name} GmbH", f"{name} {rng.choice(['Shop', 'Market', 'Energy', 'Books'])}"]
            ),
            "device": self._value("device"),
            "days": str(rng.randint(2, 30)),
            "n": str(rng.randint(2, 9)),
            "num": str(rng.randint(10000, 9999999)),
            "four": f"{rng.randint(1000, 9999)}",
            "code": f"E{rng.randint(100, 999)}",
            "id": f"{rng.choice(['INV', 'TX', 'RE', 'T', 'REF'])}-{rng.randint(1000, 999999)}",
            "version": f"{rng.randint(2, 9)}.{rng.randint(0, 30)}",
        }

    def _two(self, phrasings: list[str]) -> tuple[str, str]:
        pair = self.rng.sample(phrasings, 2) if len(phrasings) > 1 else [phrasings[0], phrasings[0]]
        first, second = (_FREE_CHOICE.sub(lambda m: self.rng.choice(m.group(1).split("/")), p) for p in pair)
        return first, second

    def _frame(self, kind: str) -> str:
        return self.rng.choice(self.rng.choice(self.grammar[f"ask {kind}"]))

    def _core(self, heldout: bool) -> tuple[str, str, str]:
        """(question, paraphrase, subject line) of one meaning, slots unfilled."""
        kind = self.rng.choices(["action", "problem", "info"], [30, 45, 25])[0]
        meaning = self.rng.choice(split_meanings(self.grammar[kind])[heldout])
        if kind == "info":
            direct, indirect = (part.strip().split(" | ") for part in meaning[0].split("||"))
            asked = [*direct, *(self._frame("info").replace("{i}", i) for i in indirect)]
            one, two = self._two(asked)
            return one, two, self.rng.choice(direct).rstrip("?" if self.rng.random() < 0.5 else "")
        one, two = self._two(meaning)
        return *self._framed(kind, one, two), _upper(self.rng.choice(meaning))

    def _framed(self, kind: str, one: str, two: str) -> tuple[str, str]:
        first, second = (
            self._frame(kind).replace(f"{{{kind[0]}}}", phrase).replace("{P}", _upper(phrase)) for phrase in (one, two)
        )
        return first, second

    def _open_core(self, phrases: Phrases) -> tuple[str, str, str]:
        """As `_core`, around a phrase of real text, or a ready pair."""
        kind = self.rng.choices(["action", "problem", "pair"], [40, 35, 25 if phrases.pairs else 0])[0]
        if kind == "pair":
            one, two = self.rng.choice(phrases.pairs)
            return one, two, " ".join(one.split()[:5]).rstrip(".,!")
        phrase = self.rng.choice(phrases.actions if kind == "action" else phrases.clauses)
        phrase = phrase if kind == "action" else self._lower_start(phrase)
        one, two = self._framed(kind, phrase, self._with_synonyms(phrase))
        return one, two, _upper(" ".join(phrase.split()[:6]))

    def _exchange_words(self, source: str, target: str, words: list[str]) -> tuple[str, str]:
        """Exchange content words that both sides share for random words, the same on both sides."""
        shared = sorted(
            {w for w in re.findall(r"(?<![\w<{])[^\W\d_]{4,}(?![\w>}])", target) if re.search(rf"\b{w}\b", source)}
        )
        table = {
            w: self.rng.choice(words)
            for w in shared
            if w.lower() not in self.fixed and w[0].isupper() >= (self.lang == "de") and self.rng.random() < 0.6
        }
        table = {w: _upper(new) if w[0].isupper() else new for w, new in table.items()}
        swap = re.compile(r"(?<![\w<{])[^\W\d_]{4,}(?![\w>}])")
        one, two = (swap.sub(lambda m: table.get(m.group(), m.group()), t) for t in (source, target))
        return one, two

    def _assemble(self, core: str, details: list[str], polite: float) -> str:
        """One paragraph: core and details in either order, with greeting and closing at probability `polite`."""
        rng = self.rng
        extra = [_upper(d) + "." for d in details]
        rng.shuffle(extra)
        parts = [core, *extra] if rng.random() < 0.65 else [*extra, core]
        if rng.random() < polite:
            parts.append(rng.choice(self.grammar["closing"][0]))
        text = " ".join(_upper(p) for p in parts)
        if rng.random() < polite:
            text = rng.choice(self.grammar["greeting"][0]) + " " + self._lower_start(text)
        return text

    def _as_mail(self, text: str) -> str:
        """The layout of a real mail: greeting on its own line, line breaks, a signature."""
        rng = self.rng
        for greeting in self.grammar["greeting"][0]:
            if text.startswith(greeting + " "):
                text = greeting + rng.choice(["\n\n", "\n"]) + _upper(text[len(greeting) + 1 :])
        text = re.sub(r"(?<=[.?!]) (?=[A-ZÄÖÜ])", lambda m: rng.choice([" ", "\n", "\n\n"]), text)
        return text + "\n\n-- \n<PERSON>" if rng.random() < 0.15 else text

    def _draw(self, heldout: bool) -> tuple[str, str]:
        rng = self.rng
        real = self.phrases if not heldout and rng.random() < OPEN_SHARE else None
        one, two, subject = self._open_core(real) if real else self._core(heldout)
        if rng.random() < 0.1:
            more = self._core(heldout)
            one, two = (
                f"{t} {rng.choice(self.grammar['link'][0])} {self._lower_start(m)}"
                for t, m in ((one, more[0]), (two, more[1]))
            )
        facts = [self._two(d) for d in rng.sample(self.grammar["detail"], rng.choices([0, 1, 2], [45, 40, 15])[0])]
        if self.phrases and not heldout and rng.random() < 0.2:
            clause = rng.choice(self.phrases.clauses)
            facts.append((clause, self._with_synonyms(clause)))
        source = self._assemble(one, [f[0] for f in facts], 0.3)
        source = self._as_mail(source) if rng.random() < 0.3 else source
        target = self._assemble(two, [f[1] for f in facts], 0.06)
        if rng.random() < 0.45:
            subject = subject if rng.random() < 0.7 else rng.choice(self.grammar["subject"][0])
            source = subject + rng.choice(["\n\n", "\n\n", "\n", ". ", ": "]) + source
        if self.phrases and not real and not heldout and rng.random() < 0.5:
            source, target = self._exchange_words(source, target, self.phrases.words)
        slots = self._slots()
        filled = [re.sub(r"\{(\w+)\}", lambda m: slots.get(m.group(1), m.group()), t) for t in (source, target)]
        return filled[0], filled[1]

    def pair(self, heldout: bool = False) -> tuple[str, str]:
        """One (question, paraphrase); `heldout` draws from the meanings kept for the evaluation."""
        while True:
            source, target = self._draw(heldout)
            if acceptable(source, target):
                return source, target

    def _rewrite_sentence(self, sentence: str) -> str:
        for pattern, ways in self.rewrites:
            match = pattern.match(sentence)
            if match and self.rng.random() < 0.9:
                groups = [self._lower_start(g) if g else "" for g in match.groups()]
                way = self.rng.choice(ways)
                filled = way
                for number, group in enumerate(groups, start=1):
                    filled = filled.replace(f"\\{number}", group)
                sentence = re.sub(r"(?<=[.?] )[a-zäöü]", lambda m: m.group().upper(), filled)
                break
        return _upper(self._with_synonyms(sentence))

    def _with_synonyms(self, text: str) -> str:
        text = self.any_synonym.sub(
            lambda m: self.rng.choice(self.synonyms[m.group()]) if self.rng.random() < 0.6 else m.group(), text
        )
        for pattern, article in _ARTICLES if self.lang == "en" else ():
            text = pattern.sub(article, text)
        return text

    def rewrite(self, text: str) -> str | None:
        """A rule rewrite of real text: patterns, synonyms, sentences reordered; None when no draw is acceptable."""
        for _ in range(6):
            sentences = _SENTENCE.split(" ".join(text.split()))
            new = [self._rewrite_sentence(_upper(s)) for s in sentences]
            if len(new) > 1 and self.rng.random() < 0.5:
                new = [*new[1:], new[0]] if self.rng.random() < 0.5 else [new[-1], *new[:-1]]
            result = " ".join(s if s[-1] in ".?!" else s + "." for s in new)
            if acceptable(text, result):
                return result
        return None
