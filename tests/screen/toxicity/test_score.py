"""The toxicity stage against the embedded checkpoint: what it marks and keeps, and what it refuses to load."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import schema
from pipeline.config import Toxicity
from pipeline.errors import IntegrityError, MissingModelError
from pipeline.screen.toxicity import weights
from pipeline.screen.toxicity.audit import STRATA
from pipeline.screen.toxicity.early_exit import EarlyExit, digest
from pipeline.screen.toxicity.encoder import Encoder, ExitHead
from pipeline.screen.toxicity.score import Plan, ToxicityStage

ASSET = Path(__file__).parents[3] / "assets" / "toxicity-small"
ABUSE = "You are a stupid idiot and a disgusting piece of trash, shut up!"
CALM = "My card was declined twice yesterday, could you please have a look?"
POLITE = "Thank you for your message, we are looking into it and will get back to you today. " * 3


@pytest.fixture(scope="module")
def stage() -> ToxicityStage:
    return ToxicityStage(Toxicity(model=str(ASSET)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded checkpoint that a test may damage."""
    return Path(shutil.copytree(ASSET, tmp_path / "copy", ignore=shutil.ignore_patterns("*.py", "__pycache__")))


def rows(*pairs: tuple[str | None, str | None]) -> list[dict[str, Any]]:
    return [{"prompt": prompt, "response": response} for prompt, response in pairs]


def test_marks_abuse_on_either_side_however_polite_the_other(stage: ToxicityStage, make_working: Any) -> None:
    table = stage(make_working(rows((ABUSE, POLITE), (CALM, ABUSE))))
    assert table["reason"].to_pylist() == ["toxicity", "toxicity"]
    for row in table.to_pylist():
        assert row["score"] >= 0.9
        assert row["threshold"] == pytest.approx(0.9)


def test_keeps_the_rest(stage: ToxicityStage, make_working: Any) -> None:
    table = make_working(rows((CALM, POLITE)))
    result = stage(table)
    assert result.drop_columns("toxicity").equals(table.drop_columns("toxicity"))
    assert all(0 <= score < 0.9 for score in result["toxicity"].to_pylist())


def test_first_reason_wins(stage: ToxicityStage, make_working: Any) -> None:
    marked = schema.mark(make_working(rows((ABUSE, ""))), np.array([True]), "language", "language")
    assert stage(marked).equals(marked)


def test_empty_batch(stage: ToxicityStage) -> None:
    assert stage(schema.WORKING.empty_table()).equals(schema.WORKING.empty_table())


def test_null_text_is_empty_text(stage: ToxicityStage, make_working: Any) -> None:
    table = make_working(rows((None, None), (None, ABUSE)))
    assert stage(table)["reason"].to_pylist() == [None, "toxicity"]


def test_scores_equal_detoxify_text_by_text_in_any_batch_layout() -> None:
    texts = [ABUSE, CALM, POLITE, "Danke!", "Warum dauert das so lange?", CALM * 9, "you idiot", ABUSE + " " + CALM]
    detoxify = weights.load(str(ASSET), "cpu")
    stock = np.array([detoxify.predict(text)["toxicity"] for text in texts], dtype=np.float32)
    for budget in (1, 100, 100_000):
        scores = Encoder(str(ASSET), budget)(texts)
        assert scores == pytest.approx(stock, abs=0.0006)
        assert (scores == Encoder(str(ASSET), 4096)(texts[::-1])[::-1]).all()


def test_abuse_at_the_end_of_a_long_text_is_found() -> None:
    scores = Encoder(str(ASSET), 4096)([CALM * 120, CALM * 120 + ABUSE * 2])
    assert scores[0] < 0.9 <= scores[1]


def test_a_changed_checkpoint_is_not_loaded(folder: Path) -> None:
    with next(folder.glob("*.ckpt")).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(IntegrityError, match="expected SHA-256"):
        Encoder(str(folder), 4096)


def test_a_checkpoint_without_a_stated_checksum_is_not_loaded(folder: Path) -> None:
    (folder / "SHA256").unlink()
    with pytest.raises(MissingModelError, match="states no SHA-256"):
        Encoder(str(folder), 4096)


def test_what_is_no_model_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingModelError, match=r"neither a folder, .* nor a Detoxify model"):
        Encoder("multilingul", 4096)
    with pytest.raises(MissingModelError, match=r"exactly one \*\.ckpt"):
        Encoder(str(tmp_path), 4096)


