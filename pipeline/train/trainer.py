"""The training loop: a `transformers.Trainer` that takes packed rows and supervises answers only.

Output contract: one line of JSON per optimiser step and per evaluation is appended to the metrics file the caller
names, and flushed; a checkpoint is saved when its time has come and at the end. The order of the packed rows over all
epochs is drawn once from the seed, so a position is a number of steps and a resumed run repeats the interrupted one.
This module does not load models, start Ray or decide where a run begins; `qlora` does.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from pipeline.config import Train
from pipeline.train import checkpoint, loss
from pipeline.train.pack import plan_order, total_steps


class PackedRows(torch.utils.data.Dataset):  # type: ignore[misc]  # torch is not followed
    """A `PACKED` table seen through an order: item i is row `order[i]`, ready for the model."""

    def __init__(self, table: pa.Table, order: np.ndarray) -> None:
        self.table, self.order = table.combine_chunks(), order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = int(self.order[index])
        ids, labels, lengths = (
            torch.from_numpy(self.table[name][row].values.to_numpy().astype(np.int64))
            for name in self.table.column_names
        )
        positions = torch.cat([torch.arange(length) for length in lengths.tolist()])
        cumulative = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(torch.int32)
        return {
            "input_ids": ids[None],
            "labels": labels[None],
            "answers": loss.answers(labels),
            "position_ids": positions[None],
            "cu_seq_lens_q": cumulative,
            "max_length_q": int(lengths.max()),  # read by the host: on the device it would wait for the step before
        }


def only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The collator: a micro-batch is one packed row."""
    (row,) = rows
    return row


def packed_alpha(alpha: float | None, rows: pa.Table) -> float | None:
    """Returns the NEFTune alpha that gives a packed row the noise of an example of average length.

    The noise is alpha / sqrt(tokens x width) (Jain et al. 2023), and transformers counts the tokens of the whole row.
    """
    if alpha is None:
        return None
    return alpha * math.sqrt(len(rows["seq_lengths"].combine_chunks().values) / rows.num_rows)


class PackedTrainer(Trainer):  # type: ignore[misc]
    """Answer-only loss over packed rows, evaluation on the same loss, atomic checkpoints, metrics as lines of JSON."""

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the supervised tokens of the whole optimiser step

    def __init__(
        self, model: Any, settings: Train, seed: int, train: pa.Table, val: pa.Table, place: Path, key: str, lines: Path
    ) -> None:
        steps = total_steps(train.num_rows, settings)
        cuda = torch.cuda.is_available()
        args = TrainingArguments(
            output_dir=str(place),
            per_device_train_batch_size=1,
            gradient_accumulation_steps=settings.rows_per_step,
            max_steps=steps,
            learning_rate=settings.learning_rate,
            max_grad_norm=settings.max_grad_norm,
            weight_decay=settings.weight_decay,
            neftune_noise_alpha=packed_alpha(settings.neftune_alpha, train),
            eval_strategy="no",  # `_Pace` says when to evaluate and to save
            save_strategy="no",
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=cuda,  # a copy from other memory waits for all that the device has to do
            accelerator_config={"non_blocking": cuda},
            use_cpu=not cuda,
            seed=seed,
        )
        self.rows = PackedRows(train, plan_order(train.num_rows, settings, seed))
        super().__init__(model=model, args=args, train_dataset=self.rows, data_collator=only)
        self.model_accepts_loss_kwargs = True  # makes the Trainer count the supervised tokens of a step
        self.val = PackedRows(val, np.arange(val.num_rows))
        self.warmup, self.schedule = math.ceil(steps * settings.warmup_share), settings.schedule
        self.place, self.key, self.lines = place, key, lines
        self.remove_callback(next(type(c) for c in self.callback_handler.callbacks if "Printer" in type(c).__name__))
        self.add_callback(_Pace(self, settings))

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.rows)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Makes a linear warm-up, then the schedule. (transformers' own take their first step at a rate of 0.)"""

        def share(step: int) -> float:
            if step < self.warmup:
                return (step + 1) / (self.warmup + 1)
            done = (step - self.warmup) / max(1, num_training_steps - self.warmup)
            return {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[self.schedule]

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
        return self.lr_scheduler

    def _autocast(self) -> Any:
        cuda = self.args.device.type == "cuda"  # bf16 over float32 adapters: their matmuls would run in float32
        return torch.autocast("cuda", torch.bfloat16) if cuda else contextlib.nullcontext()

    def _summed(self, model: Any, row: dict[str, Any]) -> torch.Tensor:
        causal = self.accelerator.unwrap_model(model).get_base_model()
        with self._autocast():
            hidden = causal.get_decoder()(
                input_ids=row["input_ids"],
                position_ids=row["position_ids"],
                use_cache=False,
                cu_seq_lens_q=row["cu_seq_lens_q"],
                max_length_q=row["max_length_q"],
            ).last_hidden_state
        return loss.answer_loss(hidden[0], row["labels"][0], row["answers"], causal.get_output_embeddings())

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Returns the row's summed loss over the supervised tokens of the whole optimiser step."""
        return self._summed(model, inputs) / num_items_in_batch

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Returns the mean loss per supervised token of the validation rows; writes it and its exponential."""
        self.model.eval()
        total, tokens = 0.0, 0
        with torch.no_grad():
            for index in range(len(self.val)):
                row = self._prepare_inputs(self.val[index])
                total += float(self._summed(self.model, row))
                tokens += loss.supervised(row["labels"][0])
        mean = total / max(1, tokens)
        self.write({"step": self.state.global_step, "eval_loss": mean, "perplexity": math.exp(min(mean, 700.0))})
        metrics = {"eval_loss": mean}
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def write(self, line: dict[str, Any]) -> None:
        """Appends one line to the metrics file; a reader of the file sees it at once."""
        with self.lines.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        def write(folder: Path) -> None:
            self.model.save_pretrained(str(folder), save_embedding_layers=False)
            self._save_optimizer_and_scheduler(str(folder))
            self._save_rng_state(str(folder))
            self.state.log_history = []  # the metrics file has it
            self.state.save_to_json(str(folder / "trainer_state.json"))

        checkpoint.save(self.place, self.state.global_step, self.key, write)


class _Pace(TrainerCallback):  # type: ignore[misc]
    """Times the steps, writes their lines, evaluates at both ends and says when a checkpoint is due."""

    def __init__(self, trainer: PackedTrainer, settings: Train) -> None:
        self.trainer, self.settings = trainer, settings

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0 and len(self.trainer.val):
            self.trainer.evaluate()
        self.saved = self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        last = state.global_step >= state.max_steps
        due = time.monotonic() - self.saved >= self.settings.checkpoint_minutes * 60
        control.should_evaluate = bool(len(self.trainer.val)) and (
            last or state.global_step % self.settings.eval_every == 0
        )
        control.should_save = last or due

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" not in logs:
            return
        now = time.monotonic()  # the loss has been read by now, so a GPU has finished the step
        self.trainer.write(
            {
                "step": state.global_step,
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "grad_norm": logs["grad_norm"],
                "tokens": sum(self._tokens(state.global_step)),
                "seconds": round(now - self.began, 4),
            }
        )
        self.began = now

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.saved = self.began = time.monotonic()

    def _tokens(self, step: int) -> Iterator[int]:
        accumulated = self.trainer.args.gradient_accumulation_steps
        rows = self.trainer.rows
        for position in rows.order[(step - 1) * accumulated : step * accumulated]:
            yield len(rows.table["input_ids"][int(position)])
