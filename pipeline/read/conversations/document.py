"""Values out of decoded documents: JSON objects, and records of a table under their column names.

Output contract: a document's own names are folded by `folded` ("Issue key", `issue_key` and `issueKey` are one); what
lies deeper keeps its names. A value that is not of the kind asked for raises `ShapeError`: the document is then
damaged, and nothing of it is guessed. None and a float that is no number are missing values.
This module knows no product.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

Document = Mapping[str, Any]
YES = frozenset({"true", "t", "1", "1.0", "yes", "y", "public", "wahr", "ja"})
NO = frozenset({"false", "f", "0", "0.0", "no", "n", "private", "internal", "falsch", "nein"})

MISSING = re.compile(r"(?<=[:\[,] )(?:nan|NaT)(?=[,\]}])")  # of pandas, where Python has None
CELL = 1 << 20  # characters of a cell that is read as Python's literals


class ShapeError(ValueError):
    """A document that is not what its product writes."""


@lru_cache(maxsize=1 << 14)
def fold(name: str) -> str:
    """Folds a name: case, spaces, dots and underscores do not count."""
    return re.sub(r"[\W_]+", "", name.casefold())


def folded(document: Document) -> dict[str, Any]:
    """Returns the document with its own names folded; of names that become one, the first with a value counts."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if found.get(key := fold(name)) in (None, "", []):
            found[key] = value
    return found


def unfolded(document: Document, *names: str) -> dict[str, Any]:
    """Returns a folded document with some names as its product writes them."""
    own = {fold(name): name for name in names}
    return {own.get(name, name): value for name, value in document.items()}


def record(header: Sequence[str], fields: Sequence[str], folds: bool = True) -> dict[str, Any]:
    """Returns a table's record as a document; a column that is there several times is a list."""
    found: dict[str, Any] = {}
    for name, value in zip(header, fields, strict=True):
        key = fold(name) if folds else name
        if key not in found:
            found[key] = value
        elif isinstance(found[key], list):
            found[key].append(value)
        else:
            found[key] = [found[key], value]
    return found


def at(document: Any, path: str) -> Any:
    """Returns what lies at a path such as `author.name`; None where there is nothing. A name may hold a dot itself."""
    if not isinstance(document, dict):
        return None
    if path in document:
        return document[path]
    name, dot, rest = path.partition(".")
    return at(document.get(name), rest) if dot else None


def first(document: Any, *paths: str) -> Any:
    """Returns the first value that is not missing, None without one."""
    for path in paths:
        value = at(document, path)
        if value is not None and value != "" and value != [] and value != {}:
            return value
    return None


def text(value: Any) -> str:
    """Returns a single value as text: a whole number without a fraction, a missing value as ""."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise ShapeError("a list or an object where a text belongs")


def words(document: Any, *paths: str) -> str:
    """Returns the first text that is not empty."""
    return text(first(document, *paths))


def entries(value: Any, *inside: str) -> list[Document]:
    """Returns a list of objects; the list may lie in an object under one of the names `inside`."""
    for _ in range(2):
        if isinstance(value, Mapping):
            value = next((value[name] for name in inside if name in value), None)
    if value is None or value == "":
        return []
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise ShapeError("no list of messages")
    return value


def decoded(value: Any) -> Any:
    """Returns what a table's cell holds as JSON, or as pandas writes lists and objects; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(MISSING.sub("None", value.strip())) if len(value) <= CELL else None
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ShapeError("a cell that is no JSON") from error


def flag(value: Any) -> bool | None:
    """Returns a yes or no; None for anything else: what an export does not say is not guessed."""
    if isinstance(value, bool):
        return value
    word = text(value).strip().casefold()
    return True if word in YES else False if word in NO else None


def several(values: Iterable[Any]) -> list[str]:
    """Returns single values and lists of them as texts, without the missing ones."""
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return [name for name in (text(item).strip() for item in flat if not isinstance(item, Mapping)) if name]
