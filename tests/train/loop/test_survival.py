"""A training survives what machines do: the disk fills up, memory runs out, the machine is taken away."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import MemoryShortError, PreemptedError, StorageError
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.loop import callback, checkpoint, trainer
from pipeline.train.loop.oom import OomFallback
from tests.train.loops import lines, loop

PLAIN = {"quantise": None, "recompute": 0}
OFTEN = {**PLAIN, "checkpoint_minutes": 1e-9}


def events(run: Run) -> list[tuple[int, str]]:
    return [(line["step"], line["event"]) for line in qlora.read_lines(run) if "event" in line]


def whole_and_fresh(run: Run, project: Any) -> list[dict[str, Any]]:
    """Returns what an undisturbed training writes, and begins anew."""
    loop(project, run).run(None)
    whole = lines(run)
    run.delete("checkpoints")
    qlora.resume(run, "key")
    assert lines(run) == []
    return whole


def test_a_notice_saves_stops_and_goes_on(packed: Run, make_project: Any) -> None:
    project = make_project(train=PLAIN)
    whole = whole_and_fresh(packed, project)
    made = loop(project, packed, notice=lambda: "SIGTERM" if made.state.global_step == 3 else None)
    made.run(None)
    assert isinstance(made.callback.ended, PreemptedError)
    assert made.callback.ended.exit_code == 75
    assert "step 3 of 7 is saved" in str(made.callback.ended)
    found = qlora.resume(packed, "key")
    assert found is not None
    assert found.step == 3
    loop(project, packed).run(found)
    assert lines(packed) == whole
    assert (3, "preempted") in events(packed)
    assert (3, "resumed") in events(packed)


def test_a_full_disk_costs_a_checkpoint_not_the_training(
    packed: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(train=OFTEN)
    whole = whole_and_fresh(packed, project)
    made = loop(project, packed)
    put = callback.snapshots.put

    def full(path: Path, value: Any) -> None:
        if made.state.global_step in (3, 4) and path.name == "scheduler.pt":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        put(path, value)

    monkeypatch.setattr(callback.snapshots, "put", full)
    made.run(None)
    assert lines(packed) == whole
    told = [line for line in qlora.read_lines(packed) if line.get("event") == "save_failed"]
    assert [line["step"] for line in told] == [3, 4]
    assert "no space left" in told[0]["text"]
    assert "the newest is step 2" in told[0]["text"]
    assert [path.name for path in packed.local("checkpoints").glob("step-*")] != []


def test_a_full_disk_at_the_end_is_a_sentence(packed: Run, make_project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(callback.snapshots, "put", full)
    with pytest.raises(StorageError, match="no space left to write"):
        loop(make_project(train=PLAIN), packed).run(None)
    assert not list(packed.local("checkpoints").glob("*step-*"))


def test_a_disk_that_really_fills_up_keeps_the_older_checkpoint(tmp_path: Path) -> None:
    """The limit on a file's size stands for a full disk: the kernel refuses the write with an error of its own."""
    import resource

    made = checkpoint.save(tmp_path, 1, "key", lambda folder: callback.snapshots.put(folder / "w", torch.zeros(10)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StorageError, match="no space left"):
            checkpoint.save(tmp_path, 2, "key", lambda folder: callback.snapshots.put(folder / "w", torch.zeros(10**6)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == [made.name]
    assert checkpoint.newest(tmp_path, "key")[0] == checkpoint.Checkpoint(made, 1)


class Short:
    """A device that runs out of memory the given times: by the number of the row it is given."""

    def __init__(self, made: trainer.PackedTrainer, *calls: int) -> None:
        self.calls, self.count, self.compute_loss = calls, 0, made.compute_loss
        made.compute_loss = self

    def __call__(self, *arguments: Any, **options: Any) -> torch.Tensor:
        self.count += 1
        if self.count in self.calls:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.compute_loss(*arguments, **options)


def test_out_of_memory_repeats_the_step_with_more_layers_recomputed(packed: Run, make_project: Any) -> None:
    project = make_project(train=PLAIN)
    whole = whole_and_fresh(packed, project)
    counts: list[int] = []
    made = loop(project, packed, fallback=OomFallback(4, 2, 256, counts.append))
    Short(made, 2, 8)  # the second row of step 1; the second row of step 3, and 3 calls were repeated
    made.run(None)
    assert counts == [3, 4]
    assert [event for event in events(packed) if event[1] == "out_of_memory"] != []
    assert lines(packed) == whole


def test_smaller_pieces_of_a_row_give_its_loss_and_are_kept_when_resumed(packed: Run, make_project: Any) -> None:
    project = make_project(train={**OFTEN, "lora": {"r": 4, "alpha": 8, "dropout": 0.0}})
    whole = whole_and_fresh(packed, project)
    made = loop(project, packed, fallback=OomFallback(1, 1, 256, lambda _: None))
    Short(made, 1, 2)
    made.run(None)
    assert made.fallback.levels[made.fallback.level] == (1, 64)
    for ours, theirs in zip(lines(packed), whole, strict=True):
        key = "loss" if "loss" in theirs else "eval_loss"
        assert ours[key] == pytest.approx(theirs[key], rel=1e-3)
    again = loop(project, packed, fallback=OomFallback(1, 1, 256, lambda _: None))
    again.run(qlora.resume(packed, "key"))
    assert again.fallback.level == made.fallback.level


def test_memory_that_no_setting_saves_is_a_sentence(packed: Run, make_project: Any) -> None:
    made = loop(make_project(train=PLAIN), packed)
    Short(made, *range(1, 100))
    with pytest.raises(MemoryShortError, match=r"train\.max_length"):
        made.run(None)


def test_early_stopping_ends_it_and_a_resumed_one_stays_ended(packed: Run, make_project: Any) -> None:
    project = make_project(
        train={**PLAIN, "epochs": 30, "learning_rate": 0.05, "eval_every": 3, "early_stopping": 2, "keep": "best"}
    )
    made = loop(project, packed)
    made.run(None)
    held = {line["step"]: line["eval_loss"] for line in lines(packed) if "eval_loss" in line and line["step"]}
    best = min(held, key=lambda step: held[step])
    assert made.state.global_step < made.args.max_steps
    assert made.state.global_step == best + 6
    assert (made.state.global_step, "early_stop") in events(packed)
    assert made.callback.adopt() == best
    kept = made.evaluate()["eval_loss"]
    assert kept == pytest.approx(held[best], rel=1e-5)

    again = loop(project, packed)
    again.run(qlora.resume(packed, "key"))
    assert again.state.global_step == made.state.global_step
    assert again.callback.adopt() == best


def test_the_last_adapter_is_kept_when_asked_for_or_when_the_best_is_damaged(packed: Run, make_project: Any) -> None:
    train = {**PLAIN, "epochs": 3, "learning_rate": 0.05, "eval_every": 3}
    made = loop(make_project(train=train), packed)
    made.run(None)
    best = made.callback.best
    assert best is not None
    made.state.global_step = best["step"] + 1  # as if the last step had made it worse
    (file,) = packed.local("checkpoints").glob("best/*/adapter_model.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert made.callback.adopt() == made.state.global_step
    assert events(packed)[-1] == (made.state.global_step, "damaged")
    last = loop(make_project(train={**train, "keep": "last"}), packed)
    last.callback.best, last.state.global_step = best, 9
    assert last.callback.adopt() == 9


def test_checkpoints_of_another_training_do_not_push_out_this_one(tmp_path: Path) -> None:
    for step, key in ((800, "other"), (900, "other"), (10, "key")):
        checkpoint.save(tmp_path, step, key, lambda folder: callback.snapshots.put(folder / "w", 1))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]


@pytest.mark.parametrize("damage", ["cut", "half-written"])
def test_a_damaged_newest_checkpoint_is_passed_over_and_told(packed: Run, make_project: Any, damage: str) -> None:
    project = make_project(train=OFTEN)
    whole = whole_and_fresh(packed, project)
    loop(project, packed).run(None)
    newest = packed.local("checkpoints/step-00000007")
    if damage == "cut":
        (newest / "optimizer.pt").write_bytes((newest / "optimizer.pt").read_bytes()[:-1])
    else:
        (newest / checkpoint.MANIFEST).unlink()
    found = qlora.resume(packed, "key")
    assert found is not None
    assert found.step == 6
    loop(project, packed).run(found)
    assert lines(packed) == whole
    *_, told = [line["text"] for line in qlora.read_lines(packed) if line.get("event") == "resumed"]
    assert told.startswith("went on from step 6; step-00000007 passed over: ")
