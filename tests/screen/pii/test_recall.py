"""The figures of the reference set: those of the recognisers in use, and what the project promises of them."""

from __future__ import annotations

import pytest

from pipeline.config import Pii, model_path
from pipeline.screen.pii import recall

PATTERNS = {"EMAIL_ADDRESS", "IBAN_CODE", "CREDIT_CARD", "PHONE_NUMBER", "IP_ADDRESS"}


def test_names_have_a_figure_where_the_bundled_model_looks_for_them() -> None:
    bundled = model_path(recall.BUNDLED)
    assert set(recall.figures(Pii(ner={}))["types"]) == PATTERNS
    assert set(recall.figures(Pii(ner={"en": bundled}))["types"]) == {*PATTERNS, "PERSON"}


@pytest.mark.parametrize(
    "settings",
    [Pii(ner={"de": "ner-small"}), Pii(ner={"en": "en_core_web_sm"}), Pii(ner={"en": "ner-small"}, entities=())],
)
def test_what_was_not_measured_has_no_figure(settings: Pii) -> None:
    assert set(recall.figures(settings)["types"]) == PATTERNS


def test_what_a_checksum_or_a_sign_proves_is_found() -> None:
    types = recall.figures(Pii(ner={}))["types"]
    assert all(types[kind]["recall"] >= 0.99 for kind in ("EMAIL_ADDRESS", "IBAN_CODE", "CREDIT_CARD"))
    assert types["PHONE_NUMBER"]["recall"] >= 0.95
    assert all(found["spans"] > 0 and 0.9 <= found["precision"] <= 1 for found in types.values())
