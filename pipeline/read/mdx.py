"""What MDX adds to Markdown, taken out again: imports, exports, components, expression comments.

Output contract: `without_modules` empties import and export statements, line by line; `without_components` removes the
tags of JSX components (names with a capital) and keeps the text between them. Code, fenced or inline, is not touched.
This module does not evaluate expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

MODULE = re.compile(
    r"import\s+(?:[\w*{][^;]*?\s*from\s*)?['\"].*|import\s+[\w*{][\w\s,{}*]*|"
    r"export\s+(?:default|const|let|var|function|async|class|type|\{|\*).*"
)
STARTS = re.compile(r"(?:import|export)\s")
TAG = re.compile(
    r"(?P<code>(?P<marks>`+)(?!`).*?(?<!`)(?P=marks)(?!`))|\{/\*.*?\*/\}|</?>|"
    r"</?[A-Z][\w.]*(?:\s(?:[^<>{}\"']|\"[^\"]*\"|'[^']*'|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*)?/?>",
    re.DOTALL,
)


def _open(text: str) -> int:
    """Returns how many brackets a piece of code leaves open."""
    return sum(text.count(mark) for mark in "({[") - sum(text.count(mark) for mark in ")}]")


def without_modules(marked: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Empties import and export statements outside code; `marked` holds (line, is code). The number of lines stays."""
    result: list[tuple[str, bool]] = []
    depth = 0
    for line, code in marked:
        if not code and (depth > 0 or (STARTS.match(line) and MODULE.fullmatch(line))):
            depth = max(0, depth + _open(line))
            line = ""
        result.append((line, code))
    return result


def without_components(marked: Iterable[tuple[str, bool]]) -> list[str]:
    """Returns the lines without component tags and expression comments; a tag may span lines."""
    lines: list[str] = []
    for code, group in groupby(marked, key=lambda item: item[1]):
        found = [line for line, _ in group]
        if not code:
            text = TAG.sub(lambda match: match["code"] or "", "\n".join(found))
            text = re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", "\n" + text + "\n")[1:-1]
            found = text.split("\n")
        lines += found
    return lines
