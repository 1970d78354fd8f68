"""What we are measured against: the guide's recipe as it stands, and TRL's `SFTTrainer` with packing at its best.

Both train the same random model on the same rows, NF4 with double quantisation, bf16, r = 16. Tokens are real ones:
padding does not count.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.training import shape

WARM_UP = 2


def _load(base: Path, targets: Any, dropout: float) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=quantised, device_map={"": 0 if torch.cuda.is_available() else "cpu"}, dtype="auto"
    )
    config = LoraConfig(
        r=16, lora_alpha=32, target_modules=targets, lora_dropout=dropout, bias="none", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)


def _clock() -> Any:
    """Returns a callback that notes when each optimiser step ended."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())

    return Clock()


def _rows(base: Path, count: int, longest: int) -> tuple[Any, list[list[int]]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [f"{question}\n{answer}" for question, answer in shape.texts(count)]
    return tokenizer, tokenizer(texts, truncation=True, max_length=longest)["input_ids"]


def _arguments(folder: Path, steps: int) -> dict[str, Any]:
    """Returns what both peers tell their trainer."""
    import torch

    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "learning_rate": 2e-4,
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 50,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def guide(base: Path, scratch: Path, steps: int = 6) -> dict[str, Any]:
    """The guide's section 5: padded batches of 4, 8 of them a step, q and v, dropout 0.05, at most 512 tokens."""
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    tokenizer, rows = _rows(base, steps * 32, 512)
    clock = _clock()
    trainer = Trainer(
        model=_load(base, ["q_proj", "v_proj"], 0.05),
        args=TrainingArguments(
            per_device_train_batch_size=4,
            gradient_accumulation_steps=8,
            lr_scheduler_type="cosine",
            **_arguments(scratch / "guide", steps),
        ),
        train_dataset=[{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        callbacks=[clock],
    )
    trainer.train()
    return _result("guide", clock, sum(map(len, rows)) / steps)


def trl(base: Path, scratch: Path, targets: Any, name: str, steps: int = 8) -> dict[str, Any]:
    """TRL: packed rows of 2,048, four of them a micro-batch, liger-kernel on, nothing recomputed."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    length, batch = 2048, 4
    tokenizer, rows = _rows(base, steps * length * batch // 190, length)
    clock = _clock()
    trainer = SFTTrainer(
        model=_load(base, targets, 0.0),
        args=SFTConfig(
            packing=True,
            max_length=length,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=1,
            gradient_checkpointing=False,
            use_liger_kernel=True,
            **_arguments(scratch / name, steps),
        ),
        train_dataset=Dataset.from_dict({"input_ids": rows}),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    packed = trainer.train_dataset
    real = sum(map(len, packed["input_ids"])) / len(packed)
    trainer.train()
    return _result(name, clock, real * batch)


def _result(name: str, clock: Any, tokens: float) -> dict[str, Any]:
    import torch

    seconds = (clock.ends[-1] - clock.ends[WARM_UP - 1]) / (len(clock.ends) - WARM_UP)
    peak = torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else None
    return {"name": name, "tokens_per_second": tokens / seconds, "peak_gib": peak}
