"""A packed row's loss and gradients as one CUDA graph: short kernels run faster than a host can launch them.

Output contract: a `RowGraph` takes a row as `trainer.PackedRows` gives it and returns its summed loss over `items`; the
gradients are added to the parameters' own. Both are those of the eager step to rounding. The first row is captured at
the size of the longest: shorter ones are filled up with examples that nothing is learnt from.
This module does not decide whether the graph pays (`cost_model` does) and does not step the optimizer.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from pipeline.config import Train
from pipeline.models.load import release
from pipeline.models.template import IGNORED
from pipeline.train.kernels import batches, loss

WARM_UP = 3  # eager steps before the capture: kernels are compiled and workspaces allocated in them


def possible(causal: Any, settings: Train) -> bool:
    """Tells whether a model's steps can be captured: nothing random, nothing recomputed, rows packed."""
    plain = not (settings.neftune_alpha or settings.lora.dropout or settings.lora.dora or settings.recompute)
    return plain and causal.device.type == "cuda" and batches.is_packed(causal) and batches.is_one_graph(causal)


class RowGraph:
    """The graph of one model and one `PACKED` table."""

    def __init__(self, causal: Any, rows: pa.Table) -> None:
        lengths = rows["seq_lengths"].combine_chunks()
        self._causal = causal
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss, self._captured = torch.zeros(()), tuple[torch.Tensor, ...]()
        self._parameters = [parameter for parameter in causal.parameters() if parameter.requires_grad]
        self._gradients = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._longest = int(pc.max(lengths.values).as_py())
        tokens = int(pc.max(pc.list_value_length(rows["input_ids"])).as_py())
        answers = max(int((labels.values.to_numpy() != IGNORED).sum()) for labels in rows["labels"])
        ends = int(pc.max(pc.list_value_length(lengths)).as_py()) + 1 + -(-tokens // self._longest)
        whole = {"dtype": torch.long, "device": causal.device}
        self._row: dict[str, Any] = {
            "input_ids": torch.zeros(1, tokens, **whole),
            "position_ids": torch.zeros(1, tokens, **whole),
            "cu_seq_lens_q": torch.zeros(ends, dtype=torch.int32, device=causal.device),
            "max_length_q": self._longest,
        }
        self._places, self._targets = torch.zeros(answers, **whole), torch.zeros(answers, **whole)
        self._weights = torch.zeros(answers, device=causal.device)
        self._items = torch.ones((), device=causal.device)
        self._ramp = torch.arange(1, ends + 1, dtype=torch.int32, device=causal.device)

    @property
    def captured(self) -> bool:
        """Whether a row has been captured."""
        return self._graph is not None

    def takes(self, row: dict[str, Any]) -> bool:
        """Tells whether a row fits the graph."""
        return len(row["answers"]) <= len(self._places) and row["max_length_q"] <= self._longest

    def __call__(self, row: dict[str, Any], items: Any) -> torch.Tensor:
        """Returns the row's loss and adds its gradients; raises what the capture raises."""
        self._fill(row, items)
        graph = self._graph = self._graph or self._capture()
        graph.replay()
        if all(parameter.grad is None for parameter in self._parameters):
            torch._foreach_copy_(self._gradients, self._captured)
            for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
                parameter.grad = gradient
        else:
            torch._foreach_add_([parameter.grad for parameter in self._parameters], self._captured)
        return self._loss.clone()

    def _fill(self, row: dict[str, Any], items: Any) -> None:
        """Copies a row to where the graph reads; nothing is read from the device."""
        length, count, ends = row["input_ids"].shape[1], len(row["answers"]), len(row["cu_seq_lens_q"])
        for name in ("input_ids", "position_ids"):
            self._row[name][:, :length].copy_(row[name])
            self._row[name][:, length:].zero_()
        bounds = self._row["cu_seq_lens_q"]
        bounds[:ends].copy_(row["cu_seq_lens_q"])
        rest = self._ramp[: len(bounds) - ends] * self._longest + length
        bounds[ends:].copy_(rest.clamp_(max=self._row["input_ids"].shape[1]))
        for target, values in (
            (self._places, row["answers"]),
            (self._targets, row["labels"][0][row["answers"] + 1]),
            (self._weights, torch.ones_like(row["answers"], dtype=torch.float32)),
        ):
            target[:count].copy_(values)
            target[count:].zero_()
        self._items.copy_(torch.as_tensor(items))

    def _eager(self) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            hidden = self._causal.get_decoder()(**batches.arguments(self._causal, self._row)).last_hidden_state
            summed = loss.weighted_loss(self._causal, hidden[0], self._places, self._targets, self._weights)
        mean = summed / self._items
        return mean.detach(), torch.autograd.grad(mean, self._parameters)

    def _capture(self) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._eager()
        torch.cuda.current_stream().wait_stream(side)
        release()  # a graph has memory of its own: what the warm-up took would be there twice
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._loss, self._captured = self._eager()
        return graph
