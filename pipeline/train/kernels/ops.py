"""What the fused layers compute with: frozen weights, quantised or not, products in float32, and SiLU times a factor.

Output contract: each function gives what its formula says, to rounding, on CPU and CUDA. On CUDA SiLU is liger-kernel's
where that is installed.
This module knows no layers, no adapters and no autograd.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import silu


def flatten_scales(weight: Any) -> None:
    """Dequantises the block scales of a doubly quantised weight, once: 1.6 % more memory, two kernels less per use."""
    state = getattr(weight, "quant_state", None)
    if state is not None and state.nested:
        from bitsandbytes.functional import dequantize_blockwise

        state.absmax = (dequantize_blockwise(state.absmax, state.state2) + state.offset).float()
        state.nested, state.offset, state.state2 = False, None, None


def frozen_weight(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """Returns a frozen layer's weight (out, in)."""
    weight = layer.weight
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight.detach().to(dtype)
    whole = torch.ops.bitsandbytes.dequantize_4bit(
        weight.data, state.absmax, state.blocksize, state.quant_type, state.shape, state.dtype
    )
    return whole.to(dtype)


def float32_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Returns left @ right in float32."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).float()


def silu_times(g: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Returns silu(g) * u."""
    liger = _liger_swiglu() if g.is_cuda else None
    if liger is not None:
        return liger[0](g, u)[2]
    return silu(g).mul_(u)


def silu_times_backward(dh: Any, g: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the gradients of g and u; liger's kernel writes them over the two, which nobody needs any more."""
    liger = _liger_swiglu() if g.is_cuda else None
    if liger is not None:
        dg, du = liger[1](g, u, dh)
        return dg, du
    gate = torch.sigmoid(g)
    product = g * gate
    return dh * u * (gate + product * (1 - gate)), dh * product


@lru_cache(maxsize=1)
def _liger_swiglu() -> Any:
    """Returns liger's forward and backward kernels of silu(a) * b, None where the package is not installed."""
    try:
        from liger_kernel.ops.swiglu import swiglu_backward, swiglu_forward
    except ImportError:
        return None
    return swiglu_forward, swiglu_backward
