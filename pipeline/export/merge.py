"""The stage `export`: base and adapter become one model that plain transformers loads.

Output contract: `model/merged/` holds the base's tensors under the base's names, those of its eyes and ears too; where
the adapter has a say W + scale * B @ A computed in float32; its configuration without any quantisation; the tokenizer
with the template it was trained with; a generation configuration that knows the stop tokens; a model card. The adapter
was trained on an NF4 base, so there are two bases to merge into, the one on disk and the dequantised one: both are
built, each is compared with the adapter on its own base on the same golden rows, and of those that pass the gates the
one with the lower perplexity is published. None is published unless every adapter tensor was used exactly once and
every number is finite.
This module does not quantise: `gguf` does.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, GateError, IntegrityError, one_line
from pipeline.evaluate import heldout
from pipeline.evaluate.perplexity import TokenScores, perplexity, score_all
from pipeline.export import model_card
from pipeline.formats import FORMATS
from pipeline.models import architectures, load, memory, safetensors_io, template
from pipeline.models.load import ADAPTER, Base
from pipeline.run import fingerprint
from pipeline.storage import lent, storage_errors
from pipeline.train.loop import checkpoint

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.models.template import Encoded
    from pipeline.run import Run

STAGE = "export"
MERGED = "model/merged"
METRICS = "metrics/export.json"
BASES = {"base": "the base as it is on disk", "nf4": "the base as NF4 left it in training"}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")

Weigh = Callable[[str, "torch.Tensor"], "torch.Tensor"]
"""Takes a tensor's name and its content on disk; returns what the adapter is added to."""


