"""Pseudonyms and hashes: one for each person or value, the same everywhere, and nothing without the key."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Pii
from pipeline.errors import ConfigError
from pipeline.run import Run
from pipeline.screen.pii.entities import KnownEntities
from pipeline.screen.pii.pseudonyms import KEY_PATH, canonical, key_of, naming
from pipeline.screen.pii.scrub import PiiStage, Scrubber
from pipeline.screen.pii.spans import Finding

KEY = bytes(range(32))
PSEUDONYM, HASH = Pii(mode="pseudonym"), Pii(mode="hash")


def tag(kind: str, value: str, settings: Pii = PSEUDONYM, key: bytes = KEY, who: str = "") -> str:
    return naming(settings, key)(value, Finding(0, len(value), kind, 1.0, who))


def test_shapes() -> None:
    assert tag("PERSON", "Anna", Pii()) == "<PERSON>"
    assert re.fullmatch(r"<PERSON_[a-p]{10}>", tag("PERSON", "Anna Schmidt"))
    assert re.fullmatch(r"<IBAN_CODE:[a-p]{32}>", tag("IBAN_CODE", "DE89370400440532013000", HASH))
    assert tag("PERSON", "Anna Schmidt", HASH)[8:18] == tag("PERSON", "Anna Schmidt")[8:18]


@pytest.mark.parametrize(
    ("kind", "forms"),
    [
        ("PERSON", ["Anna Schmidt", "Schmidt, Anna", "Dr. ANNA SCHMIDT", "Frau Anna Schmidt", "Anna Schmidt's"]),
        ("PERSON", ["Jürgen Müller", "Juergen Mueller"]),
        (
            "PHONE_NUMBER",
            ["+49 171 3920012", "0171/39 200 12", "0049 171 3920012", "+49 (0)171 3920012", "(+49) 1713920012"],
        ),
        ("PHONE_NUMBER", ["+1 212 555 0123", "(212) 555-0123"]),
        ("IBAN_CODE", ["DE89 3704 0044 0532 0130 00", "de89370400440532013000"]),
        ("CREDIT_CARD", ["4111 1111 1111 1111", "4111-1111-1111-1111"]),
        ("DE_TAX_ID", ["86 095 742 719", "86095742719"]),
        ("DE_VAT_ID", ["DE 136.695.976", "de136695976"]),
        ("EMAIL_ADDRESS", ["Anna@Example.com", "anna@example.com"]),
        ("IP_ADDRESS", ["2001:db8:0:0::7F", "2001:db8::7f"]),
        ("ORGANIZATION", ["Beispiel  GmbH", "beispiel gmbh"]),
        ("CUSTOMER_ID", ["KD-004711", "kd 004711"]),
    ],
)
def test_written_forms_of_one_value_share_a_tag(kind: str, forms: list[str]) -> None:
    assert len({canonical(kind, form) for form in forms}) == 1
    for settings in (PSEUDONYM, HASH):
        assert len({tag(kind, form, settings) for form in forms}) == 1


def test_other_values_types_and_keys_have_other_tags() -> None:
    tags = {tag("PERSON", "Anna Schmidt"), tag("PERSON", "Anna Schmitt"), tag("ORGANIZATION", "Anna Schmidt")}
    tags |= {tag("PERSON", "Anna Schmidt", key=KEY[::-1]), tag("IP_ADDRESS", "999.1.1.1"), tag("PERSON", "???")}
    assert len({text.strip("<>").rsplit("_", 1)[1] for text in tags}) == 6


def test_a_known_person_has_one_pseudonym_in_every_row_order_and_inflection(make_working: Any) -> None:
    known = KnownEntities.of(["Schmidt, Anna", "Paul Weber"], ["anna@example.com"])
    own = [{"type": "NAME", "text": "Anna Schmidt"}]
    rows = [
        {"prompt": "Anna Schmidt schreibt.", "response": "Liebe Anna, Frau Schmidts Konto ist offen.", "entities": own},
        {"prompt": "Kundin: Schmidt, Anna", "response": "Anna Schmidts Konto; ANNA SCHMIDT; Paul Weber"},
    ]
    stages = [PiiStage(PSEUDONYM, ("de", "en"), known, KEY) for _ in range(2)]
    first, second = (stage(make_working(rows)) for stage in stages)
    assert first.equals(second)
    reverse = stages[0](make_working(rows[::-1]))
    assert reverse["prompt"].to_pylist() == first["prompt"].to_pylist()[::-1]
    text = " ".join(first["prompt"].to_pylist() + first["response"].to_pylist())
    anna, paul = tag("PERSON", "Anna Schmidt"), tag("PERSON", "Paul Weber")
    assert (text.count(anna), text.count(paul), text.count("<PERSON_")) == (6, 1, 7)
    assert first["pii"].to_pylist() == [["PERSON"] * 3, ["PERSON"] * 4]


@pytest.mark.parametrize("settings", [PSEUDONYM, HASH])
def test_scrubbing_a_scrubbed_text_changes_nothing(settings: Pii) -> None:
    scrubber = Scrubber(settings, ("en", "de"), KEY)
    for number in range(200):
        once, types = scrubber.scrub(f"user{number}@example.com, +49 171 392{number:04}, DE136695976, 86 095 742 719")
        assert len(types) == 4
        assert scrubber.scrub(once) == (once, [])


def test_a_mode_without_its_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a key"):
        Scrubber(HASH, ("en",))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_runs_own_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path, scheme: str) -> None:
    run = Run.open(f"{scheme}{tmp_path / 'run'}")
    assert key_of(Pii(), run) is None
    assert not run.exists("secret")
    key = key_of(PSEUDONYM, run)
    assert key is not None
    assert len(key) == 32
    assert key_of(HASH, Run.open(run.uri)) == key
    assert stat.S_IMODE(run.local(KEY_PATH).stat().st_mode) == 0o600
    assert stat.S_IMODE(run.local("secret").stat().st_mode) == 0o700
    assert key_of(PSEUDONYM, Run.open(str(tmp_path / "other"))) != key


def test_nobody_can_read_the_key_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, sync = [], os.fsync

    def look(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr("pipeline.storage.os.fsync", look)
    key_of(PSEUDONYM, Run.open(f"file://{tmp_path / 'run'}"))
    assert modes == [0o600, 0o700]  # the file, and the folder it is in


def test_a_named_key_is_read_and_must_be_long_enough(tmp_path: Path) -> None:
    run = Run.open(str(tmp_path / "run"))
    (tmp_path / "key").write_bytes(KEY)
    assert key_of(Pii(mode="hash", key=str(tmp_path / "key")), run) == KEY
    assert not run.exists("secret")
    (tmp_path / "short").write_bytes(b"x" * 15)
    for name, message in (("short", "15 bytes"), ("none", "cannot read")):
        with pytest.raises(ConfigError, match=message):
            key_of(Pii(mode="hash", key=str(tmp_path / name)), run)
