"""What `auto` means in this run: the planner's choice for the card that is really there, and what became of the plan.

Output contract: `resolve_auto` returns the project with numbers where `auto` stood; `metrics/plan.json` is written when
the training begins and `against` puts it beside what was measured. A run that goes on on another card keeps its packed
rows as long as they fit there, so its checkpoints stay valid; only the recompute depth changes, which changes no
gradient.
This module predicts nothing (`cost_model` does) and starts no training.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.plan import cards, cost_model, from_settings
from pipeline.plan.shape import shape_in
from pipeline.run import fingerprint
from pipeline.waiting import wait_for

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project, Train
    from pipeline.models.load import Base
    from pipeline.plan.cards import Card
    from pipeline.plan.cost_model import Compute, Plan
    from pipeline.plan.shape import Shape
    from pipeline.run import Run

PLAN = "metrics/plan.json"
CPU_ROW = 1024
"""Tokens per packed row on a CPU, unless one example may be longer: there is nothing to fill."""
HARMLESS = {"recompute", "checkpoint_minutes", "restarts", "preemption", "samples", "trackers"}
"""Settings that do not change what is learnt: a training goes on from its checkpoints when they change."""
UNMEASURED = 3
"""Steps left out of a measured rate: the first ones also compile and allocate."""


def find_card(console: Console) -> Card | None:
    """Returns the GPU that Ray will give the training, with the memory that is free on it; None on a CPU. Waits until
    Ray has one free, and says so."""
    import ray

    if ray.cluster_resources().get("GPU", 0) < 1:
        return None

    def look() -> tuple[str, float, float] | None:
        import torch

        if not torch.cuda.is_available():
            return None
        free, total = torch.cuda.mem_get_info()
        return torch.cuda.get_device_name(), free / 2**30, total / 2**30

    wait_for({"GPU": 1}, console)
    visible = ray.get(ray.remote(num_cpus=0, num_gpus=1)(look).remote())
    if visible is None:
        return None
    name, free, total = visible
    card = cards.card_of(name, total)
    return replace(card, gib=min(total, free + cost_model.PLAIN.context_gib))  # `look` has a context as well


def resolve_auto(project: Project, base: Base, run: Run, console: Console) -> tuple[Project, Plan | None]:
    """Returns the project with `pack_tokens` and `recompute` as numbers, and the plan (None on a CPU).

    Raises `ConfigError` for a base that cannot be trained here, and where `auto` finds nothing that fits the card.
    """
    shape = shape_in(base.config, base.name)
    card = find_card(console)
    settings = project.train
    if card is None:
        row = max(CPU_ROW, settings.max_length) if settings.pack_tokens == "auto" else settings.pack_tokens
        return _with(project, row, 0 if settings.recompute == "auto" else settings.recompute), None
    chosen = _choose(project, run, shape, card)
    if chosen.total_gib > card.gib:
        text = f"plan: these settings may not fit: {chosen.total_gib:.1f} of {card.gib:.1f} GiB predicted"
        console.print(text, markup=False)
    if card.assumed:
        text = f"plan: {card.name} is not in the table of cards: speed is predicted as for {card.assumed}"
        console.print(text, markup=False)
    return _with(project, chosen.pack_tokens, chosen.recompute), chosen


def compute_of(project: Project, chosen: Plan | None) -> Compute:
    """Returns what frozen products are computed in; on a CPU, where FP8 is slow, only if the settings say so."""
    if chosen is not None:
        return chosen.compute
    return "fp8" if project.train.compute == "fp8" else "bf16"


def _choose(project: Project, run: Run, shape: Shape, card: Card) -> Plan:
    before = run.read_json(PLAN) if run.exists(PLAN) else {}
    kept = before["pack_tokens"] if before and before["key"] == _key(project) else None
    if (plan := from_settings.best(project.train, shape, card, kept)) is not None:
        return plan
    least = from_settings.least(project.train, shape, card)
    raise ConfigError(
        f"{project.base_model} does not fit this {card.name}: {least.total_gib:.1f} GiB at least, {card.gib:.1f} there "
        "are. Take a smaller model, a smaller max_length, or fewer adapters (lora.targets: qv)"
    )


def _key(project: Project) -> str:
    """Returns what a plan's packed rows belong to: the settings that the user gave, but for the depth."""
    return fingerprint(project.base_model, learnt(project.train))


