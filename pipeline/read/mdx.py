"""What MDX adds to Markdown, taken out again: imports, exports, components, expression comments.

Output contract: `without_modules` empties import and export statements, line by line; `without_components` removes the
tags of JSX components (names with a capital) and keeps the text between them. Code, fenced or inline, is not touched.
A sentence that begins with `import` stays, and so does what follows a statement whose brackets never close.
This module does not evaluate expressions.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby

MODULE = re.compile(
    r"import\s+(?:[\w$*{][^;]*?from\s*)?['\"].*|import\s+(?:type\s+)?(?:[\w$]+\s*,\s*)?\{[\w\s,$*]*|"
    r"export\s+(?:default|const|let|var|function|async|class|type|\{|\*).*"
)
STARTS = re.compile(r"(?:import|export)\s")
MARK = re.compile(
    r"`+|\{/\*|</?>|"
    r"</?[A-Z][\w.]*(?:\s(?:[^<>{}\"']|\"[^\"]*\"|'[^']*'|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*)?/?>"
)


def without_modules(marked: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Empties import and export statements outside code; `marked` holds (line, is code). The number of lines stays."""
    result: list[tuple[str, bool]] = []
    depth = after = 0  # open brackets; the line after the one where they opened
    for at, (line, code) in enumerate(marked):
        if not code and (depth > 0 or (STARTS.match(line) and MODULE.fullmatch(line))):
            after = after if depth else at + 1
            depth = max(0, depth + sum(map(line.count, "({[")) - sum(map(line.count, ")}]")))
            line = ""
        result.append((line, code))
    return result if not depth else [*result[:after], *marked[after:]]


def _without_tags(text: str) -> str:
    """Removes component tags and expression comments outside inline code."""
    runs: dict[int, list[int]] = {}  # ends of the runs of backticks, by length: one closes the one before
    for run in re.finditer("`+", text):
        runs.setdefault(len(run[0]), []).append(run.end())
    last = text.rfind("*/}")
    kept, at = [], 0
    while mark := MARK.search(text, at):
        kept.append(text[at : mark.start()])
        at = mark.end()
        if mark[0][0] == "`":
            ends = runs[len(mark[0])]
            after = bisect_right(ends, at)
            at = ends[after] if after < len(ends) else at
            kept.append(text[mark.start() : at])
        elif mark[0] == "{/*" and at <= last:
            at = text.index("*/}", at) + 3
        elif mark[0] == "{/*":
            kept.append("{/*")
    return "".join(kept) + text[at:]


def without_components(marked: Iterable[tuple[str, bool]]) -> list[str]:
    """Returns the lines without component tags and expression comments; a tag may span lines."""
    lines: list[str] = []
    for code, group in groupby(marked, key=lambda item: item[1]):
        found = [line for line, _ in group]
        if not code:
            text = "\n".join(found)
            if "<" in text or "{/*" in text:
                text = _without_tags(text)
            text = re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", "\n" + text + "\n")[1:-1]
            found = text.split("\n")
        lines += found
    return lines
