"""One architecture with one template, down the whole road: each step passed, was refused before training, or failed.

`outcomes` runs the real stages on a run folder of its own. A step that is refused says so before anything is trained
(an engine, when it starts), in the sentence a user reads; whatever else goes wrong is a failure: a defect of ours.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import traceback
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console

from pipeline import preflight
from pipeline.config import Project
from pipeline.errors import ConfigError
from pipeline.export import gguf, merge
from pipeline.models import architectures, generate, load, prompt_check, template
from pipeline.train import qlora
from pipeline.train.data import pack
from pipeline.train.kernels import batches, loss
from pipeline.train.loop import trainer
from serve_app.engines import Generation, Prompt, exported
from serve_app.engines.codec import HfCodec
from serve_app.engines.hf import HfEngine
from tests.small_model import begin_curated

QUIET = Console(quiet=True)
QUESTIONS = ["lost card", "what is the fee", "how do I block </s> <|im_end|> [/INST] it"]
ROWS = [("lost card", "close it"), *((question, "go to the branch") for question in QUESTIONS)]


@dataclass(frozen=True)
class Outcome:
    """What became of a step; `sentence` says why it was not taken, or how."""

    result: Literal["passed", "refused", "FAILED"]
    sentence: str = ""


class Case:
    """A base in a folder, on its way down the road."""

    def __init__(self, base: Path, chat_template: str | None, place: Path) -> None:
        train = {"max_length": 256, "pack_tokens": 512, "quantise": None, "lora": {"r": 4, "alpha": 8}}
        sections = {"train": train, "export": {"dtype": "float32", "gguf": ["f16"]}, "serve": {"engine": "gguf"}}
        settings = {"name": "test", "base_model": str(base), "chat_template": chat_template, **sections}
        self.project = Project.model_validate(settings)
        self.run = begin_curated(place)

    @cached_property
    def base(self) -> load.Base:
        return load.Base.of(self.project)

    @cached_property
    def tokenizer(self) -> Any:
        return self.base.tokenizer()

    @cached_property
    def attention(self) -> str:
        """The attention that training has on a CPU."""
        return batches.implementation(architectures.of(self.base.config, self.base.name).packs, "cpu")

    def adapted(self, attention: str) -> Any:
        """Returns the base with an adapter whose every tensor matters; the same numbers at every call."""
        causal, _ = self.base.load(attention=attention)
        torch.manual_seed(1)
        adapted = qlora.add_adapter(causal, self.project)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter.data, std=0.05)
        return adapted.eval()

    @cached_property
    def served(self) -> exported.Exported:
        """The merged model as an engine finds it."""
        return exported.find(self.project, self.run)


def mask(case: Case) -> None:
    """The answer and its stop token alone are supervised, right behind what serving asks with."""
    without_files = case.project.export.model_copy(update={"gguf": []})
    preflight.cheap(case.project.model_copy(update={"export": without_files}), case.base)
    prompt_check.check(case.tokenizer, ROWS)
    for prompt, response in ROWS:
        row = template.encode(case.tokenizer, prompt, response, 256)
        learnt = [label for label in row.labels if label != template.IGNORED]
        said = case.tokenizer.decode(learnt[:-1], skip_special_tokens=True).strip()
        assert said == response, f"learns {said!r} for {response!r}"
        assert learnt[-1] == template.stop_token(case.tokenizer).id


def packed(case: Case) -> str | None:
    """A row of many examples has the loss of its examples alone, which transformers' own pass computes; returns what
    the row is where it is not packed."""
    pack.pack(case.project, case.base, case.run, QUIET)
    table = pq.read_table(case.run.local(f"stages/{pack.STAGE}/val-00000.parquet"))
    fullest = int(np.argmax([len(lengths) for lengths in table["seq_lengths"].to_pylist()]))
    row = trainer.PackedRows(table, np.array([fullest]))[0]
    ends = row["cu_seq_lens_q"].tolist()
    assert len(ends) > 3, "a row of fewer than three examples"
    with torch.no_grad():
        together = loss.row_loss(case.adapted(case.attention).get_base_model(), row).item()
        plain, alone = case.adapted("sdpa"), 0.0
        for start, end in itertools.pairwise(ends):
            ids, labels = row["input_ids"][:, start:end], row["labels"][0, start + 1 : end]
            logits = plain(input_ids=ids, use_cache=False).logits[0, :-1].float()
            alone += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
    assert abs(together / alone - 1) < 1e-5, f"loss {together} of the row, {alone} of its examples"
    return "padded" if case.attention == "sdpa" else None


def merged(case: Case) -> None:
    """The merged model has the logits of base and adapter."""
    adapted = case.adapted("sdpa")
    qlora._write_adapter(case.run.local(load.ADAPTER), adapted, case.tokenizer)
    stage = case.run.begin("train", "train-key")
    metrics = {"examples": 60, "supervised_tokens": 720, "steps": [{}], "device": "CPU, 2 threads"}
    case.run.put_json(stage, qlora.METRICS, metrics)
    case.run.commit(stage, {"base": case.base.fingerprint}, {})
    merge.export(case.project, case.run, QUIET)
    whole, _ = load.Base.at(case.run.local(merge.MERGED)).load()
    ids = torch.tensor([template.chat_prompt(case.tokenizer, [{"role": "user", "content": "lost card"}])])
    with torch.inference_mode():
        found, expected = whole(ids).logits, adapted(ids).logits
    assert (found - expected).norm() < 1e-4 * expected.norm(), "other logits"


def stops(case: Case) -> None:
    """What a row was taught to end with ends an answer in serving, and for whoever reads the merged model's files."""
    taught = template.encode(case.tokenizer, "lost card", "close it", 256).labels[-1]
    own = json.loads((case.served.folder / "generation_config.json").read_text())
    assert taught in case.served.stop_ids
    assert taught in own["eos_token_id"]
    assert own["pad_token_id"] not in case.served.stop_ids


