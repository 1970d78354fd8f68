"""Text that quotes a control token, such as `</s>` or `<|im_end|>`, as the ordinary text it is.

Output contract: `Quoted.hide` replaces the control tokens that a text quotes by private characters, which a template
passes on untouched; `Quoted.tokens` encodes what was rendered: the template's own control tokens get their ids, hidden
ones the ids of their letters, and no token stands for the end of the prompt and the beginning of the answer alike. A
control token is one that is marked special, or that the template writes; whatever else is in the vocabulary is text
already. This module renders no template.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_PRIVATE = "\U000f0000"  # the first of the private characters; a text that has any of its own gets them back
_BYTE = re.compile("<0x[0-9A-F]{2}>")  # what a character outside the vocabulary is made of
_PRIVATES = "[\U000f0000-\U0010fffd]"


@dataclass(frozen=True)
class Rendered:
    """A text with what is hidden in it (text to private character), and where its answer begins (-1: it has none)."""

    text: str
    held: dict[str, str]
    start: int = -1


class Quoted:
    """The control tokens of a tokenizer with its template; `tokens` needs its `hide` first. `frame` is what the
    template writes around a question and its answer: no answer may write a token of it."""

    def __init__(self, tokenizer: Any, template: str, frame: str = "") -> None:
        tokens = [token for token in tokenizer.added_tokens_decoder.values() if not _BYTE.fullmatch(str(token))]
        added = {str(token): token.special for token in tokens if str(token).strip() or token.special}
        named = set(tokenizer.all_special_tokens)
        self.special = {text for text, special in added.items() if special or text in named or text in frame}
        self.controls = self.special | {text for text in added if text in template}
        self._backend, self._salt = tokenizer.backend_tokenizer, secrets.token_hex(8)  # no text can hold a guess at it
        self._backend.no_truncation()  # what a file may come with
        self._backend.no_padding()
        after = self._backend.post_processor  # alone: the whole tokenizer takes seconds to read
        self._trims = after is not None and '"trim_offsets":true' in after.__getstate__().decode()
        self._ids = {tokenizer.convert_tokens_to_ids(text) for text in self.controls} - {tokenizer.unk_token_id}

    def hide(self, text: str, held: dict[str, str], special_only: bool = False) -> str:
        """Returns the text without control tokens (with `special_only`, without special ones); `held` learns which
        private character stands for what."""
        kept = self.controls - self.special if special_only else ()

        def private(match: re.Match[str]) -> str:
            found = match[0]
            return found if found in kept else held.setdefault(found, chr(ord(_PRIVATE) + len(held)))

        return self._pattern.sub(private, text)

    def tokens(self, rows: Sequence[Rendered]) -> list[tuple[list[int], int]]:
        """Returns each row's token ids, to which nothing is added, and the place of its answer's first token."""
        encoded: dict[int, tuple[list[int], int]] = {}
        plain = [place for place, row in enumerate(rows) if not row.held and not self._trimmed(row)]
        if plain:
            texts = [rows[place].text for place in plain]
            one, many = self._backend.encode, self._backend.encode_batch  # a batch of one waits for other threads
            batch = many(texts, add_special_tokens=False) if texts[1:] else [one(texts[0], add_special_tokens=False)]
            for place, row in zip(plain, batch, strict=True):
                start = rows[place].start
                first = 0 if start < 0 else _first(row.offsets, start)
                if first is not None and not self._misheard(rows[place].text, row.ids):
                    encoded[place] = row.ids, first
        return [encoded[place] if place in encoded else self._carefully(row) for place, row in enumerate(rows)]

    def _misheard(self, text: str, ids: list[int]) -> bool:
        """Tells whether there are other control tokens than those that are written: a normaliser makes `<s>` of a wide
        `＜ｓ＞`, and some vocabularies have it as a word."""
        written = sum(found in self.controls for found in self._pattern.findall(text))
        return written != sum(map(self._ids.__contains__, ids))

    def _trimmed(self, row: Rendered) -> bool:
        """Tells whether the offsets that the tokenizer gives may hide a blank that belongs to two tokens."""
        start, text = row.start, row.text
        return self._trims and start > 0 and (text[start - 1] == " " or text[start : start + 1].isspace())

    def _carefully(self, row: Rendered) -> tuple[list[int], int]:
        before, after = (self._shown(part, row.held) for part in (row.text[: row.start], row.text[row.start :]))
        if row.start < 0:
            return self.aliased.encode(self._shown(row.text, row.held)).ids, 0
        whole = self.aliased.encode(before + after)
        first = _first(whole.offsets, len(before))
        if first is not None:
            return whole.ids, first
        parts = [self.aliased.encode(part).ids for part in (before, before + self._border + after)]
        return parts[0] + parts[1][len(parts[0]) + 1 :], len(parts[0])

    def _shown(self, text: str, held: dict[str, str]) -> str:
        """Returns a rendered text as `aliased` takes it, with everything hidden back in its place."""
        own = self._pattern.sub(lambda match: self._aliases.get(match[0], match[0]), text)
        return own.translate({ord(private): found for found, private in held.items()})

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Matches control tokens, the longest first as the tokenizer does; private characters too."""
        return re.compile("|".join([*_alternatives(self.controls), _PRIVATES]))

    @cached_property
    def _aliases(self) -> dict[str, str]:
        return {text: f"\ufdd0{self._salt}{number:x}\ufdd1" for number, text in enumerate(sorted(self.controls))}

    @property
    def _border(self) -> str:
        return f"\ufdd0{self._salt}\ufdd1"

    @cached_property
    def aliased(self) -> Any:
        """The same tokenizer, whose control tokens are called by names that no text holds."""
        from tokenizers import Tokenizer

        rules = json.loads(self._backend.to_str())
        names, model = self._aliases, rules["model"]
        for token in rules["added_tokens"]:
            if token["content"] in names:
                token |= {"content": names[token["content"]], "single_word": False}
        if isinstance(vocabulary := model["vocab"], dict):
            model["vocab"] = {names.get(text, text): number for text, number in vocabulary.items()}
        else:
            model["vocab"] = [[names.get(text, text), score] for text, score in vocabulary]
        if model.get("unk_token") is not None:
            model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
        if "merges" in model:  # what would merge to a control token, or with one, stays in pieces
            model["merges"] = [pair for pair in map(_pair, model["merges"]) if names.keys().isdisjoint(_texts(pair))]
        rules |= {"post_processor": None, "truncation": None, "padding": None}
        aliased = Tokenizer.from_str(json.dumps(rules))
        aliased.add_special_tokens([self._border])
        return aliased


def _alternatives(texts: Iterable[str]) -> list[str]:
    """Returns regular expressions that match texts, of several the longest, in a time that their number does not
    change: what begins alike is looked at once."""
    behind: dict[str, set[str]] = {}
    for text in texts:
        behind.setdefault(text[:1], set()).add(text[1:])
    found = []
    for first, rests in sorted(behind.items(), reverse=True):  # the end of a text comes last
        more = _alternatives(rests) if rests != {""} else [""]
        found.append(re.escape(first) + (f"(?:{'|'.join(more)})" if more[1:] else more[0]) if first else "")
    return found


def _first(offsets: Sequence[tuple[int, int]], start: int) -> int | None:
    """Returns the place of the first token that begins at `start` or behind it, None where one goes across it."""
    first = next((place for place, (_, end) in enumerate(offsets) if end > start), len(offsets))
    return None if first < len(offsets) and offsets[first][0] < start else first


def _pair(merge: str | list[str]) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _texts(pair: list[str]) -> tuple[str, ...]:
    return (*pair, "".join(pair))
