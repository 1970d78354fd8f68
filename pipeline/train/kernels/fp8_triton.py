"""The casts of `fp8` on CUDA: a row to e4m3, NF4 to e4m3 in the layout that a product wants. Each is one kernel.

Output contract: what `fp8` computes on a CPU, to rounding, for weights of up to 2^31 values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from pipeline.train.kernels.fp8 import E4M3

PARTS = 4  # tensors beside one another that `quantise` takes
FLAT = 4096  # values of a weight that a program expands
TILE = 128  # outputs, and inputs, of a weight that a program turns over


@triton.jit
def _largest(x, row, stride, width: tl.constexpr, room: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.arange(0, room)
    values = tl.load(x + row * stride + at, mask=at < width, other=0)
    return values, tl.max(tl.abs(values).to(tl.float32), 0)


@triton.jit
def _write(values, factor, y, width: tl.constexpr, room: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.arange(0, room)
    tl.store(y + at, (values.to(tl.float32) * factor).to(tl.float8e4nv), mask=at < width)


@triton.jit
def _quantise(  # type: ignore[no-untyped-def]
    x0, x1, x2, x3, stride0, stride1, stride2, stride3, y, scales,
    w0: tl.constexpr, w1: tl.constexpr, w2: tl.constexpr, w3: tl.constexpr,
    room0: tl.constexpr, room1: tl.constexpr, room2: tl.constexpr, room3: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    values0, most = _largest(x0, row, stride0, w0, room0)  # a row stays in registers between its two uses
    if w1 > 0:
        values1, most1 = _largest(x1, row, stride1, w1, room1)
        most = tl.maximum(most, most1)
    if w2 > 0:
        values2, most2 = _largest(x2, row, stride2, w2, room2)
        most = tl.maximum(most, most2)
    if w3 > 0:
        values3, most3 = _largest(x3, row, stride3, w3, room3)
        most = tl.maximum(most, most3)
    most = tl.maximum(most, 1e-12)
    tl.store(scales + row, most / 448.0)
    factor = 448.0 / most
    out = y + row * (w0 + w1 + w2 + w3)
    _write(values0, factor, out, w0, room0)
    if w1 > 0:
        _write(values1, factor, out + w0, w1, room1)
    if w2 > 0:
        _write(values2, factor, out + w0 + w1, w2, room2)
    if w3 > 0:
        _write(values3, factor, out + w0 + w1 + w2, w3, room3)


def quantise(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes up to `PARTS` tensors of (tokens, width); returns them beside one another in e4m3, and the rows' scales."""
    parts = [part if part.stride(1) == 1 else part.contiguous() for part in parts]
    tokens, missing = len(parts[0]), PARTS - len(parts)
    widths = [part.shape[1] for part in parts]
    y = torch.empty(tokens, sum(widths), dtype=E4M3, device=parts[0].device)
    scales = torch.empty(tokens, 1, dtype=torch.float32, device=y.device)
    inputs = [*parts, *parts[:1] * missing]
    rooms = [*map(triton.next_power_of_2, widths), *[1] * missing]
    warps = 8 if max(rooms) <= 1 << 14 else 16
    strides = [part.stride(0) for part in inputs]
    _quantise[(tokens,)](*inputs, *strides, y, scales, *widths, *[0] * missing, *rooms, num_warps=warps)
    return y, scales


@triton.jit
def _nf4_rows(codes, blocks, levels, scales, out, width: tl.constexpr, flat: tl.constexpr):  # type: ignore[no-untyped-def]
    half = tl.program_id(0) * (flat // 2) + tl.arange(0, flat // 2)
    byte = tl.load(codes + half).to(tl.int32)
    scale = tl.load(blocks + half // 32) / tl.load(scales + half // (width // 2))
    high = tl.load(levels + (byte >> 4)) * scale
    low = tl.load(levels + (byte & 15)) * scale
    at = tl.program_id(0).to(tl.int64) * flat + tl.arange(0, flat)
    tl.store(out + at, tl.interleave(high, low).to(tl.float8e4nv))


@triton.jit
def _nf4_columns(codes, blocks, levels, scales, out, height, width, tile: tl.constexpr):  # type: ignore[no-untyped-def]
    rows = tl.program_id(0) * tile + tl.arange(0, tile)
    halves = tl.program_id(1) * (tile // 2) + tl.arange(0, tile // 2)
    inside = halves < width // 2
    there = (rows[None, :] < height) & inside[:, None]
    half = rows[None, :] * (width // 2) + halves[:, None]
    byte = tl.load(codes + half, mask=there, other=0).to(tl.int32)
    scale = tl.load(blocks + half // 32, mask=there, other=0)
    even = scale / tl.load(scales + 2 * halves, mask=inside, other=1)[:, None]
    odd = scale / tl.load(scales + 2 * halves + 1, mask=inside, other=1)[:, None]
    high = tl.load(levels + (byte >> 4)) * even
    low = tl.load(levels + (byte & 15)) * odd
    at = (2 * halves)[:, None].to(tl.int64) * height + rows[None, :]
    tl.store(out + at, high.to(tl.float8e4nv), mask=there)
    tl.store(out + at + height, low.to(tl.float8e4nv), mask=there)


def nf4_rows(
    codes: torch.Tensor, blocks: torch.Tensor, levels: torch.Tensor, scale: torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """Returns (out, in) in e4m3: NF4 expanded, its rows divided by their scales."""
    out = torch.empty(shape, dtype=E4M3, device=codes.device)
    _nf4_rows[(out.numel() // FLAT,)](codes, blocks, levels, scale, out, shape[1], FLAT)
    return out


def nf4_columns(
    codes: torch.Tensor, blocks: torch.Tensor, levels: torch.Tensor, scale: torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """Returns (in, out) in e4m3: NF4 expanded and turned over, its rows divided by their scales."""
    height, width = shape
    out = torch.empty((width, height), dtype=E4M3, device=codes.device)
    _nf4_columns[triton.cdiv(height, TILE), triton.cdiv(width, TILE)](
        codes, blocks, levels, scale, out, height, width, TILE
    )
    return out
