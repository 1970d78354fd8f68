"""The curation recipe as a whole: the same bytes for any block layout, skipped when nothing changed, honest when
full."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.curation.curate import curate
from pipeline.run import Run
from tests import format_inputs
from tests.format_inputs import project

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def _small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.read.rows.PART_ROWS", format_inputs.PART_ROWS)
        yield


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return format_inputs.dump(tmp_path_factory.mktemp("dump"))


@pytest.fixture(scope="module")
def finished(ray_session: None, dump: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("finished")
    return folder, curate(project(), Run.open(str(folder)), [str(dump)], Console(quiet=True))


def contents(folder: Path) -> dict[str, bytes]:
    kept = [path for top in ("data", "rejects", "metrics") for path in (folder / top).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def test_counts_reconcile_and_copies_are_found(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = finished
    source = metrics["sources"]["zendesk"]
    assert source["read"] == 176
    assert source["read"] == source["kept"] + sum(source["rejected"].values())
    assert source["rejected"]["exact_duplicate"] + source["rejected"].get("empty_response", 0) >= 14
    rows = sum(pq.read_table(folder / "data" / split).num_rows for split in ("train", "val", "golden"))
    assert rows == sum(found["kept"] for found in metrics["sources"].values())


@pytest.mark.parametrize("blocks", [2, 3])
def test_the_same_bytes_however_ray_cuts_the_units(
    finished: tuple[Path, dict[str, Any]], dump: Path, tmp_path: Path, ray_blocks: Callable[[int], None], blocks: int
) -> None:
    ray_blocks(blocks)
    curate(project(), Run.open(str(tmp_path)), [str(dump)], Console(quiet=True))
    assert contents(tmp_path) == contents(finished[0])


def test_a_second_run_is_skipped_and_a_lost_manifest_gives_the_same_bytes(
    finished: tuple[Path, dict[str, Any]], dump: Path
) -> None:
    folder, metrics = finished
    before = contents(folder)
    console = Console(record=True, width=100, file=io.StringIO())
    assert curate(project(), Run.open(str(folder)), [str(dump)], console) == metrics
    assert "finished before" in console.export_text()
    (folder / "stages" / "curate" / "_manifest.json").unlink()  # as a kill just before the end leaves it
    curate(project(), Run.open(str(folder)), [str(dump)], Console(quiet=True))
    assert contents(folder) == before


def test_a_missing_model_is_its_own_error_from_inside_an_actor(dump: Path, tmp_path: Path) -> None:
    import jobs
    from pipeline.errors import MissingModelError

    missing = project(toxicity={"model": str(tmp_path / "none")})
    with pytest.raises(Exception, match="none") as caught:
        curate(missing, Run.open(str(tmp_path / "run")), [str(dump)], Console(quiet=True))
    assert isinstance(jobs._deliberate(caught.value), MissingModelError)


def test_without_toxicity_every_row_goes_on_and_nothing_else_changes(
    finished: tuple[Path, dict[str, Any]], dump: Path, tmp_path: Path
) -> None:
    plain = {"toxicity": {"model": str(tmp_path / "none"), "skip": True}}  # the model is not even looked for
    metrics = curate(project(**plain), Run.open(str(tmp_path)), [str(dump)], Console(quiet=True))
    before = finished[1]["sources"]["zendesk"]
    after = metrics["sources"]["zendesk"]
    assert "toxicity" in before["rejected"]
    assert "toxicity" not in after["rejected"]
    assert "toxicity" not in metrics
    assert after["read"] == after["kept"] + sum(after["rejected"].values())
    assert after["kept"] > before["kept"]


def rows(folder: Path, split: str) -> dict[str, str]:
    table = pq.read_table(folder / "data" / split)
    return dict(zip(table["id"].to_pylist(), table["prompt"].to_pylist(), strict=True))


def test_golden_rows_stay_golden_and_earlier_rows_win(
    finished: tuple[Path, dict[str, Any]], dump: Path, tmp_path: Path
) -> None:
    before, smaller = finished[0], tmp_path / "dump"
    smaller.mkdir()
    records = list(csv.reader(io.StringIO((dump / "zendesk.csv").read_text(encoding="utf-8"), newline="")))
    fresh = [[*row[:1], f"7{row[1]}", *row[2:10], f"About {row[10]}", *row[11:-2], f"{row[-2]} Again, {n}.", row[-1]]
             for n, row in enumerate(records[1:40])]  # fmt: skip
    sink = io.StringIO()
    csv.writer(sink).writerows([*records[:100], *fresh])
    (smaller / "zendesk.csv").write_text(sink.getvalue(), encoding="utf-8")
    folder = tmp_path / "later"
    metrics = curate(project(), Run.open(str(folder)), [str(smaller)], Console(quiet=True), [Run(str(before))])
    source = metrics["sources"]["zendesk"]
    assert source["read"] == len(records[:100]) - 1 + len(fresh) == source["kept"] + sum(source["rejected"].values())
    golden = rows(before, "golden")
    assert golden.items() <= rows(folder, "golden").items()
    assert metrics["split"]["carried"] + metrics["split"]["frozen"]["present"] == len(golden)
    assert not rows(before, "train").keys() & rows(folder, "train").keys()
    rejects = pq.read_table(folder / "rejects").to_pylist()
    named = [row for row in rejects if row["twin_run"] == str(before)]
    everything = {key for split in ("train", "val", "golden") for key in rows(before, split)}
    assert len(named) > 50
    assert {row["twin"] for row in named} <= everything
    again = curate(project(), Run.open(str(folder)), [str(dump)], Console(quiet=True))  # the folder's own rows freeze
    assert rows(folder, "golden").items() >= golden.items()
    assert again["sources"]["zendesk"]["read"] == 176
