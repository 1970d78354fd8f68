"""The section on curation: everything that was measured, nothing that was not, all of it escaped."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pipeline.report.curation_section import LABELS, section
from pipeline.report.page import page
from pipeline.report.plots import scores


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_it_shows_what_was_measured(metrics: dict[str, Any]) -> None:
    shown = text(section(metrics))
    for part in (
        "not clearly in an expected language language 0.95 1",
        "5 files are not read, XML: export CSV instead: a|1.xml, b.xml and 3 more.",
        "20 kept rows of 21 had any.",
        "778 characters read = 117 kept + 661 removed.",
        "tags, entities, comments -7 1",
        "tickets.csv:8 quoted mails 87 97",
        "3 more rows",
        "3 were found: recall 75.0 % (95 % interval 30.1 % to 95.4 %)",
        "99.51 % (95 % interval 99.0 % to 99.90 %)",
        "7 rows of earlier runs",
        "2 buckets held more than 64 rows, the largest 100",
        "finds something in 2: person 3.",
        "person 3 100.0 rows to look at",
        "c0ffeec0ffee decadedecade",
        "2 labels too small",
        "3 golden rows of earlier dumps are carried over.",
        "wiki CC-BY-4.0 1",
        "tickets not stated 1",
        "0123456789abcdef0123456789abcdef",
        "curate.dedup.threshold 0.8",
        "Of 1,500 made English texts",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("leaks", "leak audit"),
        ("dedup", "Near duplicates"),
        ("split", "too small"),
        ("removed", "What reading removed"),
    ],
)
def test_what_was_not_measured_is_not_shown(metrics: dict[str, Any], key: str, title: str) -> None:
    assert title in section(metrics)
    del metrics[key]
    assert title not in section(metrics)


def test_toxicity_is_shown_where_there_is_a_score_or_an_audit(metrics: dict[str, Any]) -> None:
    del metrics["toxicity"]
    assert "Toxicity of the rows scored" in section(metrics)
    for fate in metrics["scores"]["toxicity"].values():
        fate["counts"] = [0] * len(fate["counts"])
    assert "Toxicity of the rows scored" not in section(metrics)


def test_names_of_the_dump_are_escaped(metrics: dict[str, Any]) -> None:
    html = page("acme", {"curate": metrics})
    assert "<label" not in html
    assert "<small>" not in html
    assert "&lt;small&gt;" in html


def test_many_labels_fold(metrics: dict[str, Any]) -> None:
    assert f"{21 - LABELS} more labels" in section(metrics)


@pytest.mark.parametrize(("threshold", "across"), [(0.0, "0.00%"), (0.5, "25.00%"), (0.75, "62.50%"), (1.0, "100.00%")])
def test_the_line_stands_at_the_threshold(threshold: float, across: str) -> None:
    html = scores([0.0, 0.5, 0.6, 0.9], [("kept", [0, 0, 0, 0])], threshold)
    assert f"left:{across}" in html
    assert "threshold" not in scores([0.0, 0.5], [("kept", [1, 2])], None)


def test_columns_stack_to_their_sum() -> None:
    html = scores([0.0, 0.5], [("kept", [30, 10]), ("<lost>", [10, 0])], None)
    heights = re.findall(r'<i class="(\w)" style="height:([\d.]+)%"', html)
    assert heights == [("b", "22.0"), ("a", "66.0"), ("a", "22.0")]
    assert "&lt;lost&gt;" in html
    assert "<b>40</b>" in html


def test_audits_that_found_nothing_say_so(metrics: dict[str, Any]) -> None:
    metrics["dedup"]["audit"] |= {"pairs": 0, "found": 0, "recall": None, "interval": None, "edges_checked": 0}
    metrics["leaks"] = {"rows": 20, "rows_with_findings": 0, "types": {}}
    metrics["toxicity"] |= {"recall": None, "recall_interval": None}
    shown = text(section(metrics))
    assert "no pair is alike enough" in shown
    assert "finds nothing more" in shown
    assert "scored 5 of 44 texts" in shown
    assert "None" not in shown
