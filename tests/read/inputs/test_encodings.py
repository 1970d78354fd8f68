"""Which encoding a text is in, by its bytes; and the setting that overrules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Project, Read
from pipeline.errors import InputError
from pipeline.read import discover
from pipeline.read.inputs.encodings import Detector

TEXTS = {
    "German": "Guten Tag, die Gebühr für Größe 5 in Köln ist falsch. Jürgen Müller, Straße 7",
    "German, capitals": "ÜBERWEISUNG NACH KÖLN, GRÖSSE UND STRAßE",
    "French": "Bonjour, ça ne marche plus depuis hier. Où est le problème, à côté ?",
    "Spanish": "¿Cómo puedo bloquear mi tarjeta? Mañana será otro día",
    "Portuguese": "Não consigo aceder à aplicação, é possível? Coração",
    "Danish": "Hej, mit kort virker ikke i automaten, hvad skal jeg gøre på måndag?",
}
CENTRAL = {
    "Polish": "Nie mogę się zalogować do mojego konta, proszę o pomoc. Żółta łódź",
    "Czech": "Nemohu se přihlásit ke svému účtu. Žluťoučký kůň příliš úpěl",
    "Hungarian": "Hogyan tilthatom le a kártyámat? Köszönöm, gyűrű és erdő",
}


def detected(content: bytes) -> str:
    detector = Detector()
    for at in range(0, len(content), 33):
        detector.add(content[at : at + 33])
    whole = Detector()
    whole.add(content)
    assert content.decode(whole.encoding()) == content.decode(detector.encoding())
    return whole.encoding()


def check(text: str, encoding: str) -> None:
    content = f"id;question;answer\n1;{text};ok\n".encode(encoding)
    assert content.decode(detected(content)) == content.decode(encoding), encoding


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "mac_roman", "cp850", "iso8859-15"])
def test_western_europe(name: str, encoding: str) -> None:
    check(TEXTS[name], encoding)


@pytest.mark.parametrize("name", CENTRAL)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1250", "iso8859-2"])
def test_central_europe(name: str, encoding: str) -> None:
    check(CENTRAL[name], encoding)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Здравствуйте, не могу войти в личный кабинет. Помогите", "cp1251"),
        ("Здравствуйте, не могу войти в личный кабинет. Помогите", "koi8-r"),
        ("Καλημέρα, η κάρτα μου δεν λειτουργεί", "cp1253"),
        ("Merhaba, kartım çalışmıyor, ne yapmalıyım? Teşekkürler", "cp1254"),
        ("Größe L kostet 5 €, Müller 12 €", "cp1252"),
        ("Größe L kostet 5 €, Müller 12 €", "iso8859-15"),
        ("Größe L kostet 5 €, Müller 12 €", "mac_roman"),
        ("Don’t worry – it’s “fine”, 5 €", "cp1252"),
        ("Größe", "utf-16-le"),
        ("Größe", "utf-16-be"),
        ("nothing above 127", "ascii"),
    ],
)
def test_others(text: str, encoding: str) -> None:
    check(text, encoding)


def test_a_mac_export_is_read(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    (tmp_path / "t.csv").write_bytes("question;answer\rGebühr für Köln?;12,50 € für Größe S\r".encode("mac_roman"))
    (row,) = read_rows(tmp_path, qa)
    assert (row["prompt"], row["response"]) == ("Gebühr für Köln?", "12,50 € für Größe S")


def test_the_setting_overrules_but_not_a_mark(tmp_path: Path, read_rows: Any, qa: Read) -> None:
    (tmp_path / "t.csv").write_bytes("question,answer\nčeský,ano\n".encode("iso8859-2"))
    (tmp_path / "u.csv").write_bytes(b"\xef\xbb\xbf" + "question,answer\nčeský,ano\n".encode())
    every = qa.model_copy(update={"encoding": "iso8859-2"})
    assert [row["prompt"] for row in read_rows(tmp_path, every)] == ["český", "český"]
    entry = qa.tables[0].model_copy(update={"encoding": "iso8859-2"})
    assert [row["prompt"] for row in read_rows(tmp_path, Read(tables=(entry,), encoding="cp1251"))] == ["český"] * 2


def test_an_encoding_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match="not an encoding that Python knows"):
        Project.model_validate({"name": "a", "base_model": "b", "curate": {"read": {"encoding": "cp99999"}}})


def test_a_binary_file_with_a_texts_name(tmp_path: Path, qa: Read) -> None:
    (tmp_path / "t.csv").write_bytes(b"%PDF-1.7\n")
    with pytest.raises(InputError, match=r"t\.csv is not a text but a PDF: give its content"):
        discover([str(tmp_path)], qa)
