"""Products with frozen weights in FP8, forward and back to the input.

Output contract: `Weights` holds what layers of one input multiply with; `forward` gives x W' of each, `backward` the
sum of dy W. Values are e4m3, whose largest is 448. A row of an activation or gradient has one scale, so has a row of W
(an output channel) on the way forward and a column (an input channel) on the way back. A product's relative error is
about 3.7 %, where NF4's own is 9.2 %. On CUDA the casts are Triton kernels; on a CPU the same values come from torch.
This module decides nothing: `fp8_check` says which layers take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import ScalingType, scaled_mm

from pipeline.train.kernels import ops

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0  # of e4m3
LEAST = 1e-12  # a row of zeros has a scale, too
MULTIPLE = 64  # of both widths: NF4's blocks do not cross a row, and the products' kernels want 16


class Weights:
    """`ops.Products` in FP8. The weights lie one under another, (all outputs, in).

    `held` keeps both layouts in FP8, 2 bytes a parameter; otherwise each product expands the layout it wants.
    The layers' own weights become views of one tensor, so nothing is stored twice.
    """

    def __init__(self, layers: Sequence[Any], held: bool) -> None:
        self.sizes = [layer.out_features for layer in layers]
        self.source = source_of(layers)
        rows, columns = self.source.largest()
        self.row_scale = rows.clamp_(min=LEAST).div_(LARGEST)
        self.column_scale = columns.clamp_(min=LEAST).div_(LARGEST)
        self._held = (self.source.rows(self.row_scale), self.source.columns(self.column_scale)) if held else None

    def release(self) -> None:
        """Gives up the copies that are held."""
        self._held = None

    def forward(self, x: torch.Tensor, biases: ops.Biases) -> list[torch.Tensor]:
        """See `ops.Products`."""
        x8, scale = quantise([x])
        weights = self.source.rows(self.row_scale) if self._held is None else self._held[0]
        parts = zip(weights.split(self.sizes), self.row_scale.split(self.sizes), strict=True)
        products = [_product(x8, weight.t(), scale, own[None], x.dtype) for weight, own in parts]
        return [y if bias is None else y.add_(bias) for y, bias in zip(products, biases, strict=True)]

    def backward(self, dys: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `ops.Products`."""
        dy8, scale = quantise(dys)
        weights = self.source.columns(self.column_scale) if self._held is None else self._held[1]
        return _product(dy8, weights.t(), scale, self.column_scale[None], dys[0].dtype)


def fits(layers: Sequence[Any]) -> bool:
    """Tells whether layers have widths that the kernels take, and weights of one kind: NF4 or plain."""
    states = [getattr(layer.weight, "quant_state", None) for layer in layers]
    nf4 = all(state is not None and state.quant_type == "nf4" and state.blocksize == Nf4.BLOCK for state in states)
    plain = not any(states)
    return (nf4 or plain) and all(
        layer.in_features % MULTIPLE == 0 and layer.out_features % MULTIPLE == 0 for layer in layers
    )


