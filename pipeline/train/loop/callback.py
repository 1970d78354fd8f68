"""The course of a training: what happens between two of its steps, and what of it a checkpoint holds.

Output contract: every step and event goes to the journal. A step that the guard finds bad is not taken; when it asks
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
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from pipeline.config import Train
from pipeline.errors import DivergedError, ReclaimedError, SolotuneError, StorageError
from pipeline.train.loop import checkpoint
from pipeline.train.loop import snapshots as state
from pipeline.train.loop.divergence import Guard, Verdict
from pipeline.train.loop.event_log import Journal

if TYPE_CHECKING:
    from pipeline.train.loop.trainer import PackedTrainer

SNAPSHOT_STEPS = 10  # between two snapshots in memory
SETTLED = 4  # good steps after which a snapshot's weights are trusted
COURSE = "course.json"
BEST = "best"  # below the checkpoints: the adapter of the lowest validation loss
BAD = {
    Verdict.GRADIENT: "the gradients were not finite: the step was not taken",
    Verdict.LOSS: "the loss was not finite: the step was not taken",
    Verdict.SPIKE: "the loss leapt: the step was not taken",
}


class Course(TrainerCallback):  # type: ignore[misc]
    """Times the steps, writes their lines, takes bad ones back, evaluates, saves and says when it is over."""

    def __init__(
        self, trainer: PackedTrainer, settings: Train, place: Path, key: str, notice: Callable[[], str | None]
    ) -> None:
        self.trainer, self.settings, self.place, self.key, self.notice = trainer, settings, place, key, notice
        self.guard = Guard(settings.divergence)
        self.verdict = Verdict.GOOD
        self.snapshots: list[state.Snapshot] = []
        self.best: dict[str, Any] | None = None  # step and loss of the evaluation with the lowest loss
        self.worse = 0  # evaluations since then
        self.finished = False
        self.ended: SolotuneError | None = None
        self.saved_step: int | None = None

    @property
    def journal(self) -> Journal:
        return self.trainer.journal

    # -- what transformers calls, in this order ------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0 and len(self.trainer.val):
            self.trainer.evaluate()
        if not self.snapshots:
            self._snapshot(state.global_step)
        self.saved = self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        last = state.global_step >= state.max_steps
        due = time.monotonic() - self.saved >= self.settings.checkpoint_minutes * 60
        reason = None if last else self.notice()
        if reason is not None:
            self.ended = ReclaimedError(
                f"the machine is going away ({reason}): step {state.global_step} of {state.max_steps} is saved; run "
                "the same command again, here or where the run folder is, to go on"
            )
            control.should_training_stop = True
        control.should_evaluate = bool(len(self.trainer.val)) and (
            last or state.global_step % self.settings.eval_every == 0
        )
        control.should_save = last or due or reason is not None
        self.finished = last

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" not in logs:
            return
        now = time.monotonic()  # the loss has been read by now, so a GPU has finished the step
        step = state.global_step
        self.journal.write(
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
        step, mean = state.global_step, metrics["eval_loss"]
        if step and (self.best is None or mean < self.best["loss"]):
            self._keep(step, mean)
        elif step:
            self.worse += 1
            if self.worse == self.settings.early_stopping:
                self.journal.event(step, "early_stop", f"{self.worse} evaluations without a lower loss: ended early")
                control.should_training_stop = control.should_save = self.finished = True
        self.began = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.saved = self.began = time.monotonic()

    # -- divergence ----------------------------------------------------------------------------------------------------

    def _snapshot(self, step: int) -> None:
        """Keeps two: the newer one may already carry what will only show some steps later."""
        self.snapshots = [*self.snapshots[-1:], state.capture(step, self.trainer.model, self.trainer.optimizer)]

    def _needed(self, step: int) -> list[state.Snapshot]:
        """Returns the snapshots that a step after this one may go back to: once the newer is settled, that alone."""
        return self.snapshots[-1:] if self.snapshots[-1]["step"] <= step - SETTLED else self.snapshots

    def _take_back(self, step: int, control: Any) -> None:
        """Tells of a step that was not taken and, when the guard asks for it, goes back to the last good snapshot."""
        self.trainer._tr_loss.zero_()  # transformers subtracts a loss that was not finite from itself, which stays so
        self.journal.event(step, "skipped", BAD[self.verdict], reason=str(self.verdict))
        if not self.guard.needs_rollback(self.verdict):
            return
        good = [one for one in self.snapshots if one["step"] < step - SETTLED] or self.snapshots[:1]
        self.snapshots = good
        to = good[-1]["step"]
        state.restore(good[-1], self.trainer.model, self.trainer.optimizer)
        goes_on = self.guard.roll_back(to)
        self.trainer.apply_rate()
        first, last = self.trainer.positions(to + 1)[0], self.trainer.positions(step)[-1]
        facts = {"to": to, "rate": self.guard.rate, "rows": [first, last]}
        text = f"back to step {to}, steps {to + 1} to {step} undone and their rows skipped, rate x {self.guard.rate:g}"
        self.journal.event(step, "rollback", text, **facts)
        if not goes_on:
            self.ended = DivergedError(
                f"the training diverged: its loss or gradients went wrong again after {self.guard.rollbacks - 1} "
                f"rollbacks, at last at step {step} (packed rows {first} to {last} in training order). Lower "
                "train.learning_rate, or look at the rows; report.html shows the course"
            )
            self.journal.event(step, "stopped", "it went wrong again after every rollback: stopped")
            control.should_training_stop, control.should_evaluate, control.should_save = True, False, False

    # -- the best adapter ----------------------------------------------------------------------------------------------

    def _keep(self, step: int, mean: float) -> None:
        try:
            checkpoint.save(
                self.place / BEST, step, self.key, lambda folder: state.put_adapter(folder, self.trainer.model), kept=1
            )
        except (StorageError, OSError) as error:
            self.journal.event(step, "save_failed", f"the best adapter so far could not be saved: {error}")
            return
        self.best, self.worse = {"step": step, "loss": mean}, 0

    def adopt(self) -> int:
        """Gives the model the adapter that the settings want kept; returns its step."""
        last = int(self.trainer.state.global_step)
        if self.settings.keep == "last" or self.best is None or self.best["step"] == last:
            return last
        found, notes = checkpoint.newest(self.place / BEST, self.key)
        if found is None or found.step != self.best["step"]:
            why = "; ".join(notes) or "it is gone"
            self.journal.event(last, "damaged", f"the best adapter cannot be used, the last one is kept: {why}")
            return last
        state.load_adapter(found.path, self.trainer.model)
        return found.step

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def save(self, step: int, must: bool) -> None:
        """Saves a checkpoint; one that cannot be written is an event, or the error itself where it `must` be."""
        try:
            checkpoint.save(self.place, step, self.key, self._write)
            self.saved_step = step
            if isinstance(self.ended, ReclaimedError):
                self.journal.event(step, "reclaimed", "the machine was going away: saved and stopped")
        except (StorageError, OSError) as error:
            if must:
                raise
            newest = "none" if self.saved_step is None else f"step {self.saved_step}"
            minutes = self.settings.checkpoint_minutes
            text = f"no checkpoint: {error} (the newest is {newest}, next try in {minutes:g} min)"
            self.journal.event(step, "save_failed", text)

    def _write(self, folder: Path) -> None:
        trainer = self.trainer
        state.put_adapter(folder, trainer.model)
        state.put(folder / "optimizer.pt", trainer.optimizer.state_dict())
        state.put(folder / "scheduler.pt", trainer.lr_scheduler.state_dict())
        state.put(folder / "rng_state.pth", state.random_state())
        state.put(folder / "snapshots.pt", self._needed(trainer.state.global_step))
        facts = {
            "guard": self.guard.state(),
            "ladder": trainer.ladder.reached(),
            "best": self.best,
            "worse": self.worse,
            "finished": self.finished,
        }
        (folder / COURSE).write_text(json.dumps(facts, indent=2) + "\n")
        trainer.state.log_history = []  # the journal has it
        trainer.state.save_to_json(str(folder / "trainer_state.json"))

    def load(self, folder: Path) -> None:
        """Takes up the course where a checkpoint left it."""
        facts = json.loads((folder / COURSE).read_text())
        self.guard.load(facts["guard"])
        if facts["ladder"] is not None:
            self.trainer.ladder.resume(*facts["ladder"])
        self.best, self.worse, self.finished = facts["best"], facts["worse"], facts["finished"]
        self.snapshots = torch.load(folder / "snapshots.pt", weights_only=True)
        self.saved_step = int(folder.name.rpartition("-")[2])
