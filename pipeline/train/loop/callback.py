"""The trainer's callback: what happens between two steps of a training, and what of it a checkpoint holds.

Output contract: every step and event goes to the event log. A step that the guard finds bad is not taken; when it asks
for it, the weights and the optimizer go back to a snapshot at least `SETTLED` steps older than the trouble, the steps
since then are undone and their rows skipped: the training goes on with the next step at half the rate. A checkpoint is
saved when its time has come, when the machine is going away and at the end; one that cannot be written is told, and
tried again after the same time. `ended` says why a training stopped before its time.
This module computes no loss and no gradient; `trainer` does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import TrainerCallback

from pipeline.config import Train
from pipeline.errors import DivergedError, PreemptedError, SolotuneError, StorageError
from pipeline.train.loop import checkpoint, snapshots
from pipeline.train.loop.divergence import Guard, Verdict
from pipeline.train.loop.event_log import EventLog

SNAPSHOT_STEPS = 10  # between two snapshots in memory
SETTLED = 4  # good steps after which a snapshot's weights are trusted
STATE = "callback.json"
SNAPSHOTS = "snapshots.pt"
BEST = "best"  # below the checkpoints: the adapter of the lowest validation loss
BAD = {
    Verdict.GRADIENT: "the gradients were not finite: the step was not taken",
    Verdict.LOSS: "the loss was not finite: the step was not taken",
    Verdict.SPIKE: "the loss leapt: the step was not taken",
}


class Steps(Protocol):
    """What the callback asks of the trainer, which takes the steps."""

    model: Any
    optimizer: Any
    event_log: EventLog

    def validates(self) -> bool:
        """Returns whether there are validation rows."""

    def evaluate(self) -> dict[str, float]:
        """Returns the mean loss per supervised token of the validation rows as `eval_loss`."""

    def positions(self, step: int) -> range:
        """Returns the positions in training order of the packed rows of a step."""

    def tokens(self, step: int) -> int:
        """Returns the tokens of the packed rows of a step."""

    def step_taken(self) -> int:
        """Returns the last optimiser step that was taken."""

    def drop_loss(self) -> None:
        """Forgets the loss of a step that was not taken."""

    def apply_rate(self) -> None:
        """Gives the optimizer the learning rate of the next step anew."""

    def write_state(self, folder: Path) -> None:
        """Writes what the trainer needs to go on: optimizer, schedule, random states, position, memory."""


class TrainingCallback(TrainerCallback):  # type: ignore[misc]
    """Times the steps, writes their lines, takes bad ones back, evaluates, saves and says when it is over."""

    def __init__(
        self, trainer: Steps, settings: Train, place: Path, key: str, notice: Callable[[], str | None]
    ) -> None:
        self.trainer, self.settings, self.place, self.key, self.notice = trainer, settings, place, key, notice
        self.guard = Guard(settings.divergence)
        self.verdict = Verdict.GOOD
        self.snapshots: list[snapshots.Snapshot] = []
        self.best: dict[str, Any] | None = None  # step and loss of the evaluation with the lowest loss
        self.worse = 0  # evaluations since then
        self.finished = False
        self.ended: SolotuneError | None = None
        self.saved_step: int | None = None

    @property
    def event_log(self) -> EventLog:
        """The trainer's event log."""
        return self.trainer.event_log

    @property
    def rate(self) -> float:
        """The factor on the learning rate: halved by every rollback."""
        return self.guard.rate

    def judge(self, step: int, loss: float, norm: float) -> bool:
        """Returns whether a step may change the weights, by its loss and the norm of its gradients."""
        self.verdict = self.guard.judge(step, loss, norm)
        return self.verdict is Verdict.GOOD

    # -- what transformers calls, in this order ------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluates the untrained model, takes the first snapshot, starts the clocks."""
        if state.global_step == 0 and self.trainer.validates():
            self.trainer.evaluate()
        if not self.snapshots:
            self._snapshot(state.global_step)
        self.saved = self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Says whether to evaluate, to save and to stop after this step."""
        last = state.global_step >= state.max_steps
        due = time.monotonic() - self.saved >= self.settings.checkpoint_minutes * 60
        reason = None if last else self.notice()
        if reason is not None:
            self.ended = PreemptedError(
                f"the machine is going away ({reason}): step {state.global_step} of {state.max_steps} is saved; run "
                "the same command again, here or where the run folder is, to go on"
            )
            control.should_training_stop = True
        due_to_evaluate = last or state.global_step % self.settings.eval_every == 0
        control.should_evaluate = due_to_evaluate and self.trainer.validates()
        control.should_save = last or due or reason is not None
        self.finished = last

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Writes the step's line; takes a bad step back, snapshots a good one."""
        if "loss" not in logs:
            return
        now = time.monotonic()  # the loss has been read by now, so a GPU has finished the step
        step = state.global_step
        self.event_log.write(
            {
                "step": step,
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "grad_norm": logs["grad_norm"],
                "tokens": self.trainer.tokens(step),
                "seconds": round(now - self.began, 4),
            }
        )
        if self.verdict is not Verdict.GOOD:
            self._take_back(step, control)
        elif step % SNAPSHOT_STEPS == 0:
            self._snapshot(step)
        self.began = time.monotonic()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Keeps the adapter of the lowest validation loss; ends a training that no longer improves."""
        step, mean = state.global_step, metrics["eval_loss"]
        if step and (self.best is None or mean < self.best["loss"]):
            self._keep(step, mean)
        elif step:
            self.worse += 1
            if self.worse == self.settings.early_stopping:
                self.event_log.event(step, "early_stop", f"{self.worse} evaluations without a lower loss: ended early")
                control.should_training_stop = control.should_save = self.finished = True
        self.began = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the time to the next checkpoint anew."""
        self.saved = self.began = time.monotonic()

    # -- divergence ----------------------------------------------------------------------------------------------------

    def _snapshot(self, step: int) -> None:
        """Keeps two: the newer one may already carry what will only show some steps later."""
        self.snapshots = [*self.snapshots[-1:], snapshots.capture(step, self.trainer.model, self.trainer.optimizer)]

    def _needed(self, step: int) -> list[snapshots.Snapshot]:
        """Returns the snapshots that a step after this one may go back to: once the newer is settled, that alone."""
        return self.snapshots[-1:] if self.snapshots[-1]["step"] <= step - SETTLED else self.snapshots

    def _take_back(self, step: int, control: Any) -> None:
        """Tells of a step that was not taken and, when the guard asks for it, goes back to the last good snapshot."""
        self.trainer.drop_loss()
        self.event_log.event(step, "skipped", BAD[self.verdict], reason=str(self.verdict))
        if not self.guard.needs_rollback(self.verdict):
            return
        good = [one for one in self.snapshots if one["step"] < step - SETTLED] or self.snapshots[:1]
        self.snapshots = good
        to = good[-1]["step"]
        snapshots.restore(good[-1], self.trainer.model, self.trainer.optimizer)
        goes_on = self.guard.roll_back(to)
        self.trainer.apply_rate()
        first, last = self.trainer.positions(to + 1)[0], self.trainer.positions(step)[-1]
        facts = {"to": to, "rate": self.guard.rate, "rows": [first, last]}
        text = f"back to step {to}, steps {to + 1} to {step} undone and their rows skipped, rate x {self.guard.rate:g}"
        self.event_log.event(step, "rollback", text, **facts)
        if not goes_on:
            self.ended = DivergedError(
                f"the training diverged: its loss or gradients went wrong again after {self.guard.rollbacks - 1} "
                f"rollbacks, at last at step {step} (packed rows {first} to {last} in training order). Lower "
                "train.learning_rate, or look at the rows; report.html shows the course"
            )
            self.event_log.event(step, "stopped", "it went wrong again after every rollback: stopped")
            control.should_training_stop, control.should_evaluate, control.should_save = True, False, False

    # -- the best adapter ----------------------------------------------------------------------------------------------

    def _keep(self, step: int, mean: float) -> None:
        try:
            checkpoint.save(
                self.place / BEST,
                step,
                self.key,
                lambda folder: snapshots.put_adapter(folder, self.trainer.model),
                kept=1,
            )
        except (StorageError, OSError) as error:
            self.event_log.event(step, "save_failed", f"the best adapter so far could not be saved: {error}")
            return
        self.best, self.worse = {"step": step, "loss": mean}, 0

    def adopt(self) -> int:
        """Gives the model the adapter that the settings want kept; returns its step."""
        last = self.trainer.step_taken()
        if self.settings.keep == "last" or self.best is None or self.best["step"] == last:
            return last
        best, notes = checkpoint.newest(self.place / BEST, self.key)
        if best is None or best.step != self.best["step"]:
            why = "; ".join(notes) or "it is gone"
            self.event_log.event(last, "damaged", f"the best adapter cannot be used, the last one is kept: {why}")
            return last
        snapshots.load_adapter(best.path, self.trainer.model)
        return best.step

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def save(self, step: int) -> None:
        """Saves a checkpoint; one that cannot be written is an event, at the end of the training the error itself."""
        try:
            checkpoint.save(self.place, step, self.key, self._write)
            self.saved_step = step
            if isinstance(self.ended, PreemptedError):
                self.event_log.event(step, "preempted", "the machine was going away: saved and stopped")
        except (StorageError, OSError) as error:
            if self.finished or self.ended is not None:
                raise
            newest = "none" if self.saved_step is None else f"step {self.saved_step}"
            minutes = self.settings.checkpoint_minutes
            text = f"no checkpoint: {error} (the newest is {newest}, next try in {minutes:g} min)"
            self.event_log.event(step, "save_failed", text)

    def _write(self, folder: Path) -> None:
        self.trainer.write_state(folder)
        snapshots.put(folder / SNAPSHOTS, self._needed(self.trainer.step_taken()))
        facts = {"guard": self.guard.state(), "best": self.best, "worse": self.worse, "finished": self.finished}
        (folder / STATE).write_text(json.dumps(facts, indent=2) + "\n")

    def load(self, folder: Path) -> None:
        """Takes over what a checkpoint holds."""
        facts = json.loads((folder / STATE).read_text())
        self.guard.load(facts["guard"])
        self.best, self.worse, self.finished = facts["best"], facts["worse"], facts["finished"]
        self.snapshots = torch.load(folder / SNAPSHOTS, weights_only=True)
        self.saved_step = int(folder.name.rpartition("-")[2])