def test_an_official_model_is_verified_before_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    cached = tmp_path / "checkpoints" / "toxic_original-c1212f89.ckpt"
    cached.parent.mkdir()
    cached.write_bytes(b"cos\nsystem\n(S'true'\ntR.")  # a pickle that would run a command
    with pytest.raises(IntegrityError, match="c1212f89"):
        Encoder("original", 4096)


def test_an_official_model_without_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(MissingModelError, match="`multilingual` is not on this machine"):
        Encoder("multilingual", 4096)


class Marker:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def write_pickle(checkpoint: Path, folder: Path) -> str:
    """Replaces a checkpoint by one that runs code where it is unpickled; returns its SHA-256."""
    import torch

    torch.save({"config": Marker(folder), "state_dict": {}}, checkpoint)
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_a_folders_checkpoint_is_never_unpickled_whatever_its_digest(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = next(folder.glob("*.ckpt"))
    stated = write_pickle(checkpoint, tmp_path / "ran")
    (folder / "SHA256").write_text(f"{stated}  {checkpoint.name}\n")
    for pin in (stated[:8], stated):  # the second: a copy of an official checkpoint
        monkeypatch.setitem(weights.PINNED, "original", pin)
        with pytest.raises(MissingModelError, match="more than tensors and plain values"):
            Encoder(str(folder), 4096)
    assert not (tmp_path / "ran").exists()


def test_an_official_checkpoint_with_eight_known_digits_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from detoxify import detoxify

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    checkpoint = tmp_path / "checkpoints" / "new.ckpt"
    digits = write_pickle(checkpoint, tmp_path / "ran")[:8]
    named = checkpoint.rename(checkpoint.with_name(f"new-{digits}.ckpt"))
    monkeypatch.setitem(detoxify.MODEL_URLS, "multilingual", f"https://example.org/{named.name}")
    with pytest.raises(MissingModelError, match="more than tensors and plain values"):
        Encoder("multilingual", 4096)
    assert not (tmp_path / "ran").exists()


def test_every_pin_is_a_whole_digest_of_an_official_model() -> None:
    from detoxify.detoxify import MODEL_URLS

    for name, pin in weights.PINNED.items():
        assert re.fullmatch(r"[0-9a-f]{64}", pin)
        assert pin.startswith(MODEL_URLS[name].rsplit("-", 1)[-1].removesuffix(".ckpt"))


@pytest.fixture(scope="module")
def exiting() -> ToxicityStage:
    """A stage that lets every text leave early, knows one text's score, and audits every second row."""
    head = ExitHead(1, np.zeros(3 * 128, dtype=np.float32), 0.0, 100.0)
    early_exit = EarlyExit(
        head, np.full(STRATA - 1, -np.inf), 0.0, 24, 24, {digest(CALM): (-1.0, 0.95), digest(POLITE): (-1.0, np.nan)}
    )
    return ToxicityStage(Toxicity(model=str(ASSET)), Plan(early_exit, 0.5))


def test_what_left_early_passes_and_the_audit_finds_its_share(exiting: ToxicityStage, make_working: Any) -> None:
    pairs = [(f"{ABUSE} {number}", POLITE) for number in range(60)]
    table = make_working(rows(*pairs))
    result = exiting(table)
    counts = exiting.scored.audit
    marked = sum(reason == "toxicity" for reason in result["reason"].to_pylist())
    assert counts.detected == 0
    assert sum(counts.cleared) == 60
    assert marked == sum(counts.audited) == sum(counts.missed)
    assert 15 < marked < 45
    assert result["toxicity"].null_count == 60 - marked
    recall = counts.recall()
    assert recall is not None
    assert recall[1] <= marked / 60 <= recall[2]


def test_scores_known_from_the_calibration_are_not_asked_again(exiting: ToxicityStage, make_working: Any) -> None:
    result = exiting(make_working(rows((CALM, POLITE))))
    assert result["reason"].to_pylist() == ["toxicity"]
    assert (exiting.scored.texts, exiting.scored.scored) == (2, 1)
    assert exiting.scored.audit.detected == 1
    assert result["toxicity"].to_pylist() == [pytest.approx(0.95)]


def test_an_early_exit_takes_an_empty_table_and_leaves_marks(exiting: ToxicityStage, make_working: Any) -> None:
    assert exiting(schema.WORKING.empty_table()).equals(schema.WORKING.empty_table())
    table = make_working(rows((ABUSE, ABUSE), (None, None)))
    marked = schema.mark(table, np.array([True, True]), "language", "language")
    assert exiting(marked).equals(marked)
