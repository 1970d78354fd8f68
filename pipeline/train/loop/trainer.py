"""The training loop: a `transformers.Trainer` that takes packed rows and supervises answers only.

Output contract: one line of JSON per optimiser step and per evaluation is appended to the metrics file the caller
names, and flushed. The order of the packed rows over all epochs is drawn once from the seed, so a position is a number
of steps and a resumed run repeats the interrupted one. A step whose loss or gradients are bad changes nothing. A step
that runs out of the accelerator's memory is repeated with more frugal settings. A packed row is the unit of all that,
whether the model takes it as it is or as a padded batch of its examples (`kernels.batches`).
This module does not load models, start Ray or decide where a run begins (`qlora` does), nor what happens between two
steps (`callback` does).
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import Trainer, TrainingArguments

from pipeline.config import Train
from pipeline.errors import MemoryShortError
from pipeline.models.load import release
from pipeline.train.data.pack import plan_order, total_steps
from pipeline.train.kernels import batches, loss
from pipeline.train.kernels.cuda_graph import RowGraph
from pipeline.train.loop import snapshots
from pipeline.train.loop.callback import TrainingCallback
from pipeline.train.loop.checkpoint import Checkpoint
from pipeline.train.loop.event_log import EventLog
from pipeline.train.loop.oom import OomFallback

MEMORY = "memory.json"  # of a checkpoint: how far the training has come down when memory ran out


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


def longest(table: pa.Table) -> int:
    """Returns the tokens of the longest packed row of a `PACKED` table."""
    return int(pc.max(pc.list_value_length(table["input_ids"])).as_py() or 0)


def _none() -> None:
    """No notice is ever given."""


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


def _alpha(model: Any, settings: Train, rows: pa.Table) -> float | None:
    packed = batches.is_packed(model.get_base_model())
    return packed_alpha(settings.neftune_alpha, rows) if packed else settings.neftune_alpha


class PackedTrainer(Trainer):  # type: ignore[misc]
    """Answer-only loss over packed rows, evaluation on the same loss, atomic checkpoints, metrics as lines of JSON."""

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the supervised tokens of the whole optimiser step

    def __init__(
        self,
        model: Any,
        settings: Train,
        seed: int,
        train: pa.Table,
        val: pa.Table,
        place: Path,
        key: str,
        lines: Path,
        fallback: OomFallback | None = None,
        notice: Callable[[], str | None] = _none,
        graph: RowGraph | None = None,
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
            neftune_noise_alpha=_alpha(model, settings, train),
            eval_strategy="no",  # the callback says when to evaluate and to save
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
        self.event_log = EventLog(lines)
        self.fallback = fallback or OomFallback(0, 0, longest(train), lambda _: None)
        self.graph = graph
        self.callback = TrainingCallback(self, settings, place, key, notice)
        self._step: list[dict[str, Any]] = []  # the micro-batches of the current step so far
        self.remove_callback(next(type(c) for c in self.callback_handler.callbacks if "Printer" in type(c).__name__))
        self.add_callback(self.callback)

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.rows)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Makes a linear warm-up, then the schedule. (transformers' own take their first step at a rate of 0.)"""

        def share(step: int) -> float:
            if step < self.warmup:
                return (step + 1) / (self.warmup + 1)
            done = (step - self.warmup) / max(1, num_training_steps - self.warmup)
            return {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[self.schedule]

        def rate(step: int) -> float:
            return self.callback.rate * share(step)

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, rate)
        return self.lr_scheduler

    def apply_rate(self) -> None:
        """Gives the optimizer the rate of the next step anew, after the guard's factor or the optimizer changed."""
        scheduler = self.lr_scheduler
        rates = [b * f(scheduler.last_epoch) for b, f in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler._last_lr = rates

    def _autocast(self) -> Any:
        cuda = self.args.device.type == "cuda"  # bf16 over float32 adapters: their matmuls would run in float32
        return torch.autocast("cuda", torch.bfloat16) if cuda else contextlib.nullcontext()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Returns the row's summed loss over the supervised tokens of the whole optimiser step."""
        with self._autocast():
            summed = loss.row_loss(self.accelerator.unwrap_model(model).get_base_model(), inputs)
        return summed / num_items_in_batch

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Runs one row forward and backward; out of memory, the step's rows so far anew on the next level."""
        if not self._step:
            self._random = snapshots.random_state()
        self._step.append(inputs)
        run, rows, losses = self._micro_step, [inputs], None
        while losses is None:
            with contextlib.suppress(torch.OutOfMemoryError):
                parts = [[run(model, piece, num_items_in_batch) for piece in self.fallback.pieces(row)] for row in rows]
                losses = [functools.reduce(torch.add, pieces) for pieces in parts]
            if losses is None:  # outside of the handler: its traceback holds what has to be freed
                self._be_frugal(model)
                rows = self._step
        return losses[-1]

    def _micro_step(self, model: Any, row: dict[str, Any], items: Any) -> torch.Tensor:
        """Runs a row, or a piece of one, forward and backward; kernel by kernel where it cannot be captured."""
        if self.graph is not None and self.fallback.reached() is None:
            row = self._prepare_inputs(row)
            if self.graph.takes(row):
                model.train()
                try:
                    return self.graph(row, items)
                except RuntimeError as error:  # a kernel of this machine's that waits for the host, say
                    if self.graph.captured or isinstance(error, torch.OutOfMemoryError):
                        raise
                    self.graph = None
                    reason = str(error).partition("\n")[0]
                    text = f"rows are not captured as a CUDA graph: {reason}"
                    self.event_log.event(self.state.global_step + 1, "not_captured", text)
        loss: torch.Tensor = super().training_step(model, row, items)
        return loss

    def _be_frugal(self, model: Any) -> None:
        model.zero_grad()
        graph, self.graph = self.graph, None  # it holds the memory of a whole row
        release()
        change = "rows are no CUDA graph" if graph is not None else self.fallback.down()
        if change is None:
            raise MemoryShortError(
                f"step {self.state.global_step + 1} needs more memory than this device has, with every layer "
                "recomputed and a row in its smallest pieces: lower train.max_length or train.lora.r"
            )
        self.event_log.event(self.state.global_step + 1, "out_of_memory", f"out of memory: from now on {change}")
        snapshots.set_random_state(self._random)

    def _clip_grad_norm(self, model: Any) -> Any:
        """Returns the gradients' norm before clipping; a bad step's gradients are dropped, so nothing changes."""
        norm = super()._clip_grad_norm(model)
        self._step = []
        if not self.callback.judge(self.state.global_step + 1, float(self._tr_loss), float(norm)):
            model.zero_grad()
        return norm

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Returns the mean loss per supervised token of the validation rows; writes it and its exponential."""
        self.model.eval()
        causal, total, tokens = self.accelerator.unwrap_model(self.model).get_base_model(), 0.0, 0
        with torch.no_grad(), self._autocast():
            for index in range(len(self.val)):
                row = self._prepare_inputs(self.val[index])
                total += sum(float(loss.row_loss(causal, piece)) for piece in self.fallback.pieces(row))
                tokens += loss.supervised(row["labels"][0])
        mean = total / max(1, tokens)
        perplexity = math.exp(min(mean, 700.0))
        self.event_log.write({"step": self.state.global_step, "eval_loss": mean, "perplexity": perplexity})
        metrics = {"eval_loss": mean}
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def positions(self, step: int) -> range:
        """Returns the positions in training order of the packed rows of a step."""
        accumulated = self.args.gradient_accumulation_steps
        return range((step - 1) * accumulated, min(step * accumulated, len(self.rows)))

    def tokens(self, step: int) -> int:
        """Returns the tokens of the packed rows of a step."""
        rows = self.rows
        return sum(len(rows.table["input_ids"][int(rows.order[position])]) for position in self.positions(step))

    def validates(self) -> bool:
        """Returns whether there are validation rows."""
        return len(self.val) > 0

    def step_taken(self) -> int:
        """Returns the last optimiser step that was taken."""
        return int(self.state.global_step)

    def drop_loss(self) -> None:
        """Forgets the loss of a step that was not taken: transformers subtracts it from itself, and NaN stays NaN."""
        self._tr_loss.zero_()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.callback.save(self.state.global_step)

    def write_state(self, folder: Path) -> None:
        """Writes the adapter, the optimizer, the schedule, the random states, the position and the memory's state."""
        snapshots.put_adapter(folder, self.model)
        snapshots.put(folder / "optimizer.pt", self.optimizer.state_dict())
        snapshots.put(folder / "scheduler.pt", self.lr_scheduler.state_dict())
        snapshots.put(folder / "rng_state.pth", snapshots.random_state())
        (folder / MEMORY).write_text(json.dumps(self.fallback.reached()) + "\n")
        self.state.log_history = []  # the event log has it
        self.state.save_to_json(str(folder / "trainer_state.json"))

    def run(self, resumed: Checkpoint | None) -> None:
        """Trains from a checkpoint or from the beginning; a training that had come to its end is only loaded."""
        if resumed is not None:
            self.callback.load(resumed.path)
            if (reached := json.loads((resumed.path / MEMORY).read_text())) is not None:
                self.fallback.resume(*reached)
        if resumed is not None and self.callback.finished:
            self._load_from_checkpoint(str(resumed.path))
            self.state.global_step = resumed.step
        else:
            self.train(resume_from_checkpoint=None if resumed is None else str(resumed.path))
        if self.callback.ended is None:
            self.event_log.flush()
