"""The stage `train`: QLoRA of the project's base model on the run's packed rows, through Ray Train.

Output contract: `model/adapter/` (peft's format, with the tokenizer and its template), `metrics/train.jsonl` (a line
per step and per evaluation, while it runs) and `metrics/train.json` (the whole). A killed training that is started
again goes on from its newest valid checkpoint and takes the very steps the first would have taken. A finished one is
skipped.
This module does not pack, evaluate on the golden set or merge.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import ConfigError, SolotuneError
from pipeline.run import code_version, fingerprint
from pipeline.storage import storage_errors
from pipeline.train import checkpoint, model, settle
from pipeline.train.pack import PACKED, SUMMARY, pack, total_steps

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.run import Run

STAGE = "train"
LINES = "metrics/train.jsonl"
METRICS = "metrics/train.json"
CHECKPOINTS = "checkpoints"


def train(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Packs and trains, or finds it done; returns `metrics/train.json`.

    Needs Ray to be running and a local run folder. Raises `MissingStageError` before `curate`, `MissingModelError`,
    `ConfigError`, `StorageError`.
    """
    run.local()
    given, (project, chosen) = project, settle.settle(project, run, console)
    packed = pack(project, run, console)
    counts = run.read_json(SUMMARY)["train"]
    project = settle.batch(project, counts)
    key = fingerprint(
        packed["key"],
        project.train.model_dump(exclude={"recompute"}),  # changes no gradient
        project.seed,
        model.fingerprint_of(project.base_model),
        code_version(*(f"train/{name}.py" for name in ("qlora", "trainer", "model", "attention", "loss", "fused"))),
    )
    if run.manifest(STAGE, key) is not None:
        console.print("train: finished before")
        return dict(run.read_json(METRICS))
    stage = run.begin(STAGE, key)
    planned = settle.facts(given, project, chosen, counts)
    run.put_json(stage, settle.PLAN, planned)
    console.print(settle.sentence(planned))
    resumed = _resume(run, key, console)
    facts = _fit(project, run, key, resumed, console)
    summary = _summary(run, facts, resumed)
    run.put_json(stage, METRICS, {**summary, "plan": settle.against(planned, summary)})
    folder = run.local(model.ADAPTER)
    run.add(stage, [f"{model.ADAPTER}/{path.relative_to(folder).as_posix()}" for path in checkpoint.files_of(folder)])
    run.add(stage, [LINES])
    run.commit(stage, {"pack": packed["key"]}, {"steps": facts["steps"]})
    return dict(run.read_json(METRICS))


def _resume(run: Run, key: str, console: Console) -> checkpoint.Checkpoint | None:
    """Finds the checkpoint to go on from and cuts the metrics back to it."""
    found, notes = checkpoint.newest(run.local(CHECKPOINTS), key)
    for note in notes:
        console.print(f"train: {note}")
    lines = [] if found is None else [line for line in read_lines(run) if line["step"] <= found.step]
    run.write_bytes(LINES, "".join(json.dumps(line) + "\n" for line in lines).encode())
    if found is not None:
        console.print(f"train: going on from step {found.step}")
    return found


def read_lines(run: Run) -> list[dict[str, Any]]:
    """Returns the metrics written so far; a last line cut short by a kill is left out."""
    lines = []
    for text in run.read_bytes(LINES).decode().split("\n")[:-1] if run.exists(LINES) else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _summary(run: Run, facts: dict[str, Any], resumed: checkpoint.Checkpoint | None) -> dict[str, Any]:
    lines = read_lines(run)
    steps = [line for line in lines if "loss" in line]
    seconds = sum(line["seconds"] for line in steps)
    packed = run.read_json(SUMMARY)["train"]
    fields = ("step", "loss", "learning_rate", "grad_norm", "tokens")
    return {
        "steps": [{name: line[name] for name in fields} for line in steps],
        "evals": [
            {"step": line["step"], "loss": line["eval_loss"], "perplexity": line["perplexity"]}
            for line in lines
            if "eval_loss" in line
        ],
        "examples": packed["examples"],
        "truncated": packed["truncated"],
        "skipped": packed["skipped"],
        "packed_rows": packed["packed_rows"],
        "supervised_tokens": packed["supervised_tokens"],
        "tokens_per_second": round(sum(line["tokens"] for line in steps) / seconds, 1),
        "peak_memory_gib": facts["peak_memory_gib"],
        "seconds": round(seconds, 1),
        "trainable_parameters": facts["trainable_parameters"],
        "parameters": facts["parameters"],
        "device": facts["device"],
        "resumed_from": None if resumed is None else resumed.step,
    }


