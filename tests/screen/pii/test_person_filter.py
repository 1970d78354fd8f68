"""The conditions that a PERSON mark of the bundled model must fulfil, and that the stock engine is held to as well."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from pipeline.config import Pii, model_path
from pipeline.screen.pii.ner import SpacyNer
from pipeline.screen.pii.person_filter import ORDINARY, PLACES, PersonFilter, names
from pipeline.screen.pii.scrub import Scrubber, engine
from pipeline.screen.pii.spans import Finding

FOLDER = Path(model_path("ner-small"))
STANDING = [
    "I spoke to [Anna] yesterday",
    "Liebe [Frau Xyloqwen],",
    "[Annas] Konto ist zu",
    "regards, [Mark]",
    "hi, this is [kevin walker]",
    "[xyloqwen Karakaya] called",
    "ask [Vranthild] about it",
    "[Young] has not replied, but [Anna-Lena Young] has",
    "[Loans Karakaya] is a name",
    "写信给[李雷]",
    "i am [xyloqwen karakayi], hello",
    "Vorgang von Herrn [Loans]",
    "Frau [Pass] und Mr. [kredit]",
    "Apt. 12, [Anna Vranthild]",
    "[Anna], Germany, would buy it again",
    "[Xyloqwen] is back from Germany, Germany is nice",
    "[Xyloqwen Karakaya] Street is not there",
    "Greetings from [Vollmers]",
]
FALLING = [
    "mail [OrvaBizier@teleworm.us] please",
    "see https://docs.example.com/user[-guide]/payment",
    "[<a href] opens the page",
    "line [B2] of it",
    "https://www.[Vranthild].com",
    "I [xyloqwen] it",
    "i [will] it",
    "choose [Loans] or [Receipts]",
    "auf [Knopfdruck], [Kontonummern] und [Bestellungen]",
    "a [Payment Account Problem]",
    "i am [xyloqwen problem], hello",
    "[Bot]: hello. [Agent]: hello. [Support Team]: bye",
    "¿[Puede] ser? [Jakie] to jest?",
    "4 Rue X, Apt. 12, [Xyloqwen]",
    "Suite 3\n[Vranthild Xylo]\nEstonia",
    "> [Xyloqwen]\n> Deutschland 12345",
    "[Vranthild], Österreich",
    "the corner of 4 Main Street and [Vranthild Parkway]",
    "[Vranthild] Parkway is closed",
    "[Vranthild\nXyloqwen]",
    "[…] well",
]


@pytest.fixture(scope="module")
def persons() -> PersonFilter:
    return PersonFilter(FOLDER)


def marks(marked: str) -> list[tuple[str, int, int]]:
    """Returns (text, start, end) of the bracketed parts."""
    pieces = marked.replace("]", "[").split("[")
    text, spans, start = "".join(pieces), [], 0
    for number, piece in enumerate(pieces):
        if number % 2:
            spans.append((text, start, start + len(piece)))
        start += len(piece)
    return spans


@pytest.mark.parametrize("marked", STANDING)
def test_what_can_be_a_name_stands(persons: PersonFilter, marked: str) -> None:
    assert marks(marked)
    assert all(persons.accepts(*mark) for mark in marks(marked))


@pytest.mark.parametrize("marked", FALLING)
def test_what_can_not_be_a_name_falls(persons: PersonFilter, marked: str) -> None:
    assert marks(marked)
    assert not any(persons.accepts(*mark) for mark in marks(marked))


def test_names_that_are_held_out_are_not_known(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    lists = "# a: comment\n\ngerman first: Jürgen Anna-Lena | Heldout\nx last: van_Dyk O'Neil\n"
    file.write_text(lists, encoding="utf-8")
    assert names(file) == {"juergen", "anna", "lena", "dyk", "o'neil"}


def test_the_list_of_ordinary_words_is_the_builders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    written = import_module("ner_phrases").ordinary()
    assert (FOLDER / ORDINARY).read_text(encoding="utf-8").split() == written


def test_a_model_without_lists_has_no_conditions(tmp_path: Path) -> None:
    assert PersonFilter.exists_in(str(FOLDER))
    for name in (ORDINARY, PLACES):
        (tmp_path / name).write_text("", encoding="utf-8")
    assert not PersonFilter.exists_in(str(tmp_path))


def test_the_bundled_model_finds_what_it_finds_in_the_stock_engine_and_less_than_it_marks() -> None:
    texts = [
        "My name is Priya Raghavan, see https://docs.example.com/user-guide/page.html",
        "Choose 'Cart' or 'Modify' under Loans. Zwei Töpfe gehen auf Knopfdruck.",
        "Viele Grüße\nBirgit Oesterle\n\nhttps://example.com/Anna-Berg/",
        "See docs.magento.com/user-guide/v2.3/payment, it is by senior management.",
        "Zahlungseingänge und Eingänge: Laut Rathaus. Webhooks wiederholen wir. Reserve.",
    ]
    settings = Pii(ner={"en": str(FOLDER)}, entities=("PERSON", "LOCATION", "ORGANIZATION"))
    findings = Scrubber(settings, ("en",)).find_all(texts, ["en"] * len(texts))
    analyzer = engine(settings, "en")
    for row, text in enumerate(texts):
        stock = analyzer.analyze(text, "en", score_threshold=settings.score_threshold)
        assert set(findings.get(row, [])) == {Finding(r.start, r.end, r.entity_type, r.score) for r in stock}
    model = SpacyNer("en", str(FOLDER), settings.entities)
    kept = sum(len(results) for results in model.find_all(texts))
    model._filter = None
    assert 0 < kept < sum(len(results) for results in model.find_all(texts))
