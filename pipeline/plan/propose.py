"""What `jobs.plan` answers: every preset, and the configuration's own model, on every card asked for.

Output contract: prints the licence and size check once and a table per card. Presets are planned with the
configuration's recipe and free choice of packed rows and recompute depth; its own base model with its own settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from pipeline.config import Project, Train
from pipeline.plan import catalogue, cost_model, tables
from pipeline.plan.cards import card as known_card
from pipeline.plan.licence import licence_of
from pipeline.plan.presets import PRESETS, Preset

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.plan.cards import Card
    from pipeline.plan.cost_model import Plan
    from pipeline.plan.shape import Shape


@dataclass(frozen=True)
class Work:
    """Tokens of one epoch and where the number comes from."""

    tokens: int
    basis: str


@dataclass(frozen=True)
class Measured:
    """Measured over planned tokens per second of a run on a card."""

    card: str
    factor: float
    run: str  # path or URI


def show(
    project: Project | None,
    work: Work,
    measured: Measured | None,
    cards: Sequence[str],
    price: float | None,
    console: Console,
) -> None:
    """Prints the answer; `price` is per hour of the card. Raises `ConfigError` or `MissingModelError`."""
    wanted = [known_card(name) for name in cards]
    settings = project.train if project else Train()
    own_presets = _own(project)
    lora = settings.lora
    targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
    console.print(
        f"{work.basis}: {work.tokens:,} tokens x {settings.epochs:g} epochs; LoRA r={lora.r} on {targets}, examples of "
        f"at most {settings.max_length:,} tokens, base in {'NF4' if settings.quantise else 'bf16'}",
        markup=False,
    )
    tables.models([*own_presets, *PRESETS], console)
    for card in wanted:
        plans = [(model.name, _own_plan(model.shape, settings, card)) for model in own_presets]
        plans += [(preset.name, _plan(preset.shape, settings, card)) for preset in PRESETS]
        factor = measured.factor if measured and measured.card == card.name else 1.0
        tables.plans(card, plans, work.tokens * settings.epochs, price, factor, console)
        if measured and factor != 1.0:
            console.print(f"speed measured in {escape(measured.run)} on this card: {factor:.2f} x the plan's")
    if lora.dora:
        console.print("DoRA's own memory and time are not in these figures: expect more of both.")


def _own(project: Project | None) -> list[Preset]:
    """Returns the configuration's base model as a preset of its own, with the licence that its card names; nothing for
    one that is a preset."""
    if project is None or any(preset.hub.lower() == project.base_model.lower() for preset in PRESETS):
        return []
    catalogue.shape_of(project.base_model)  # refuses what cannot be trained, by the name it has in the configuration
    config, place = catalogue.config_of(project.base_model), catalogue.folder_of(project.base_model)
    licence = licence_of(place) if place else "other"
    named = Path(project.base_model).name
    note = "its card names no licence: see its files" if licence == "other" else ""
    free = "-nc" not in licence
    return [Preset(f"{named} (base_model)", "on this machine", licence, config, commercial=free, note=note)]


def _plan(shape: Shape, settings: Train, card: Card) -> Plan | None:
    return cost_model.choose(shape, settings.lora, card, settings.max_length, quantise=settings.quantise)


def _own_plan(shape: Shape, settings: Train, card: Card) -> Plan | None:
    tokens, depth = cost_model.given(settings, shape)
    if tokens is not None and depth is not None:
        return cost_model.assess(shape, settings.lora, card, tokens, depth, settings.quantise)
    return cost_model.choose(shape, settings.lora, card, settings.max_length, tokens, depth, settings.quantise)
