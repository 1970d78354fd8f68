"""The story of a row: every fate, nothing personal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.curation import golden_rows
from pipeline.errors import MissingStageError
from pipeline.explain.story import Story, explain
from pipeline.run import Run
from pipeline.synthesis.synthesize import SYNTHETIC
from tests.explain.small_run import NAME, command, identity, rows, working, write


def happened(story: Story) -> dict[str, str]:
    return {step.stage: step.happened for step in story.steps}


# -- fates ------------------------------------------------------------------------------------------------------------


def test_a_kept_row_tells_every_stage(run: Run) -> None:
    (story,) = explain(run, "zendesk:101")
    assert [step.stage for step in story.steps] == [
        *("read", "exact", "quality", "language", "pii", "toxicity", "dedup", "split", "now")
    ]
    assert "learns" in story.verdict
    steps = happened(story)
    removed = "1,400 characters, of which 1,320 were removed: quoted mails 1,300, tags, entities, comments 20"
    assert steps["read"] == f"zendesk.csv, line 2: a question and its answer; {removed}"
    assert "2 rows" in steps["exact"]
    assert steps["quality"] == "passed 1 rule"
    assert "of 2 rows, 1 kept" in steps["dedup"]
    assert "goes to train" in steps["split"]
    assert "data/train/part-00000.parquet" in steps["now"]
    numbers = {step.stage: (step.score, step.threshold) for step in story.steps}
    assert numbers["language"] == (pytest.approx(0.9981), 0.94)  # as the curation recorded it
    assert numbers["toxicity"][0] == pytest.approx(0.031)


def test_a_skipped_stage_is_told_as_such(tmp_path: Path) -> None:
    run = write(tmp_path)
    run.write_json("metrics/curate.json", {"provenance": {"settings": {"toxicity.skip": True}}})
    (story,) = explain(run, "zendesk:101")
    assert happened(story)["toxicity"] == "not judged: the configuration skips it"


def test_an_exact_duplicate_names_its_twin_and_the_twin_its_fate(run: Run) -> None:
    (story,) = explain(run, "102")
    assert "zendesk 101 (zendesk.csv:2; kept, in train)" in happened(story)["exact"]
    assert [step.stage for step in story.steps] == ["read", "exact", "now"]
    assert "rejects/part-00000.parquet" in happened(story)["now"]


def test_a_near_duplicate_names_its_twin_and_their_similarity(run: Run) -> None:
    (story,) = explain(run, "103")
    step = next(step for step in story.steps if step.stage == "dedup")
    assert f"zendesk 101 ({identity('101')[:12]}; kept, in train)" in step.happened
    assert step.score == 0.875
    assert "zendesk 101" in story.verdict


@pytest.mark.parametrize(
    ("name", "stage", "words", "score", "threshold"),
    [
        ("104", "language", "French", 0.0123, 0.95),
        ("105", "toxicity", "toxic", 0.987, 0.9),
        ("freshdesk.csv:8", "read", "cannot be parsed", None, None),
    ],
)
def test_a_rejected_row_ends_where_it_was_rejected(
    run: Run, name: str, stage: str, words: str, score: float | None, threshold: float | None
) -> None:
    (story,) = explain(run, name)
    last, end = story.steps[-2:]
    assert (last.stage, end.stage) == (stage, "now")
    assert words in last.happened
    assert (last.score, last.threshold) == (pytest.approx(score), pytest.approx(threshold))


def test_golden_rows_and_what_was_replaced_in_them(run: Run) -> None:
    (story,) = explain(run, "freshdesk:101")
    assert happened(story)["pii"] == "3 personal details replaced: IBAN_CODE 1, PERSON 2"
    assert "golden and in every later" in happened(story)["split"]
    assert "no other row" in happened(story)["dedup"]


def test_a_golden_row_of_an_earlier_dump_is_carried_over(tmp_path: Path) -> None:
    run = write(tmp_path)
    row = working().slice(0, 1).set_column(0, schema.RECORD.field("id"), pa.array(["e" * 32]))
    run.write_table(f"{golden_rows.GOLDEN}/frozen.parquet", row.select(schema.RECORD.names))
    (story,) = explain(run, "e" * 32)
    assert "carried over" in happened(story)["split"]
    assert "golden" in story.verdict


def test_a_rephrasing_names_its_parent_and_the_parent_counts_it(tmp_path: Path) -> None:
    run, parent = write(tmp_path), identity("101")
    kept = working().slice(0, 1).select(schema.RECORD.names)
    made = {"id": "a" * 32, "origin": "synthetic", "parent_id": parent, "model": "m", "prompt_version": "v", "seed": 1}
    stage = run.begin("synthesize", "key")
    variant = pa.Table.from_pylist([{**kept.to_pylist()[0], **made}], schema=SYNTHETIC)
    run.put(stage, "data/synthetic/part-00000.parquet", variant)
    lost = {"id": "b" * 32, "source": "zendesk", "source_id": "101", "path": parent, "line": 2}
    lost |= {"stage": "synthesize", "reason": "invented_fact"}
    run.put(stage, "rejects/synthetic/part-00000.parquet", pa.Table.from_pylist([lost], schema=schema.REJECT))
    run.commit(stage, inputs="key of curate", rows={})
    stories = explain(run, "zendesk:101")
    assert len(stories) == 3
    assert "2 rephrasings made from it, 1 kept" in happened(next(s for s in stories if s.id == parent))["split"]
    (good,), (bad,) = explain(run, "aaaaaaa"), explain(run, "bbbbbbb")
    assert "zendesk 101" in happened(good)["synthesize"]
    assert "data/synthetic/" in happened(good)["now"]
    assert "invented fact" in happened(bad)["synthesize"]
    assert "kept, in train" in happened(bad)["synthesize"]
    assert "rejects/synthetic/" in happened(bad)["now"]


def test_a_twin_in_an_earlier_run_is_named_as_that_run_knows_it(tmp_path: Path) -> None:
    earlier, run = write(tmp_path / "earlier"), write(tmp_path / "later")
    path, twin = "stages/dedup/decisions.parquet", identity("101", "freshdesk")
    decided = run.read_table(path).to_pylist()
    for row in decided:
        row["twin_run"] = None if row["kept"] else earlier.uri
        row["twin"] = None if row["kept"] else twin
    run.write_table(path, pa.Table.from_pylist(decided))
    (story,) = explain(run, "103")
    expected = f"freshdesk 101 ({twin[:12]}; kept, in golden) of the earlier run {earlier.uri}"
    assert expected in happened(story)["dedup"]
    assert twin in story.verdict
    earlier.delete("stages")
    (story,) = explain(run, "103")
    assert "cannot be read any more" in happened(story)["dedup"]


# -- nothing personal -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upto", ["read", "screen", "toxicity", "dedup", "curate"])
def test_no_story_quotes_a_row(tmp_path: Path, upto: str) -> None:
    run = write(tmp_path, upto)
    texts = [repr(story) for row in rows() for story in explain(run, f"{row['source']}:{row['source_id']}")]
    assert len(texts) == len(rows())
    for text in texts:
        assert NAME not in text
        assert "order a" not in text


def test_every_turn_of_a_conversation_is_shown(run: Run) -> None:
    path = run.read_table("data/train/part-00000.parquet")
    turns = [["and <PERSON>?", "gone"]] * path.num_rows
    run.write_table("data/train/part-00000.parquet", schema.replaced(path, "later", turns))
    (story,) = explain(run, "zendesk:101", text=True)
    assert story.text is not None
    assert story.text[1:] == ("an answer", "and <PERSON>?", "gone")


def test_text_is_shown_when_asked_for_and_of_kept_rows_alone(run: Run) -> None:
    (kept,), (lost,) = explain(run, "freshdesk:101", text=True), explain(run, "104", text=True)
    assert kept.text == ("my name is <PERSON>", "an answer")
    assert lost.text is None


# -- unfinished runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upto", "last", "pending"),
    [
        ("read", "exact", "screen, toxicity, dedup, curate"),
        ("screen", "toxicity", "toxicity, dedup, curate"),
        ("toxicity", "dedup", "dedup, curate"),
        ("dedup", "curate", "curate"),
    ],
)
def test_an_unfinished_run_says_what_is_still_to_come(tmp_path: Path, upto: str, last: str, pending: str) -> None:
    (story,) = explain(write(tmp_path, upto), "zendesk:101")
    assert story.verdict == f"Not decided yet: {pending} still to come."
    assert story.steps[-1].stage == last
    assert "not finished" in story.steps[-1].happened


def test_stages_left_of_an_earlier_curation_do_not_count(tmp_path: Path) -> None:
    run = write(tmp_path)
    stage = run.begin("screen", "another key")  # a new configuration: screen done again, then killed
    run.put(stage, "stages/screen/00000-00000.parquet", working())
    run.commit(stage, inputs="key of read", rows={"freshdesk": 2, "zendesk": 5})
    (story,) = explain(run, "zendesk:101")
    assert "toxicity, dedup, curate" in story.verdict


def test_without_a_configuration_thresholds_are_left_out(tmp_path: Path) -> None:
    run = write(tmp_path, "toxicity")
    run.delete("config.yaml")
    (story,) = explain(run, "zendesk:101")
    assert {step.threshold for step in story.steps} == {None}


def test_while_reading_it_tells_of_the_rows_read_so_far(tmp_path: Path) -> None:
    run = write(tmp_path, "read")
    run.delete("stages/read/_manifest.json")
    (story,) = explain(run, "zendesk:103")
    assert "Not decided" in story.verdict


def test_a_folder_without_a_curation_is_a_sentence_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingStageError, match=r"jobs\.curate"):
        explain(Run.open(str(tmp_path / "none"), make=False), "101")
    assert not (tmp_path / "none").exists()


# -- places and the command line --------------------------------------------------------------------------------------


def test_a_run_on_an_object_store(run: Run, store: Any) -> None:
    remote = Run.open(store.uri("bucket/why"))
    local = run.local()
    for path in sorted(local.rglob("*")):
        if path.is_file():
            remote.write_bytes(path.relative_to(local).as_posix(), path.read_bytes())
    names = [f"{row['source']}:{row['source_id']}" for row in rows()]
    assert [explain(remote, name) for name in names] == [explain(run, name) for name in names]


def test_the_command_prints_a_table_and_needs_no_ray(run: Run) -> None:
    done = command(run.uri, "103", "freshdesk:101", "--text")
    assert done.returncode == 0
    assert "what happened" in done.stdout
    assert "0.875" in done.stdout
    assert "my name is <PERSON>" in done.stdout
    code = "import sys, jobs.why; sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_row_is_code_two_and_one_line(run: Run) -> None:
    done = command(run.uri, "1004")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("why: no row of")
