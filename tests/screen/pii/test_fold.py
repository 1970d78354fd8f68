"""Folding: what a recogniser reads, and that a span leads back to all that was written."""

from __future__ import annotations

from random import Random

import pytest

from pipeline.screen.pii.fold import FoldedTexts, fold
from pipeline.screen.pii.spans import Finding


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("DE89\u00a03704\u202f0044\u20090532", "DE89 3704 0044 0532"),
        ("030\u2011123\u2013456\u2212789", "030-123-456-789"),
        ("bei\u00adspiel\u200b.de\ufeff\u2060", "beispiel.de"),
        ("\uff14\uff11\uff11\uff11 \u0664\u0661 \U0001d7d2", "4111 41 4"),
        ("\uff41nna\uff20firma\uff0ede", "anna@firma.de"),
        ("4\ufe0f\u20e31\ufe0f\u20e3", "41"),
        ("Mu\u0308ller, \ufb01rma", "Müller, firma"),
        ("a&#64;b, a&#x40;b, a&commat;b, a&amp;#64;b, a&#64b", "a@b, a@b, a@b, a@b, a@b"),
        ("DE89&nbsp;3704&#8209;0044&shy;", "DE89 3704-0044"),
        ("a%40b.de, a%2540b.de, %2B49%20171%2039", "a@b.de, a@b.de, +49 171 39"),
        ("max\\_muster\\@firma\\.de a\\u0040b", "max_muster@firma.de a@b"),
    ],
)
def test_what_is_read(written: str, read: str) -> None:
    assert fold(written).text == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Größe, Straße: naïve café 😀 日本語 русский",
        "A & B, R&D; 50 % off, 100%, C:\\new\\table, &c; &unknownentity;",
        "https://example.com/a%20b?q=%C3%BC&name=x y",
        "lines\nand\ttabs\r\n",
    ],
)
def test_what_says_what_it_says_is_left(text: str) -> None:
    assert fold(text).text == text


def test_a_finding_covers_all_that_was_written() -> None:
    written = "An: anna\u200b.klein&#64;bei\u00adspiel.de, IBAN DE89&nbsp;3704"
    folded = fold(written)
    for value, original in (
        ("anna.klein@beispiel.de", "anna\u200b.klein&#64;bei\u00adspiel.de"),
        ("DE89 3704", "DE89&nbsp;3704"),
    ):
        start = folded.text.index(value)
        finding = folded.restored(Finding(start, start + len(value), "X", 1.0))
        assert written[finding.start : finding.end] == original


def test_spans_of_random_texts_lead_back_in_order() -> None:
    rng = Random(5)
    pieces = [
        "a",
        "ä",
        "7",
        "\u00a0",
        "\u200b",
        "\u00ad",
        "\u2011",
        "&#64;",
        "&amp;",
        "%40",
        "\\_",
        "u\u0308",
        "\uff11",
        "\ufb01",
        "&",
        "%",
    ]
    for _ in range(500):
        written = "".join(rng.choices(pieces, k=rng.randint(0, 12)))
        folded = fold(written)
        spans = [folded.restored(Finding(at, at + 1, "X", 1.0))[:2] for at in range(len(folded.text))]
        assert all(0 <= start < end <= len(written) for start, end in spans)
        assert spans == sorted(spans)


def test_a_batch_is_folded_like_its_texts() -> None:
    texts = ["plain", "x&#64;y", "z"]
    batch = FoldedTexts(texts)
    assert batch.texts == ["plain", "x@y", "z"]
    restored = batch.restored({0: [Finding(0, 5, "X", 1.0)], 1: [Finding(1, 3, "X", 1.0)]})
    assert {at: [each[:2] for each in found] for at, found in restored.items()} == {0: [(0, 5)], 1: [(1, 7)]}
