"""Known entities: names, addresses and numbers of the columns, found again in text."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.screen.entities import KnownEntities, name_words
from pipeline.screen.spans import Finding, merge, replace


def known(*entities: tuple[str, str]) -> KnownEntities:
    column = pa.array([[{"type": kind, "text": text} for kind, text in entities]], pa.list_(schema.ENTITY))
    return KnownEntities.collect([pa.table({"entities": column})])


def scrub(text: str, entities: KnownEntities, *own: str) -> str:
    return replace(text, merge(entities.find(text, [{"type": "NAME", "text": name} for name in own])))


ANNA = known(("NAME", "Anna Schmidt"), ("EMAIL", "Anna.Schmidt@firma.local"), ("PHONE", "+49 171 3920012"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ich bin Anna Schmidt.", "Ich bin <PERSON>."),
        ("Kundin: Schmidt, Anna; Konto offen", "Kundin: <PERSON>; Konto offen"),
        ("Anna Schmidts Konto ist gesperrt", "<PERSON> Konto ist gesperrt"),
        ("Anna Schmidt's account is locked", "<PERSON>'s account is locked"),
        ("please call anna schmidt back", "please call <PERSON> back"),
        ("ANNA SCHMIDT", "<PERSON>"),
        ("Anna Meier und Paul Schmidt", "Anna Meier und Paul Schmidt"),
        ("write to anna.schmidt@firma.local.", "write to <EMAIL_ADDRESS>."),
        ("Tel. 0171 39 200 12 oder 0049 171/3920012", "Tel. <PHONE_NUMBER> oder <PHONE_NUMBER>"),
        ("Order 1713920013", "Order 1713920013"),
    ],
)
def test_full_names_addresses_and_numbers_are_found_in_any_text(text: str, expected: str) -> None:
    assert scrub(text, ANNA) == expected


def test_umlauts_and_their_spelling_out_meet() -> None:
    assert scrub("Juergen Mueller = JÜRGEN MÜLLER", known(("NAME", "Jürgen Müller"))) == "<PERSON> = <PERSON>"


def test_longer_names_are_found_in_both_orders() -> None:
    names = known(("NAME", "Dr. Anna Maria von der Heide"))
    assert scrub("Anna Maria von der Heide / Heide, Anna Maria von der", names).startswith("<PERSON> / <PERSON>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hallo Anna, Frau Schmidts Karte", "Hallo <PERSON>, Frau <PERSON> Karte"),
        ("der schmidt und die anna", "der schmidt und die anna"),
        ("Viele Grüße\nAnna", "Viele Grüße\n<PERSON>"),
    ],
)
def test_single_names_are_found_in_the_own_ticket_with_a_capital(text: str, expected: str) -> None:
    assert scrub(text, KnownEntities(), "Anna Schmidt") == expected
    assert scrub(text, ANNA) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Will this work? In May I paid. Mark the box.", "Will this work? In May I paid. Mark the box."),
        ("Dear Mark, thanks", "Dear <PERSON>, thanks"),
        ("Best regards\nMark", "Best regards\n<PERSON>"),
        ("Die Wartezeit ist lang. Sehr geehrter Herr Lang,", "Die Wartezeit ist lang. Sehr geehrter Herr <PERSON>,"),
    ],
)
def test_everyday_words_need_a_greeting_or_a_line_of_their_own(text: str, expected: str) -> None:
    assert scrub(text, KnownEntities(), "Mark Lang", "Will May") == expected


def test_a_full_name_of_everyday_words_needs_capitals() -> None:
    assert scrub("it will may be, says Will May", known(("NAME", "Will May"))) == "it will may be, says <PERSON>"


@pytest.mark.parametrize(
    "sender", ["Support Team", "Kundenservice", "Beispiel GmbH", "info@example.com", "Agent 7", ""]
)
def test_a_generic_sender_is_no_person(sender: str) -> None:
    assert name_words(sender) == ()
    assert scrub("Ihr Support Team, Kundenservice der Beispiel GmbH", known(("NAME", sender)), sender).count("<") == 0


def test_parts_merge_and_travel() -> None:
    both = ANNA.merge(known(("NAME", "Paul Weber")))
    assert both.names == {"anna schmidt", "paul weber"}
    assert pickle.loads(pickle.dumps(both)) == both
    assert scrub("Paul Weber", pickle.loads(pickle.dumps(both))) == "<PERSON>"


def test_collect_takes_empty_and_null_entities(make_working: Any) -> None:
    empty = make_working([{"entities": None}, {"entities": []}, {"entities": [{"type": "NAME", "text": None}]}])
    assert KnownEntities.collect([]) == KnownEntities.collect([empty, schema.WORKING.empty_table()]) == KnownEntities()


def test_the_cost_does_not_grow_with_the_number_of_names() -> None:
    text = "Guten Tag, meine Karte wurde abgelehnt und niemand konnte mir am Telefon sagen, warum das so ist. " * 20

    def seconds(count: int) -> float:
        names = KnownEntities(frozenset(f"vorname{n} nachname{n}" for n in range(count)))
        list(names.find(text))
        return min(_timed(lambda: list(names.find(text))) for _ in range(5))

    assert seconds(50_000) < 3 * seconds(50) + 0.001


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_overlaps_become_one_finding_named_after_the_best() -> None:
    findings = [Finding(0, 10, "PHONE_NUMBER", 0.4), Finding(5, 12, "CREDIT_CARD", 1.0), Finding(12, 14, "PERSON", 0.9)]
    expected = [Finding(0, 12, "CREDIT_CARD", 1.0), Finding(12, 14, "PERSON", 0.9)]
    assert merge(findings) == merge(findings[::-1]) == expected
    assert replace("0123456789abcdef", expected) == "<CREDIT_CARD><PERSON>ef"
