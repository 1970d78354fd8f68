"""What a training consists of between two steps: weights, optimizer and random states, in memory and as files.

Output contract: `capture` copies what trains to the CPU, `restore` puts a copy back; `put` writes an object as a file.
Everything is first serialised in memory: a full disk is then Python's `OSError`, not a library's own error.
This module does not know when; `callback` does.
"""

from __future__ import annotations

import copy
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

ADAPTER = "adapter_model.safetensors"
Snapshot = dict[str, Any]


def capture(step: int, model: Any, optimizer: Any) -> Snapshot:
    """Returns the trainable weights and the optimizer's state after a step, copied to the CPU."""
    weights = {name: _copied(value) for name, value in _trainable(model)}
    snapshot = {"step": step, "weights": weights, "optimizer": _copied(optimizer.state_dict())}
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # the copies are under way until then
    return snapshot


def restore(snapshot: Snapshot, model: Any, optimizer: Any) -> None:
    """Puts a snapshot back; it can be put back again later. The optimizer takes its old learning rate with it."""
    with torch.no_grad():
        for name, value in _trainable(model):
            value.copy_(snapshot["weights"][name])
    optimizer.load_state_dict(copy.deepcopy(snapshot["optimizer"]))


def _trainable(model: Any) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


def _copied(value: Any) -> Any:
    """Returns a copy on the CPU of every tensor in dicts and lists; from a GPU into pinned memory, which is quicker."""
    if torch.is_tensor(value):
        copied = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
        return copied.copy_(value.detach(), non_blocking=True)
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def random_state() -> dict[str, Any]:
    """Returns the state of every random generator, as transformers stores it."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}
    return {**states, "cuda": torch.cuda.random.get_rng_state()} if torch.cuda.is_available() else states


def set_random_state(states: dict[str, Any]) -> None:
    """Puts back what `random_state` returned."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.random.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.random.set_rng_state(states["cuda"])


def put(path: Path, value: Any) -> None:
    """Writes what `torch.load(weights_only=True)` reads."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    path.write_bytes(buffer.getbuffer())


def put_adapter(folder: Path, model: Any) -> None:
    """Writes the adapter in peft's format."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    data = save({name: value.contiguous() for name, value in weights.items()}, metadata={"format": "pt"})
    (folder / ADAPTER).write_bytes(data)
    model.peft_config["default"].save_pretrained(str(folder))


def load_adapter(folder: Path, model: Any) -> None:
    """Gives a model the weights of an adapter of its own shape, in place."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / ADAPTER))
