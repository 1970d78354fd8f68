"""`python -m bench.training.products [--tokens N]`: products of a Mistral-7B layer with frozen NF4 weights, in FP8.

Output contract: a line per way to compute them, forward and back to the input: milliseconds a layer (median), the ratio
to bf16; before that a line per group of layers with the relative error of a product. Ways: bf16 with weights expanded
by bitsandbytes at every use; FP8 with weights expanded at every use; FP8 with both layouts held. Then the casts alone.
Random weights, activations with outliers. The owner of another card sees here what FP8 gives there; `bench.training`
says what a whole training gains.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from pipeline.train.kernels import fp8, ops

GROUPS = {  # inputs, outputs
    "q,k,v": (4096, (4096, 1024, 1024)),
    "o": (4096, (4096,)),
    "gate,up": (4096, (14336, 14336)),
    "down": (14336, (4096,)),
}
BF16 = torch.bfloat16


def timed(work: Callable[[], Any], times: int = 10) -> float:
    """Returns the median milliseconds that the device takes."""
    for _ in range(3):
        work()
    took = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        took.append(begin.elapsed_time(end))
    return statistics.median(took)


def make_layers(width: int, heights: tuple[int, ...]) -> list[Any]:
    """Returns NF4 layers of one input."""
    from bitsandbytes.nn import Linear4bit

    made = []
    for height in heights:
        layer = Linear4bit(width, height, bias=False, compute_dtype=BF16, quant_type="nf4")
        made.append(layer.to("cuda"))
        ops.flatten_scales(made[-1].weight)
    return made


def error(found: torch.Tensor, right: torch.Tensor) -> float:
    """Returns the relative error of the first rows, which `right` holds in float64."""
    return float((found[: len(right)].double() - right).norm() / right.norm())


def measure(name: str, tokens: int) -> dict[str, tuple[float, float]]:
    """Prints the errors of a group's products; returns milliseconds forward and back, by way."""
    width, heights = GROUPS[name]
    layers = make_layers(width, heights)
    x = torch.randn(tokens, width, device="cuda", dtype=BF16)
    x[:, :8] *= 20
    dys = [torch.randn(tokens, height, device="cuda", dtype=BF16) * 1e-3 for height in heights]

    def forward() -> list[torch.Tensor]:
        return [x @ ops.frozen_weight(layer, BF16).T for layer in layers]

    def backward() -> torch.Tensor:
        parts = [dy @ ops.frozen_weight(layer, BF16) for dy, layer in zip(dys[:1], layers[:1], strict=True)]
        for dy, layer in zip(dys[1:], layers[1:], strict=True):
            parts[0].addmm_(dy, ops.frozen_weight(layer, BF16))
        return parts[0]

    took = {"bf16": (timed(forward), timed(backward))}
    weights = [ops.frozen_weight(layer, BF16).double() for layer in layers]
    right = x[:64].double() @ weights[0].T
    back = torch.stack([dy[:64].double() @ weight for dy, weight in zip(dys, weights, strict=True)]).sum(0)
    plain = error(forward()[0], right)
    fresh, held = fp8.Weights(layers, held=False), fp8.Weights(layers, held=True)
    source, none = fresh.source, [None] * len(layers)  # biases
    took["FP8, expanded at every use"] = (timed(lambda: fresh.forward(x, none)), timed(lambda: fresh.backward(dys)))
    took["FP8, held"] = (timed(lambda: held.forward(x, none)), timed(lambda: held.backward(dys)))
    took["cast of x, of dy"] = (timed(lambda: fp8.quantise([x])), timed(lambda: fp8.quantise(dys)))
    rows, columns = (lambda: source.rows(fresh.row_scale)), (lambda: source.columns(fresh.column_scale))
    took["NF4 to FP8, turned over"] = (timed(rows), timed(columns))
    print(
        f"{name:10} error forward {error(fresh.forward(x, none)[0], right):.4f}, "
        f"back {error(fresh.backward(dys), back):.4f} (bf16 {plain:.4f})"
    )
    return took


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=16384)
    tokens = parser.parse_args().tokens
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {tokens:,} tokens")
    forward, backward = Counter[str](), Counter[str]()
    for name in GROUPS:
        for way, (there, back) in measure(name, tokens).items():
            forward[way] += there
            backward[way] += back
    whole = forward["bf16"] + backward["bf16"]
    for way in forward:
        ratio = whole / (forward[way] + backward[way])
        print(f"{way:28}{forward[way]:8.3f}{backward[way]:8.3f} ms  {ratio:6.2f}x")


if __name__ == "__main__":
    main()
