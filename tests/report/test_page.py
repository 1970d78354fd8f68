"""The page: complete, escaped, self-contained, and honest about what has not run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from pipeline.report.page import page
from pipeline.report.plots import bars, histogram, lines

CURATE: dict[str, Any] = {
    "sources": {"tick<ets": {"read": 10, "kept": 8, "rejected": {"exact_duplicate": 2}}},
    "splits": {"train": 6, "val": 1, "golden": 1},
    "funnel": [{"stage": "rows read", "rows": 10}, {"stage": "exact", "rows": 8}],
    "languages": {"en": 5, "de": 3},
    "pii": {"EMAIL_ADDRESS": 4},
    "labels": {},
    "lengths": {"prompt": {"edges": [0, 5], "counts": [3, 5]}},
    "reasons": [{"stage": "exact", "reason": "exact_duplicate", "threshold": None, "rows": 2}],
    "languages_rejected": {},
    "pii_rows": {"tick<ets": 3},
    "pii_by_source": {"tick<ets": {"EMAIL_ADDRESS": 4}},
    "scores": {
        name: {fate: {"edges": [0.0, 0.9], "counts": [0, 4]} for fate in ("kept", "rejected")}
        for name in ("lang_score", "toxicity")
    },
    "provenance": {
        "settings": {"language.threshold": 0.95, "toxicity.threshold": 0.9},
        "pii_recall": {"set": "a set", "texts": 1, "types": {}},
        "inputs": [],
        "licences": {},
        "models": {},
        "seed": 0,
        "version": "1",
        "code": "c0de",
    },
}
SCORES = {"base": {"perplexity": 50.0, "rouge_l": 0.1}, "tuned": {"perplexity": 10.0, "rouge_l": 0.4}}
INTERVALS = {
    name: {"base": [0.0, 1.0], "tuned": [0.0, 1.0], "change": limits}
    for name, limits in (("perplexity", [-0.85, -0.75]), ("rouge_l", [0.25, 0.35]))
}
EVALUATE: dict[str, Any] = {
    **SCORES,
    "intervals": INTERVALS,
    "groups": {
        "lang": {"de": {"rows": 3, **SCORES, "change": {"perplexity": [-0.9, -0.7]}}},
        "label": {f"<b>{n}": {"rows": 1, "base": {}, "tuned": {}, "change": {}} for n in range(9)},
    },
    "ended": {"base": 0.25, "tuned": 1.0},
    "held": "nf4",
    "skipped": {"bertscore": "name an encoder as evaluate.bertscore"},
    "forgetting": {"pieces": 2, "tokens": 99, "base": 8.0, "tuned": 9.6, "change": 0.2}
    | {"interval": [0.1, 0.3], "gate": 0.1, "flagged": True},
    "harness": {"base": {"arc": {"acc": 0.5}}, "tuned": {"arc": {"acc": 0.4}}},
    "rows": 1,
    "generated": 1,
    "samples": [{"id": "x", "prompt": "<script>alert(1)</script>", "reference": "r", "base": "", "tuned": "t"}],
}


MERGED = {"perplexity": 10.01, "adapter_perplexity": 10.0, "change": 0.001, "top1": 0.995, "passed": True}
EXPORT: dict[str, Any] = {
    "bases": {"base": MERGED, "nf4": {**MERGED, "passed": False}},
    "chosen": "base",
    "rows": 64,
    "parameters": 1000,
    "dtype": "bfloat16",
}
FILE = {"kind": "q8_0", "bytes": 1e6, "types": {"Q8_0": 43}, "perplexity": 10.02, "change": 0.001, "gate": 0.01}
GGUF: dict[str, Any] = {
    "merged_perplexity": 10.01,
    "runtime": "llama.cpp 1",
    "files": [
        {**FILE, "problem": None},
        {**FILE, "kind": "f16", "perplexity": None, "change": None, "problem": "3 texts have <other> token ids"},
    ],
}


class Tags(HTMLParser):
    """Collects what is left open and whatever would be fetched."""

    VOID = ("meta", "br", "line", "circle", "polyline", "link", "img", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def test_a_page_closes_its_tags_and_fetches_nothing() -> None:
    html = page("demo", {"curate": CURATE, "evaluate": EVALUATE})
    tags = parse(html)
    assert tags.open == []
    assert tags.fetched == []
    assert "url(" not in html
    assert "8 of 10 rows" in html
    assert "80% lower" in html


def test_text_of_rows_and_names_is_escaped() -> None:
    html = page("demo", {"curate": CURATE, "evaluate": EVALUATE})
    assert "<script>" not in html
    assert "tick&lt;ets" in html
    assert "(nothing)" in html


def test_what_came_out_is_told_with_intervals_gates_and_problems() -> None:
    html = page("demo", {"evaluate": EVALUATE, "export": EXPORT, "gguf": GGUF})
    tags = parse(html)
    assert tags.open == []
    assert tags.fetched == []
    for told in (
        "-85.0% to -75.0%",
        "+0.25 to +0.35",
        "BERTScore",
        "It has forgotten some",
        "9 groups",
        "German",
        "arc",
        "4-bit base",
    ):
        assert told in html, told
    for told in ("99.50%", "shipped", "failed", "43 Q8_0", "f16: 3 texts have &lt;other&gt; token ids."):
        assert told in html, told
    assert "<b>0" not in html
    assert "jobs.export" in page("demo", {"evaluate": EVALUATE})


def test_a_worse_model_is_called_worse() -> None:
    swapped = {**EVALUATE, "base": EVALUATE["tuned"], "tuned": EVALUATE["base"]}
    assert "400% higher" in page("demo", {"evaluate": swapped})


def test_jobs_that_have_not_run_are_named() -> None:
    html = page("demo", {})
    assert parse(html).open == []
    for job in ("curate", "train", "evaluate"):
        assert f"jobs.{job}" in html


def test_plots_take_nothing_and_what_is_not_finite() -> None:
    assert "none" in bars([])
    assert "no points" in lines([("loss", [])], "step", "loss")
    svg = lines([("loss", [(0, 2.0), (1, float("nan")), (2, 1.0)])], "step", "loss")
    points = re.search(r'points="([^"]*)"', svg)
    assert points is not None
    assert len(points[1].split()) == 2
    assert histogram([0, 5, 10], [1, 0, 2], "words").count('class="column"') == 3


@pytest.mark.parametrize("values", [(1.0, 1.0), (0.0, 0.0), (1e-6, 2e-6), (-3.0, 4e5)])
def test_axes_survive_flat_and_odd_ranges(values: tuple[float, float]) -> None:
    assert "polyline" in lines([("a", list(enumerate(values)))], "x", "y")


TRAIN: dict[str, Any] = {
    "steps": [{"step": 1, "loss": 2.0, "learning_rate": 1e-4, "grad_norm": 1.0}],
    "evals": [],
    **dict.fromkeys(("examples", "truncated", "packed_rows", "trainable_parameters", "parameters"), 1),
    "tokens_per_second": 9000.0,
    "peak_memory_gib": 20.0,
    "seconds": 7200.0,
    "device": "card",
    "events": [],
    "adapter_step": 1,
    "stopped": None,
}
PLAN: dict[str, Any] = {
    "chosen": {"card": "RTX <4090>", "pack_tokens": 4096, "recompute": 3, "rows_per_step": 4},
    "planned": {"tokens_per_second": 10000.0, "hours": 1.8, "peak_memory_gib": 21.0, "mfu": 0.61},
    "actual": {"tokens_per_second": 9000.0, "hours": 2.0, "peak_memory_gib": 20.0, "mfu": 0.549},
}


def test_planned_stands_beside_actual() -> None:
    html = page("demo", {"train": {**TRAIN, "plan": PLAN}})
    assert parse(html).open == []
    for text in (
        "RTX &lt;4090&gt;",
        "10,000",
        "9,000",
        "-10 %",
        "0.549",
        "1.80",
        "2.00",
        "+11 %",
        "3 layers recomputed",
    ):
        assert text in html
    cpu = {**PLAN, "planned": dict.fromkeys(PLAN["planned"]), "actual": {**PLAN["actual"], "mfu": None}}
    html = page("demo", {"train": {**TRAIN, "plan": cpu}})
    assert "not predicted" in html
    assert "card&#x27;s peak" not in html
    assert "Planned and actual" not in page("demo", {"train": TRAIN})


def test_the_products_of_a_training_are_told() -> None:
    assert parse(page("demo", {"train": TRAIN})).open == []
    fp8 = {"groups": 128, "refused": {"0.mlp.down_proj": 0.12}, "losses": [2.0, 2.01], "cosine": 0.97, "used": True}
    assert "FP8 in 127 of 128 steps, bf16 in 0.mlp.down_proj" in page("demo", {"train": {**TRAIN, "fp8": fp8}})
    assert "FP8 in" not in page("demo", {"train": {**TRAIN, "fp8": {**fp8, "used": False}}})


def test_what_happened_in_training_is_told() -> None:
    bad = {"step": 2, "loss": None, "learning_rate": 1e-4, "grad_norm": None}  # neither was finite
    events = [{"step": 2, "event": "resumed", "text": "went on <from> step 2"}]
    html = page("demo", {"train": {**TRAIN, "steps": [*TRAIN["steps"], bad], "events": events}})
    assert parse(html).open == []
    assert "went on &lt;from&gt; step 2" in html
    assert "Not finished" not in html
    assert "Not finished: it diverged" in page("demo", {"train": {**TRAIN, "stopped": "it diverged"}})
    assert "What happened" not in page("demo", {"train": TRAIN})


def test_answers_on_the_way_are_shown_by_question() -> None:
    asked = {"event": "samples", "text": "answers to 2 questions", "questions": ["Lost <card>?", "Fee?"]}
    events = [{**asked, "step": 0, "answers": ["", "a"]}, {**asked, "step": 50, "answers": ["Block it.", "None."]}]
    html = page("demo", {"train": {**TRAIN, "events": events}})
    assert parse(html).open == []
    for told in ("Answers on the way", "Lost &lt;card&gt;?", "(nothing)", "Block it.", "None."):
        assert told in html, told
    assert "What happened" not in html
