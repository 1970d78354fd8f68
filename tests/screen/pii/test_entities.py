"""Known entities: names, addresses and numbers of the columns, found again in text."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.screen.pii.entities import KnownEntities, name_words
from pipeline.screen.pii.spans import Finding, merge, replace


def known(*entities: tuple[str, str]) -> KnownEntities:
    column = pa.array([[{"type": kind, "text": text} for kind, text in entities]], pa.list_(schema.ENTITY))
    return KnownEntities.collect([pa.table({"entities": column})])


def owners(*rows: Sequence[str]) -> pa.Array:
    """The column `entities`: the names of each row."""
    values = [[{"type": "NAME", "text": name} for name in names] for names in rows]
    return pa.array(values, pa.list_(schema.ENTITY))


def scrub(text: str, entities: KnownEntities, *own: str) -> str:
    found = list(entities.find(text, owners(own)[0].as_py()))
    assert entities.find_all([text], owners(own)).get(0, []) == found
    return replace(text, merge(found))


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
        ("der schmidt und die anna", "der <PERSON> und die <PERSON>"),
        ("profil in/anna-schmidt-81/", "profil in/<PERSON>-81/"),
        ("Viele Grüße\nAnna", "Viele Grüße\n<PERSON>"),
    ],
)
def test_names_are_found_in_the_own_ticket_in_any_order_and_letter_case(text: str, expected: str) -> None:
    assert scrub(text, KnownEntities(), "Anna Schmidt") == expected
    assert scrub(text, ANNA) == text


def test_a_full_name_is_found_in_any_order_letter_case_and_joined() -> None:
    text = "schmidt, anna; anna schmidt; SCHMIDT Anna; schmidt,anna; anna_schmidt.pdf; anna.schmidt"
    expected = "<PERSON>; <PERSON>; <PERSON>; <PERSON>; <PERSON>.pdf; <PERSON>"
    assert scrub(text, KnownEntities.of(["Anna Schmidt"])) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Do Long", "do you know how long it takes so far"),
        ("Mark Fischer", "please mark it, ein fischer weiss das"),
        ("An Weber", "an den kunden, weber und rahmen"),
    ],
)
def test_a_name_that_is_a_word_in_small_letters_is_left(name: str, text: str) -> None:
    assert scrub(text, KnownEntities(), name) == text


def test_a_short_name_in_small_letters_is_found_where_a_name_stands() -> None:
    assert scrub("hi tom, lg eva", KnownEntities(), "Tom Li", "Eva Do") == "hi <PERSON>, lg <PERSON>"


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


def test_parts_unite_and_travel() -> None:
    both = KnownEntities.union([ANNA, known(("NAME", "Paul Weber"))])
    assert both == known(
        ("NAME", "Paul Weber"),
        ("EMAIL", "anna.schmidt@firma.local"),
        ("PHONE", "+49 171 3920012"),
        ("NAME", "ANNA SCHMIDT"),
        ("NAME", "Schmidt, Anna"),
    )
    assert (len(both.names), len(both.starts), len(both.words), len(both.emails)) == (2, 4, 4, 1)
    assert scrub("Paul Weber", both) == "<PERSON>"  # what it has learnt of words stays behind
    assert pickle.loads(pickle.dumps(both)) == both != ANNA
    assert scrub("Paul Weber", pickle.loads(pickle.dumps(both))) == "<PERSON>"


def test_it_holds_no_name_and_little_memory() -> None:
    count = 20_000
    people = KnownEntities.of(
        (f"Vorname{chr(97 + n % 26)} Nach{chr(97 + n // 26 % 26)}name{'xyz'[n % 3] * (n % 50)}" for n in range(count)),
        (f"person{n}@example.com" for n in range(count)),
        (f"+49 171 {n:07}" for n in range(count)),
    )
    packed = pickle.dumps(people)
    assert b"achname" not in packed
    assert b"person" not in packed
    assert len(packed) < count * 8 * 8


SEPARATORS = (
    " ",
    "  ",
    "\n",
    ", ",
    ". ",
    "\u00a0",
    "\u2003",
    "\x1c",
    "\t ",
    "-",
    "'s ",
    "s ",
    " x ",
    ",",
    "; ",
    " (",
    ") ",
)
WORDS = (
    "Anna",
    "anna",
    "SCHMIDT",
    "Schmidt",
    "Schmidts",
    "Maria",
    "von",
    "der",
    "Heide",
    "Lena",
    "Anna-Lena",
    "O’Brien",
)
WORDS_TOO = (
    "Will",
    "will",
    "May",
    "may",
    "Müller",
    "Mueller",
    "Jürgen",
    "Herr",
    "Dear",
    "x@y.de",
    "1713920012",
    "Haus",
)


def test_a_batch_is_treated_as_its_texts_are() -> None:
    rng = Random(5)
    people = KnownEntities.of(
        ["Anna Schmidt", "Anna Maria von der Heide", "Lena O'Brien", "Will May", "Jürgen Müller"],
        ["x@y.de"],
        ["0171 3920012"],
    )
    texts = [
        "".join(rng.choice(WORDS + WORDS_TOO) + rng.choice(SEPARATORS) for _ in range(rng.randint(0, 7)))
        for _ in range(1_500)
    ]
    names = [
        rng.sample(["Anna Lena Will", "May, Maria", "Schmidt", "Support Team", "", "Haus"], k=n % 3)
        for n in range(1_500)
    ]
    column = owners(*names)
    expected = [list(people.find(text, own)) for text, own in zip(texts, column.to_pylist(), strict=True)]
    for given in (column, pa.chunked_array([column[:700], column[700:]])):
        found = people.find_all(texts, given)
        assert [found.get(at, []) for at in range(len(texts))] == expected
    assert 300 < len(found) < 1_400


def test_a_finding_knows_its_person() -> None:
    text = "Schmidt, Anna; Anna Schmidts Konto; ANNA SCHMIDT; Frau Schmidt; Anna"
    findings = merge(ANNA.find(text, [{"type": "NAME", "text": "Dr. Anna Schmidt"}]))
    assert [finding.identity for finding in findings] == ["anna schmidt"] * 5
    own = [{"type": "NAME", "text": name} for name in ("Anna Schmidt", "Anna Meier", "Anna Weber")]
    assert [f.identity for f in KnownEntities().find("Anna, Meier", own)] == ["anna", "anna meier"]


def test_collect_takes_empty_and_null_entities(make_working: Any) -> None:
    empty = make_working([{"entities": None}, {"entities": []}, {"entities": [{"type": "NAME", "text": None}]}])
    assert KnownEntities.collect([]) == KnownEntities.collect([empty, schema.WORKING.empty_table()]) == KnownEntities()


def test_the_cost_does_not_grow_with_the_number_of_names() -> None:
    text = "Guten Tag, meine Karte wurde abgelehnt und niemand konnte mir am Telefon sagen, warum das so ist. " * 20

    def seconds(count: int) -> float:
        names = KnownEntities.of(f"Vorname {'abcdefghij'[n % 10] * (n // 10)}" for n in range(count))
        list(names.find(text))
        return min(_timed(lambda: list(names.find(text))) for _ in range(5))

    assert seconds(2_000) < 3 * seconds(20) + 0.001


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_overlaps_become_one_finding_named_after_the_best() -> None:
    findings = [Finding(0, 10, "PHONE_NUMBER", 0.4), Finding(5, 12, "CREDIT_CARD", 1.0), Finding(12, 14, "PERSON", 0.9)]
    expected = [Finding(0, 12, "CREDIT_CARD", 1.0), Finding(12, 14, "PERSON", 0.9)]
    assert merge(findings) == merge(findings[::-1]) == expected
    assert replace("0123456789abcdef", expected) == "<CREDIT_CARD><PERSON>ef"
