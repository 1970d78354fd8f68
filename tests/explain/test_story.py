"""The story of a row: every fate, every way to name a row, nothing personal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from pipeline import schema
from pipeline.config import Project
from pipeline.curation import golden_rows
from pipeline.dedup.near import DECISIONS
from pipeline.errors import InputError, MissingStageError
from pipeline.explain.story import Story, explain
from pipeline.run import Run
from pipeline.synthesis.synthesize import SYNTHETIC

NAME = "Mustermann"
PROJECT = Project.model_validate({"name": "t", "base_model": "o/m"})
Stages = tuple[str, ...]


def rows() -> list[dict[str, Any]]:
    """Returns what a dump of two sources holds: a row for every fate."""

    def row(source: str, source_id: str, line: int, prompt: str, **more: Any) -> dict[str, Any]:
        found = {"source": source, "source_id": source_id, "path": f"{source}.csv", "line": line, "prompt": prompt}
        return {**found, "response": "an answer", "label": "cards", **more}

    judged = {"lang": "en", "lang_score": 0.9981}
    return [
        row("zendesk", "101", 2, f"how do I order a card, {NAME}", **judged, toxicity=0.031),
        row("zendesk", "102", 5, f"how do I order a card, {NAME}"),
        row("zendesk", "103", 9, "how do I order a new card, please", **judged),
        row("zendesk", "104", 12, "où est ma carte", lang="fr", lang_score=0.0123),
        row("zendesk", "105", 15, "you absolute fools", **judged, toxicity=0.987),
        row("freshdesk", "101", 2, "my name is <PERSON>", **judged, pii=["PERSON", "IBAN_CODE", "PERSON"]),
        row("freshdesk", "freshdesk.csv:8", 8, ""),
    ]


def working() -> pa.Table:
    """Returns the rows as the last row stage leaves them."""
    table = pa.Table.from_pylist(
        [
            {
                "kind": "qa",
                "origin": "real",
                "entities": [],
                "pii": [],
                **row,
                "id": schema.content_id("qa", row["prompt"], row["response"]),
            }
            for row in rows()
        ],
        schema=schema.WORKING,
    )
    own = table["source_id"]
    table = schema.mark(table, pc.equal(own, "freshdesk.csv:8"), "read", "unreadable")
    table = schema.mark(table, pc.equal(own, "102"), "exact", "exact_duplicate", twin=table["id"].to_pylist())
    table = schema.mark(table, pc.equal(own, "104"), "language", "language", table["lang_score"].to_pylist(), 0.95)
    return schema.mark(table, pc.equal(own, "105"), "toxicity", "toxicity", table["toxicity"].to_pylist(), 0.9)


def identity(source_id: str, source: str = "zendesk") -> str:
    return next(
        schema.content_id("qa", row["prompt"], row["response"])
        for row in rows()
        if (row["source"], row["source_id"]) == (source, source_id)
    )


def write(folder: Path, upto: str = "curate") -> Run:
    """Writes a run folder as far as a stage, in two parts."""
    run, table = Run.open(str(folder)), working()
    run.write_bytes("config.yaml", yaml.safe_dump(PROJECT.model_dump(mode="json")).encode())
    before = "read"
    for name in ("read", "screen", "toxicity"):
        stage = run.begin(name, f"key of {name}")
        for number, part in enumerate((table.slice(0, 4), table.slice(4))):
            run.put(stage, f"stages/{name}/{number:05d}-00000.parquet", part.sort_by("id"))
        run.commit(stage, inputs=before, rows={"freshdesk": 2, "zendesk": 5})
        before = f"key of {name}"
        if upto == name:
            return run
    keeper, twin, other = identity("101"), identity("103"), identity("101", "freshdesk")
    stage = run.begin("dedup", "key of dedup")
    decisions = [(row, True, None, None, None, row, None) for row in (keeper, other)]
    decisions.append((twin, False, keeper, None, 0.875, keeper, "near_duplicate"))
    columns = zip(*sorted(decisions), strict=True)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, DECISIONS, strict=True)]
    run.put(stage, "stages/dedup/decisions.parquet", pa.Table.from_arrays(arrays, schema=DECISIONS))
    run.commit(stage, inputs=before, rows={"unmarked": 3})
    if upto != "dedup":
        curate(run, table, {keeper: "train", other: "golden"})
    run.delete("stages/read")
    return run


def curate(run: Run, table: pa.Table, fates: dict[str, str]) -> None:
    stage = run.begin("curate", "key of curate")
    split = pa.table({"id": sorted(fates), "split": [fates[name] for name in sorted(fates)]})
    run.write_table("stages/curate/split.parquet", split)
    live = table.filter(pc.is_null(table["stage"]))
    for name in ("train", "val", "golden"):
        chosen = pa.array([fates.get(row) == name for row in live["id"].to_pylist()])
        run.put(stage, f"data/{name}/part-00000.parquet", live.filter(chosen).select(schema.RECORD.names))
    near = live.filter(pc.invert(pc.is_in(live["id"], value_set=pa.array(list(fates)))))
    near = schema.mark(near, np.array([True]), "dedup", "near_duplicate", [0.875], 0.8)
    rejected = pa.concat_tables([table.filter(pc.is_valid(table["stage"])), near])
    run.put(stage, "rejects/part-00000.parquet", rejected.select(schema.REJECT.names))
    run.put(stage, golden_rows.GOLDEN + "/frozen.parquet", schema.RECORD.empty_table())
    settings = {"language.threshold": 0.94, "quality.too_short": 4, "quality.too_long": None}
    run.put_json(stage, "metrics/curate.json", {"provenance": {"settings": settings}})
    run.commit(stage, inputs=[], rows={})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write(tmp_path_factory.mktemp("why"))


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
    assert steps["read"].startswith("zendesk.csv, line 2")
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


def test_text_is_shown_when_asked_for_and_of_kept_rows_alone(run: Run) -> None:
    (kept,), (lost,) = explain(run, "freshdesk:101", text=True), explain(run, "104", text=True)
    assert kept.text == ("my name is <PERSON>", "an answer")
    assert lost.text is None


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "zendesk:104",
        "104",
        " 104 ",
        identity("104"),
        identity("104")[:8].upper(),
        "zendesk.csv:12",
        "/home/anna/dumps/zendesk.csv:12",
        "zendesk.csv:13",  # inside the record that begins at line 12
    ],
)
def test_every_way_to_name_a_row(run: Run, name: str) -> None:
    assert [story.id for story in explain(run, name)] == [identity("104")]


def test_an_id_of_two_sources_names_both(run: Run) -> None:
    assert [story.name for story in explain(run, "101")] == ["freshdesk 101", "zendesk 101"]


def test_an_id_names_its_copies_as_well(run: Run) -> None:
    assert [story.name for story in explain(run, identity("101"))] == ["zendesk 101", "zendesk 102"]


def test_a_name_of_many_rows_lists_them_in_brief(tmp_path: Path) -> None:
    run = write(tmp_path, "toxicity")
    many = pa.concat_tables([working().slice(3, 1)] * 12)
    many = many.set_column(schema.WORKING.get_field_index("line"), schema.WORKING.field("line"), pa.array(range(12)))
    stage = run.begin("toxicity", "key of toxicity")
    run.put(stage, "stages/toxicity/00000-00000.parquet", many)
    run.commit(stage, inputs="key of screen", rows={"zendesk": 12})
    stories = explain(run, "104")
    assert [story.steps for story in stories] == [()] * 12
    assert "language" in stories[0].verdict
    done = command(run.uri, "104")
    assert "12 rows: give the id of one" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1004", "did you mean zendesk:104"),
        ("zendesk:140", "did you mean zendesk:104"),
        (identity("104")[:20] + ("1" if identity("104")[20] == "0" else "0"), identity("104")),
        ("zendesk:999999", "zendesk has no such id"),
        ("zendesk.csv:99", "no row"),
        ("nothing like it", "no row"),
        ("*(", "no row"),
    ],
)
def test_an_unknown_name_is_one_sentence_with_near_misses(run: Run, name: str, message: str) -> None:
    with pytest.raises(InputError, match="no row of") as caught:
        explain(run, name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prefix_of_several_ids_lists_them(tmp_path: Path) -> None:
    run = write(tmp_path)
    path = "stages/toxicity/00000-00000.parquet"
    table = run.read_table(path)
    ids = [f"abcdef{n:026x}" for n in range(table.num_rows)]
    run.write_table(path, table.set_column(0, schema.WORKING.field("id"), pa.array(ids)))
    with pytest.raises(InputError, match=r"4 ids begin with abcdef: abcdef0"):
        explain(run, "abcdef")


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


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "jobs.why", *arguments], capture_output=True, text=True, check=False)


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