def learnt(settings: Train) -> dict[str, Any]:
    """Returns the settings that change what is learnt. `compute: auto` is left out: a training that moves to another
    card goes on there as that card computes."""
    auto = {"compute"} if settings.compute == "auto" else set()
    return settings.model_dump(mode="json", exclude=HARMLESS | auto)


def _with(project: Project, tokens: int, depth: int | str) -> Project:
    settings = project.train.model_copy(update={"pack_tokens": tokens, "recompute": depth})
    return project.model_copy(update={"train": settings})


def resolve_batch(project: Project, packed: dict[str, Any]) -> Project:
    """Returns the project with `rows_per_step` for the batch size it names; `packed` counts the training rows."""
    settings = project.train
    row = packed["tokens"] / packed["packed_rows"], packed["examples"] / packed["packed_rows"]
    for wanted, each in zip((settings.batch_tokens, settings.batch_examples), row, strict=True):
        if wanted is not None:
            settings = settings.model_copy(
                update={"rows_per_step": max(1, round(wanted / each)), "batch_tokens": None, "batch_examples": None}
            )
    return project.model_copy(update={"train": settings})


def facts(given: Project, settled: Project, chosen: Plan | None, packed: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of `metrics/plan.json`: what was chosen for which card, and what is to be expected."""
    settings = settled.train
    tokens = round(packed["tokens"] * settings.epochs)
    common = {
        "key": _key(given),
        "pack_tokens": settings.pack_tokens,
        "recompute": settings.recompute,
        "rows_per_step": settings.rows_per_step,
        "tokens": tokens,
        "compute": compute_of(settled, chosen),
        "graph": chosen is not None and chosen.graph,
    }
    if chosen is None:
        nothing = dict.fromkeys(("tokens_per_second", "hours", "gib", "mfu"))
        return {**common, "card": "CPU", **nothing}
    return {**common, **asdict(chosen), "hours": round(chosen.hours(tokens), 4)}


def sentence(planned: dict[str, Any]) -> str:
    """Returns the plan as a line of a log."""
    text = f"plan: {planned['card']}, rows of {planned['pack_tokens']:,} tokens"
    if planned["hours"] is None:
        return f"{text}, {planned['tokens']:,} tokens to train; no prediction for a CPU"
    return (
        f"{text}, {planned['recompute']} of {planned['layers']} layers recomputed, products in "
        f"{'bf16' if planned['compute'] == 'bf16' else 'FP8'}: {planned['gib']:.1f} of "
        f"{planned['card_gib']:.1f} GiB, {planned['tokens_per_second']:,.0f} tokens/s, {planned['tokens']:,} tokens in "
        f"{planned['hours']:.2f} h"
    )


def measured(lines: list[dict[str, Any]]) -> float | None:
    """Returns tokens per second of the steps so far, the first ones left out; None before there are any."""
    steps = [line for line in lines if "loss" in line][UNMEASURED:]
    seconds = sum(line["seconds"] for line in steps)
    return sum(line["tokens"] for line in steps) / seconds if seconds else None


def mfu(planned: dict[str, Any], tokens_per_second: float) -> float | None:
    """Returns which share of the card's peak a speed is, as the plan counts it; None on a CPU."""
    if planned["tokens_per_second"] is None:
        return None
    return round(float(planned["mfu"]) * tokens_per_second / float(planned["tokens_per_second"]), 4)


def against(planned: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Returns the plan beside what `metrics/train.json` measured: `{planned, actual}` of the same figures, and
    what was chosen."""
    names = ("card", "pack_tokens", "recompute", "rows_per_step")
    return {
        "chosen": {name: planned[name] for name in names},
        "planned": {
            "tokens_per_second": planned["tokens_per_second"],
            "hours": planned["hours"],
            "peak_memory_gib": planned["gib"],
            "mfu": planned["mfu"],
        },
        "actual": {
            "tokens_per_second": metrics["tokens_per_second"],
            "hours": round(metrics["seconds"] / 3600, 4),
            "peak_memory_gib": metrics["peak_memory_gib"],
            "mfu": mfu(planned, metrics["tokens_per_second"]),
        },
    }
