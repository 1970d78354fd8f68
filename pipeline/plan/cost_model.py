"""Plan before run: what fits a card, how fast it will be, and what of it is therefore chosen.

Output contract: `choose` returns the fastest `Plan` whose predicted memory fits the card, None where none does. Figures
are predictions: `PLAIN` and `FUSED` hold every coefficient and nothing else is tuned, so a new measurement is put in
there and nowhere else. `docs/training.md` shows the measurements behind them and how far off the model is for each.
This module loads no weights, looks at no GPU and reads no run folder: `resolve_auto` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

from pipeline.plan.cards import Card
from pipeline.plan.shape import Layers, Matrices, Shape

if TYPE_CHECKING:
    from pipeline.config import Lora

GIB = 2**30
SIZES = (1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384)
"""Tokens per packed row that `auto` tries: measured gains end at the last."""

QV = ("q_proj", "v_proj")

Compute = Literal["bf16", "fp8", "fp8_held"]
"""What frozen products are computed in; FP8 expands NF4 at every use, or holds both layouts (`kernels.fp8`)."""


@dataclass(frozen=True)
class Coefficients:
    """What was measured. Bytes are per token and layer, to be multiplied by the width they are named after."""

    # memory: the layers of transformers and peft
    quantised: float = 0.516  # bytes per NF4 parameter, double-quantised scales included
    unquantised: float = 2.0  # bytes per bf16 parameter: embeddings, output matrix, or everything without NF4
    trained: float = 16.0  # bytes per adapter parameter: float32 weight, gradient, two moments of AdamW
    norms: float = 4.0  # x hidden: the inputs of both norms in bf16
    adapted: float = 2.0  # x width of an adapter's input in bf16, once for all adapters that share it
    attention: float = 2.0  # x widths of query, key, value and output in bf16
    mlp: float = 6.0  # x intermediate: gate, its activation and up in bf16
    mlp_adapted: float = 0.5  # x intermediate, when down_proj is adapted
    dropout: float = 1.0  # x width of an adapter's input, for each adapter: its mask
    kept: float = 2.0  # x hidden: all that a recomputed layer keeps, its input
    working: float = 16.0  # x hidden, once: the loss's chunk and the gradients on their way through one layer
    fragments: float = 1.06  # what the allocator holds over what it has handed out
    context_gib: float = 0.6  # the CUDA context and the libraries' workspaces
    # speed, in multiples of the time that the matrix products take at the card's peak
    products: float = 1.15  # how long they really take: scales with the card's peak
    traffic: float = 0.224  # norms, activations, dequantising: scales with the bandwidth
    adapter: float = 0.043  # for each adapted linear layer of a block: small products, scales with the bandwidth
    unpack: float = 2.5  # bytes that dequantising moves per parameter, once in every pass over the layers
    fixed: float = 0.00027  # seconds of the card per layer and pass that a micro-batch costs whatever its size
    starts: float = 0.0026  # seconds that the host takes to start the kernels of a layer, in every pass
    starts_adapter: float = 0.0005  # and for each adapted linear layer of a block
    # of models with fewer parameters than `CAPTURED`, besides: their kernels are too short to fill the card
    short: float = 0.00052  # seconds per layer and pass
    narrow: float = 138.0  # bytes per token and layer, x hidden
    graphs: bool = False  # whether a row of such a model is one CUDA graph, which takes no time of the host's
    # of FP8 instead of bf16
    fp8: float = 0.52  # time of a frozen product
    casts: float = 0.03  # casts of activations and gradients: scales with the bandwidth
    fp8_unpack: float = 4.7  # bytes that expanding NF4 to FP8 moves per parameter, in each of the two layouts
    fp8_held: float = 2.0  # bytes per parameter of a linear layer, where both layouts are held
    starts_fp8: float = 0.0012  # seconds that the host takes besides to start the kernels of a layer, in every pass
    balance: float = 989e12 * 0.8 / 4.8e12  # FLOP per byte of the card that they were measured on, an H200


PLAIN = Coefficients()
FUSED = Coefficients(  # with `fused`: a norm is repeated, gate and up are kept alone, block scales are dequantised
    quantised=0.5625,
    adapted=0.0,
    mlp=4.0,
    mlp_adapted=0.0,
    fragments=1.03,
    traffic=0.176,
    adapter=0.033,
    starts=0.0019,
    starts_adapter=0.00024,
    graphs=True,
)
CAPTURED = 3e9
"""Parameters below which a base is small: its kernels are too short to hide their launches."""
HOST = 0.8
"""Share of the card's time from which the host's is too long for kernel by kernel: it is not equally busy always."""


def coefficients(lora: Lora) -> Coefficients:
    """Returns what was measured for the layers that this recipe trains with: `fused` takes no dropout and no DoRA."""
    return PLAIN if lora.dropout or lora.dora else FUSED


@dataclass(frozen=True)
class Plan:
    """One way to train on one card. `gib` is torch's peak as `max_memory_allocated` counts it, `total_gib` all that the
    card must hold; `mfu` counts 4 FLOP per parameter and token, none for recomputing."""

    card: str
    card_gib: float
    pack_tokens: int
    recompute: int
    layers: int
    gib: float
    total_gib: float
    tokens_per_second: float
    mfu: float
    compute: Compute = "bf16"
    graph: bool = False  # a packed row is one CUDA graph
    assumed: str | None = None

    def hours(self, tokens: float) -> float:
        """Returns the hours that so many tokens take."""
        return tokens / self.tokens_per_second / 3600


def adapted(lora: Lora) -> tuple[str, ...]:
    """Returns the names of the linear layers that get an adapter."""
    if lora.targets == "qv":
        return QV
    if lora.targets == "all-linear":
        return ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    return tuple(lora.targets)


def _targets(layers: Layers, lora: Lora) -> Matrices:
    """Returns the linear layers of a block that get an adapter."""
    if lora.targets == "all-linear":
        return layers.matrices
    return {name: layers.matrices[name] for name in adapted(lora) if name in layers.matrices}


def trainable(shape: Shape, lora: Lora) -> int:
    """Returns how many parameters the adapters have."""
    widths = (kind.count * sum(map(sum, _targets(kind, lora).values())) for kind in shape.kinds)
    return lora.r * sum(widths)


def weights_gib(
    shape: Shape, lora: Lora, quantise: Literal["nf4"] | None, m: Coefficients, compute: Compute = "bf16"
) -> float:
    """Returns the memory of the base and, with gradients and optimiser states, of the adapters."""
    base = shape.linear * (m.quantised if quantise else m.unquantised)
    base += shape.linear * m.fp8_held * (compute == "fp8_held")
    rest = (shape.parameters - shape.linear) * m.unquantised
    return (base + rest + trainable(shape, lora) * m.trained) / GIB


def layer_bytes(shape: Shape, lora: Lora, m: Coefficients) -> float:
    """Returns what a layer that does not recompute keeps for each token, on average over the kinds of layers."""
    return sum(kind.count * _kind_bytes(kind, shape.hidden, lora, m) for kind in shape.kinds) / shape.layers


def _kind_bytes(kind: Layers, hidden: int, lora: Lora, m: Coefficients) -> float:
    targets = _targets(kind, lora)
    *into_mixer, out_of_mixer = kind.mixer
    *into_mlp, out_of_mlp = kind.mlp
    attended = sum(kind.mixer[name][0] for name in into_mixer) + kind.mixer[out_of_mixer][1]
    shared = any(name in targets for name in into_mixer) + any(name in targets for name in into_mlp)
    return (
        m.norms * hidden
        + m.adapted * hidden * shared
        + m.attention * attended
        + (m.mlp + (m.mlp_adapted if out_of_mlp in targets else 0.0)) * kind.mlp[out_of_mlp][1]
        + (m.dropout * sum(into for _, into in targets.values()) if lora.dropout else 0.0)
    )


def peak_gib(
    shape: Shape,
    lora: Lora,
    tokens: int,
    recompute: int,
    quantise: Literal["nf4"] | None,
    m: Coefficients,
    compute: Compute = "bf16",
) -> float:
    """Returns the predicted peak of allocated memory, for micro-batches of `tokens` and `recompute` bottom layers that
    keep nothing.

    The upper layers' activations are free again when the first recomputed layer makes its own.
    """
    whole, input_alone = layer_bytes(shape, lora, m), m.kept * shape.hidden
    upper = (shape.layers - recompute) * whole
    kept = recompute * input_alone + max(upper, whole) + m.working * shape.hidden
    return weights_gib(shape, lora, quantise, m, compute) + tokens * kept / GIB


def total_gib(peak: float, m: Coefficients) -> float:
    """Returns what the card must hold for a peak of allocated memory."""
    return peak * m.fragments + m.context_gib


def flop_per_token(shape: Shape) -> float:
    """Returns 4 FLOP per parameter in a matrix product: forward, and backward through activations. Frozen weights get
    no gradient; attention itself and adapters count for nothing at a few hundred tokens per example."""
    return 4.0 * (shape.linear + shape.head)


def rate(
    shape: Shape, lora: Lora, tokens: int, recompute: int, card: Card, m: Coefficients, compute: Compute = "bf16"
) -> tuple[float, bool]:
    """Returns predicted tokens per second, and whether a row is one CUDA graph. The rate is that of the card or that of
    the host that starts its kernels, whichever is lower; a graph takes no time of the host's, and is taken where the
    host would be slower. Of the card's time the matrix products scale with its peak, the rest with its bandwidth."""
    passes = 2.0 + recompute / shape.layers
    frozen = 2.0 * shape.linear * passes
    flop = 4.0 * shape.head + frozen
    modules = sum(kind.count * len(_targets(kind, lora)) for kind in shape.kinds)
    traffic = (m.traffic + m.adapter * modules / shape.layers) / (m.balance * card.bandwidth)
    each, unpack, starts = flop * (m.products / card.peak + traffic), m.unpack, m.starts
    if compute != "bf16":
        each += frozen * ((m.fp8 - 1.0) * m.products / card.peak + m.casts / (m.balance * card.bandwidth))
        unpack, starts = (m.fp8_unpack if compute == "fp8" else 0.0), starts + m.starts_fp8
    taken = tokens * each + passes * (m.fixed * shape.layers + unpack * shape.linear / card.bandwidth)
    if shape.parameters < CAPTURED:
        taken += m.narrow * tokens * shape.layers * shape.hidden / card.bandwidth + passes * m.short * shape.layers
    host = passes * (starts * shape.layers + m.starts_adapter * modules)
    graph = m.graphs and not recompute and _attends(shape) and (host > HOST * taken or shape.parameters < CAPTURED)
    return tokens / (taken if graph else max(taken, host)), graph


