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


CODES = """
    af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de diq
    dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo io is
    it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl
    my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sco sd sh
    si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf yi yo yue zh
"""
LANGUAGES = frozenset(CODES.split())  # those of lid.176, which tells the language of a text


def _language(value: Any) -> Any:
    """Refuses a language that no text is ever told to be in. `no`, without quotes, is false in YAML."""
    value = "no" if value is False else value
    if isinstance(value, str) and value not in LANGUAGES:
        raise ValueError(f"'{value}' is no language code: write en, de, fr and so on, in small letters (ISO 639-1)")
    return value


LanguageCode = Annotated[str, BeforeValidator(_language), _kind("language code")]


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
