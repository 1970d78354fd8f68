"""Every field of a recipe has the effect it promises."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from transformers import set_seed

from pipeline import schema
from pipeline.config import Project
from pipeline.errors import ConfigError, InputError
from pipeline.models import load as model
from pipeline.models import template
from pipeline.models.load import Base
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.data import general_rows, pack
from pipeline.train.loop import trainer
from tests.small_model import make_rows
from tests.train.loops import lines, loop

QUIET = Console(quiet=True)


def adapter(tiny: Path, make_project: Any, **lora: Any) -> Any:
    project = make_project(train={"lora": {"r": 4, "alpha": 8, **lora}})
    return qlora.add_adapter(model.Base.of(project, str(tiny)).load()[0], project)


def adapted_names(model: Any) -> set[str]:
    return {name.split(".")[-4] for name, _ in model.named_parameters() if "lora_A" in name}


def test_rank_scale_dropout_and_targets(tiny: Path, make_project: Any) -> None:
    made = adapter(tiny, make_project, r=6, alpha=24, dropout=0.25, targets="qv")
    layer = made.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.lora_A["default"].weight.shape == (6, 64)
    assert layer.scaling["default"] == 4.0
    assert layer.lora_dropout["default"].p == 0.25
    assert adapted_names(made) == {"q_proj", "v_proj"}
    assert adapted_names(adapter(tiny, make_project, targets=["down_proj", "k_proj"])) == {"down_proj", "k_proj"}
    assert len(adapted_names(adapter(tiny, make_project))) == 7
    with pytest.raises(ConfigError, match=r"llama has no linear layer q_porj: it has down_proj, gate_proj, k_proj"):
        adapter(tiny, make_project, targets=["q_porj", "v_proj"])


def test_rslora_scales_by_the_root_of_the_rank(tiny: Path, make_project: Any) -> None:
    made = adapter(tiny, make_project, r=16, alpha=8, rslora=True)
    assert made.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] == 2.0


def test_dora_learns_magnitudes(tiny: Path, make_project: Any) -> None:
    names = [name for name, p in adapter(tiny, make_project, dora=True).named_parameters() if p.requires_grad]
    assert sum("magnitude" in name for name in names) == 14
    assert not any("magnitude" in name for name, _ in adapter(tiny, make_project).named_parameters())


@pytest.mark.parametrize(
    ("schedule", "middle", "end"), [("cosine", 0.5, 0.0), ("linear", 0.5, 0.0), ("constant", 1.0, 1.0)]
)
def test_the_schedule_follows_the_warm_up(
    packed: Run, make_project: Any, schedule: str, middle: float, end: float
) -> None:
    made = loop(make_project(train={"schedule": schedule, "warmup_share": 0.2, "learning_rate": 1e-3}), packed)
    made.create_optimizer()
    share = made.create_scheduler(100).lr_lambdas[0]
    warm = made.warmup
    assert warm >= 1
    assert 0 < share(0) < 1
    assert share(warm) == 1.0
    assert share((100 + warm) // 2) == pytest.approx(middle, abs=0.02)
    assert share(100) == pytest.approx(end, abs=1e-9)
    quarter = share(warm + (100 - warm) // 4)
    assert {"cosine": quarter > 0.8, "linear": 0.7 < quarter < 0.8, "constant": quarter == 1.0}[schedule]


def test_weight_decay_rate_and_clipping_reach_the_optimiser(packed: Run, make_project: Any) -> None:
    made = loop(
        make_project(train={"weight_decay": 0.3, "learning_rate": 7e-4, "max_grad_norm": 0.5, "epochs": 3}), packed
    )
    group = made.create_optimizer().param_groups[0]
    assert (group["weight_decay"], made.args.learning_rate, made.args.max_grad_norm) == (0.3, 7e-4, 0.5)
    once = loop(make_project(train={"epochs": 1, "rows_per_step": 1}), packed)
    assert once.args.gradient_accumulation_steps == 1
    assert once.args.max_steps == len(once.rows) == packed.read_json(pack.SUMMARY)["train"]["packed_rows"]
    assert once.create_optimizer().param_groups[0]["weight_decay"] == 0.0


def test_neftune_adds_noise_while_training_alone(packed: Run, make_project: Any) -> None:
    plain, noisy = (loop(make_project(train={"neftune_alpha": alpha, "epochs": 1}), packed) for alpha in (None, 5.0))
    assert plain.evaluate() == noisy.evaluate()
    packed.write_bytes("metrics/train.jsonl", b"")
    losses = []
    for made in (plain, noisy):
        set_seed(0)
        made.train()
        losses.append([line["loss"] for line in lines(packed) if "loss" in line])
        packed.write_bytes("metrics/train.jsonl", b"")
    assert losses[0][0] != losses[1][0]
    assert not noisy.model.get_input_embeddings()._forward_hooks


def test_neftunes_noise_is_that_of_an_average_example() -> None:
    rows = pa.table({"seq_lengths": pa.array([[100, 100], [50, 50, 50, 50, 50, 50]], pa.list_(pa.int32()))})
    assert trainer.packed_alpha(None, rows) is None
    assert trainer.packed_alpha(5.0, rows) == 10.0  # four examples to a row: sqrt(4) of the noise of the whole row


# -- general-domain rows ----------------------------------------------------------------------------------------------


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Forty pages of prose, and a table of questions."""
    place = tmp_path / "book"
    place.mkdir()
    for number in range(40):
        body = f"Chapter {number} tells of ownership and of borrowing. " * (1 + number % 5)
        (place / f"page-{number:02d}.md").write_text(f"# Part {number}\n\n{body}\n")
    return place


