"""The shape of any model by its name: a folder, the hub's cache, or the table of presets.

Output contract: `shape_of` reads the shape of a proven model from its `config.json`, or refuses it with the reason.
This module downloads nothing and computes no plan.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, MissingModelError
from pipeline.models.load import find_folder
from pipeline.plan.presets import PRESETS
from pipeline.plan.shape import Shape, shape_in


def folder_of(name: str) -> Path | None:
    """Returns the folder of a model that is on this machine, None for another; downloads nothing.

    Raises what `find_folder` raises for a path.
    """
    if Path(name).is_absolute():
        folder = find_folder(name)
        return folder if (folder / "config.json").is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json") if name.count("/") == 1 else None
    return Path(cached).parent if isinstance(cached, str) else None


def config_of(name: str) -> dict[str, Any]:
    """Returns the `config.json` of a folder's or a cached hub model, or a preset's by hub name.

    Raises `MissingModelError` where there is neither, and `ConfigError` for a file that is no JSON object.
    """
    place = folder_of(name)
    if place is None:
        for preset in PRESETS:
            if preset.hub.lower() == name.lower():
                return preset.config
        raise MissingModelError(f"no config.json of {name}: give a local folder, or download the model first")
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{name}: its config.json is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{name}: its config.json is no JSON object")
    return config


def shape_of(name: str) -> Shape:
    """Returns the shape of a model by its name; raises what `config_of` does, and `ConfigError` for a model that cannot
    be trained here."""
    return shape_in(config_of(name), name)
