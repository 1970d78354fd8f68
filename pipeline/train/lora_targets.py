"""Which layers get an adapter: `train.lora.targets` held against what a model has.

Output contract: `of` returns what peft takes as its target modules, every one of which exists, or raises `ConfigError`
with one sentence; `check` does the same before any weight is read, from a base's configuration alone.
This module adds no adapter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.models import architectures
from pipeline.plan.cost_model import adapted

if TYPE_CHECKING:
    from pipeline.config.train import Lora
    from pipeline.models.load import Base

WHOLE = ("lm_head", "embed_out", "embed_tokens", "wte")
"""Names, or beginnings of names, of what is not trained here: the output matrix and the embeddings, often one."""


def of(causal: Any, lora: Lora) -> str | list[str]:
    """Returns the target modules for a model that is loaded. Raises `ConfigError` for a name that it does not have."""
    return _known(_layers(causal), causal.config.model_type, lora)


def check(base: Base, lora: Lora) -> None:
    """Raises what `of` raises, for a base that is not loaded yet, and what `architectures.of` raises."""
    architectures.of(base.config, base.name)
    if lora.targets == "all-linear":
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(base.folder, local_files_only=True).get_text_config()
    with torch.device("meta"):
        of(AutoModelForCausalLM.from_config(config), lora)


def _layers(causal: Any) -> list[str]:
    """Returns the full names of the linear layers of a model's decoder, in order."""
    import torch

    named = causal.get_decoder().named_modules()
    return [name for name, layer in named if isinstance(layer, torch.nn.Linear)]


def _known(names: list[str], model_type: str, lora: Lora) -> str | list[str]:
    if lora.targets == "all-linear":
        return "all-linear"
    wanted = adapted(lora)
    if whole := [name for name in wanted if name.rsplit(".", 1)[-1].startswith(WHOLE)]:
        raise ConfigError(
            f"train.lora.targets: {', '.join(whole)}: embeddings and output matrix are not trained here (in many "
            "models they are one matrix): leave them out"
        )
    missing = [name for name in wanted if not any(f".{full}".endswith(f".{name}") for full in names)]
    if missing:
        has = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in names}))
        asked = "qv asks for q_proj and v_proj, but " if lora.targets == "qv" else ""
        raise ConfigError(
            f"train.lora.targets: {asked}{model_type} has no linear layer {', '.join(missing)}: it has {has}"
        )
    return list(wanted)
