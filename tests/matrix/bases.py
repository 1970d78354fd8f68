"""What the matrix crosses: a tiny random model of every architecture, and every chat template with its tokenizer.

The models have the shapes of published ones, so that what refuses a published model refuses them too, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.export.test_gguf import MINISTRAL
from tests.models import test_mend_template as mended
from tests.models import test_template_presets as presets
from tests.train import tiny_models

SIX_LAYERS = {"layer_types": 5 * ["sliding_attention"] + ["full_attention"], "num_hidden_layers": 6}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {  # model_type: name in `tiny_models`, what is as published
    "llama": ("llama", {"mlp_bias": False}),
    "mistral": ("mistral", {"sliding_window": 256}),  # no shorter than `train.max_length`
    "ministral3": ("ministral3", {"rope_parameters": MINISTRAL}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "qwen3_5_text": (
        "qwen3_5",
        {"num_hidden_layers": 4, "layer_types": 3 * ["linear_attention"] + ["full_attention"], "head_dim": 32},
    ),
    "gemma3_text": ("gemma3", {**SIX_LAYERS, "query_pre_attn_scalar": 16}),
    "gemma4_text": ("gemma4", {}),
    "gemma4_unified_text": ("gemma4 unified", {}),
    "smollm3": ("smollm3", {"num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0]}),
    "granite": ("granite", {}),
    "granitemoehybrid": ("granite4", {}),
    "phi3": ("phi3", {"sliding_window": None, "rope_parameters": tiny_models.ROPE}),
    "olmo3": ("olmo3", {"num_hidden_layers": 4, "layer_types": 3 * ["sliding_attention"] + ["full_attention"]}),
}
"""One of each `model_type` of `pipeline.models.architectures`."""


@dataclass(frozen=True)
class Template:
    """A chat template: its tokenizer, and its Jinja text (None: `chat_template: default`)."""

    make: Callable[[], Any]
    text: str | None

    def tokenizer(self) -> Any:
        """Returns the tokenizer with the template as a model's folder has them."""
        made = self.make()
        made.chat_template = self.text
        return made


def _published(name: str) -> Template:
    make, file, *_ = presets.PRESETS[name]
    default = file == presets.template.DEFAULT
    return Template(make, None if default else (presets.FOLDER / f"{file}.jinja").read_text(encoding="utf-8"))


REWRITES = next(text for text, said in mended.REFUSED.items() if said.startswith("renders"))
LEAVES_OUT = next(text for text, said in mended.REFUSED.items() if said.startswith("does not write"))
FAULTY = next(text for text, said in mended.REFUSED.items() if "SyntaxError" in said)
TEMPLATES: dict[str, Template] = {
    **{name: _published(name) for name in presets.PRESETS},
    **{name: Template(make, text) for name, (make, text, *_) in mended.MENDED.items()},
    "a question is rewritten once answered": Template(mended.chatml, REWRITES),
    "messages are left out": Template(mended.chatml, LEAVES_OUT),
    "faulty Jinja": Template(mended.chatml, FAULTY),
}


def save(architecture: str, template: Template, place: Path) -> Path:
    """Writes a base as it is published, with more embeddings than tokens; returns the folder."""
    from transformers import AutoTokenizer

    name, settings = ARCHITECTURES[architecture]
    tokenizer = template.tokenizer()
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    model = tiny_models.make(name, vocab_size=len(tokenizer) + 8, **ids, **settings)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    if '"ByteLevel"' in tokenizer.backend_tokenizer.to_str():  # splits words as others of its architecture do
        AutoTokenizer.from_pretrained(place).save_pretrained(place)
    return place