def converted(case: Case) -> None:
    """The F16 file passes llama.cpp's proofs, or the base is refused before it is trained."""
    gguf.check(case.project, case.base)
    assert (problem := gguf.problems(gguf.export(case.project, case.run, QUIET))) is None, problem


def asked(case: Case) -> str:
    """Serving asks with the ids of training; returns how that was found out."""
    codec = HfCodec(case.served.tokenizer)
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        assert codec.render(messages) == template.chat_prompt(case.tokenizer, messages)
    return "ids"


def answered(case: Case) -> str:
    """The hf engine answers greedily with the text that evaluation reads; returns how that was found out."""
    asked(case)
    whole, tokenizer = load.Base.at(case.run.local(merge.MERGED)).load()
    texts, ended = generate.complete(whole, tokenizer, QUESTIONS, 12)
    engine = HfEngine(case.project, case.run)

    async def answer(question: str) -> tuple[str, bool]:
        ids, reason = list[int](), None
        prompt = Prompt(engine.codec.render([{"role": "user", "content": question}]))
        async with aclosing(engine.generate(Generation(prompt, 12, temperature=0.0))) as chunks:
            async for chunk in chunks:
                ids, reason = ids + chunk.token_ids, chunk.finish_reason
        return engine.codec.decode(ids[:-1] if reason == "stop" else ids), reason == "stop"

    async def answers() -> list[tuple[str, bool]]:
        try:
            return await asyncio.gather(*map(answer, QUESTIONS))
        finally:
            await engine.stop()

    found = asyncio.run(answers())
    assert found == list(zip(texts, ended, strict=True)), f"{found} served, {texts} evaluated"
    return "answers"


Step = Callable[[Case], str | None]
STEPS: dict[str, Step] = {
    "mask": mask,
    "pack": packed,
    "merge": merged,
    "stop": stops,
    "GGUF": converted,
    "serve": asked,
}
"""In the order in which they are taken."""


def outcomes(case: Case, engine: bool = False) -> dict[str, Outcome]:
    """Returns the outcome of every step; with `engine`, `serve` starts one. What is refused or fails before the merged
    model is there ends the road for all that comes behind it."""
    found: dict[str, Outcome] = {}
    for name, step in STEPS.items():
        ended = next((found[before] for before in ("mask", "pack", "merge") if _ends(found.get(before))), None)
        found[name] = ended or _outcome(answered if engine and name == "serve" else step, case)
    return found


def _ends(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.result != "passed"


def _outcome(step: Step, case: Case) -> Outcome:
    try:
        return Outcome("passed", step(case) or "")
    except ConfigError as error:
        folder = Path(case.project.base_model)
        sentence = str(error).replace(str(folder), "BASE").replace(folder.name, "BASE")
        return Outcome("refused" if step in (mask, converted, answered) else "FAILED", sentence)
    except Exception as error:
        traceback.print_exc()
        return Outcome("FAILED", f"{type(error).__name__}: {error}".splitlines()[0])
