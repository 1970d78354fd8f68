"""Golden rows stay golden: in the folder's later curations and in later run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.curation.golden_rows import FROZEN, freeze, frozen
from pipeline.errors import MissingStageError
from pipeline.run import Run


def golden(rows: list[tuple[str, str]]) -> pa.Table:
    full = [
        {
            "id": key,
            "source": "t",
            "source_id": key,
            "kind": "qa",
            "prompt": text,
            "response": "r",
            "later": [],
            "origin": "real",
        }
        for key, text in rows
    ]
    return pa.Table.from_pylist(full, schema=schema.RECORD)


def finish(run: Run, *rows: tuple[str, str]) -> None:
    """Leaves the folder as a finished curation with these golden rows would."""
    stage = run.begin("curate", "key")
    run.put(stage, "data/golden/part-00000.parquet", golden(list(rows)))
    run.commit(stage, inputs=[], rows={})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(str(tmp_path / "run"))


def texts(table: pa.Table) -> dict[str, Any]:
    return dict(zip(table["id"].to_pylist(), table["prompt"].to_pylist(), strict=True))


def test_nothing_is_frozen_before_a_curation_has_finished(run: Run) -> None:
    freeze(run)
    assert frozen(run).num_rows == 0
    assert not run.exists(FROZEN)


def test_a_finished_curation_is_frozen_when_the_next_begins(run: Run) -> None:
    finish(run, ("b", "two"), ("a", "one"))
    assert frozen(run).num_rows == 0  # its own result must not change a curation that is started again
    freeze(run)
    assert texts(frozen(run)) == {"b": "two", "a": "one"}


def test_later_curations_add_and_change_nothing(run: Run) -> None:
    finish(run, ("a", "one"))
    freeze(run)
    finish(run, ("a", "changed"), ("c", "three"))
    freeze(run)
    freeze(run)
    assert texts(frozen(run)) == {"a": "one", "c": "three"}


def test_earlier_runs_bring_their_golden_rows_and_the_own_ones_come_first(run: Run, tmp_path: Path) -> None:
    earlier = Run.open(str(tmp_path / "earlier"))
    finish(earlier, ("a", "theirs"), ("d", "four"))
    finish(run, ("a", "ours"))
    freeze(run)
    assert texts(frozen(run, [earlier])) == {"a": "ours", "d": "four"}


def test_an_unfinished_earlier_run_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(MissingStageError, match=r"jobs\.curate"):
        frozen(run, [Run.open(str(tmp_path / "empty"))])


def test_golden_rows_of_an_earlier_version_have_no_later_turns(run: Run, tmp_path: Path) -> None:
    other = Run.open(str(tmp_path / "other"))
    for folder, key in ((run, "a"), (other, "b")):
        stage = folder.begin("curate", "key")
        folder.put(stage, "data/golden/part-00000.parquet", golden([(key, "text")]).drop_columns(["later"]))
        folder.commit(stage, inputs=[], rows={})
    assert freeze(run)
    run.write_table(FROZEN, run.read_table(FROZEN).drop_columns(["later"]))  # frozen by that version
    finish(run, ("c", "text"))
    assert freeze(run)
    rows = frozen(run, [other])
    assert rows.schema == schema.RECORD
    assert rows["later"].to_pylist() == [[], [], []]
    assert rows["id"].to_pylist() == ["a", "c", "b"]
