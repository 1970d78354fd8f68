"""Shingle hashes against a plain Python shingler."""

from __future__ import annotations

import itertools
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from pipeline.dedup import shingles

TEXTS = [
    "How do I reset my PIN?\nOpen the app, then how do I reset my PIN again",
    "two words",
    "one",
    "",
    " \n\t—…!",
    "Ｆｕｌｌ ｗｉｄｔｈ ① ﬁne CAFÉ café cafe\u0301",
    "snake_case 42 3.14 naïve Straße ŞIŞLİ ΟΔΥΣΣΕΥΣ",
    "日本語 テキスト हिन्दी العربية 🙂 emoji🙂between",
    "a b c a b c a b c",
    "nul\x00byte \U0010ffff x",
    "word " * 500,
]


def plain(text: str, words: int) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
    if not tokens:
        return set()
    return {tuple(tokens[at : at + words]) for at in range(max(1, len(tokens) - words + 1))}


def rows(sets: shingles.Shingles) -> list[list[int]]:
    return [sets.values[start:stop].tolist() for start, stop in itertools.pairwise(sets.offsets.tolist())]


@pytest.mark.parametrize("words", [1, 2, 3, 5])
def test_same_sets_as_a_plain_shingler(words: int) -> None:
    expected = [plain(text, words) for text in TEXTS]
    found = rows(shingles.shingle(TEXTS, words))
    hashes = {}
    for want, got in zip(expected, found, strict=True):
        assert len(want) == len(got)
        assert got == sorted(set(got))
    for i, one in enumerate(expected):
        for j, other in enumerate(expected):
            assert len(one & other) == len(set(found[i]) & set(found[j]))
            hashes[i, j] = len(one & other)
    assert hashes[0, 0] > 3


def test_a_text_is_hashed_alike_in_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    together = rows(shingles.shingle(TEXTS, 3))
    alone = [rows(shingles.shingle([text], 3))[0] for text in TEXTS]
    monkeypatch.setattr(shingles, "CHARACTERS", 40)
    assert rows(shingles.shingle(TEXTS, 3)) == together == alone


def test_hashes_never_change() -> None:
    """Band tables outlive a version of this package: these values are part of the format."""
    assert rows(shingles.shingle(["Hello, World", "a b c d"], 3)) == [
        [8227825533384291936],
        [968146718509026027, 5636932446621548323],
    ]


def test_short_text_is_one_shingle_and_white_text_none() -> None:
    sets = shingles.shingle(["one two", "!", ""], 3)
    assert sets.sizes.tolist() == [1, 0, 0]


def test_word_order_and_length_matter() -> None:
    sets = rows(shingles.shingle(["a b", "b a", "ab", "a", "a b c", "aa", "a a"], 3))
    assert len({row[0] for row in sets}) == 7


def test_empty_batch() -> None:
    sets = shingles.shingle([], 3)
    assert sets.values.dtype == np.uint64
    assert sets.offsets.tolist() == [0]


def test_arrow_round_trip() -> None:
    sets = shingles.shingle(TEXTS, 2)
    chunks = pa.chunked_array([sets.to_arrow()[:4], sets.to_arrow()[4:]])
    back = shingles.Shingles.from_arrow(chunks)
    assert rows(back) == rows(sets)
    assert rows(shingles.Shingles.from_arrow(chunks.slice(0, 0))) == []
