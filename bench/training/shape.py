"""The model and the rows of the training benchmark: random weights in a known shape, rows as long as tickets.

Output contract: a model folder (bf16, a tokenizer in which every byte is a token) and a run folder as `curate` leaves
it. Speed and memory do not depend on what the weights know; nothing else is measured on them.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SHAPES: dict[str, dict[str, Any]] = {
    "7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "solar": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 48, "num_attention_heads": 32},
    "gemma3-4b": {
        "model_type": "gemma3_text",
        "vocab_size": 262144,
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 1024,
    },
    "qwen3_5-9b": {
        "model_type": "qwen3_5_text",
        "vocab_size": 248320,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "linear_num_value_heads": 32,
    },
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 16},
}
VOCABULARY = 32_000


def make_model(place: Path, shape: str) -> None:
    """Writes a random Mistral of a shape with a tokenizer in which every byte is a token, once."""
    if (place / "config.json").exists():
        return
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {f"w{i:05d}": i for i in range(len(vocabulary), VOCABULARY - 2)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    write_random(place, shape, tokenizer.save_pretrained, **ends)


def write_random(place: Path, shape: str, save_tokenizer: Callable[[Path], Any], **settings: Any) -> None:
    """Writes a model of a shape, a Mistral unless it says otherwise, with random bf16 weights, in shards of 4 GB; the
    folder is there once it is whole.

    `settings`: what else its configuration says, the special tokens above all.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    temporary = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    mistral = {"model_type": "mistral", "vocab_size": VOCABULARY, "num_key_value_heads": 8, "sliding_window": None}
    own = SHAPES[shape] if "model_type" in SHAPES[shape] else {**mistral, **SHAPES[shape]}
    config = AutoConfig.for_model(**{**own, **settings})
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(temporary, max_shard_size="4GB")
    save_tokenizer(temporary)
    temporary.replace(place)


def texts(count: int) -> list[tuple[str, str]]:
    """Returns questions and answers of random letters; with the template's marks a pair has about 220 tokens."""
    draw = random.Random(0)
    pairs = []
    for _ in range(count):
        size = min(1500, max(40, round(draw.lognormvariate(5.2, 0.55)))) - 16
        text = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz      ", k=size))
        pairs.append((text[: size * 9 // 20], text[size * 9 // 20 :]))
    return pairs


def curated(run: Any, tokens: int) -> None:
    """Fills a run folder with rows that pack into about so many tokens."""
    import pyarrow as pa

    from pipeline import schema

    stage = run.begin("curate", f"bench-{tokens}")
    counts = {"train": tokens // 210, "val": 4}
    for split, count in counts.items():
        rows: list[dict[str, Any]] = [
            {
                "id": f"{number:032x}",
                "source": "bench",
                "source_id": f"{split}-{number}",
                "kind": "qa",
                "prompt": prompt,
                "response": response,
                "origin": "real",
            }
            for number, (prompt, response) in enumerate(texts(count))
        ]
        run.put(stage, f"data/{split}/00000.parquet", pa.Table.from_pylist(rows, schema=schema.RECORD))
    run.commit(stage, {}, counts)