def quantise(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes tensors of (tokens, width), beside one another one row; returns it in e4m3, (tokens, all widths), and its
    scales in float32, (tokens, 1)."""
    if parts[0].is_cuda:
        from pipeline.train.kernels import fp8_triton

        return fp8_triton.quantise(parts)
    whole = torch.cat([part.float() for part in parts], dim=1)
    scale = whole.abs().amax(1, keepdim=True).clamp_(min=LEAST).div_(LARGEST)
    return (whole / scale).to(E4M3), scale


def _product(left: Any, right: Any, left_scale: Any, right_scale: Any, dtype: torch.dtype) -> torch.Tensor:
    product: torch.Tensor = scaled_mm(
        left,
        right,
        left_scale,
        ScalingType.RowWise,
        right_scale,
        ScalingType.RowWise,
        output_dtype=dtype,
        use_fast_accum=True,
    )
    return product


class Plain:
    """Weights that are not quantised, in bf16 or float32."""

    def __init__(self, layers: Sequence[Any]) -> None:
        whole = torch.cat([layer.weight.detach() for layer in layers])
        for layer, weight in zip(layers, whole.split([layer.out_features for layer in layers]), strict=True):
            layer.weight.data = weight
        self.whole = whole

    def largest(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the largest absolute values of each row and of each column, in float32."""
        return self.whole.abs().amax(1).float(), self.whole.abs().amax(0).float()

    def rows(self, scale: torch.Tensor) -> torch.Tensor:
        """Returns (out, in) in e4m3, its rows divided by their scales."""
        return (self.whole / scale[:, None].to(self.whole)).to(E4M3)

    def columns(self, scale: torch.Tensor) -> torch.Tensor:
        """Returns (in, out) in e4m3, its rows divided by their scales."""
        return (self.whole.t() / scale[:, None].to(self.whole)).to(E4M3, memory_format=torch.contiguous_format)


class Nf4:
    """Weights in NF4: two codes in a byte, a scale for each block of 64."""

    BLOCK = 64

    def __init__(self, layers: Sequence[Any]) -> None:
        states = [layer.weight.quant_state for layer in layers]
        self.shape = (sum(layer.out_features for layer in layers), layers[0].in_features)
        self.codes = torch.cat([layer.weight.data.view(-1) for layer in layers])
        self.blocks = torch.cat([state.absmax for state in states])
        self.levels = states[0].code.float()
        numbers = [layer.out_features * layer.in_features for layer in layers]
        codes = self.codes.split([number // 2 for number in numbers])
        blocks = self.blocks.split([number // self.BLOCK for number in numbers])
        for layer, own, scales in zip(layers, codes, blocks, strict=True):
            layer.weight.data = own[:, None]
            layer.weight.quant_state.absmax = scales

    def largest(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the largest absolute values of each row and of each column, in float32."""
        rows, columns = [], torch.zeros(self.shape[1], device=self.codes.device)
        for start in range(0, self.shape[0], 1024):
            whole = self._expanded(start, min(start + 1024, self.shape[0])).abs_()
            rows.append(whole.amax(1))
            torch.maximum(columns, whole.amax(0), out=columns)
        return torch.cat(rows), columns

    def rows(self, scale: torch.Tensor) -> torch.Tensor:
        """Returns (out, in) in e4m3, its rows divided by their scales."""
        if self.codes.is_cuda:
            from pipeline.train.kernels import fp8_triton

            return fp8_triton.nf4_rows(self.codes, self.blocks, self.levels, scale, self.shape)
        return (self._expanded(0, self.shape[0]) / scale[:, None]).to(E4M3)

    def columns(self, scale: torch.Tensor) -> torch.Tensor:
        """Returns (in, out) in e4m3, its rows divided by their scales."""
        if self.codes.is_cuda:
            from pipeline.train.kernels import fp8_triton

            return fp8_triton.nf4_columns(self.codes, self.blocks, self.levels, scale, self.shape)
        return (self._expanded(0, self.shape[0]).t() / scale[:, None]).contiguous().to(E4M3)

    def _expanded(self, start: int, end: int) -> torch.Tensor:
        """Returns rows start to end in float32."""
        width = self.shape[1]
        codes = self.codes[start * width // 2 : end * width // 2]
        both = torch.stack((codes >> 4, codes & 15), dim=1).view(-1, self.BLOCK)
        scales = self.blocks[start * width // self.BLOCK : end * width // self.BLOCK]
        return (self.levels[both.int()] * scales[:, None]).view(end - start, width)


def source_of(layers: Sequence[Any]) -> Plain | Nf4:
    """Returns the weights of layers as one matrix; they become views of it."""
    if getattr(layers[0].weight, "quant_state", None) is None:
        return Plain(layers)
    for layer in layers:
        ops.flatten_scales(layer.weight)
    return Nf4(layers)
