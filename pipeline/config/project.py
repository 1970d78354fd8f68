"""One YAML file becomes one frozen `Project`.

Output contract: `load()` returns a fully validated `Project` or raises `ConfigError` naming the file, the key and what
was expected; an unknown key is told with the one that was probably meant.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from pipeline.config.curate import Curate
from pipeline.config.evaluate import Evaluate, Export, Recommend
from pipeline.config.serve import Serve
from pipeline.config.train import Synthesize, Train
from pipeline.config.values import ModelName, PathOrUri, Settings
from pipeline.errors import ConfigError, one_line

REMOVED = {  # settings once, chosen by the code now
    "blocks", "batch_tokens", "batch_size", "bucket_cap", "rows_per_part", "screen_rows", "seconds", "shard_gib",
    "step_tokens", "window",
}  # fmt: skip


class Project(Settings):
    """The whole file: the settings of the project itself, and the sections below."""

    name: str = Field(
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$",
        description="Name of the project and of the served model: letters, digits, `.`, `_` and `-`.",
    )
    base_model: ModelName = Field(
        description="Model that is tuned: a name of the hub, a folder, a GGUF file, or a bundled model."
    )
    chat_template: Literal["default"] | PathOrUri | None = Field(
        None,
        description="Jinja file; `default`: solotune's own, for a base model that has none; null: the model's own.",
    )
    seed: int = Field(0, description="Seed of every random choice.")
    curate: Curate = Curate()
    synthesize: Synthesize = Synthesize()
    recommend: Recommend = Recommend()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    serve: Serve = Serve()


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Returns the keys allowed where a validation error happened, for the `did you mean` of its message."""
    for step in location:
        field = model.model_fields.get(step) if isinstance(step, str) else None
        if field is None:
            continue
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return list(model.model_fields)


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(step) for step in problem["loc"]) or "(top level)"
        if problem["type"] == "extra_forbidden":
            key = str(problem["loc"][-1])
            close = difflib.get_close_matches(key, _known_keys(Project, problem["loc"][:-1]), n=1)
            hint = f", did you mean '{close[0]}'?" if close else ""
            lines.append(f"{where}: {'no longer a setting, delete it' if key in REMOVED else f'unknown key{hint}'}")
        else:
            lines.append(f"{where}: {problem['msg']}")
    return "; ".join(lines)


def load(path: str | Path) -> Project:
    """Reads and validates one YAML file; raises `ConfigError` with every problem in one message."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {one_line(error)}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, at least `name` and `base_model`")
    try:
        return Project.model_validate(raw, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error
