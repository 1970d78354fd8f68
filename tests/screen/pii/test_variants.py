"""Personal values in the typography of real exports, and secrets: nothing planted is read after scrubbing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.config import Pii
from pipeline.screen.pii.entities import KnownEntities
from pipeline.screen.pii.leak_audit import audit
from pipeline.screen.pii.scrub import Scrubber
from tests.screen.pii.variants import Planted, secrets, survives, tickets


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber(Pii(ner={}), ("de", "en"))


def scrubbed(scrubber: Scrubber, planted: list[Planted]) -> list[str]:
    found = scrubber.find_all([each.text for each in planted], [each.lang for each in planted])
    return [scrubber.replace(each.text, found.get(at, []))[0] for at, each in enumerate(planted)]


def test_the_second_reader_reads_what_is_planted() -> None:
    for each in (*tickets(500, seed=18), *secrets(200, seed=18)):
        assert survives(each.value, each.text), each


def test_typography_hides_no_address_and_no_number(scrubber: Scrubber) -> None:
    planted = tickets(500, seed=18)
    left = [each for each, text in zip(planted, scrubbed(scrubber, planted), strict=True) if survives(each.value, text)]
    counts = {kind: sum(each.kind == kind for each in planted) for kind in {each.kind for each in planted}}
    assert min(counts.values()) >= 125
    for kind, count in counts.items():
        assert sum(each.kind == kind for each in left) <= 0.01 * count, [each for each in left if each.kind == kind]


def test_planted_secrets_are_found(scrubber: Scrubber) -> None:
    planted = secrets(200, seed=18)
    left = [each for each, text in zip(planted, scrubbed(scrubber, planted), strict=True) if survives(each.value, text)]
    assert len(left) <= 2, left


def test_the_words_around_a_value_stay(scrubber: Scrubber) -> None:
    planted = [each for each in tickets(500, seed=19) if "https://" not in each.text]
    for each, text in zip(planted, scrubbed(scrubber, planted), strict=True):
        assert text.count("<") == 1, (each.text, text)
        before, after = text.split("<")[0], text.split(">")[1]
        assert each.text.startswith(before)
        assert each.text.endswith(after)


def test_the_leak_audit_reads_typography_as_the_first_search_does() -> None:
    planted = tickets(72, seed=20)
    always = {"source": "s", "source_id": "1", "kind": "qa", "response": "", "later": [], "origin": "real"}
    rows = [{"id": f"{at:032x}", "prompt": each.text, "lang": each.lang, **always} for at, each in enumerate(planted)]
    told = audit([pa.Table.from_pylist(rows, schema=schema.RECORD)], Pii(ner={}), ("de", "en"), KnownEntities())
    assert told["rows_with_findings"] == len(planted)
