"""The plan that a training's settings leave open: what they fix is kept, what they call `auto` is chosen.

Output contract: `best` returns the fastest `Plan` that fits a card, None where none does.
This module predicts nothing (`cost_model` does) and looks at no GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.plan import cost_model
from pipeline.plan.cards import Card
from pipeline.plan.cost_model import CAPTURED, Compute, Plan
from pipeline.plan.shape import Shape

if TYPE_CHECKING:
    from pipeline.config import Train


def given(settings: Train, shape: Shape) -> tuple[int | None, int | None]:
    """Returns the tokens per packed row and the recompute depth that the settings fix, None for `auto`."""
    depth = (
        {"auto": None, "all": shape.layers}[settings.recompute]
        if isinstance(settings.recompute, str)
        else (settings.recompute)
    )
    return None if isinstance(settings.pack_tokens, str) else settings.pack_tokens, depth


def computes(settings: Train, shape: Shape, card: Card) -> tuple[Compute, ...]:
    """Returns what a card may compute frozen products in, best first. Dropout and DoRA leave the fused layers out, and
    with them FP8; `auto` leaves it out for small bases, which launches bound. Raises `ConfigError` for FP8 on a card
    without."""
    low: tuple[Compute, ...] = ("fp8_held", "fp8") if settings.quantise else ("fp8_held",)
    if settings.compute == "fp8":
        if not card.fp8:
            raise ConfigError(f"train.compute: {card.name} does not multiply in FP8: set it to `auto` or `bf16`")
        return low
    plain = settings.compute == "bf16" or settings.lora.dropout or settings.lora.dora
    return ("bf16",) if plain or not card.fp8 or shape.parameters < CAPTURED else (*low, "bf16")


def best(settings: Train, shape: Shape, card: Card, packed: int | None = None) -> Plan | None:
    """Returns the fastest plan that fits, None where none does; where settings fix both packed rows and recompute depth
    the most frugal one of these, whether it fits or not. `packed`: the tokens of packed rows that are there already.

    Raises `ConfigError` for FP8 on a card without.
    """
    tokens, depth = given(settings, shape)
    lora, ways = settings.lora, computes(settings, shape, card)
    for size in dict.fromkeys((tokens or packed, tokens)):
        plan = cost_model.choose(shape, lora, card, settings.max_length, size, depth, settings.quantise, computes=ways)
        if plan is not None:
            return plan
    if tokens is None or depth is None:
        return None
    return cost_model.assess(shape, lora, card, tokens, depth, settings.quantise, compute=ways[-1])


def least(settings: Train, shape: Shape, card: Card) -> Plan:
    """Returns the plan of the least memory, whether it fits or not."""
    tokens, depth = given(settings, shape)
    rows, layers = tokens or settings.max_length, shape.layers if depth is None else depth
    return cost_model.assess(shape, settings.lora, card, rows, layers, settings.quantise)
