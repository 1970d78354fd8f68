"""The licence of a model, as the model's own card names it."""

from __future__ import annotations

import re
from pathlib import Path


def licence_of(base: Path) -> str:
    """Returns the licence a model's own card names in its front matter, `other` where it names none."""
    readme = base / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    match = re.search(r"^licen[sc]e:\s*['\"]?([\w.+-]+)", front.group(1) if front else "", re.MULTILINE)
    return match.group(1) if match else "other"
