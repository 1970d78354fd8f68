"""The stage `train`: QLoRA of the project's base model on the run's packed rows, through Ray Train.

Output contract: `model/adapter/` (peft's format, with the tokenizer and its template), `metrics/train.jsonl` (a line
per step and per evaluation, while it runs) and `metrics/train.json` (the whole; with the share of `padding`, where the
model took its rows as padded batches). A killed training that is started again goes on from its newest valid checkpoint
and takes the very steps the first would have taken. A finished one is skipped.
This module does not pack, evaluate on the golden set or merge.
"""

from __future__ import annotations

import json
import resource
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import DivergedError
from pipeline.formats import FORMATS
from pipeline.models import architectures, load
from pipeline.models.load import Base
from pipeline.plan import resolve_auto
from pipeline.run import fingerprint
from pipeline.storage import lent, storage_errors
from pipeline.train import launch, lora_targets
from pipeline.train.data.pack import PACKED, SUMMARY, pack, total_steps
from pipeline.train.loop import checkpoint
from pipeline.train.loop.event_log import EventLog
from pipeline.train.loop.preemption import Notice

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.run import Run

STAGE = "train"
LINES = launch.LINES
METRICS = "metrics/train.json"
CHECKPOINTS = "checkpoints"
FP8 = f"{launch.FOLDER}/fp8.json"
CHECKED = 4096  # tokens of the first row that FP8 is held against bf16 on


