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
SHAPES: dict[str, dict[str, int]] = {
    "7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "solar": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 48, "num_attention_heads": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 16},
}
VOCABULARY = 32_000


def make_model(place: Path, shape: str) -> None:
    """Writes a random Mistral of a shape with a tokenizer in which every byte is a token, once."""
    if not (place / "config.json").exists():
        tokenizer = byte_tokenizer()
        ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        write_random(place, shape, tokenizer.save_pretrained, **ends)


def byte_tokenizer() -> Any:
    """Returns a tokenizer of `VOCABULARY` tokens in which every byte is one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {f"w{i:05d}": i for i in range(len(vocabulary), VOCABULARY - 2)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def write_random(place: Path, shape: str, save_tokenizer: Callable[[Path], Any], **settings: Any) -> None:
    """Writes a Mistral of a shape with random bf16 weights, in shards of 4 GB; the folder is there once it is whole.

    `settings`: what else its configuration says, the special tokens above all.
    """
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    temporary = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    config = MistralConfig(
        vocab_size=VOCABULARY, num_key_value_heads=8, sliding_window=None, **settings, **SHAPES[shape]
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = MistralForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
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
                "later": [],
                "origin": "real",
            }
            for number, (prompt, response) in enumerate(texts(count))
        ]
        run.put(stage, f"data/{split}/00000.parquet", pa.Table.from_pylist(rows, schema=schema.RECORD))
    run.commit(stage, {}, counts)
