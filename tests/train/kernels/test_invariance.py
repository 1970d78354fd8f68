"""The loss is that of the examples, however they are packed, cut into micro-batches and accumulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.models import load, template
from pipeline.models.template import IGNORED
from pipeline.train import qlora
from pipeline.train.data import pack
from pipeline.train.kernels import loss, packed_attention
from pipeline.train.loop import trainer

Packing = list[list[int]]


@pytest.fixture
def examples(tiny: Path, make_project: Any) -> list[template.Encoded]:
    tokenizer = load.Base.of(make_project(), str(tiny)).tokenizer()
    prompts = ["lost card", "open account with a new password " * 3, "fee", "refund code limit"]
    return template.encode_batch(tokenizer, prompts, ["close it", "no", "transfer fee " * 6, "app"], 128)


def table(examples: list[template.Encoded], packing: Packing, supervised: set[int] | None = None) -> pa.Table:
    """Packs the examples as told; of those not `supervised` every label is ignored."""
    rows = []
    for members in packing:
        chosen = [examples[i] for i in members]
        wanted = [supervised is None or i in supervised for i in members]
        labels = [
            list(row.labels) if one else [IGNORED] * len(row.labels) for row, one in zip(chosen, wanted, strict=True)
        ]
        rows.append(
            {
                "input_ids": [token for row in chosen for token in row.input_ids],
                "labels": [label for part in labels for label in part],
                "seq_lengths": [len(row.input_ids) for row in chosen],
            }
        )
    return pa.Table.from_pylist(rows, schema=pack.PACKED)


def in_pack(causal: Any, examples: list[template.Encoded], members: list[int], one: int) -> float:
    """Returns the loss of one example among the members of a packed row."""
    row = trainer.PackedRows(table(examples, [members], {one}), np.arange(1))[0]
    with torch.no_grad():
        return float(loss.row_loss(causal, row))


def test_an_example_has_the_loss_in_the_pack_that_it_has_alone(
    tiny: Path, make_project: Any, examples: list[template.Encoded]
) -> None:
    plain, _ = load.Base.of(make_project(), str(tiny)).load()
    ours, _ = load.Base.of(make_project(), str(tiny)).load(attention=packed_attention.register())
    for number, example in enumerate(examples):
        labels = torch.tensor([example.labels])
        count = int((labels[:, 1:] != IGNORED).sum())
        with torch.no_grad():
            alone = plain(input_ids=torch.tensor([example.input_ids]), labels=labels).loss.item() * count
        for members in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
            assert in_pack(ours, examples, members, number) == pytest.approx(alone, rel=1e-3)


def test_neighbours_in_the_pack_do_not_touch_an_example(
    tiny: Path, make_project: Any, examples: list[template.Encoded]
) -> None:
    """Nothing leaks: neither other neighbours nor other words in them change an example's loss or its gradient."""
    ours, _ = load.Base.of(make_project(), str(tiny)).load(attention=packed_attention.register())
    expected = in_pack(ours, examples, [1], 1)
    noise = [
        template.Encoded([(token + 7) % 200 for token in row.input_ids], row.labels, row.truncated) if i != 1 else row
        for i, row in enumerate(examples)
    ]
    for source in (examples, noise):
        for members in ([0, 1], [1, 0], [0, 1, 2, 3], [3, 2, 1]):
            assert in_pack(ours, source, members, 1) == pytest.approx(expected, rel=1e-5)
    row = trainer.PackedRows(table(examples, [[0, 1, 2]], {1}), np.arange(1))[0]
    embedded = ours.get_input_embeddings()(row["input_ids"]).detach().requires_grad_()
    hidden = ours.get_decoder()(
        inputs_embeds=embedded,
        position_ids=row["position_ids"],
        use_cache=False,
        cu_seq_lens_q=row["cu_seq_lens_q"],
        max_length_q=row["max_length_q"],
    ).last_hidden_state
    loss.answer_loss(hidden[0], row["labels"][0], row["answers"], ours.get_output_embeddings()).backward()
    starts = row["cu_seq_lens_q"].tolist()
    assert embedded.grad is not None
    assert embedded.grad[0, starts[1] : starts[2]].abs().sum() > 0
    assert embedded.grad[0, : starts[1]].abs().sum() == 0
    assert embedded.grad[0, starts[2] :].abs().sum() == 0


def first_steps(
    base: Path, make_project: Any, place: Path, examples: list[template.Encoded], packing: Packing
) -> list[tuple[float, float]]:
    """Trains two steps, each over all examples; returns loss and norm of the gradients of both."""
    train = {"quantise": None, "recompute": 0, "lora": {"r": 4, "alpha": 8, "dropout": 0.0}, "warmup_share": 0.0}
    project = make_project(train={**train, "epochs": 2, "rows_per_step": len(packing)})
    torch.manual_seed(0)
    causal, _ = load.Base.of(project, str(base)).load(attention=packed_attention.register())
    rows, none = table(examples, packing), pack.PACKED.empty_table()
    place.mkdir()
    made = trainer.PackedTrainer(
        qlora.add_adapter(causal, project), project.train, 0, rows, none, place, "key", place / "lines.jsonl"
    )
    made.run(None)
    return [(line["loss"], line["grad_norm"]) for line in made.event_log.read() if "loss" in line]


def test_a_step_is_the_same_in_any_packing_and_any_number_of_micro_batches(
    tiny: Path, make_project: Any, examples: list[template.Encoded], tmp_path: Path
) -> None:
    packings: list[Packing] = [[[0, 1, 2, 3]], [[0, 1], [2, 3]], [[3, 0], [2], [1]], [[0], [1], [2], [3]]]
    found = [
        first_steps(tiny, make_project, tmp_path / str(number), examples, packing)
        for number, packing in enumerate(packings)
    ]
    assert len(found[0]) == 2
    assert found[0][1][0] < found[0][0][0]
    for other in found[1:]:
        assert np.array(other) == pytest.approx(np.array(found[0]), rel=1e-3)
