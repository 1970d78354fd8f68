"""On a CUDA device: the packed kernel agrees with the CPU, NF4 training learns and resumes. Run by `make test-gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from pipeline.config import Project
from pipeline.models import load
from pipeline.train import qlora
from pipeline.train.data import pack
from pipeline.train.kernels import cuda_graph, fused_lora, loss, packed_attention
from pipeline.train.loop import trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("base") / "tiny"
    core = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(place)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(place)
    return place


def rows(count: int, capacity: int = 512) -> pa.Table:
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        ids = random.integers(0, 200, int(random.integers(8, 120))).tolist()
        labels = [-100] * 5 + ids[5:]
        made.append({"id": f"{number}", "input_ids": ids, "labels": labels, "truncated": False, "split": "train"})
    return pack.pack_rows(pa.Table.from_pylist(made, schema=pack.ENCODED), capacity)[0]


def summed(causal: Any, row: dict[str, Any], device: str) -> float:
    row = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in row.items()}
    return loss.row_loss(causal, row).item()


def test_the_packed_kernel_agrees_with_the_cpu(base: Path) -> None:
    project = Project.model_validate({"name": "gpu", "base_model": str(base)})
    row = trainer.PackedRows(rows(20), np.arange(1))[0]
    with torch.no_grad():
        slow, _ = load.Base.of(project, str(base)).load(attention=packed_attention.register())
        fast, _ = load.Base.of(project, str(base)).load(device="cuda", attention=packed_attention.register())
        expected, got = summed(slow, row, "cpu"), summed(fast, row, "cuda")
    assert got == pytest.approx(expected, rel=0.01)


def make_loop(base: Path, place: Path, **train: Any) -> trainer.PackedTrainer:
    settings = {"max_length": 256, "pack_tokens": 512, "rows_per_step": 2, "learning_rate": 5e-3, **train}
    project = Project.model_validate({"name": "gpu", "base_model": str(base), "train": settings})
    set_seed(0)
    causal, _ = load.Base.of(project, str(base)).load("nf4", "cuda", packed_attention.register())
    adapted = qlora.add_adapter(causal, project)
    place.mkdir(exist_ok=True)
    return trainer.PackedTrainer(
        adapted, project.train, 0, rows(60), rows(8), place / "checkpoints", "key", place / "train.jsonl"
    )


@pytest.mark.parametrize("recompute", [True, False])
def test_nf4_learns_with_adapters_in_float32(base: Path, tmp_path: Path, recompute: bool) -> None:
    loop = make_loop(base, tmp_path, recompute=recompute, epochs=8)
    kinds = {parameter.dtype for parameter in loop.model.parameters() if parameter.requires_grad}
    assert kinds == {torch.float32}
    before = loop.evaluate()["eval_loss"]
    loop.train()
    assert loop.evaluate()["eval_loss"] < before - 0.1


def test_a_resumed_training_goes_on_where_it_was(base: Path, tmp_path: Path) -> None:
    whole = make_loop(base, tmp_path / "whole", checkpoint_minutes=1e-9)
    whole.train()
    steps = sorted((tmp_path / "whole/checkpoints").iterdir())
    expected = whole.evaluate()["eval_loss"]
    resumed = make_loop(base, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(steps[-2]))
    assert resumed.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream")  # an eager step after a capture
@pytest.mark.parametrize("quantise", ["nf4", None])
def test_a_captured_row_has_the_loss_and_the_gradients_of_an_eager_one(base: Path, quantise: Any) -> None:
    project = Project.model_validate({"name": "gpu", "base_model": str(base), "train": {"lora": {"dropout": 0.0}}})
    set_seed(0)
    causal, _ = load.Base.of(project, str(base)).load(quantise, "cuda", packed_attention.register())
    adapted = qlora.add_adapter(causal, project)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.02)
    fused_lora.fuse(adapted)
    table = rows(60)
    seen, graph = trainer.PackedRows(table, np.arange(table.num_rows)), cuda_graph.RowGraph(causal, table)
    parameters = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    for index in (3, 0, 1, table.num_rows - 1):
        row = {name: v.to("cuda") if isinstance(v, torch.Tensor) else v for name, v in seen[index].items()}
        adapted.zero_grad()
        got = [float(graph(row, 7)), float(graph(row, 7))]  # the second one adds its gradients
        captured = [parameter.grad.clone() for parameter in parameters]
        with torch.autocast("cuda", torch.bfloat16):
            eager = loss.row_loss(causal, row) / 7
        gradients = torch.autograd.grad(eager, parameters)
        assert got == pytest.approx([eager.item()] * 2, rel=5e-3)  # other sizes, other kernels, other rounding
        for gradient, expected in zip(captured, gradients, strict=True):
            torch.testing.assert_close(gradient, 2 * expected, atol=1e-5, rtol=2e-2)