def mixed(curated: Run, make_project: Any, book: Path, share: float = 0.1, **project: Any) -> dict[str, Any]:
    made = make_project(train={"general": {"path": str(book), "share": share}}, **project)
    pack.pack(made, Base.of(made), curated, QUIET)
    counts: dict[str, Any] = curated.read_json(pack.SUMMARY)["train"]
    return counts


def test_general_rows_are_a_tenth_of_the_supervised_tokens(curated: Run, make_project: Any, book: Path) -> None:
    counts = mixed(curated, make_project, book)
    found = counts["general"]
    longest = 128
    assert found["supervised_tokens"] / counts["supervised_tokens"] == pytest.approx(found["share"], abs=1e-4)
    assert found["share"] >= 0.1
    assert found["supervised_tokens"] - longest < counts["supervised_tokens"] * 0.1
    drawn = curated.read_table("data/general/00000.parquet")
    assert drawn.num_rows == found["rows"] < found["available"] == 40
    assert set(drawn["origin"].to_pylist()) == {"general"}
    assert set(drawn["kind"].to_pylist()) == {"document"}
    assert counts["examples"] == 60 + found["rows"]
    assert pack.pack(make_project(), Base.of(make_project()), curated, QUIET)
    assert curated.read_json(pack.SUMMARY)["train"]["general"] is None
    assert curated.read_json(pack.SUMMARY)["train"]["examples"] == 60


def test_the_draw_follows_the_seed_and_nothing_else(curated: Run, make_project: Any, book: Path) -> None:
    def ids() -> list[str]:
        return list(curated.read_table("data/general/00000.parquet")["id"].to_pylist())

    mixed(curated, make_project, book)
    first = ids()
    curated.delete("stages/pack")
    mixed(curated, make_project, book)
    assert ids() == first
    mixed(curated, make_project, book, seed=8)
    assert ids() != first
    before = curated.manifest("pack")
    (book / "page-00.md").write_text("# Part 0\n\nanother text\n")
    mixed(curated, make_project, book, seed=8)
    after = curated.manifest("pack")
    assert before is not None
    assert after is not None
    assert before["key"] != after["key"]


def test_too_little_general_text_is_said(curated: Run, make_project: Any, book: Path, capsys: Any) -> None:
    made = make_project(train={"general": {"path": str(book), "share": 0.9}})
    pack.pack(made, Base.of(made), curated, Console(width=300))
    found = curated.read_json(pack.SUMMARY)["train"]["general"]
    assert found["rows"] == found["available"] == 40
    assert found["share"] < found["wanted"] == 0.9
    assert "all there are: 90% were wanted" in capsys.readouterr().out
    with pytest.raises(InputError):
        mixed(curated, make_project, book / "none")


@pytest.mark.cluster
@pytest.mark.skipif("SOLOTUNE_TEST_DATA" not in os.environ, reason="SOLOTUNE_TEST_DATA names no folder of real inputs")
def test_a_real_book_is_mixed_in(curated: Run, make_project: Any) -> None:
    counts = mixed(curated, make_project, Path(os.environ["SOLOTUNE_TEST_DATA"]) / "general")["general"]
    assert 0.1 <= counts["share"] < 0.25  # a section may be longer than all that is wanted here
    assert counts["available"] > 500


def test_rows_the_run_has_curated_are_not_added_again(book: Path, make_project: Any) -> None:
    rows = general_rows.available(make_project(), str(book), set())
    ids = rows["id"].to_pylist()
    assert len(set(ids)) == len(ids) == 40
    rest = general_rows.available(make_project(), str(book), set(ids[:5]))
    assert rest["id"].to_pylist() == ids[5:]


def test_the_last_row_drawn_is_the_first_to_reach_the_share() -> None:
    rows = pa.Table.from_pylist(make_rows("x", 10), schema=schema.RECORD)

    def encode(part: pa.Table) -> pa.Table:
        labels = [[template.IGNORED, 1, 1]] * part.num_rows
        return pa.table({"id": part["id"], "labels": pa.array(labels, pa.list_(pa.int32()))})

    drawn, encoded, counts = general_rows.draw(rows, 0.5, own_tokens=5, encode=encode)
    assert drawn.num_rows == encoded.num_rows == counts["rows"] == 3
    assert counts["supervised_tokens"] == 6
    assert general_rows.draw(rows, 0.5, own_tokens=0, encode=encode)[2]["rows"] == 0


def test_two_batch_sizes_are_refused() -> None:
    both = {"batch_tokens": 1, "batch_examples": 1}
    with pytest.raises(ValueError, match="not both"):
        Project.model_validate({"name": "p", "base_model": "o/m", "train": both})


def test_a_recipe_survives_the_run_folders_copy() -> None:
    given = {"lora": {"targets": ["q_proj"]}, "recompute": True, "pack_tokens": 512, "general": {"path": "/x"}}
    project = Project.model_validate({"name": "p", "base_model": "o/m", "train": given})
    assert project.train.recompute == "all"
    assert Project.model_validate(project.model_dump(mode="json")) == project
    assert np.isclose(project.train.general.share if project.train.general else 0, 0.1)
