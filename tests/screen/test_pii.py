"""The PII stage and its recognisers: what is scrubbed, what is left, and that skipping a recogniser changes nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import schema
from pipeline.config import Pii
from pipeline.errors import MissingModelError
from pipeline.screen.entities import KnownEntities
from pipeline.screen.pii import PiiStage, Scrubber, engine

FOUND = [
    ("Please write to jane.doe@example.co.uk today.", "EMAIL_ADDRESS"),
    ("Meine IBAN lautet DE89 3704 0044 0532 0130 00.", "IBAN_CODE"),
    ("iban at611904300234573201", "IBAN_CODE"),
    ("card 4111 1111 1111 1111", "CREDIT_CARD"),
    ("amex 378282246310005", "CREDIT_CARD"),
    ("login from 203.0.113.77 last night", "IP_ADDRESS"),
    ("login from 2001:db8:12::7f last night", "IP_ADDRESS"),
    ("see https://admin:s3cr3tPw@files.example.com/q3", "URL_CREDENTIALS"),
    ("open https://example.com/reset?user=7&token=a8f3e1c99b", "URL_CREDENTIALS"),
    ("Steuer-ID 86 095 742 719", "DE_TAX_ID"),
    ("Steuer-ID 86095742719", "DE_TAX_ID"),
    ("USt-IdNr. DE136695976", "DE_VAT_ID"),
    ("call +49 30 23125 123", "PHONE_NUMBER"),
    ("call 0049 171 3920012", "PHONE_NUMBER"),
    ("ruf 0171/3920012 an", "PHONE_NUMBER"),
    ("ruf (030) 23125-123 an", "PHONE_NUMBER"),
    ("me: +44 20 7946 0123", "PHONE_NUMBER"),
    ("in Wien 01 5124567", "PHONE_NUMBER"),
    ("Zürich 044 668 18 00", "PHONE_NUMBER"),
    ("Paris 01 70 18 99 12", "PHONE_NUMBER"),
    ("office (212) 555-0123", "PHONE_NUMBER"),
    ("Please call me: 2125550123", "PHONE_NUMBER"),
]
LEFT = [
    "Order 113542617735902 was paid on 07.24.2017 and shipped 2026-05-12 10:33.",
    "Ihre Bestellnummer lautet 0171392001234, Ticket #2147483647, Vorgang 35984-2.",
    "Version 2.4.3-p1 costs 1.234,56 EUR or $12,345.67, that is 0,95 % of 1 000 000.",
    "exl-id: 03686684-3b7e, commit 02104731-6666-47a6, PIN 1695, at 10:30-12:45 on 01.02.2026.",
    "https://example.com/help?article=360012345678 and user:name without a host",
    "IBAN DE89 3704 0044 0532 0130 01 has a wrong checksum, so has DE136695977 and 86 095 742 718.",
    "std::vector and @mention, a @ b",
]
TICKETS = [text for text, _ in FOUND] + LEFT


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber(Pii(), ("en", "de"))


@pytest.fixture(scope="module")
def stage() -> PiiStage:
    return PiiStage(Pii(), ("en", "de"), KnownEntities(names=frozenset({"anna schmidt"})))


def test_marks_nothing_but_replaces_and_lists_in_reading_order(stage: PiiStage, make_working: Any) -> None:
    table = make_working(
        [
            {
                "prompt": "Anna Schmidt here, 203.0.113.7 is not mine. anna@example.com",
                "response": "We call +49 30 23125123. Regards, Jonas",
                "lang": "de",
                "entities": [{"type": "NAME", "text": "Jonas Lindner"}],
            }
        ]
    )
    row = stage(table).to_pylist()[0]
    assert row["prompt"] == "<PERSON> here, <IP_ADDRESS> is not mine. <EMAIL_ADDRESS>"
    assert row["response"] == "We call <PHONE_NUMBER>. Regards, <PERSON>"
    assert row["pii"] == ["PERSON", "IP_ADDRESS", "EMAIL_ADDRESS", "PHONE_NUMBER", "PERSON"]
    assert row["id"] == table["id"][0].as_py()
    assert row["stage"] is None


def test_keeps_text_without_findings(stage: PiiStage, make_working: Any) -> None:
    table = make_working([{"prompt": "Where is my card?", "response": "On its way.", "lang": "en"}])
    assert stage(table).equals(table)


def test_first_reason_wins(stage: PiiStage, make_working: Any) -> None:
    marked = schema.mark(make_working([{"prompt": "a@example.com"}]), np.array([True]), "language", "language")
    assert stage(marked).equals(marked)


def test_empty_batch(stage: PiiStage) -> None:
    assert stage(schema.WORKING.empty_table()).equals(schema.WORKING.empty_table())


def test_null_text_is_empty_text(stage: PiiStage, make_working: Any) -> None:
    table = make_working([{"prompt": None, "response": None, "entities": None}])
    assert stage(table)["pii"].to_pylist() == [[]]


@pytest.mark.parametrize(("text", "kind"), FOUND)
def test_finds(scrubber: Scrubber, text: str, kind: str) -> None:
    scrubbed, types = scrubber.scrub(text)
    assert types == [kind], scrubbed
    assert not any(char.isdigit() for char in scrubbed.replace("s3cr3tPw", ""))


@pytest.mark.parametrize("text", LEFT)
def test_leaves(scrubber: Scrubber, text: str) -> None:
    assert scrubber.scrub(text) == (text, [])


def test_findings_equal_the_stock_engine_with_the_same_recognisers(scrubber: Scrubber) -> None:
    texts = [*TICKETS, "\n\n".join(TICKETS), *(f"{a}\n{b}" for a in TICKETS[::3] for b in TICKETS[::4])]
    for language in ("en", "de"):
        stock = engine(language, None)
        for text in texts:
            expected = {(r.start, r.end, r.entity_type, r.score) for r in stock.analyze(text, language)}
            expected = {finding for finding in expected if finding[3] >= Pii().score_threshold}
            assert set(map(tuple, scrubber.find(text, language))) == expected


def test_every_recogniser_has_its_condition(scrubber: Scrubber) -> None:
    from pipeline.screen.recognisers import NEEDS, recognisers

    assert {kind for recogniser in recognisers("de") for kind in recogniser.supported_entities} == set(NEEDS)


def test_no_socket_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    fresh = Scrubber(Pii(), ("en",))
    assert fresh.scrub("jane@example.co.uk, jane@nowhere.invalidtld") == (
        "<EMAIL_ADDRESS>, jane@nowhere.invalidtld",
        ["EMAIL_ADDRESS"],
    )


def test_scrubbing_twice_changes_nothing(scrubber: Scrubber) -> None:
    for text in TICKETS:
        once, _ = scrubber.scrub(text)
        assert scrubber.scrub(once) == (once, [])


def test_a_spacy_model_that_is_not_installed_is_one_sentence() -> None:
    with pytest.raises(MissingModelError, match="python -m spacy download xx_not_there"):
        Scrubber(Pii(ner={"en": "xx_not_there"}), ("en",))


def test_people_that_a_spacy_model_finds_are_scrubbed_and_places_are_not(tmp_path: Path) -> None:
    import spacy

    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Maria Lopez"}, {"label": "GPE", "pattern": "Berlin"}])
    nlp.to_disk(tmp_path / "model")
    scrubber = Scrubber(Pii(ner={"en": str(tmp_path / "model")}), ("en", "de"))
    text = "Maria Lopez moved to Berlin, maria@example.com"
    assert scrubber.scrub(text, "en")[0] == "<PERSON> moved to Berlin, <EMAIL_ADDRESS>"
    assert scrubber.scrub(text, "de")[0] == "Maria Lopez moved to Berlin, <EMAIL_ADDRESS>"
