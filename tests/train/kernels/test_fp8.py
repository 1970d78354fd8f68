"""Products in FP8 are near the true ones, whatever the weights are kept in; the layers keep their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.train.kernels import fp8, ops

WIDTH, HEIGHTS = 128, (192, 64)
NONE = [None, None]  # biases
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def layers(kind: str, device: str = "cpu", heights: tuple[int, ...] = HEIGHTS, width: int = WIDTH) -> list[Any]:
    torch.manual_seed(0)
    made = []
    for height in heights:
        weight = torch.randn(height, width) * torch.logspace(-2, 0, height)[:, None]  # rows of very different sizes
        if kind == "plain":
            layer = torch.nn.Linear(width, height, bias=False)
            layer.weight.data = weight
            made.append(layer.to(device))
            continue
        from bitsandbytes.nn import Linear4bit, Params4bit

        layer = Linear4bit(width, height, False, torch.float32, compress_statistics=True, quant_type="nf4")
        layer.weight = Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
        made.append(layer.to(device))
        ops.flatten_scales(made[-1].weight)
    return made


def error(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found.double() - right.double()).norm() / right.double().norm())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "plain"])
def test_products_are_near_the_true_ones(kind: str, held: bool, device: str) -> None:
    own = layers(kind, device)
    before = [ops.frozen_weight(layer, torch.float32).clone() for layer in own]
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    x = torch.randn(48, WIDTH, device=device).to(dtype)
    x[3] *= 1000  # a row's scale is its own
    dys = [torch.randn(48, height, device=device).to(dtype) for height in HEIGHTS]
    weights = fp8.Weights(own, held)
    outputs, dx = weights.forward(x, NONE), weights.backward(dys)
    for y, weight in zip(outputs, before, strict=True):
        right = x.double() @ weight.double().T
        assert y.dtype == dtype
        assert y.is_contiguous()
        assert error(y, right) < 0.06  # of one row alone, nearly
        assert error(y[4:], right[4:]) < 0.045
    right = sum(dy.double() @ weight.double() for dy, weight in zip(dys, before, strict=True))
    assert error(dx, right) < 0.045
    after = [ops.frozen_weight(layer, torch.float32) for layer in own]
    assert all(map(torch.equal, before, after))
    weights.release()
    assert all(map(torch.equal, weights.forward(x, NONE), outputs))
    assert torch.equal(weights.backward(dys), dx)


def test_weights_are_stored_once() -> None:
    own = layers("nf4")
    weights = fp8.Weights(own, held=False)
    assert isinstance(weights.source, fp8.Nf4)
    first, second = (layer.weight.data.untyped_storage().data_ptr() for layer in own)
    assert first == second == weights.source.codes.untyped_storage().data_ptr()


@pytest.mark.parametrize("device", DEVICES)
def test_nf4_is_expanded_as_bitsandbytes_does_and_rounded_once(device: str) -> None:
    own = layers("nf4", device)
    whole = torch.cat([ops.frozen_weight(layer, torch.float32) for layer in own])
    weights = fp8.Weights(own, held=False)
    scale = np.abs(whole.cpu().numpy()).max(axis=1) / 448
    assert weights.row_scale.cpu().numpy() == pytest.approx(scale, rel=1e-6)
    for found, right, own_scale in (
        (weights.source.rows(weights.row_scale), whole, weights.row_scale),
        (weights.source.columns(weights.column_scale), whole.T, weights.column_scale),
    ):
        wanted = (right / own_scale[:, None]).to(torch.float8_e4m3fn)
        other = (found.float() != wanted.float()).float().mean()
        assert found.shape == right.shape
        assert found.is_contiguous()
        assert float(other) < 1e-3  # a division in another order may round to the neighbour
        assert error(found.float() * own_scale[:, None], right) < 0.03


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_has_one_scale_over_all_its_parts(device: str) -> None:
    parts = [torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.tensor([[896.0], [0.0]]), torch.tensor([[0.5], [0.0]])]
    values, scales = fp8.quantise([part.to(device) for part in parts])
    assert scales.flatten().tolist() == pytest.approx([2.0, 1e-12 / 448])
    assert values.float().tolist() == [[0.5, -1.0, 448.0, 0.25], [0.0, 0.0, 0.0, 0.0]]
    assert values.dtype == torch.float8_e4m3fn


def test_what_the_kernels_do_not_take_is_said() -> None:
    assert fp8.fits(layers("nf4"))
    assert fp8.fits(layers("plain"))
    assert not fp8.fits(layers("plain", heights=(96,)))  # not a multiple of 64
    assert not fp8.fits([*layers("plain"), *layers("nf4")])
    fp4 = layers("nf4")
    fp4[0].weight.quant_state.quant_type = "fp4"
    assert not fp8.fits(fp4)


@pytest.mark.parametrize("kind", ["nf4", "plain"])
def test_a_bias_is_added_as_it_is(kind: str) -> None:
    own = layers(kind)
    x, bias = torch.randn(5, WIDTH), torch.randn(HEIGHTS[1])
    for products in (ops.Expanded(own, torch.float32), fp8.Weights(own, held=False)):
        without, biased = products.forward(x, NONE), products.forward(x, [None, bias])
        assert torch.equal(biased[0], without[0])
        torch.testing.assert_close(biased[1], without[1] + bias)
