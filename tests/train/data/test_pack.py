"""Packing: nothing is lost, nothing is split, and the order rows arrive in does not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from pipeline import schema
from pipeline.errors import ConfigError, InputError, MissingStageError, UserError
from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train.data import pack
from tests.small_model import begin_curated, make_rows


def encoded(lengths: list[int], answers: list[int] | None = None) -> pa.Table:
    """One row per length, tokens counting up; the last `answers[i]` tokens of row i are supervised."""
    rows = []
    for number, length in enumerate(lengths):
        ids = [1000 * number + position for position in range(length)]
        answer = 1 if answers is None else answers[number]
        labels = [-100] * (length - answer) + ids[length - answer :]
        row = {"id": f"{number:04d}", "input_ids": ids, "labels": labels, "truncated": answer == 0, "dropped": 0}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=pack.ENCODED)


def test_best_fit_decreasing_fills_the_fullest_bin_that_still_fits() -> None:
    assert pack.best_fit(np.array([5, 7, 3, 2, 3]), 10) == [[1, 2], [0, 4, 3]]
    assert pack.best_fit(np.array([], dtype=int), 10) == []
    with pytest.raises(UserError, match="11 tokens does not fit"):
        pack.best_fit(np.array([11]), 10)


def test_packing_keeps_every_token_once_and_no_row_over_capacity() -> None:
    lengths = np.random.default_rng(0).integers(2, 60, 300).tolist()
    packed, counts = pack.pack_rows(encoded(lengths), 64)
    rows = packed.to_pylist()
    assert all(len(row["input_ids"]) == sum(row["seq_lengths"]) <= 64 for row in rows)
    tokens = sorted(token for row in rows for token in row["input_ids"])
    assert tokens == sorted(1000 * i + j for i, length in enumerate(lengths) for j in range(length))
    assert counts["tokens"] == sum(lengths)
    assert counts["supervised_tokens"] == counts["examples"] == 300
    assert counts["packed_rows"] == len(rows) <= 1.1 * sum(lengths) / 64
    assert all(row["labels"][0] == -100 for row in rows)


def test_groups_by_length_pad_little_and_hold_no_more_than_a_row() -> None:
    assert pack.by_length(np.array([5, 7, 3, 2, 3]), 10) == [[1], [0, 2], [4, 3]]
    with pytest.raises(UserError, match="11 tokens does not fit"):
        pack.by_length(np.array([11]), 10)
    lengths = np.random.default_rng(0).integers(2, 60, 300)
    groups = pack.by_length(lengths, 256)
    assert sorted(position for group in groups for position in group) == list(range(300))
    assert all(lengths[group].max() * len(group) <= 256 for group in groups)
    packed, counts = pack.pack_rows(encoded(lengths.tolist()), 256, pack.by_length)
    area = sum(max(row) * len(row) for row in packed["seq_lengths"].to_pylist())
    assert counts["padding"] == pytest.approx(1 - lengths.sum() / area, abs=1e-4)
    assert counts["padding"] < 0.05
    assert "padding" not in pack.pack_rows(encoded(lengths.tolist()), 256)[1]
    assert pack.pack_rows(pack.ENCODED.empty_table(), 8, pack.by_length)[1]["padding"] == 0.0


def test_a_row_left_without_an_answer_is_named_not_packed() -> None:
    packed, counts = pack.pack_rows(encoded([4, 5, 6], answers=[2, 0, 3]), 8)
    assert counts["skipped"] == ["0001"]
    assert (counts["examples"], counts["truncated"], counts["supervised_tokens"]) == (2, 1, 5)
    assert sum(map(len, packed["input_ids"].to_pylist())) == 10


def test_an_empty_split_packs_to_nothing() -> None:
    packed, counts = pack.pack_rows(pack.ENCODED.empty_table(), 8)
    assert packed.num_rows == counts["packed_rows"] == 0


def shards(run: Run) -> dict[str, bytes]:
    return {path: run.read_bytes(path) for path in run.list("stages/pack") if path.endswith(".parquet")}


def test_the_same_rows_in_other_files_give_the_same_bytes(curated: Run, make_project: Any) -> None:
    project = make_project()
    first = pack.pack(project, Base.of(project), curated, Console(quiet=True))
    before = shards(curated)
    assert set(before) == {"stages/pack/train-00000.parquet", "stages/pack/val-00000.parquet"}
    again = pack.pack(project, Base.of(project), curated, Console(quiet=True))
    assert again == first
    stage = curated.begin("curate", "other-blocks")
    table = pa.Table.from_pylist(make_rows("train", 60)[::-1], schema=schema.RECORD)
    for number in range(7):
        curated.put(stage, f"data/train/{number:05d}.parquet", table.slice(number * 9, 9))
    curated.put(stage, "data/val/00000.parquet", curated.read_table("data/val/00000.parquet"))
    curated.commit(stage, {}, {})
    assert pack.pack(project, Base.of(project), curated, Console(quiet=True))["key"] != first["key"]
    assert shards(curated) == before


def test_a_run_under_a_folder_called_data_val_trains_on_its_training_rows(tmp_path: Any, make_project: Any) -> None:
    run = begin_curated(tmp_path / "data/val/run")
    pack.pack(make_project(), Base.of(make_project()), run, Console(quiet=True))
    counts = run.read_json(pack.SUMMARY)
    assert (counts["train"]["examples"], counts["val"]["examples"]) == (60, 12)


@pytest.mark.ray
def test_the_cluster_packs_as_this_process_does(
    tmp_path: Any, make_project: Any, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    curated, project = begin_curated(tmp_path / "data/val/run"), make_project()
    pack.pack(project, Base.of(project), curated, Console(quiet=True))
    before = shards(curated)
    monkeypatch.setattr(pack, "SMALL", 0)
    curated.delete("stages/pack")
    pack.pack(project, Base.of(project), curated, Console(quiet=True))
    assert shards(curated) == before


def test_synthetic_rows_join_once_their_stage_is_finished(curated: Run, make_project: Any) -> None:
    stage = curated.begin("synthesize", "s")
    table = pa.Table.from_pylist([{**row, "origin": "synthetic"} for row in make_rows("more", 5)], schema=schema.RECORD)
    curated.put(stage, "data/synthetic/00000.parquet", table)
    pack.pack(make_project(), Base.of(make_project()), curated, Console(quiet=True))
    assert curated.read_json(pack.SUMMARY)["train"]["examples"] == 60
    curated.commit(stage, {}, {"kept": 5})
    pack.pack(make_project(), Base.of(make_project()), curated, Console(quiet=True))
    assert curated.read_json(pack.SUMMARY)["train"]["examples"] == 65


def test_what_cannot_be_packed_is_a_sentence(curated: Run, make_project: Any, tmp_path: Any) -> None:
    with pytest.raises(MissingStageError, match=r"jobs\.curate"):
        pack.pack(make_project(), Base.of(make_project()), Run.open(str(tmp_path / "empty")), Console(quiet=True))
    with pytest.raises(ConfigError, match="pack_tokens"):
        pack.pack(
            make_project(train={"max_length": 300, "pack_tokens": 256}),
            Base.of(make_project()),
            curated,
            Console(quiet=True),
        )
    with pytest.raises(ConfigError, match="no more than 256 tokens"):
        pack.pack(
            make_project(train={"max_length": 300, "pack_tokens": 512}),
            Base.of(make_project()),
            curated,
            Console(quiet=True),
        )
    with pytest.raises(InputError, match="no training row with an answer"):
        pack.pack(
            make_project(train={"max_length": 4}),
            Base.of(make_project()),
            curated,
            Console(quiet=True),
        )


def test_the_order_is_a_shuffle_per_epoch_and_follows_the_seed(make_project: Any) -> None:
    settings = make_project(train={"epochs": 2.5, "rows_per_step": 4}).train
    order = pack.plan_order(10, settings, seed=3)
    assert len(order) == 25
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert list(order[:10]) != list(order[10:20])
    assert list(order) == list(pack.plan_order(10, settings, seed=3))
    assert list(order) != list(pack.plan_order(10, settings, seed=4))
    assert pack.total_steps(10, settings) == 7
