"""LoRA on frozen layers with few kernels and little memory: layers that share an input are one step of autograd.

Output contract: `fuse(model)` gives the projections, gated MLPs and RMSNorms that `fusable` names a forward pass with
the same result and the same gradients (to rounding), and returns their groups.
- q, k and v are one step, o is one, the MLP is one. An adapter costs a rank-r product each way, added in place.
- The MLP keeps the products of gate and up, and repeats what lies between them and down in the backward pass. Of an
  input that comes from a norm the residual stream is kept, which the norm keeps anyway, and the norm is repeated. No
  weight is multiplied twice; a frozen weight is dequantised when it is used, and dropped.
- All adapters are cast to the compute type at once, at the start of a forward pass of the decoder.
- A group with `fp8` set multiplies with its frozen weights in FP8 while the decoder trains, in bf16 otherwise.
What `fusable` does not know keeps its own forward pass.
The backward pass is laid out as in Unsloth's `fast_lora` (https://github.com/unslothai/unsloth). Activations and the
rotary embedding are liger-kernel's on CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch.nn.functional import rms_norm

from pipeline.train.kernels import fp8, fusable, ops


class Group:
    """Linear layers that share their input, some with an adapter: y_i = x W_i' + bias_i + scale * x A_i' B_i'."""

    def __init__(self, name: str, layers: list[Any], dtype: torch.dtype) -> None:
        self.name = name  # where in the decoder's layers, and which
        self.fp8: ops.Products | None = None
        self.trains = True
        self.frozen = [layer.get_base_layer() if hasattr(layer, "lora_A") else layer for layer in layers]
        for layer in self.frozen:
            ops.flatten_scales(layer.weight)
        self.plain = ops.Expanded(self.frozen, dtype)
        self.adapted = [layer for layer in layers if hasattr(layer, "lora_A")]
        self.names = [layer.active_adapters[0] for layer in self.adapted]
        named = list(zip(self.adapted, self.names, strict=True))
        self.scale = float(named[0][0].scaling[named[0][1]]) if named else 0.0
        self.down = [layer.lora_A[name].weight for layer, name in named]  # A, (r, in)
        self.up = [layer.lora_B[name].weight for layer, name in named]  # B, (out, r)
        ranks = [len(a) for a in self.down]
        where = dict(zip(map(id, self.adapted), range(len(ranks)), strict=True))
        self.slots = [where.get(id(layer)) for layer in layers]
        self.spans = [slice(sum(ranks[:i]), sum(ranks[: i + 1])) for i in range(len(ranks))]
        self.dtype = dtype
        # in the compute type, renewed by `Casts`: all A under one another, times the scale; each B
        self.a = (
            torch.empty(sum(ranks), self.down[0].shape[1], dtype=dtype, device=self.down[0].device) if ranks else None
        )
        self.b = [torch.empty_like(b, dtype=dtype) for b in self.up]
        self._input: torch.Tensor | None = None
        self._outputs: list[torch.Tensor | None] = []

    def release(self) -> None:
        """Gives up weights that are held in FP8; they are expanded at every use from now on."""
        if isinstance(self.fp8, fp8.Weights):
            self.fp8.release()

    def output(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Returns one layer's output; the first one asked computes all, and the others take theirs."""
        if self._input is not x or self._outputs[index] is None:
            if any(layer.disable_adapters or layer.merged for layer in self.adapted):
                raise RuntimeError("a fused model trains with its adapter: load it anew to look at the base alone")
            self._input = x
            self._outputs = list(_Linears.apply(x.to(self.dtype), self, *_source(x), *self.down, *self.up))
        y, self._outputs[index] = self._outputs[index], None
        if not any(output is not None for output in self._outputs):
            self._input = None
        assert y is not None  # noqa: S101
        return y

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Takes (tokens, in); returns (tokens, out) of each layer, and scale * x A' of the adapters (tokens, all r)."""
        low = None if self.a is None else x @ self.a.T
        biases = [None if layer.bias is None else layer.bias.to(self.dtype) for layer in self.frozen]
        outputs = self._products().forward(x, biases)
        for y, slot in zip(outputs, self.slots, strict=True):
            if slot is not None and low is not None:
                y.addmm_(low[:, self.spans[slot]], self.b[slot].T)
        return outputs, low

    def _products(self) -> ops.Products:
        return self.plain if self.fp8 is None or not self.trains else self.fp8

    def backward(
        self, dys: tuple[torch.Tensor, ...], x: torch.Tensor | None, low: torch.Tensor | None, wants_dx: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """Returns the gradient of x (None unless wanted), and those of all A and all B in float32."""
        dx = self._products().backward(dys) if wants_dx else None
        if low is None or self.a is None or x is None:
            return dx, []
        d_low = torch.empty_like(low)
        d_up: list[torch.Tensor] = []
        for dy, slot in zip(dys, self.slots, strict=True):
            if slot is not None:
                torch.mm(dy, self.b[slot], out=d_low[:, self.spans[slot]])
                d_up.append(ops.float32_product(dy.T, low[:, self.spans[slot]]))
        if dx is not None:
            dx.addmm_(d_low, self.a)
        d_a = ops.float32_product(d_low.T, x).mul_(self.scale)
        return dx, [*(d_a[span] for span in self.spans), *d_up]


class Casts:
    """Keeps the groups' copies of their adapters in the compute type, and tells them whether the decoder trains; a hook
    before its forward pass."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        adapted = [group for group in groups if group.a is not None]
        self.stacks = [group.a for group in adapted]
        self.scales = [group.scale for group in adapted]
        self.copies = [group.a[span] for group in adapted if group.a is not None for span in group.spans]
        self.copies += [b for group in adapted for b in group.b]
        self.sources = [a for group in adapted for a in group.down] + [b for group in adapted for b in group.up]

    def __call__(self, decoder: Any, *_: Any) -> None:
        for group in self.groups:
            group.trains = decoder.training
        if self.copies:
            with torch.no_grad():
                torch._foreach_copy_(self.copies, self.sources)
                torch._foreach_mul_(self.stacks, self.scales)


class _Linears(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed
    """The layers of one group; the adapters' tensors are arguments so that they get their gradients."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: Group, norm: Any, residual: Any, *_: torch.Tensor) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        outputs, low = group.forward(flat)
        ctx.group, ctx.norm = group, norm
        ctx.save_for_backward(None if low is None else flat if residual is None else residual, low)
        return tuple(y.view(*x.shape[:-1], -1) for y in outputs)

    @staticmethod
    def backward(ctx: Any, *dys: torch.Tensor) -> tuple[Any, ...]:
        kept, low = ctx.saved_tensors
        flat = tuple(dy.reshape(-1, dy.shape[-1]) for dy in dys)
        dx, rest = ctx.group.backward(flat, _again(ctx.norm, kept, flat[0].dtype), low, ctx.needs_input_grad[0])
        return None if dx is None else dx.view(*dys[0].shape[:-1], -1), None, None, None, *rest


class _GatedMlp(torch.autograd.Function):  # type: ignore[misc]
    """down(act(gate(x)) * up(x)): two groups, gate and up, and down."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        wide: Group,
        narrow: Group,
        kind: ops.Gate,
        norm: Any,
        residual: Any,
        *_: torch.Tensor,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        (g, u), low = wide.forward(flat)
        (y,), narrow_low = narrow.forward(ops.gate_times(kind, g, u))
        ctx.groups, ctx.kind, ctx.norm = (wide, narrow), kind, norm
        ctx.save_for_backward(None if low is None else flat if residual is None else residual, g, u, low, narrow_low)
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        wide, narrow = ctx.groups
        kept, g, u, low, narrow_low = ctx.saved_tensors
        flat = dy.reshape(-1, dy.shape[-1])
        dh, narrow_rest = narrow.backward(
            (flat,), None if narrow_low is None else ops.gate_times(ctx.kind, g, u), narrow_low, wants_dx=True
        )
        between = ops.gate_times_backward(ctx.kind, dh, g, u)
        del dh
        x = _again(ctx.norm, kept, flat.dtype)
        dx, wide_rest = wide.backward(between, x, low, ctx.needs_input_grad[0])
        return None if dx is None else dx.view(dy.shape), None, None, None, None, None, *wide_rest, *narrow_rest


def _again(norm: Any, kept: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """Returns the input of a layer, (tokens, in), from what was kept of it."""
    if norm is None or kept is None:
        return kept
    with torch.no_grad():
        return norm(kept).reshape(-1, kept.shape[-1]).to(dtype)


def fuse(model: Any) -> list[Group]:
    """Fuses what it knows of a `peft.PeftModel` that is about to be trained; returns its groups of linear layers."""
    causal = model.get_base_model()
    cuda = next(causal.parameters()).is_cuda
    dtype = torch.bfloat16 if cuda else causal.dtype
    if cuda:
        _use_liger(causal)
    for norm in causal.modules():
        if fusable.is_norm(norm):
            norm.forward = MethodType(_norm_forward, norm)
        elif fusable.is_offset_norm(norm):
            norm.factor = 1.0 + norm.weight.detach().float()
            norm.forward = MethodType(_offset_norm_forward, norm)
    modules = list(causal.get_decoder().layers.named_modules())
    groups = [group for name, module in modules for group in _groups(name, module, dtype)]
    causal.get_decoder().register_forward_pre_hook(Casts(groups))
    return groups


def _groups(name: str, module: Any, dtype: torch.dtype) -> Iterator[Group]:
    """Fuses what a module holds; yields the groups of its steps."""
    names = {id(layer): f"{name}.{own}" for own, layer in module.named_children()}

    def group_of(layers: list[Any]) -> Group:
        return Group(" ".join(names[id(layer)] for layer in layers), layers, dtype)

    for layers in fusable.steps(module):
        group = group_of(layers)
        for index, layer in enumerate(layers):
            layer.forward = _member(group, index)
        yield group
    kind = fusable.activation(module)
    if kind is not None and (mlp := fusable.gated_mlp(module)):
        wide, narrow = group_of(mlp[:2]), group_of(mlp[2:])
        module.forward = _gated_mlp(wide, narrow, kind)
        yield from (wide, narrow)


def _member(group: Group, index: int) -> Any:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return group.output(index, x)

    return forward


def _gated_mlp(wide: Group, narrow: Group, kind: ops.Gate) -> Any:
    adapters = [*wide.down, *wide.up, *narrow.down, *narrow.up]

    def forward(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = _GatedMlp.apply(x.to(wide.dtype), wide, narrow, kind, *_source(x), *adapters)
        return y

    return forward


def _norm_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    """RMSNorm in one kernel; its output remembers where it comes from."""
    eps = getattr(self, "variance_epsilon", None)
    y = rms_norm(x, (x.shape[-1],), getattr(self, "weight", None), self.eps if eps is None else eps)
    y.source = (self, x)
    return y


def _offset_norm_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    """The same for Gemma's and Qwen3.5's, in two kernels."""
    y = ops.offset_norm(x, self.factor, self.eps)
    y.source = (self, x)
    return y


def _source(x: torch.Tensor) -> tuple[Any, torch.Tensor | None]:
    """Returns the norm an input comes from and what went into it; Nones for any other input."""
    source: tuple[Any, torch.Tensor | None] = getattr(x, "source", (None, None))
    return source


def _use_liger(causal: Any) -> None:
    """Sets liger's rotary embedding in, for the models whose own is the one that it computes."""
    if causal.config.model_type not in fusable.ROTARY:
        return
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
    except ImportError:
        return
    others = ("rms_norm", "swiglu", "geglu", "cross_entropy", "fused_linear_cross_entropy")
    _apply_liger_kernel_to_instance(causal, rope=True, **dict.fromkeys(others, False))
