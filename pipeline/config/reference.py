"""The configuration reference: every setting with its values, its default and what it means, as Markdown.

Output contract: one table per section, made from the settings' own types and descriptions, so it cannot fall behind
them. Defaults are those of the code, not of a machine. `docs/config.md` holds what `python -m jobs.config` prints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.config.project import Project

INTRODUCTION = """\
# Configuration

One YAML file describes one model project. Only `name` and `base_model` are required; an unknown key is an error.
`configs/` holds complete examples. This page is printed by `python -m jobs.config`.

A heading names a section: the settings of `train.lora` stand under `lora:` inside `train:`. Relative paths are relative
to the configuration file. A model is, in this order: one that comes with solotune (`tiny-base`, `toxicity-small`,
`ner-small`) or that `python -m jobs.fetch` fetches (`smollm2`); a path, if it begins with `.`, `/` or `~` or leads to
something; else a name of the Hugging Face hub, or of the library that the setting names.
"""
HEAD = "\n| setting | values | default | meaning |\n|---|---|---|---|\n"

Schema = dict[str, Any]
"""A JSON schema, or a part of one."""


def markdown() -> str:
    """Returns the whole reference as one Markdown page."""
    schema = Project.model_json_schema()
    return INTRODUCTION + "".join(_section("", schema, schema["$defs"]))


def _section(path: str, schema: Schema, definitions: dict[str, Schema]) -> Iterator[str]:
    """Yields a section's description and table, then the sections inside it with their headings."""
    required = schema.get("required", ())
    lines = [
        _line(name, field, name in required, f"{path}.{name}".lstrip("."))
        for name, field in schema["properties"].items()
        if "$ref" not in field or name in required
    ]
    yield f"\n{_prose(schema.get('description', ''))}\n{HEAD}{''.join(lines)}"
    for name, field in schema["properties"].items():
        for reference in _references(field):
            inner = f"{path}.{name}".lstrip(".")
            yield f"\n## {inner}\n"
            yield from _section(inner, definitions[reference.rsplit("/", 1)[1]], definitions)


def _references(field: Schema) -> list[str]:
    """Returns the section that a field holds, one or a list of them, as a reference; nothing for a plain value."""
    return [kind["$ref"] for kind in (field, field.get("items", {}), *field.get("anyOf", ())) if "$ref" in kind]


def _line(name: str, field: Schema, required: bool, path: str) -> str:
    """Returns a row of the table; `path` is the setting's whole name."""
    values = " or ".join(_values(field, path))
    default = "required" if required else f"`{_default(field['default'])}`"
    cells = [cell.replace("|", "\\|") for cell in (f"`{name}`", values, default, field.get("description", ""))]
    return f"| {' | '.join(cells)} |\n"


def _values(schema: Schema, path: str, plural: str = "") -> Iterator[str]:
    """Yields what a value may be, one phrase per alternative; with `s` as `plural`, what several values may be."""
    kind: str = schema.get("type", "")
    if "anyOf" in schema:
        for alternative in schema["anyOf"]:
            yield from _values(alternative, path, plural)
    elif "$ref" in schema:
        yield f"[section{plural}](#{path.replace('.', '')})"
    elif "enum" in schema or "const" in schema:
        yield ", ".join(f"`{_default(value)}`" for value in schema.get("enum", [schema.get("const")]))
    elif kind == "array":
        yield f"list{plural} of {' or '.join(_values(schema['items'], path, 's'))}"
    elif kind == "object":
        (value,) = schema.get("patternProperties", {"": schema.get("additionalProperties")}).values()
        key = {"type": "string", **schema.get("propertyNames", {})}
        yield f"mapping of {''.join(_values(key, path, 's'))} to {' or '.join(_values(value, path, 's'))}"
    elif kind in ("boolean", "null"):
        yield {"boolean": "`true`, `false`", "null": "`null`"}[kind]
    else:
        words: str = schema.get("format", kind.replace("string", "text"))
        yield words.replace(" or ", f"{plural} or ") + plural + _bounds(schema)


def _bounds(schema: Schema) -> str:
    """Returns the limits of a number as ` > 0 and <= 1` or ` from 0 to 1`; nothing where there are none."""
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']:g} to {schema['maximum']:g}"
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    limits = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    return f" {' and '.join(limits)}" if limits else ""


def _default(value: Any) -> str:
    """Returns a default as YAML writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _prose(text: str) -> str:
    """Returns a description on one line per paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
