"""The engine of a configuration.

Output contract: `load` returns it ready to generate, or raises a `UserError` that says what is missing, and how to get
it. Only the configured engine's packages are imported. `handle` is that of `ray_llm`'s own model deployment.
"""

from __future__ import annotations

from typing import Any

from pipeline.config import Project
from pipeline.run import Run
from serve_app.engines import Engine


def load(project: Project, run: Run, handle: Any = None) -> Engine:
    """Returns the engine of `serve.engine`, its model loaded. Raises `MissingModelError`, `MissingStageError`,
    `IntegrityError`."""
    settings = project.serve
    match settings.engine:
        case "hf":
            from serve_app.engines.hf import HfEngine

            return HfEngine(project, run)
        case "vllm":
            from serve_app.engines.vllm import VllmEngine

            return VllmEngine(project, run)
        case "ray_llm":
            from serve_app.engines.ray_llm import RayLlmEngine

            return RayLlmEngine(project, run, handle)
        case "gguf":
            from serve_app.engines.gguf import GgufEngine

            return GgufEngine(project, run)
        case "url":
            from serve_app.engines.url import UrlEngine

            return UrlEngine(project)
        case "fake":
            from serve_app.engines.fake import FakeEngine

            most, fake = settings.max_input_tokens + settings.max_new_tokens, settings.fake
            return FakeEngine(project.name, most, fake.interval, fake.length)
