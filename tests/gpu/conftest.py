"""Tests on a CUDA device leave transformers as they found it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from pipeline.train.kernels.fusable import ROTARY


@pytest.fixture(autouse=True)
def rotary_embeddings() -> Iterator[None]:
    """Puts back the rotary embeddings that liger-kernel replaces for a whole process, on the CPU too."""
    names = {name.removesuffix("_text") for name in ROTARY}
    modules = [importlib.import_module(f"transformers.models.{name}.modeling_{name}") for name in sorted(names)]
    before = [module.apply_rotary_pos_emb for module in modules]
    yield
    for module, own in zip(modules, before, strict=True):
        module.apply_rotary_pos_emb = own
