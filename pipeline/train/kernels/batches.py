"""A packed row through a decoder: as it is where its examples are kept apart, else as a padded batch of them.

Output contract: `implementation` names the attention a model is loaded with: `packed` where packed rows are proven not
to see each other on this device, else `sdpa`. `arguments` are what the decoder is called with for a row, `in_row` puts
its hidden states back into the row's order. A padded batch is padded at the right and needs no mask: what comes later
reaches no earlier token, neither through causal attention nor through a recurrent state or a causal convolution.
This module does not decide which examples share a row: `pack` does.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from pipeline.train.kernels import delta_net, packed_attention


def implementation(packs: Literal["always", "gpu", "never"], device: str) -> str:
    """Returns the attention to load with an architecture of which `packs` is known, on a device."""
    if packs == "always" or (packs == "gpu" and device.startswith("cuda") and delta_net.installed()):
        return packed_attention.register()
    return "sdpa"


def prepare(causal: Any) -> None:
    """Readies a model that was loaded with an `implementation` for its rows; raises `ConfigError` for one whose kernels
    do not keep examples apart."""
    if is_packed(causal) and delta_net.used_by(causal):
        delta_net.keep_apart(causal)
        delta_net.check(causal)


def is_packed(causal: Any) -> bool:
    """Tells whether a model takes packed rows as they are."""
    return bool(causal.config._attn_implementation == packed_attention.NAME)


def is_one_graph(causal: Any) -> bool:
    """Tells whether packed rows of other lengths take the same kernels with the same arguments, all on the device.

    Not those of a delta net, whose kernels get a list of chunks that the host has made of one row's bounds (and keeps
    by the tensor that holds them), nor heads so wide that the host calls attention once per example.
    """
    heads = [getattr(module, "head_dim", 0) for module in causal.get_decoder().modules()]
    return not delta_net.used_by(causal) and max(heads) <= packed_attention.widest(causal.device)


def arguments(causal: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Returns a decoder's arguments for one packed row, as `trainer.PackedRows` gives it."""
    if not is_packed(causal):
        return {"input_ids": _padded(row), "use_cache": False}
    taken = {name: row[name] for name in ("input_ids", "position_ids", "cu_seq_lens_q", "max_length_q")}
    if delta_net.used_by(causal):
        taken["seq_idx"] = _numbers(row).to(torch.int32)[None]
    return {**taken, "use_cache": False}


def in_row(causal: Any, row: dict[str, Any], states: torch.Tensor) -> torch.Tensor:
    """Takes what a decoder made of `arguments`, (batch, length, width); returns (tokens, width) in the row's order."""
    return states[0] if is_packed(causal) else states.flatten(0, 1).index_select(0, _places(row))


def _numbers(row: dict[str, Any]) -> torch.Tensor:
    """Returns which of the row's examples each token belongs to, (tokens,)."""
    ends, tokens = row["cu_seq_lens_q"], row["input_ids"].shape[1]
    count = torch.arange(len(ends) - 1, device=ends.device)
    return count.repeat_interleave(ends.diff(), output_size=tokens)  # nothing is read from the device


def _places(row: dict[str, Any]) -> torch.Tensor:
    """Returns where in the flat padded batch each token of the row is, (tokens,)."""
    return _numbers(row) * row["max_length_q"] + row["position_ids"][0]


def _padded(row: dict[str, Any]) -> torch.Tensor:
    """Returns the row's token ids, (examples, longest), padded with 0."""
    shape = (len(row["cu_seq_lens_q"]) - 1, row["max_length_q"])
    ids = row["input_ids"].new_zeros(shape[0] * shape[1])
    return ids.index_copy_(0, _places(row), row["input_ids"][0]).view(shape)
