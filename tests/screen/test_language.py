"""The language stage: what it keeps, marks and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import schema
from pipeline.config import Language
from pipeline.errors import MissingModelError
from pipeline.screen.language import LanguageStage

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


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="no language model at"):
        LanguageStage(Language(model=str(tmp_path / "lid.176.bin")), ("en",))
    broken = tmp_path / "broken.ftz"
    broken.write_bytes(b"not a model")
    with pytest.raises(MissingModelError, match="not a fastText model"):
        LanguageStage(Language(model=str(broken)), ("en",))
