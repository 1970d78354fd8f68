"""What goes wrong in a training is skipped or undone, told, and repeated alike by a resumed one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pipeline.config import Divergence
from pipeline.errors import DivergedError
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.loop import callback, divergence, trainer
from pipeline.train.loop.divergence import Guard, Verdict
from tests.train.loops import Killed, lines, loop

PLAIN = {"quantise": None, "recompute": 0}
LONG = {**PLAIN, "epochs": 8, "eval_every": 100, "learning_rate": 2e-3, "keep": "last"}  # 28 steps


def guard(**settings: Any) -> Guard:
    return Guard(Divergence(**settings))


def steady(made: Guard, count: int, first: int = 1) -> None:
    for step in range(first, first + count):
        assert made.judge(step, 2.0 + 0.1 * (step % 3), 1.0) is Verdict.GOOD


def test_gradients_that_are_not_finite_call_for_a_rollback_the_third_time_in_a_row() -> None:
    made = guard()
    for norm in (math.nan, math.inf, math.nan):
        due = made.needs_rollback(made.judge(1, 2.0, norm))
    assert due
    made = guard()
    for norm in (math.nan, math.inf, 1.0, math.nan, math.inf):
        assert not made.needs_rollback(made.judge(1, 2.0, norm))


def test_a_loss_alone_that_is_not_finite_is_told_from_gradients() -> None:
    made = guard()
    assert made.judge(1, math.nan, 1.0) is Verdict.LOSS
    assert made.judge(2, 2.0, math.nan) is Verdict.GRADIENT
    assert made.losses == []


def test_a_leap_is_measured_against_the_running_median() -> None:
    made = guard()
    assert made.judge(1, 2.0, 1.0) is Verdict.GOOD
    assert made.judge(2, 50.0, 1.0) is Verdict.GOOD  # nothing to compare with yet
    steady(made, 30, first=3)
    assert made.judge(33, 2.9, 1.0) is Verdict.GOOD
    assert made.judge(34, 0.1, 1.0) is Verdict.GOOD  # falling is fine
    verdict = made.judge(35, 9.0, 1.0)
    assert verdict is Verdict.SPIKE
    assert made.needs_rollback(verdict)
    assert Guard(Divergence(spike=None)).score(9.0) == 0


def test_noise_of_a_small_loss_is_no_leap() -> None:
    made = guard()
    for step in range(30):
        made.judge(step, 0.001, 1.0)
    assert made.judge(31, 0.05, 1.0) is Verdict.GOOD


def test_three_rollbacks_end_it_unless_a_window_of_good_steps_lies_between(monkeypatch: pytest.MonkeyPatch) -> None:
    made = guard()
    assert made.roll_back(0)
    assert made.roll_back(0)
    assert not made.roll_back(0)
    assert made.rate == 0.125
    monkeypatch.setattr(divergence, "WINDOW", 20)
    made = guard()
    for _ in range(4):
        assert made.roll_back(0)
        steady(made, 20)


def test_a_guard_goes_on_from_its_state() -> None:
    made, again = guard(), guard()
    steady(made, 25)
    made.judge(26, 2.0, math.nan)
    made.roll_back(20)
    again.load(made.state())
    assert again.state() == made.state()
    assert again.judge(27, 2.0, 1.0) is made.judge(27, 2.0, 1.0)


class Injected:
    """Spoils what a loop computes at given steps: its loss (times a factor, or nan), or its gradients."""

    def __init__(
        self, made: trainer.PackedTrainer, losses: dict[int, float] | None = None, gradients: tuple[int, ...] = ()
    ) -> None:
        self.losses, self.gradients = losses or {}, gradients
        self.made, self.step, self.clip = made, made.training_step, made._clip_grad_norm
        made.training_step = self.training_step
        made._clip_grad_norm = self.clip_grad_norm

    def training_step(self, *args: Any, **options: Any) -> Any:
        return self.step(*args, **options) * self.losses.get(self.made.state.global_step + 1, 1.0)

    def clip_grad_norm(self, model: Any) -> Any:
        if self.made.state.global_step + 1 in self.gradients:
            next(value for value in model.parameters() if value.grad is not None).grad.fill_(math.nan)
        return self.clip(model)


def weights(made: trainer.PackedTrainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in made.model.named_parameters() if value.requires_grad}


def events(run: Run) -> list[tuple[int, str]]:
    return [(line["step"], line["event"]) for line in qlora.read_lines(run) if "event" in line]


def losses(run: Run) -> dict[int, float | None]:
    return {line["step"]: line["loss"] for line in qlora.read_lines(run) if "loss" in line}


@pytest.mark.parametrize("where", ["loss", "gradients"])
def test_a_bad_step_is_not_taken_and_told(packed: Run, make_project: Any, where: str) -> None:
    made = loop(make_project(train={**PLAIN, "keep": "last"}), packed)
    Injected(made, {3: math.nan} if where == "loss" else None, (3,) if where == "gradients" else ())
    seen = {}
    journal_write = made.event_log.write

    def write(line: dict[str, Any]) -> None:
        seen[line["step"]] = weights(made)
        journal_write(line)

    made.event_log.write = write
    made.run(None)
    assert events(packed) == [(3, "skipped")]
    assert all(torch.equal(seen[2][name], seen[3][name]) for name in seen[2])
    assert any(not torch.equal(seen[3][name], seen[4][name]) for name in seen[3])
    assert (losses(packed)[3] is None) == (where == "loss")
    assert all(losses(packed)[step] is not None for step in (1, 2, 4, 5, 6, 7))
    norms = {line["step"]: line["grad_norm"] for line in lines(packed) if "loss" in line}
    assert (norms[3] is None) == (where == "gradients")


def test_a_leap_goes_back_to_a_settled_snapshot_at_half_the_rate(packed: Run, make_project: Any) -> None:
    made = loop(make_project(train=LONG), packed)
    Injected(made, {23: 50.0})
    taken = {}
    restore = callback.snapshots.restore

    def watch(snapshot: Any, *args: Any) -> None:
        taken.update(snapshot["weights"])
        restore(snapshot, *args)
        now = weights(made)
        assert all(torch.equal(now[name], taken[name]) for name in taken)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callback.snapshots, "restore", watch)
        made.run(None)
    assert taken
    assert events(packed) == [(23, "skipped"), (23, "rollback")]
    told = next(line for line in lines(packed) if line.get("event") == "rollback")
    assert (told["to"], told["rate"], told["rows"]) == (10, 0.5, [20, 45])  # 20 is too young to be trusted
    rates = {line["step"]: line["learning_rate"] for line in lines(packed) if "loss" in line}
    packed.delete("checkpoints")
    qlora.resume(packed, "key")
    loop(make_project(train=LONG), packed).run(None)
    plain = {line["step"]: line["learning_rate"] for line in lines(packed) if "loss" in line}
    assert all(rates[step] == plain[step] for step in range(1, 24))
    assert all(rates[step] == pytest.approx(plain[step] / 2) for step in range(24, 29))


def test_a_training_killed_after_a_rollback_takes_the_same_steps(packed: Run, make_project: Any) -> None:
    project = make_project(train={**LONG, "checkpoint_minutes": 1e-9})
    made = loop(project, packed)
    Injected(made, {22: 50.0, 26: math.nan})
    made.run(None)
    whole, end = lines(packed), weights(made)
    assert [line["event"] for line in whole if "event" in line] == ["skipped", "rollback", "skipped"]

    packed.delete("checkpoints")
    qlora.resume(packed, "key")
    kills = 0
    while True:
        found = qlora.resume(packed, "key")
        at = 0 if found is None else found.step
        made = loop(project, packed, kill_after=at + 8)
        Injected(made, {22: 50.0, 26: math.nan})
        try:
            made.run(found)
            break
        except Killed:
            kills += 1
    assert kills >= 3
    assert lines(packed) == whole
    assert all(torch.equal(end[name], value) for name, value in weights(made).items())


def test_a_checkpoint_holds_the_snapshots_that_may_still_be_gone_back_to(packed: Run, make_project: Any) -> None:
    made = loop(make_project(), packed)
    held = {}
    for step in range(10, 21):
        made.callback.snapshots = [{"step": 0}, {"step": 10}]
        held[step] = [one["step"] for one in made.callback._needed(step)]
    assert [step for step, kept in held.items() if kept != [10]] == [10, 11, 12, 13]


def test_what_no_rollback_saves_is_stopped_and_told(packed: Run, make_project: Any) -> None:
    made = loop(make_project(train=LONG), packed)
    Injected(made, gradients=tuple(range(4, 29)))
    made.run(None)
    assert isinstance(made.callback.ended, DivergedError)
    assert "train.learning_rate" in str(made.callback.ended)
    assert [event for event in events(packed) if event[1] != "skipped"] == [
        (6, "rollback"),
        (9, "rollback"),
        (12, "rollback"),
        (12, "stopped"),
    ]
    assert made.state.global_step == 12
    assert divergence.ROLLBACKS == 3
