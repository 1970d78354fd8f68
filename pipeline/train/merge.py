"""The stage `export`: base and adapter become one model that plain transformers loads.

Output contract: `model/merged/` holds the base's tensors, where the adapter has a say W + scale * B @ A computed in
float32; its configuration without any quantisation; the tokenizer with the template it was trained with; a generation
configuration that knows the stop tokens; a model card. It is built under a temporary name and published only when every
adapter tensor was used exactly once, no number is NaN or infinite and its logits equal the adapter's on golden rows.
This module does not quantise and does not measure quality: `evaluate` does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, IntegrityError, MissingModelError
from pipeline.run import code_version, fingerprint
from pipeline.storage import storage_errors
from pipeline.train import card, checkpoint, model, template

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.run import Run

STAGE = "export"
MERGED = "model/merged"
METRICS = "metrics/export.json"
CHECKED = 4  # golden rows whose logits are compared
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def export(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Merges, checks and publishes, or finds it done; returns `metrics/export.json`.

    Raises `MissingStageError` before `train`, `ConfigError` for a base that is itself quantised, `IntegrityError` when
    a check fails; then nothing is published.
    """
    trained = run.require("train")
    evaluated = run.manifest("evaluate")
    inputs = {"train": trained["key"], "evaluate": evaluated["key"] if evaluated else None}
    key = fingerprint(
        inputs, project.name, project.export.model_dump(), code_version("train/merge.py", "train/card.py")
    )
    if run.manifest(STAGE, key) is not None:
        console.print("export: finished before")
        return dict(run.read_json(METRICS))
    stage = run.begin(STAGE, key)
    place = run.local(MERGED)
    temporary = place.with_name(".merged.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with storage_errors(str(place)):
        temporary.mkdir(parents=True)
        facts = _merge(project, run, temporary)
        facts["max_logit_difference"] = _check(project, run, temporary, console)
        (temporary / "README.md").write_text(card.write(project, run, facts), encoding="utf-8")
        checkpoint.publish(temporary, place)
    outputs = [f"{MERGED}/{path.relative_to(place).as_posix()}" for path in checkpoint.files_of(place)]
    run.add(stage, outputs)
    facts |= {"bytes": sum(stage.outputs.values()), "files": [Path(path).name for path in outputs]}
    run.put_json(stage, METRICS, facts)
    run.commit(stage, inputs, {"tensors": facts["tensors"]})
    return facts


def _merge(project: Project, run: Run, target: Path) -> dict[str, Any]:
    """Fills the target folder, all but the card; returns the facts for `metrics/export.json`."""
    import torch

    base, adapter = model.folder(project.base_model), run.local(model.ADAPTER)
    config = json.loads((base / "config.json").read_text())
    if "quantization_config" in config:
        raise ConfigError(f"{project.base_model} is quantised itself: name the unquantised model as base_model")
    deltas = Deltas(adapter)
    writer = _Shards(target, round(project.export.shard_gib * 2**30))
    for name, tensor in _base_tensors(base):
        kind = torch.float32 if project.export.dtype == "float32" and tensor.is_floating_point() else tensor.dtype
        merged = deltas.apply(name, tensor).to(kind)
        if merged.is_floating_point() and not torch.isfinite(merged).all():
            raise IntegrityError(f"merged tensor {name} holds NaN or infinite numbers: nothing was published")
        writer.add(name, merged)
    deltas.require_all_used()
    writer.close()
    if project.export.dtype == "float32":
        config["dtype"] = "float32"
        config.pop("torch_dtype", None)
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in _TOKENIZER:
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, target / name)
    for licence in sorted(base.glob("LICENSE*")):
        shutil.copyfile(licence, target / licence.name)
    tokenizer = _generation(base, adapter, target)
    return {
        "parameters": writer.parameters,
        "tensors": writer.tensors,
        "dtype": str(writer.dtype).removeprefix("torch."),
        "template_sha256": template.template_sha256(tokenizer),
    }


def _generation(base: Path, adapter: Path, target: Path) -> Any:
    """Writes the base's generation configuration with this tokenizer's stop and pad tokens; returns the tokenizer."""
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(adapter)
    own = base / "generation_config.json"
    generation = GenerationConfig.from_pretrained(base) if own.is_file() else GenerationConfig()
    stops = generation.eos_token_id
    known = set(stops if isinstance(stops, list) else [stops]) | {tokenizer.eos_token_id}
    known.add(template.stop_token(tokenizer).id)
    generation.eos_token_id = sorted(token for token in known if token is not None)
    generation.pad_token_id = tokenizer.pad_token_id
    generation.save_pretrained(target)
    return tokenizer