def _fit(
    project: Project, run: Run, key: str, resumed: checkpoint.Checkpoint | None, console: Console
) -> dict[str, Any]:
    """Runs the loop in a Ray Train worker and tells its progress; returns what the worker wrote about itself."""
    import ray
    from ray.train import LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import WorkerGroupError  # `ray.train` exports it only in some builds

    gpus = ray.cluster_resources().get("GPU", 0) >= 1
    cpus = max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
    facts = run.local("stages/train/facts.json")
    facts.parent.mkdir(parents=True, exist_ok=True)
    settings = {"project": project, "run": run, "key": key, "resumed": resumed, "threads": cpus, "facts": str(facts)}
    scratch = tempfile.mkdtemp(prefix="solotune-train-", dir=run.local("stages/train"))
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # a process more, and no second worker to move to
    trainer = TorchTrainer(
        work,
        train_loop_config=settings,
        scaling_config=ScalingConfig(
            num_workers=1, use_gpu=gpus, resources_per_worker={"CPU": cpus, **({"GPU": 1} if gpus else {})}
        ),
        run_config=RunConfig(name=key, storage_path=scratch, logging_config=LoggingConfig("ERROR")),
    )
    steps = total_steps(run.read_json(SUMMARY)["train"]["packed_rows"], project.train)
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(run, steps, console, done), daemon=True)
    teller.start()
    try:
        trainer.fit()
    except WorkerGroupError as error:
        cause = next(iter(error.worker_failures.values()), error)
        raise cause if isinstance(cause, SolotuneError) else error from cause
    finally:
        done.set()
        teller.join()
        shutil.rmtree(scratch, ignore_errors=True)
    return {**json.loads(facts.read_text()), "steps": steps}


def _tell(run: Run, steps: int, console: Console, done: threading.Event) -> None:
    """Prints what the worker appends to the metrics file: every evaluation, and a step now and then."""
    seen, told, planned = len(read_lines(run)), 0.0, run.read_json(settle.PLAN)
    seconds = tokens = count = 0.0
    last = False
    while not last:
        last = done.wait(0.5)
        for line in read_lines(run)[seen:]:
            seen += 1
            place = f"  step {line['step']:>5}/{steps}"
            if "eval_loss" in line:
                console.print(f"{place}  validation loss {line['eval_loss']:.4f}, perplexity {line['perplexity']:.2f}")
                continue
            seconds, tokens, count = seconds + line["seconds"], tokens + line["tokens"], count + 1
            if line["step"] in {1, steps} or time.monotonic() - told >= 5:
                told = time.monotonic()
                left = timedelta(seconds=round((steps - line["step"]) * seconds / count))
                share = settle.mfu(planned, tokens / seconds)
                speed = f"{tokens / seconds:,.0f} tokens/s" + (f", {share:.0%} of the peak" if share else "")
                console.print(f"{place}  loss {line['loss']:.4f}  {speed}  {left} left")


def work(settings: dict[str, Any]) -> None:
    """The loop of the one Ray Train worker: loads, trains, writes the adapter and the facts the driver reports."""
    import torch
    from transformers import set_seed

    from pipeline.train import attention, fused, trainer

    project, run, resumed = settings["project"], settings["run"], settings["resumed"]
    device = model.device()
    if device == "cpu":
        torch.set_num_threads(settings["threads"])
    set_seed(project.seed)
    causal, tokenizer = model.load(project.base_model, project, project.train.quantise, device, attention.register())
    adapted = add_adapter(causal, project)
    if device == "cuda":  # a CPU gains nothing from it
        fused.fuse(adapted)
    loop = trainer.PackedTrainer(
        adapted,
        project.train,
        project.seed,
        _packed(run, "train"),
        _packed(run, "val"),
        run.local(CHECKPOINTS),
        settings["key"],
        run.local(LINES),
    )
    loop.train(resume_from_checkpoint=None if resumed is None else str(resumed.path))
    _write_adapter(run.local(model.ADAPTER), adapted, tokenizer)
    trainable, total = adapted.get_nb_trainable_parameters()
    facts = {
        "parameters": total,
        "trainable_parameters": trainable,
        "peak_memory_gib": round(_peak_bytes(device) / 2**30, 3),
        "device": torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads",
    }
    Path(settings["facts"]).write_text(json.dumps(facts))


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

    from pipeline.train import loss
    from pipeline.train.plan import adapted
    from pipeline.train.recompute import recompute_layers

    loss.check_head(causal.config)
    lora = project.train.lora
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if lora.targets == "all-linear" else list(adapted(lora)),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
    )
    depth = project.train.recompute  # `auto` is settled by now; where nobody did, every layer: that fits most
    recompute_layers(causal, None if isinstance(depth, str) else depth)
    try:
        with model.quiet_peft():
            return get_peft_model(causal, config)
    except ValueError as error:
        raise ConfigError(
            f"train.lora.targets '{lora.targets}' fits no layer of {project.base_model}: {error}"
        ) from error


def _write_adapter(place: Path, adapted: Any, tokenizer: Any) -> None:
    temporary = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with storage_errors(str(place)):
        adapted.save_pretrained(str(temporary), save_embedding_layers=False)
        tokenizer.save_pretrained(str(temporary))
        (
            temporary / "README.md"
        ).unlink()  # peft's empty form: `export` writes the card, once there is something to say
        checkpoint.publish(temporary, place)