def _attends(shape: Shape) -> bool:
    """Tells whether every layer is one of attention, without a state that goes from token to token."""
    return all({"q_proj", "qkv_proj"} & kind.mixer.keys() for kind in shape.kinds)


def assess(
    shape: Shape,
    lora: Lora,
    card: Card,
    pack_tokens: int,
    recompute: int,
    quantise: Literal["nf4"] | None = "nf4",
    m: Coefficients | None = None,
    compute: Compute = "bf16",
) -> Plan:
    """Returns the plan with just these choices, whether it fits or not. `m`: the recipe's own unless given."""
    m = m or coefficients(lora)
    peak = peak_gib(shape, lora, pack_tokens, recompute, quantise, m, compute)
    speed, graph = rate(shape, lora, pack_tokens, recompute, card, m, compute)
    mfu = speed * flop_per_token(shape) / card.peak
    return Plan(
        card.name,
        card.gib,
        pack_tokens,
        recompute,
        shape.layers,
        round(peak, 2),
        round(total_gib(peak, m), 2),
        round(speed, 1),
        round(mfu, 4),
        compute,
        graph,
        card.assumed,
    )


def choose(
    shape: Shape,
    lora: Lora,
    card: Card,
    max_length: int,
    pack_tokens: int | None = None,
    recompute: int | None = None,
    quantise: Literal["nf4"] | None = "nf4",
    m: Coefficients | None = None,
    computes: Sequence[Compute] = ("bf16",),
) -> Plan | None:
    """Returns the fastest plan that fits, None where none does; what is given is not chosen.

    Packed rows hold the longest example. Of equally fast plans the one with smaller packed rows is taken.
    """
    sizes = [pack_tokens] if pack_tokens else sorted({size for size in SIZES if size > max_length} | {max_length})
    best: Plan | None = None
    for size, compute in product(sizes, computes):
        for count in range(shape.layers + 1) if recompute is None else (recompute,):
            plan = assess(shape, lora, card, size, count, quantise, m, compute)
            if plan.total_gib <= card.gib:
                if best is None or plan.tokens_per_second > best.tokens_per_second:
                    best = plan
                break
    return best
