"""The names of a row: every form, copies, misspellings."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.errors import InputError
from pipeline.explain.story import explain
from pipeline.run import Run
from tests.explain.small_run import command, identity, working, write


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
