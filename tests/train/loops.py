"""A training loop without Ray, which can be killed after a step, and what it wrote."""

from __future__ import annotations

from typing import Any

from pipeline.config import Project
from pipeline.models import load
from pipeline.run import Run
from pipeline.train import qlora
from pipeline.train.kernels import packed_attention
from pipeline.train.loop import event_log, trainer


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


def loop(
    project: Project, run: Run, kill_after: int | None = None, attention: str | None = None, **options: Any
) -> trainer.PackedTrainer:
    from transformers import set_seed

    set_seed(project.seed)
    attention = attention or packed_attention.register()
    causal, _ = load.Base.of(project).load(project.train.quantise, attention=attention)
    made = trainer.PackedTrainer(
        qlora.add_adapter(causal, project),
        project.train,
        project.seed,
        qlora._packed(run, "train"),
        qlora._packed(run, "val"),
        run.local("checkpoints"),
        "key",
        run.local("metrics/train.jsonl"),
        **options,
    )
    write = made.event_log.write

    def dying(line: dict[str, Any]) -> None:
        write(line)
        if line["step"] == kill_after and "loss" in line:
            raise Killed

    made.event_log.write = dying
    return made


def lines(run: Run) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name != "seconds"}
        for line in qlora.read_lines(run)
        if line.get("event") not in event_log.HAPPENED
    ]
