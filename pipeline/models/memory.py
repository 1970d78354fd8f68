"""Where a model is measured, by the memory that is free.

Output contract: `choose_device` names the device and the type in which a whole model is compared with another, as
exact as the memory allows; `fits` whether it can be held at a given size on the device that computes. Both read the
shapes of the weights, and no weights.
This module loads nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pipeline.models import load, safetensors_io


def parameters(folder: Path) -> int:
    """Returns how many numbers the weights in a model folder are."""
    return sum(math.prod(shape) for _, shape in safetensors_io.shapes(folder))


def free_bytes(device: str) -> int:
    """Returns the free bytes of the GPU, or what Linux can still give to processes."""
    import torch

    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def fits(folder: Path, width: int) -> bool:
    """Returns whether a model fits the computing device at `width` bytes per number, with room for a batch."""
    return free_bytes(load.device()) > (width + 1) * parameters(folder)


def choose_device(folder: Path) -> tuple[str, Any]:
    """Returns device and type: float32 on the GPU where it fits, else bf16 there; else on the CPU, likewise."""
    import torch

    count = parameters(folder)
    for device in ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]:
        for dtype, width in ((torch.float32, 4), (torch.bfloat16, 2)):
            if free_bytes(device) > (width + 1) * count:
                return device, dtype
    return "cpu", torch.bfloat16
