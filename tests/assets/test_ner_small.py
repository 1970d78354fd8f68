"""The shipped NER: its size and fingerprints, the names it finds, the words it leaves alone, and its generator."""

import hashlib
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "assets" / "ner-small"

NAMED = [
    ("My name is Priya Raghavan and my order never arrived.", "Priya Raghavan", "PERSON"),
    ("I spoke to Tom Hargreaves yesterday about the refund.", "Tom Hargreaves", "PERSON"),
    ("Dear Ms. Lindholm,\nthank you for your message.", "Lindholm", "PERSON"),
    ("Please close Margaret's account.", "Margaret", "PERSON"),
    ("The card still does not work.\n\nKind regards,\nAgnieszka Wrońska", "Agnieszka Wrońska", "PERSON"),
    ("hi, this is kevin walker, i forgot my password", "kevin walker", "PERSON"),
    ("I work for Brightwater Logistics Ltd and need an invoice.", "Brightwater Logistics Ltd", "ORG"),
    ("I moved to Manchester last week.", "Manchester", "LOC"),
    ("Mein Name ist Yusuf Karakaya und mein Paket fehlt.", "Yusuf Karakaya", "PERSON"),
    ("Sehr geehrter Herr Baumgartner,\nvielen Dank für Ihre Nachricht.", "Baumgartner", "PERSON"),
    ("Ich habe gestern mit Dr. Anna-Lena Öztürk telefoniert.", "Anna-Lena Öztürk", "PERSON"),
    ("Annas Konto ist gesperrt.", "Annas", "PERSON"),
    ("Betroffen ist Frau Schmidts Karte.", "Schmidts", "PERSON"),
    ("Die Überweisung kam nie an.\n\nViele Grüße\nBirgit Oesterle", "Birgit Oesterle", "PERSON"),
    ("Die Rechnung bitte an die Rheinwerk Technik GmbH schicken.", "Rheinwerk Technik GmbH", "ORG"),
    ("Ich wohne in Braunschweig und die Filiale ist zu.", "Braunschweig", "LOC"),
]
NAMELESS = [
    "I would like to cancel my order, the invoice is wrong.",
    "Can I use Apple Pay with my debit card?",
    "Please reply to <EMAIL_ADDRESS> or call <PHONE_NUMBER>.",
    "Thank you for contacting us. Your refund will arrive by Friday, 12 June.",
    "Go to Settings > Privacy and tap Delete Account.",
    "WHY IS MY PARCEL STILL NOT HERE",
    "In May the price rises, mark the invoice as paid.",
    "Die Bestellung ist da, aber die Rechnung fehlt.",
    "Meine Kreditkarte wurde am Montag gesperrt, bitte schicken Sie eine Ersatzkarte.",
    "Vielen Dank für Ihre Anfrage. Die Kündigungsfrist beträgt einen Monat.",
    "Wie ändere ich das Passwort für mein Kundenkonto?",
    "Unter Einstellungen > Datenschutz finden Sie die Kontoauszüge.",
    "Sehr geehrte Damen und Herren,\nich möchte meinen Vertrag kündigen.\nMit freundlichen Grüßen",
    "Im Sommer kommt der Koch mit dem neuen Wagen.",
]


@pytest.fixture(scope="module")
def nlp() -> Any:
    import spacy

    return spacy.load(FOLDER)


def test_the_folder_stays_under_eight_megabytes() -> None:
    shipped = [path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in shipped) < 8_000_000


def test_the_files_are_those_of_the_fingerprints() -> None:
    lines = (FOLDER / "SHA256").read_text(encoding="utf-8").splitlines()
    stated = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert {"config.cfg", "ner/model"} <= set(stated)
    assert stated == {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in stated}


def test_spacy_loads_one_component_with_three_labels(nlp: Any) -> None:
    assert nlp.pipe_names == ["ner"]
    assert set(nlp.get_pipe("ner").labels) == {"PERSON", "ORG", "LOC"}


@pytest.mark.parametrize(("text", "name", "label"), NAMED, ids=[name for _, name, _ in NAMED])
def test_a_planted_name_is_found(nlp: Any, text: str, name: str, label: str) -> None:
    assert (name, label) in [(entity.text, entity.label_) for entity in nlp(text).ents]


def test_ordinary_sentences_hold_no_person(nlp: Any) -> None:
    found = [(doc.text, [e.text for e in doc.ents if e.label_ == "PERSON"]) for doc in nlp.pipe(NAMELESS)]
    assert [text for text, persons in found if persons] == []


def test_a_batch_gives_what_a_text_alone_gives(nlp: Any) -> None:
    texts = [text for text, _, _ in NAMED] + NAMELESS
    together = [[(e.text, e.label_) for e in doc.ents] for doc in nlp.pipe(texts)]
    assert together == [[(e.text, e.label_) for e in nlp(text).ents] for text in texts]


def test_the_empty_text_has_no_names(nlp: Any) -> None:
    assert [list(doc.ents) for doc in nlp.pipe(["", " ", "\n"])] == [[], [], []]


def generated(lang: str, held_out: bool) -> list[Any]:
    """Forty documents of the asset's writer, from a fresh process."""
    code = (
        "import json, ner_sentences, random;"
        f"w = ner_sentences.Writer({lang!r}, random.Random(7), {held_out});"
        "print(json.dumps([w.document() for _ in range(40)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, check=True)
    documents: list[Any] = json.loads(done.stdout)
    return documents


@pytest.mark.parametrize("lang", ["en", "de"])
def test_the_generator_writes_the_same_documents_for_the_same_seed(lang: str) -> None:
    documents = generated(lang, held_out=False)
    assert documents == generated(lang, held_out=False)
    assert {label for _, spans in documents for _, _, label in spans} == {"PERSON", "ORG", "LOC"}
    for text, spans in documents:
        assert all(text[start:end].strip() == text[start:end] != "" for start, end, _ in spans)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_held_out_patterns_are_not_trained_on() -> None:
    assert not {text for text, _ in generated("en", held_out=True)} & {
        text for text, _ in generated("en", held_out=False)
    }


def test_the_card_states_the_measured_numbers() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    measured = json.loads((FOLDER / "measured.json").read_text(encoding="utf-8"))
    for part in ("pii", "held-out en", "held-out de"):
        for label in ("PERSON", "ORG", "LOC"):
            strict, partial = (measured[part][label][kind] for kind in ("strict", "partial"))
            row = [f"{scores[key]:.3f}" for scores in (strict, partial) for key in ("precision", "recall", "f1")]
            assert re.search(rf"\| {part} \| {label} \| \d+ \| {' / '.join(row[:3])} \| {' / '.join(row[3:])} \|", card)
    for name, counts in measured["findings per 1,000 texts"].items():
        assert f"| {name} | {counts['texts']:,} | {counts['PERSON']} | {counts['ORG']} | {counts['LOC']} |" in card
