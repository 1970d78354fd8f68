"""What settings are made of: frozen models that refuse unknown keys, and the kinds of value that several sections have.

Output contract: a value that passes is used as it is: paths are absolute, expressions compile. The folder that relative
paths are seen from comes with the validation's context (`folder`). No section is defined here.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from pipeline.storage import cache_folder

ASSETS = Path(__file__).parent.parent.parent / "assets"
FETCHED = {"smollm2"}  # models that `jobs.fetch` puts into this user's cache


def model_path(name: str) -> str:
    """Returns the folder of a model that comes with the project or is fetched; any other name as it is."""
    if name in FETCHED:
        return str(cache_folder() / "models" / name)
    bundled = ASSETS / name
    return str(bundled) if name and not set(name) & set("/.") and bundled.is_dir() else name


def _beside(value: Any, info: ValidationInfo) -> Any:
    """Makes a path absolute, seen from the configuration file's folder; a URI stays as it is."""
    folder = (info.context or {}).get("folder")
    if not isinstance(value, str) or folder is None or "://" in value:
        return value
    return str((Path(folder) / Path(value).expanduser()).resolve())


def _model(value: Any, info: ValidationInfo) -> Any:
    """Tells a path from a name: what begins like a path is one, and so is what lies beside the configuration file."""
    if not isinstance(value, str):
        return value
    bundled, beside = model_path(value), _beside(value, info)
    if bundled != value:
        return bundled
    return beside if value.startswith((".", "/", "~")) or (beside != value and Path(beside).exists()) else value


def _kind(words: str) -> Any:
    """Names what a text stands for, in the JSON schema and so in the configuration reference."""
    return Field(json_schema_extra={"format": words})


ModelName = Annotated[str, BeforeValidator(_model), _kind("model name or path")]
"""In this order: the name of a model that comes with the project (`tiny-base`, `toxicity-small`, `ner-small`) or that
`jobs.fetch` fetches (`smollm2`), which becomes its path; a path, which begins with `.`, `/` or `~` or leads to
something when seen from the configuration file's folder; else a name of the hub (`org/model`) or of whatever the
setting names."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
LanguageCode = Annotated[str, _kind("language code")]  # ISO 639-1


def _compiles(value: str) -> str:
    """Refuses what is no regular expression, and one that matches where nothing stands."""
    try:
        expression = re.compile(value, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if any(match.group() == "" for text in ("", "a 1", "\n") for match in expression.finditer(text)):
        raise ValueError("matches the empty text: every number would be found everywhere")
    return value


def _decodes(name: str) -> str:
    """Refuses what is no encoding of texts that Python knows."""
    try:
        "a".encode(name)
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError) as error:
        raise ValueError(
            "not an encoding that Python knows; cp1250, cp1252, mac_roman and utf-16-le are some"
        ) from error
    return name


PathOrUri = Annotated[str, BeforeValidator(_beside), _kind("path")]
TypeName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$"), _kind("type name")]
Encoding = Annotated[str, AfterValidator(_decodes), _kind("encoding")]
Expression = Annotated[str, AfterValidator(_compiles), _kind("regular expression")]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