def train(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Packs and trains, or finds it done; returns `metrics/train.json`.

    Needs Ray to be running and a local run folder. Raises `MissingStageError` before `curate`, `MissingModelError`,
    `ConfigError`, `StorageError`.
    """
    run.local()
    base = Base.of(project)
    lora_targets.check(base, project.train.lora)
    given, (project, chosen) = project, resolve_auto.resolve_auto(project, base, run, console)
    packed = pack(project, base, run, console)
    counts = run.read_json(SUMMARY)["train"]
    project = resolve_auto.resolve_batch(project, counts)
    key = fingerprint(
        packed["key"],
        resolve_auto.learnt(project.train),
        project.seed,
        base.fingerprint,
        FORMATS["train"],
    )
    if run.manifest(STAGE, key) is not None:
        console.print("train: finished before")
        return dict(run.read_json(METRICS))
    stage = run.begin(STAGE, key)
    planned = resolve_auto.facts(given, project, chosen, counts)
    run.put_json(stage, resolve_auto.PLAN, planned)
    console.print(resolve_auto.sentence(planned), markup=False)
    steps = total_steps(counts["packed_rows"], project.train)
    how = {"compute": planned["compute"], "graph": planned["graph"]}
    settings = {"project": project, "base": base, "run": run, "key": key, **how}
    facts = launch.fit(work, settings, steps, console)
    summary = _summary(run, facts)
    metrics = {**summary, "plan": resolve_auto.against(planned, summary)}
    if metrics["stopped"] is not None:
        run.write_json(METRICS, metrics)  # for the report; the stage stays unfinished
        raise DivergedError(metrics["stopped"])
    run.put_json(stage, METRICS, metrics)
    folder = run.local(load.ADAPTER)
    run.add(stage, [f"{load.ADAPTER}/{path.relative_to(folder).as_posix()}" for path in checkpoint.files_of(folder)])
    run.add(stage, [LINES])
    run.commit(stage, {"pack": packed["key"], "base": base.fingerprint}, {"steps": len(metrics["steps"])})
    return metrics


def resume(run: Run, key: str) -> checkpoint.Checkpoint | None:
    """Finds the checkpoint to go on from, cuts the event log back to it and notes there what was found."""
    event_log = EventLog(run.local(LINES))
    event_log.begin(key)
    before = any("loss" in line for line in event_log.read())
    found, notes = checkpoint.newest(run.local(CHECKPOINTS), key)
    event_log.cut(key, None if found is None else found.step)
    if found is not None or notes or before:
        start = "began anew" if found is None else f"went on from step {found.step}"
        event_log.event(0 if found is None else found.step, "resumed", "; ".join([start, *notes]))
    return found


def read_lines(run: Run) -> list[dict[str, Any]]:
    """Returns the metrics written so far; a last line cut short by a kill is left out."""
    return EventLog(run.local(LINES)).read()


def _summary(run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    lines = read_lines(run)
    steps = [line for line in lines if "loss" in line]
    seconds = sum(line["seconds"] for line in steps)
    packed = run.read_json(SUMMARY)["train"]
    resumed = [line["step"] for line in lines if line.get("event") == "resumed"]
    fields = ("step", "loss", "learning_rate", "grad_norm", "tokens")
    return {
        "steps": [{name: line[name] for name in fields} for line in steps],
        "evals": [
            {"step": line["step"], "loss": line["eval_loss"], "perplexity": line["perplexity"]}
            for line in lines
            if "eval_loss" in line
        ],
        "events": [line for line in lines if "event" in line],
        "examples": packed["examples"],
        "truncated": packed["truncated"],
        "skipped": packed["skipped"],
        "dropped": packed["dropped"],
        "packed_rows": packed["packed_rows"],
        "supervised_tokens": packed["supervised_tokens"],
        "tokens_per_second": round(sum(line["tokens"] for line in steps) / max(seconds, 1e-9), 1),
        "peak_memory_gib": facts["peak_memory_gib"],
        "seconds": round(seconds, 1),
        "trainable_parameters": facts["trainable_parameters"],
        "parameters": facts["parameters"],
        "device": facts["device"],
        "resumed_from": resumed[-1] if resumed else None,
        "adapter_step": facts["adapter_step"],
        "stopped": facts["ended"][1] if facts["ended"] else None,
        "fp8": facts["fp8"],
        **({"padding": packed["padding"]} if facts["padded"] else {}),
    }


def work(settings: dict[str, Any]) -> None:
    """The loop of the one Ray Train worker: loads, trains, writes the adapter and the facts the driver reports."""
    import torch
    from transformers import set_seed

    from pipeline.train.kernels import batches, cuda_graph, fused_lora
    from pipeline.train.loop import sample_answers, trainer
    from pipeline.train.loop.oom import memory_errors

    project, run, base = settings["project"], settings["run"], settings["base"]
    resumed = resume(run, settings["key"])
    device = load.device()
    if device == "cpu":
        torch.set_num_threads(settings["threads"])
    set_seed(project.seed)
    attention = batches.implementation(architectures.of(base.config, base.name).packs, device)
    causal, tokenizer = base.load(project.train.quantise, device, attention)
    batches.prepare(causal)
    adapted, rows = add_adapter(causal, project), _packed(run, "train")
    low = settings["compute"] != "bf16"
    groups = fused_lora.fuse(adapted) if device == "cuda" or low else []  # in bf16 a CPU gains nothing from it
    captured = settings["graph"] and cuda_graph.possible(causal, project.train)
    graph = cuda_graph.RowGraph(causal, rows) if captured else None
    notice = Notice(project.train.preemption, run.local(launch.SIGNALLED))
    loop = trainer.PackedTrainer(
        adapted,
        project.train,
        project.seed,
        rows,
        _packed(run, "val"),
        run.local(CHECKPOINTS),
        settings["key"],
        run.local(LINES),
        fallback=_oom_fallback(adapted, groups, project, trainer.longest(rows)),
        notice=notice.given,
        graph=graph,
    )
    verdict = _settle_fp8(causal, groups, settings, loop, resumed is not None) if low else None
    wanted = project.train.samples
    if wanted and (questions := _questions(run, wanted)):
        loop.add_callback(sample_answers.Sampler(tokenizer, questions, loop.event_log))
    elif wanted and resumed is None:
        loop.event_log.event(0, "no_samples", "train.samples: the validation set has no question to answer")
    with notice.watching(), memory_errors():
        loop.run(resumed)
    ended = loop.callback.ended
    if ended is None:
        kept = loop.callback.adopt()
        _write_adapter(run.local(load.ADAPTER), adapted, tokenizer)
    facts = {
        **_machine_facts(adapted, device),
        "adapter_step": None if ended else kept,
        "padded": not batches.is_packed(causal),
        "fp8": verdict,
        "ended": None if ended is None else [type(ended).__name__, str(ended)],
    }
    with storage_errors(settings["facts"]):
        Path(settings["facts"]).write_text(json.dumps(facts))


def _machine_facts(adapted: Any, device: str) -> dict[str, Any]:
    """Returns what was trained, on what, with how much memory."""
    import torch

    trainable, total = adapted.get_nb_trainable_parameters()
    return {
        "parameters": total,
        "trainable_parameters": trainable,
        "peak_memory_gib": round(_peak_bytes(device) / 2**30, 3),
        "device": torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads",
    }


def _questions(run: Run, count: int) -> list[str]:
    """Returns the first so many questions of the validation set."""
    rows = run.read_outputs(run.require("curate"), "data/val").to_pylist()
    return [row["prompt"] for row in rows if row["kind"] == "qa"][:count]


def _settle_fp8(causal: Any, groups: Any, settings: dict[str, Any], loop: Any, resumed: bool) -> dict[str, Any]:
    """Lets the layers multiply in FP8 that can, and notes in the event log which; returns the verdict."""
    from pipeline.train.kernels import fp8_check
    from pipeline.train.loop.oom import OomFallback

    row = next(OomFallback(0, 0, CHECKED, lambda _: None).pieces(loop.rows[0]))
    held, insist = settings["compute"] == "fp8_held", settings["project"].train.compute == "fp8"
    verdict = fp8_check.settle(causal, groups, row, held, insist, settings["run"].local(FP8), settings["key"])
    if not resumed:
        loop.event_log.event(0, "fp8", verdict.sentence())
    return asdict(verdict)


def _oom_fallback(adapted: Any, groups: Any, project: Project, tokens: int) -> Any:
    """Returns what the training does when memory runs out, from the settings it starts with."""
    from pipeline.train.kernels.gradient_checkpointing import layers_of, recompute_layers
    from pipeline.train.loop.oom import OomFallback

    causal = adapted.get_base_model()
    layers, depth = len(layers_of(causal)), project.train.recompute

    def recompute(count: int) -> None:
        for group in groups:
            group.release()
        recompute_layers(causal, count)

    return OomFallback(layers, layers if isinstance(depth, str) else depth, tokens, recompute)


def _peak_bytes(device: str) -> int:
    """Returns the most memory in use so far: the GPU's as torch allocated it, else this process's resident size."""
    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _packed(run: Run, split: str) -> pa.Table:
    shards = [path for path in run.list("stages/pack") if path.rsplit("/", 1)[1].startswith(f"{split}-")]
    tables = [run.read_table(path) for path in shards]
    return pa.concat_tables(tables) if tables else PACKED.empty_table()


def add_adapter(causal: Any, project: Project) -> Any:
    """Returns the model with a fresh LoRA adapter in float32, the only thing that trains.

    Raises `ConfigError` for a model whose logits or layers this training does not know.
    """
    from peft import LoraConfig, get_peft_model

    from pipeline.train.kernels import loss
    from pipeline.train.kernels.gradient_checkpointing import recompute_layers

    loss.check_head(causal)
    lora = project.train.lora
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora_targets.of(causal, lora),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
    )
    depth = project.train.recompute  # `auto` is settled by now; where nobody did, every layer: that fits most
    recompute_layers(causal, None if isinstance(depth, str) else depth)
    with load.quiet_peft():
        return get_peft_model(causal, config)


def _write_adapter(place: Path, adapted: Any, tokenizer: Any) -> None:
    temporary = place.with_name(f".{place.name}.tmp")
    with storage_errors(str(place)), lent(temporary):
        adapted.save_pretrained(str(temporary), save_embedding_layers=False)
        tokenizer.save_pretrained(str(temporary))
        (temporary / "README.md").unlink()  # peft's empty form; `export` writes the card
        checkpoint.publish(temporary, place)