def export(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Merges, checks and publishes, or finds it done; returns `metrics/export.json`.

    Raises `MissingStageError` before `train`, `ConfigError` for a base that is itself quantised or another than the one
    trained on, `IntegrityError` for an adapter that does not fit, `GateError` when no merged model is as good as the
    adapter; then nothing is published.
    """
    trained = run.require("train")
    evaluated = run.manifest("evaluate")
    inputs = {"train": trained["key"], "evaluate": evaluated["key"] if evaluated else None}
    key = fingerprint(inputs, project.name, project.export.model_dump(exclude={"gguf", "gguf_gates"}), FORMATS[STAGE])
    if run.manifest(STAGE, key) is not None:
        console.print("export: merged before")
        return dict(run.read_json(METRICS))
    base = Base.trained(project, run)
    place, temporary = run.local(MERGED), run.local(MERGED).with_name(".merged.tmp")
    with storage_errors(str(place)), lent(temporary):
        facts = _best(project, base, run, temporary, console)
        folder = temporary / facts["chosen"]
        (folder / "README.md").write_text(model_card.merged(project, run, facts), encoding="utf-8")
        stage = run.begin(STAGE, key)  # only now: what was finished before stays where this one fails
        run.delete("stages/gguf")  # GGUF files of the model that was here
        checkpoint.publish(folder, place)
    outputs = [f"{MERGED}/{path.relative_to(place).as_posix()}" for path in checkpoint.files_of(place)]
    run.add(stage, outputs)
    facts |= {"bytes": sum(stage.outputs.values()), "files": [Path(path).name for path in outputs]}
    run.write_bytes(f"{ADAPTER}/README.md", model_card.adapter(project, run, facts).encode())
    run.add(stage, [f"{ADAPTER}/README.md"])
    run.put_json(stage, METRICS, facts)
    run.commit(stage, inputs, {"tensors": facts["tensors"]})
    return facts


def _best(project: Project, base: Base, run: Run, place: Path, console: Console) -> dict[str, Any]:
    """Builds and measures a merge into each base, in a folder of its own in `place`; returns the facts."""
    tokenizer = base.tokenizer()
    golden = heldout.golden_rows(project, run)[: project.export.rows]
    examples = heldout.encode(project, tokenizer, golden).examples
    measured: dict[str, dict[str, Any]] = {}
    facts: dict[str, Any] = {}
    best = None
    for name in BASES if project.train.quantise == "nf4" else ["base"]:
        folder = place / name
        folder.mkdir()
        facts, expected = _build(project, base, run, name, folder, examples, tokenizer.pad_token_id)
        got = _scored(Base.at(folder), examples, tokenizer.pad_token_id)
        result = measured[name] = compare(expected, got, project)
        console.print(f"export: merged into {BASES[name]}: {result['sentence']}", markup=False)
        if result["passed"] and (best is None or result["perplexity"] < measured[best]["perplexity"]):
            best = name
    if best is None:
        sentences = "; ".join(result["sentence"] for result in measured.values())
        raise GateError(
            f"no merged model is as good as the adapter ({sentences}): nothing was published. "
            "With export.dtype: float32 nothing is lost by rounding"
        )
    return {**facts, "rows": len(golden), "bases": measured, "chosen": best}


def compare(expected: list[TokenScores], got: list[TokenScores], project: Project) -> dict[str, Any]:
    """Returns a merged model against its adapter on the same tokens, and whether it passes the gates."""
    tokens = sum(len(row.losses) for row in expected)
    reference = perplexity(sum(float(row.losses.sum()) for row in expected), tokens)
    ppl = perplexity(sum(float(row.losses.sum()) for row in got), tokens)
    same = sum(int((a.argmax == b.argmax).sum()) for a, b in zip(expected, got, strict=True))
    change, top1 = ppl / reference - 1, same / max(1, tokens)
    gates = project.export
    passed = math.isfinite(ppl) and abs(change) <= gates.perplexity_gate and top1 >= gates.top1_gate
    sentence = (
        f"perplexity {ppl:.4g} against {reference:.4g} ({change:+.2%}, at most {gates.perplexity_gate:.1%} allowed), "
        f"first choice equal for {top1:.2%} of {tokens:,} tokens (at least {gates.top1_gate:.0%})"
    )
    return {
        "perplexity": ppl,
        "adapter_perplexity": reference,
        "change": change,
        "top1": top1,
        "tokens": tokens,
        "passed": passed,
        "sentence": sentence,
    }


def _build(
    project: Project, base: Base, run: Run, name: str, folder: Path, examples: list[Encoded], pad: int
) -> tuple[dict[str, Any], list[TokenScores]]:
    """Fills the folder with the merge into one of the bases, then measures the adapter on that base."""
    device, dtype = memory.choose_device(base.folder)
    quantise = project.train.quantise if name == "nf4" else None
    if quantise is None:  # what does not fit is found out before a model is loaded
        facts = _merge(project, base, run, folder, lambda _, weight: weight)
        causal = base.model(quantise, device, dtype=dtype)
    else:
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # that it lacks a faster kernel
        causal = base.model(quantise, device, dtype=dtype)
        facts = _merge(project, base, run, folder, _dequantised(causal))
    adapted = load.attach(causal, run.local(ADAPTER))
    expected = score_all(adapted, examples, pad)
    del adapted, causal
    load.release()
    return facts, expected


def _dequantised(causal: Any) -> Weigh:
    """Returns a function that gives the weights that training saw: what its 4-bit layers stand for."""
    from bitsandbytes.functional import dequantize_4bit

    layers = {f"{name}.weight": layer.weight for name, layer in causal.named_modules() if _is_nf4(layer)}

    def weigh(name: str, weight: torch.Tensor) -> torch.Tensor:
        layer = layers.get(name)
        return weight if layer is None else dequantize_4bit(layer.data, layer.quant_state).float().cpu()

    return weigh


def _is_nf4(layer: Any) -> bool:
    return getattr(getattr(layer, "weight", None), "quant_state", None) is not None


def _scored(model: Base, examples: list[Encoded], pad: int) -> list[TokenScores]:
    device, dtype = memory.choose_device(model.folder)
    whole = model.model(device=device, dtype=dtype)
    scored = score_all(whole, examples, pad)
    del whole
    load.release()
    return scored


def _merge(project: Project, model: Base, run: Run, target: Path, weigh: Weigh) -> dict[str, Any]:
    """Fills the target folder, all but the card; returns the facts for `metrics/export.json`."""
    import torch

    base, adapter, config = model.folder, run.local(ADAPTER), dict(model.config)
    if "quantization_config" in config:
        raise ConfigError(f"{project.base_model} is quantised itself: name the unquantised model as base_model")
    deltas = Deltas(adapter)
    writer = safetensors_io.Shards(target)
    for name, tensor in safetensors_io.read(base):
        kind = torch.float32 if project.export.dtype == "float32" and tensor.is_floating_point() else tensor.dtype
        trained = architectures.part_name(config, name)
        merged = (tensor if trained is None else deltas.apply(trained, weigh(trained, tensor))).to(kind)
        if merged.is_floating_point() and not torch.isfinite(merged).all():
            raise IntegrityError(f"merged tensor {name} holds NaN or infinite numbers: nothing was published")
        writer.add(name, merged)
    deltas.require_all_used()
    writer.close()
    if project.export.dtype == "float32":
        config = _in_float32(config)
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in _TOKENIZER:
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, target / name)
    for licence in sorted(base.glob("LICENSE*")):
        shutil.copyfile(licence, target / licence.name)
    tokenizer = model.tokenizer()
    generation_config(base, tokenizer).save_pretrained(target)
    return {
        "parameters": writer.parameters,
        "tensors": writer.tensors,
        "dtype": str(writer.dtype).removeprefix("torch."),
        "template_sha256": template.template_sha256(tokenizer),
    }


def _in_float32(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration that says float32, in its text part too, which loads alone."""
    whole = {**config, "dtype": "float32"}
    whole.pop("torch_dtype", None)
    return {**whole, "text_config": _in_float32(config["text_config"])} if "text_config" in config else whole


def generation_config(base: Path, tokenizer: Any) -> Any:
    """Returns the base's generation configuration with this tokenizer's stop and pad tokens.

    Many published ones name a temperature or a top-p and leave sampling off, which transformers does not save: what
    they name is meant, so sampling is on. Raises `ConfigError` for one that cannot be saved even so.
    """
    from transformers import GenerationConfig

    own = (base / "generation_config.json").is_file()
    try:
        generation = GenerationConfig.from_pretrained(base) if own else GenerationConfig()
        generation.eos_token_id = template.stop_ids(tokenizer, generation)
        generation.pad_token_id = tokenizer.pad_token_id
        try:
            generation.validate(strict=True)
        except ValueError:
            generation.do_sample = True
            generation.validate(strict=True)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{base / 'generation_config.json'} cannot be used: {one_line(error)}") from error
    return generation


class Deltas:
    """A LoRA adapter, rank-stabilised or DoRA too, as what it makes of each weight; remembers what has been used."""

    def __init__(self, adapter: Path) -> None:
        from safetensors.torch import load_file

        settings = json.loads((adapter / "adapter_config.json").read_text())
        special = [name for name in ("rank_pattern", "alpha_pattern") if settings.get(name)]
        if settings["peft_type"] != "LORA" or settings.get("bias", "none") != "none" or special:
            raise IntegrityError(f"{adapter} is not a plain LoRA adapter ({', '.join(special) or 'peft_type, bias'})")
        rank = settings["r"]
        self.scale = settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank)
        self.left = load_file(adapter / "adapter_model.safetensors")

    def apply(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Returns the base tensor with its share of the adapter, in float32; others come back as they are.

        DoRA (Liu et al. 2024) gives each row of the sum the length it has learnt.
        """
        stem = "base_model.model." + name.removesuffix(".weight")
        down, up = self.left.pop(f"{stem}.lora_A.weight", None), self.left.pop(f"{stem}.lora_B.weight", None)
        length = self.left.pop(f"{stem}.lora_magnitude_vector", None)
        if down is None or up is None:
            if down is not None or up is not None:
                raise IntegrityError(f"the adapter has half a pair for {name}")
            return weight
        if (up.shape[0], down.shape[1]) != tuple(weight.shape):
            raise IntegrityError(f"the adapter's shape for {name} is not the base's: it belongs to another model")
        whole = weight.float() + self.scale * (up.float() @ down.float())
        return whole if length is None else whole * (length.float() / whole.norm(dim=1)).unsqueeze(1)

    def require_all_used(self) -> None:
        """Raises `IntegrityError` when the base had no weight for some tensor of the adapter."""
        if self.left:
            some = ", ".join(sorted(self.left)[:3])
            raise IntegrityError(f"{len(self.left)} adapter tensors fit no tensor of the base, such as {some}")
