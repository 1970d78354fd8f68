"""The tables of base and tuned, down to a single row, and what report, card and terminal make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.evaluate import comparison
from pipeline.evaluate.perplexity import TokenScores
from pipeline.export import model_card
from pipeline.report import results_section
from pipeline.run import Run

REFERENCES = ["yes", "Your card is on its way to you, by post.", "Die Karte kommt per Post zu Ihnen nach Hause."]
LANGS = ["en", "en", "de"]


def scored(*losses: float) -> TokenScores:
    return TokenScores(np.array(losses), np.zeros(len(losses), np.int64))


def made(count: int = 3) -> dict[str, Any]:
    """Returns the metrics of the first so many rows."""
    base = [scored(2.0), scored(1.0, 3.0), scored(1.5, 2.5, 0.5)][:count]
    tuned = [scored(1.0), scored(0.5, 1.0), scored(1.0, 2.0, 0.25)][:count]
    texts = ["no", "The card.", "Karte"][:count], REFERENCES[:count]
    measures = comparison.of_losses(base, tuned, [3, 40, 45][:count])
    measures += comparison.of_answers(REFERENCES[:count], *texts, LANGS[:count], 5)
    rows = [{"label": None, "lang": lang} for lang in LANGS[:count]]
    return comparison.summary(measures, rows, 50, 1) | {
        "rows": count,
        "generated": count,
        "ended": {"base": 1.0, "tuned": 1.0},
        "held": "whole",
        "skipped": {},
        "notes": {"bertscore": "2 of 9 texts are compared up to the encoder's 512 tokens"},
        "harness": {},
        "samples": [],
        "forgetting": {"pieces": 1, "tokens": 9, "base": 2.0, "tuned": 2.1, "change": 0.05, "interval": None,
                       "gate": 0.1, "flagged": False},
    }  # fmt: skip


def test_losses_are_those_of_plain_sums() -> None:
    metrics = made()
    assert metrics["base"]["perplexity"] == pytest.approx(np.exp(10.5 / 6))
    assert metrics["tuned"]["bits_per_byte"] == pytest.approx(5.75 / np.log(2) / 88)
    assert type(metrics["base"]["bits_per_byte"]) is float


def test_what_only_one_row_has_gets_a_score_and_no_interval() -> None:
    metrics = made()
    assert (metrics["base"]["exact_match"], metrics["tuned"]["exact_match"]) == (0.0, 1.0)
    assert "exact_match" not in metrics["intervals"]
    assert set(metrics["intervals"]) == {"perplexity", "bits_per_byte", "rouge_l", "bleu", "chrf"}


def test_a_group_has_no_score_where_nothing_was_asked() -> None:
    groups = made()["groups"]["lang"]
    assert "exact_match" in groups["en"]["base"]
    assert "exact_match" not in groups["de"]["base"]
    assert set(groups["en"]["change"]) == {"perplexity", "bits_per_byte", "rouge_l", "bleu", "chrf"}
    assert groups["de"]["change"] == {}


@pytest.mark.parametrize("count", [1, 3])
def test_report_card_and_terminal_show_what_has_no_interval(count: int, run: Run) -> None:
    metrics = made(count)
    rows = {row[0]: row for row in results_section.scores(metrics)}
    assert rows["exact match"][-1] == results_section.NO_INTERVAL
    assert (rows["ROUGE-L"][-1] == results_section.NO_INTERVAL) == (count == 1)
    html = results_section.evaluation(metrics)
    assert "BERTScore F1: 2 of 9 texts are compared up to the encoder&#x27;s 512 tokens." in html
    assert "change no interval, too few pieces, flagged above" in html
    run.write_json("metrics/evaluate.json", metrics)
    card = model_card._quality(run)
    assert "| exact match | 0 | 1 | +1.000 |" in card
    assert "2 of 9 texts" in card
    assert "the base's 2 (+5.0%)." in card


@pytest.fixture
def run(tmp_path: Any) -> Run:
    return Run.open(str(tmp_path / "run"))
