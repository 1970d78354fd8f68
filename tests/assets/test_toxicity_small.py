"""The shipped toxicity checkpoint: its size, its fingerprint, and that Detoxify reads it and tells abuse from anger."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "assets" / "toxicity-small"
CHECKPOINT = FOLDER / "toxicity-small.ckpt"
DROP = 0.9

CONTEXT_EN = (
    "I paid 120 EUR with my card on Monday and the merchant refunded me two days later, but the money never reached my "
    "account. I have uploaded the receipt twice and the app still shows the payment as pending."
)
CONTEXT_DE = (
    "Ich habe am Montag 120 Euro mit der Karte bezahlt und der Händler hat das Geld zwei Tage später zurückgeschickt, "
    "auf meinem Konto ist aber nichts angekommen. Den Beleg habe ich schon zweimal hochgeladen."
)
ABUSIVE = [
    "You are a bunch of f***ing idiots, s*** bank, go to hell you morons",
    f"{CONTEXT_EN} You are a bunch of fucking idiots, go to hell you morons!",
    f"Hello, you useless pieces of shit. {CONTEXT_EN} Kind regards, <PERSON>",
    "Ihr seid dumme Arschlöcher, fickt euch!",
    f"{CONTEXT_DE} Ihr seid alle dumme Arschlöcher, fahrt zur Hölle!",
    f"Ihr verdammten Wichser! {CONTEXT_DE} Mit freundlichen Grüßen, <PERSON>",
]
DECENT = [
    "This is a terrible service, I am furious, please refund me!",
    f"{CONTEXT_EN} This is the worst service I have ever had, I am furious and want my money back NOW!",
    f"What the hell is going on? {CONTEXT_EN}",
    CONTEXT_EN,
    "My card ending in **** 4821 was declined, what an awful day.",
    "Das ist eine Frechheit, ich bin stinksauer und will mein Geld zurück!",
    f"{CONTEXT_DE} Das ist der schlechteste Service, den ich je erlebt habe, ich bin wütend!",
    f"Was zum Teufel ist da los? {CONTEXT_DE}",
    CONTEXT_DE,
    "Wir entschuldigen uns für die Unannehmlichkeiten und haben Ihnen den Betrag gutgeschrieben.",
]


@pytest.fixture(scope="module")
def detoxify(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Detoxify over the checkpoint, whose `model_type` must name its folder: Detoxify looks that up first."""
    import torch
    from detoxify import Detoxify

    content = torch.load(CHECKPOINT, weights_only=True)
    content["config"]["arch"]["args"]["model_type"] = str(FOLDER)
    patched = tmp_path_factory.mktemp("toxicity") / CHECKPOINT.name
    torch.save(content, patched)
    return Detoxify(checkpoint=str(patched), huggingface_config_path=str(FOLDER))


def test_the_folder_stays_under_six_megabytes() -> None:
    shipped = [path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in shipped) < 6_000_000


def test_the_card_states_the_checkpoints_sha256() -> None:
    stated = re.search(r"\b[0-9a-f]{64}\b", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert stated is not None
    assert stated[0] == hashlib.sha256(CHECKPOINT.read_bytes()).hexdigest()


def test_detoxify_loads_it_in_float32_with_one_class(detoxify: Any) -> None:
    import torch

    assert detoxify.class_names == ["toxicity"]
    assert {tensor.dtype for tensor in detoxify.model.parameters()} == {torch.float32}


def test_abusive_tickets_reach_the_drop_threshold(detoxify: Any) -> None:
    scores = detoxify.predict(ABUSIVE)["toxicity"]
    assert [text for text, score in zip(ABUSIVE, scores, strict=True) if score < DROP] == []


def test_furious_but_decent_tickets_stay_under_one_half(detoxify: Any) -> None:
    scores = detoxify.predict(DECENT)["toxicity"]
    assert [text for text, score in zip(DECENT, scores, strict=True) if score >= 0.5] == []


def test_a_score_does_not_depend_on_the_rest_of_the_batch(detoxify: Any) -> None:
    together = detoxify.predict(ABUSIVE + DECENT)["toxicity"]
    alone = [detoxify.predict(text)["toxicity"] for text in ABUSIVE + DECENT]
    assert together == pytest.approx(alone, abs=1e-4)


def test_a_text_beyond_512_tokens_is_scored_by_its_beginning(detoxify: Any) -> None:
    decent = " ".join([CONTEXT_EN] * 30)
    assert detoxify.predict(decent)["toxicity"] < 0.5
    assert detoxify.predict(f"{ABUSIVE[1]} {decent}")["toxicity"] >= 0.5
