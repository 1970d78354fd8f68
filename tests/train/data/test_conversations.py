"""Conversations on their way into training: packed with every answer, shortened by whole exchanges, learnt from."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from pipeline import schema
from pipeline.models import template
from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.data import general_rows, pack, preview
from tests.small_model import TEMPLATE, make_model, make_rows, make_tokenizer, sentence
from tests.train.loops import loop

REWRITES = TEMPLATE.replace(
    "{{ m['content'] }}", "{{ '' if m['role'] == 'user' or loop.last else 'so: ' }}{{ m['content'] }}"
)


def conversations(split: str, count: int, exchanges: int = 3) -> list[dict[str, Any]]:
    draw = random.Random(split)
    rows = []
    for row in make_rows(split, count):
        later = [text for _ in range(exchanges - 1) for text in (sentence(draw, 5), sentence(draw, 2))]
        row |= {"later": later, "id": schema.content_id("qa", row["prompt"], row["response"], later)}
        rows.append(row)
    return rows


def curated(place: Path, train: list[dict[str, Any]], val: list[dict[str, Any]] | None = None) -> Run:
    run = Run.open(str(place))
    stage = run.begin("curate", "curate-key")
    for split, rows in (("train", train), ("val", val or make_rows("val", 3))):
        run.put(stage, f"data/{split}/00000.parquet", pa.Table.from_pylist(rows, schema=schema.RECORD))
    run.commit(stage, {}, {})
    return run


def packed(run: Run, project: Any) -> tuple[dict[str, Any], str]:
    said = io.StringIO()
    pack.pack(project, Base.of(project), run, Console(file=said, width=400))
    return run.read_json(pack.SUMMARY)["train"], said.getvalue()


def answers(run: Run, tokenizer: Any) -> list[str]:
    """Returns the supervised texts of all packed training rows, sorted."""
    table = run.read_table("stages/pack/train-00000.parquet")
    labels = np.concatenate([np.array(row) for row in table["labels"].to_pylist()])
    stop = template.stop_token(tokenizer)
    runs = np.split(labels, np.flatnonzero(labels == stop.id) + 1)
    return sorted(tokenizer.decode(run[run != template.IGNORED]) for run in runs if (run != template.IGNORED).any())


def expected(rows: list[dict[str, Any]], exchanges: int = 99) -> list[str]:
    return sorted(f"{text}<|end|>" for row in rows for text in [row["response"], *row["later"][1::2]][:exchanges])


def test_every_answer_is_packed_and_learnt(tmp_path: Path, make_project: Any, tokenizer: Any) -> None:
    rows = [*conversations("train", 8), *make_rows("single", 4)]
    run = curated(tmp_path, rows)
    counts, said = packed(run, make_project(train={"max_length": 256}))
    assert answers(run, tokenizer) == expected(rows)
    assert (counts["examples"], counts["shortened"], counts["dropped"], counts["several_examples"]) == (12, 0, 0, 0)
    assert "conversation" not in said


def test_what_does_not_fit_is_whole_exchanges_counted_and_told(
    tmp_path: Path, make_project: Any, tokenizer: Any
) -> None:
    rows = conversations("train", 6, exchanges=12)
    run = curated(tmp_path, rows)
    counts, said = packed(run, make_project(train={"max_length": 120, "pack_tokens": 120}))
    kept = answers(run, tokenizer)
    assert set(kept) < set(expected(rows))
    assert counts["dropped"] == len(expected(rows)) - len(kept) > 0
    assert (counts["shortened"], counts["truncated"], counts["examples"]) == (6, 0, 6)
    assert f"6 conversations shortened by {counts['dropped']} exchanges to fit max_length" in said


def test_a_template_that_rewrites_answers_makes_several_examples(tmp_path: Path, make_project: Any) -> None:
    tokenizer = make_tokenizer(REWRITES)
    base = make_model(tmp_path / "base", tokenizer=tokenizer)
    rows = [*conversations("train", 4, exchanges=2), *make_rows("single", 2)]
    run = curated(tmp_path / "run", rows)
    counts, said = packed(run, make_project(base=base, train={"max_length": 256}))
    assert answers(run, tokenizer) == expected(rows)
    assert (counts["examples"], counts["several_examples"]) == (10, 4)
    assert "4 conversations of several examples each" in said


def test_records_of_an_earlier_version_are_packed_as_they_were(tmp_path: Path, make_project: Any) -> None:
    new, old = curated(tmp_path / "new", make_rows("train", 9)), Run.open(str(tmp_path / "old"))
    stage = old.begin("curate", "curate-key")
    for split in ("train", "val"):
        old.put(
            stage, f"data/{split}/00000.parquet", new.read_table(f"data/{split}/00000.parquet").drop_columns("later")
        )
    old.commit(stage, {}, {})
    project = make_project()
    assert packed(new, project) == packed(old, project)
    for path in new.list("stages/pack"):
        assert new.read_bytes(path) == old.read_bytes(path) or path.endswith("_manifest.json")


def test_the_first_conversations_of_a_file_are_checked_with_the_first_rows(tmp_path: Path) -> None:
    single, several = make_rows("single", pack.CHECKED + 5), conversations("train", 3)
    run = curated(tmp_path, [*single, *several])
    checked = pack._first_rows(run, ["data/train/00000.parquet"])
    assert len(checked) == pack.CHECKED + 3
    assert [len(turns) for turns in checked[-3:]] == [6, 6, 6]


def test_a_preview_shows_all_answers_and_what_is_left_out(tmp_path: Path, make_project: Any) -> None:
    run = curated(tmp_path, conversations("train", 2, exchanges=12))
    said = io.StringIO()
    project = make_project(train={"max_length": 120})
    preview.show(project, run, 2, Console(file=said, width=10_000, color_system=None))
    assert said.getvalue().count("⟧") > 4
    assert "left out, as they end behind train.max_length: the last " in said.getvalue()


def test_general_conversations_are_drawn_whole(make_project: Any, tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", tokenizer=make_tokenizer(REWRITES))
    tokenise = pack.Tokenise(Base.of(make_project(base=base)), 256)
    rows = pa.Table.from_pylist(conversations("train", 6, exchanges=2), schema=schema.RECORD)
    one = tokenise(rows.slice(0, 1))
    assert one["id"].to_pylist() == [rows["id"][0].as_py()] * 2
    own = sum(label != template.IGNORED for labels in one["labels"].to_pylist() for label in labels)
    drawn, examples, counts = general_rows.draw(rows, 0.5, own + 1, tokenise)
    assert (drawn.num_rows, examples.num_rows, counts["rows"]) == (2, 4, 2)


def test_the_loss_falls_and_is_that_of_the_answers_alone(tmp_path: Path, make_project: Any) -> None:
    import torch

    rows = conversations("train", 8)
    run = curated(tmp_path, rows, val=rows)
    project = make_project(train={"max_length": 256, "pack_tokens": 256, "epochs": 4, "quantise": None})
    packed(run, project)
    model, tokenizer = Base.of(project).load()
    nats, tokens = 0.0, 0
    for row in rows:  # by a plain loop over the conversation as a chat: each answer behind all that was said before it
        turns = [row["prompt"], row["response"], *row["later"]]
        for end in range(1, len(turns), 2):
            asked = template.chat_prompt(tokenizer, template.messages(turns[:end]))
            ids = [*asked, *tokenizer(f"{turns[end]}<|end|>", add_special_tokens=False).input_ids]
            with torch.inference_mode():
                scores = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
            nats -= sum(float(scores[place - 1, ids[place]]) for place in range(len(asked), len(ids)))
            tokens += len(ids) - len(asked)
    qlora.resume(run, "key")
    trainer = loop(project, run)
    before = trainer.evaluate()["eval_loss"]
    assert before == pytest.approx(nats / tokens, rel=2e-2)
    assert run.read_json(pack.SUMMARY)["val"]["supervised_tokens"] == tokens
    trainer.run(None)
    assert trainer.evaluate()["eval_loss"] < 0.95 * before