class Deltas:
    """A LoRA adapter as what it adds to each weight of the base; remembers what has been used."""

    def __init__(self, adapter: Path) -> None:
        from safetensors.torch import load_file

        settings = json.loads((adapter / "adapter_config.json").read_text())
        special = [name for name in ("rank_pattern", "alpha_pattern") if settings.get(name)]
        if settings["peft_type"] != "LORA" or settings.get("bias", "none") != "none" or special:
            raise IntegrityError(f"{adapter} is not a plain LoRA adapter ({', '.join(special) or 'peft_type, bias'})")
        self.scale = settings["lora_alpha"] / settings["r"] ** (0.5 if settings.get("use_rslora") else 1.0)
        self.left = load_file(adapter / "adapter_model.safetensors")

    def apply(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Returns the base tensor with its share of the adapter, in float32; others come back as they are."""
        stem = "base_model.model." + name.removesuffix(".weight")
        down, up = self.left.pop(f"{stem}.lora_A.weight", None), self.left.pop(f"{stem}.lora_B.weight", None)
        if down is None or up is None:
            if down is not None or up is not None:
                raise IntegrityError(f"the adapter has half a pair for {name}")
            return weight
        if (up.shape[0], down.shape[1]) != tuple(weight.shape):
            raise IntegrityError(f"the adapter's shape for {name} is not the base's: it belongs to another model")
        merged = weight.float() + self.scale * (up.float() @ down.float())
        magnitude = self.left.pop(f"{stem}.lora_magnitude_vector", None)  # DoRA's (Liu et al. 2024): the rows' lengths
        return merged if magnitude is None else merged * (magnitude.float() / merged.norm(dim=1))[:, None]

    def require_all_used(self) -> None:
        """Raises `IntegrityError` when the base had no weight for some tensor of the adapter."""
        if self.left:
            some = ", ".join(sorted(self.left)[:3])
            raise IntegrityError(f"{len(self.left)} adapter tensors fit no tensor of the base, such as {some}")


def _base_tensors(base: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields every tensor of a safetensors model, one shard open at a time."""
    from safetensors import safe_open

    index, single = base / "model.safetensors.index.json", base / "model.safetensors"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    elif single.is_file():
        shards = [single.name]
    else:
        raise MissingModelError(f"{base} has no safetensors weights: convert the model first")
    for shard in shards:
        if not (base / shard).is_file():
            raise MissingModelError(f"{base} is incomplete: {shard} is missing")
        with safe_open(base / shard, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 -- not a dict
                yield name, tensors.get_tensor(name)


class _Shards:
    """Writes tensors into numbered safetensors files of a limited size, and their index when there are several."""

    def __init__(self, target: Path, limit: int) -> None:
        self.target, self.limit = target, limit
        self.pending: dict[str, torch.Tensor] = {}
        self.shards: list[list[str]] = []
        self.size = self.pending_size = self.parameters = self.tensors = 0
        self.dtype: torch.dtype | None = None

    def add(self, name: str, tensor: torch.Tensor) -> None:
        if self.pending and self.pending_size + tensor.nbytes > self.limit:
            self._write()
        self.pending[name] = tensor.contiguous()
        self.pending_size += tensor.nbytes
        self.size += tensor.nbytes
        self.parameters += tensor.numel()
        self.tensors += 1
        self.dtype = self.dtype or tensor.dtype

    def _write(self) -> None:
        from safetensors.torch import save_file

        save_file(self.pending, self.target / f"part-{len(self.shards)}", metadata={"format": "pt"})
        self.shards.append(list(self.pending))
        self.pending, self.pending_size = {}, 0

    def close(self) -> None:
        self._write()
        count = len(self.shards)
        names = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        if count == 1:
            names = ["model.safetensors"]
        for number, name in enumerate(names):
            (self.target / f"part-{number}").rename(self.target / name)
        if count > 1:
            where = {tensor: name for name, shard in zip(names, self.shards, strict=True) for tensor in shard}
            index = {"metadata": {"total_size": self.size}, "weight_map": dict(sorted(where.items()))}
            (self.target / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _check(project: Project, run: Run, merged: Path, console: Console) -> float:
    """Compares the merged model with base plus adapter in float32; returns the largest difference of two logits."""
    import torch

    tokenizer = model.load_tokenizer(str(merged), project)
    path = run.list("data/golden")[0]
    rows = run.read_table(path, ["prompt", "response"]).slice(0, CHECKED).to_pylist()
    encoded = [template.encode(tokenizer, row["prompt"], row["response"], project.train.max_length) for row in rows]
    place = _room(merged)
    tuned, _ = model.load(project.base_model, project, device=place, dtype=torch.float32)
    expected = _logits(model.attach(tuned, run.local(model.ADAPTER)), encoded, place)
    del tuned  # two float32 models at once need not fit
    whole, _ = model.load(str(merged), project, device=place, dtype=torch.float32)
    got = _logits(whole, encoded, place)
    difference = max((float((a - b).abs().max()) for a, b in zip(expected, got, strict=True)), default=0.0)
    limit = project.export.max_logit_difference
    console.print(
        f"export: merged against adapter on {len(rows)} golden rows: largest logit difference {difference:.2e}"
    )
    if not difference <= limit:
        raise IntegrityError(
            f"the merged model's logits differ from the adapter's by {difference:.3g}, more than "
            f"export.max_logit_difference = {limit:g}: nothing was published"
        )
    return difference


def _room(merged: Path) -> str:
    """Returns `cuda` when a float32 copy of the model fits the GPU's free memory, else `cpu`."""
    import torch

    weights = sum(path.stat().st_size for path in merged.glob("*.safetensors"))
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    return "cuda" if free > 2.5 * weights else "cpu"


def _logits(causal: Any, rows: list[template.Encoded], device: str) -> list[torch.Tensor]:
    import torch

    with torch.inference_mode():
        return [causal(torch.tensor([row.input_ids], device=device)).logits[0].float().cpu() for row in rows]
