"""The configuration reference: every setting with its values, its default and what it means, as Markdown.

Output contract: one table per section, made from the settings' own types and descriptions, so it cannot fall behind
them. `docs/config.md` holds what `python -m jobs.config` prints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.config.project import Project
from pipeline.config.values import ASSETS

INTRODUCTION = """\
# Configuration

One YAML file describes one model project. Only `name` and `base_model` are required; an unknown key is an error.
Relative paths are relative to the configuration file. `configs/` holds complete examples. This page is printed by
`python -m jobs.config`.
"""

Schema = dict[str, Any]


def markdown() -> str:
    """Returns the whole reference as one Markdown page."""
    schema = Project.model_json_schema()
    return INTRODUCTION + "".join(_section("", schema, schema["$defs"]))


def _section(path: str, schema: Schema, definitions: dict[str, Schema]) -> Iterator[str]:
    """Yields a section's heading, description and table, then those of the sections inside it."""
    if path:
        yield f"\n## {path}\n"
        if schema.get("description"):
            yield f"\n{_prose(schema['description'])}\n"
    inner: dict[str, Schema] = {}
    lines = []
    for name, field in schema["properties"].items():
        nested = _nested(field, definitions)
        if nested is not None:
            inner[f"{path}.{name}".lstrip(".")] = nested
        if nested is None or ("default" in field and not isinstance(field["default"], dict)):
            lines.append(_line(name, field, name in schema.get("required", ()), nested is not None))
    if lines:
        yield "\n| setting | values | default | meaning |\n|---|---|---|---|\n" + "".join(lines)
    for name, nested in inner.items():
        yield from _section(name, nested, definitions)


def _nested(field: Schema, definitions: dict[str, Schema]) -> Schema | None:
    """Returns the section that a field holds, one or a list of them; None for a plain value."""
    kinds = [field, field.get("items", {}), *field.get("anyOf", ())]
    names = [kind["$ref"].rsplit("/", 1)[1] for kind in kinds if "$ref" in kind]
    return definitions[names[0]] if names else None


def _line(name: str, field: Schema, required: bool, section: bool) -> str:
    values = "see below" if section else " or ".join(_values(field))
    default = "required" if required else f"`{_default(field['default'])}`"
    meaning = _prose(field.get("description", ""))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{name}`", values, default, meaning)) + " |\n"


def _values(field: Schema) -> Iterator[str]:
    """Yields what a value may be, one phrase per alternative."""
    if "anyOf" in field:
        for alternative in field["anyOf"]:
            yield from _values(alternative)
    elif "enum" in field:
        yield ", ".join(f"`{value}`" for value in field["enum"])
    elif "const" in field:
        yield f"`{field['const']}`"
    elif field.get("type") == "array":
        yield f"list of {' or '.join(_values(field['items']))}"
    elif field.get("type") == "object":
        yield "mapping"
    elif field.get("type") in ("integer", "number"):
        yield field["type"] + _bounds(field)
    else:
        yield {"boolean": "`true`, `false`", "null": "`null`", "string": "text"}[field["type"]]


def _bounds(field: Schema) -> str:
    """Returns the limits of a number as ` > 0, <= 1`; nothing where there are none."""
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    limits = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
    return f" {', '.join(limits)}" if limits else ""


def _default(value: Any) -> str:
    """Returns a default as YAML writes it; a bundled model by its name, wherever it lies."""
    text = json.dumps(value, ensure_ascii=False)
    for model in ASSETS.iterdir() if ASSETS.is_dir() else ():
        text = text.replace(json.dumps(str(model)), model.name)
    return text


def _prose(text: str) -> str:
    """Returns a description on one line per paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
