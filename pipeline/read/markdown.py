"""Markdown and MDX pages, as Confluence, Notion and documentation sites export them.

Output contract: `parse` gives a page's title, label, date and its sections in order; `rows` gives one `Row` per section
with text of its own (kind document: headings path -> body), or, where the settings name question and answer headings,
one question/answer pair per page and documents for the rest. Code fences stay as they are and hold no headings. A page
without any text is one row with an empty response. Lines are those of the file.
This module does not follow links or includes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import yaml

from pipeline.config import Markdown
from pipeline.read.markup import plain
from pipeline.read.mdx import without_components, without_modules
from pipeline.read.rows import UNDEFINED, Row, parse_time

FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})(.*)")  # at any indentation: most are inside lists
ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*")
SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
PARAGRAPH = re.compile(r" {0,3}(?![-*+>|#<=]|\d+[.)]\s)\S[^|]*")  # a line that an underline turns into a heading
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
NOTION_ID = re.compile(r"\s+[0-9a-f]{32}$")
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, ten times as fast
LABELS = ("label", "category", "labels", "categories", "tags")
DATES = ("date", "created_at", "created", "last_modified", "modified", "updated_at", "updated", "last_update")


@dataclass
class Section:
    """A heading and the text up to the next one. `level` 0: the page itself. `line`: of the heading, 1-based."""

    level: int
    title: str
    line: int
    path: tuple[str, ...]
    lines: list[tuple[str, bool]] = field(default_factory=list)  # text, inside a code fence
    body: str = ""


@dataclass(frozen=True)
class Page:
    title: str
    label: str | None
    created_at: datetime | None
    sections: tuple[Section, ...]


# -- front matter -----------------------------------------------------------------------------------------------------


def _front_matter(lines: Sequence[str]) -> tuple[Mapping[str, Any], int]:
    """Returns the front matter and the index of the first line after it.

    One that is not YAML (mostly an unquoted colon in a title) is read line by line as `key: value`.
    """
    if not lines or lines[0].rstrip() != "---":
        return {}, 0
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), None)
    if end is None:
        return {}, 0
    try:
        value = yaml.load("\n".join(lines[1:end]), YAML)
    except (yaml.YAMLError, ValueError):
        pairs = (line.partition(":") for line in lines[1:end] if re.match(r"\w[\w-]*:", line))
        value = {key: text.strip().strip("\"'") for key, _, text in pairs}
    return ({str(key).lower(): item for key, item in value.items()} if isinstance(value, dict) else {}), end + 1


def _label(meta: Mapping[str, Any]) -> str | None:
    for key in LABELS:
        value = meta.get(key)
        if isinstance(value, list):
            value = next((item for item in value if item), None)
        if value and not isinstance(value, dict):
            return str(value).strip() or None
    return None


def _date(meta: Mapping[str, Any]) -> datetime | None:
    for key in DATES:
        value = meta.get(key)
        found = parse_time(value.isoformat() if isinstance(value, date) else str(value)) if value else None
        if found is not None:
            return found
    return None


# -- sections ---------------------------------------------------------------------------------------------------------


def _marked(lines: Sequence[str]) -> list[tuple[str, bool]]:
    """Returns each line with whether it belongs to a code fence (its marks included)."""
    marked, fence = [], ""
    for line in lines:
        match = FENCE.fullmatch(line)
        if fence:
            marked.append((line, True))
            if match and match[1].startswith(fence) and not match[2].strip():
                fence = ""
        else:
            fence = match[1] if match else ""
            marked.append((line, bool(match)))
    return marked


def _without_comments(marked: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Empties HTML comments outside code; the number of lines stays."""
    result, open_ = [], False
    for line, code in marked:
        if not code and (open_ or "<!--" in line):
            line = COMMENT.sub("", ("<!--" if open_ else "") + line)
            before, mark, _ = line.partition("<!--")
            open_, line = bool(mark), before
        result.append((line, code))
    return result


def _heading(text: str) -> str:
    """Returns a heading without links, emphasis, code marks, tags and anchor."""
    text = re.sub(r"\s*\{#[^}]*\}\s*$", "", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\[\]]*)\]\([^)]*\)", r"\1", text)
    return " ".join(re.sub(r"[*`]+", "", plain(text)).split())


def _find_heading(marked: Sequence[tuple[str, bool]], at: int) -> tuple[int, str, int] | None:
    """Returns (level, title, lines it takes) of a heading that starts at line `at`."""
    line, code = marked[at]
    if code:
        return None
    if match := ATX.fullmatch(line):
        return len(match[1]), _heading(match[2] or ""), 1
    if at + 1 < len(marked) and not marked[at + 1][1] and (under := SETEXT.fullmatch(marked[at + 1][0])):
        alone = at == 0 or not marked[at - 1][0].strip()
        if alone and PARAGRAPH.fullmatch(line):
            return (1 if under[1].startswith("=") else 2), _heading(line), 2
    return None


def _split(marked: Sequence[tuple[str, bool]], first: int, title: str) -> tuple[str, list[Section]]:
    """Cuts a page at its headings; `first` is the number of its first line. A leading level-1 heading is the page's."""
    sections = [Section(0, title, first, (title,))]
    above: list[tuple[int, str]] = []
    at = 0
    while at < len(marked):
        found = _find_heading(marked, at)
        if found is None:
            sections[-1].lines.append(marked[at])
            at += 1
            continue
        level, name, taken = found
        if level == 1 and len(sections) == 1:
            title, level = title or name, 0
        above = [item for item in above if item[0] < level] + ([(level, name)] if level else [])
        sections.append(Section(level, name, first + at, tuple(text for _, text in above)))
        at += taken
    return title, sections


def _body(section: Section, mdx: bool) -> str:
    lines = without_components(section.lines) if mdx else [line for line, _ in section.lines]
    return "\n".join(lines).strip("\n").rstrip()


def parse(text: str, name: str, mdx: bool) -> Page:
    """Parses a page; `name` (of its file, without suffix) is the title of one that gives none."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    meta, start = _front_matter(lines)
    marked = _without_comments(_marked(lines[start:]))
    if mdx:
        marked = without_modules(marked)
    title, sections = _split(marked, start + 1, " ".join(str(meta.get("title") or "").split()))
    title = title or NOTION_ID.sub("", name).replace("-", " ").replace("_", " ").strip() or name
    for section in sections:
        section.path = (title, *(step for step in section.path if step)) if section.level else (title,)
        section.body = _body(section, mdx)
        if section is sections[0]:  # text above the first heading: its line is the text's
            filled = (at for at, (line, _) in enumerate(section.lines) if line.strip())
            section.line += next(filled, 0)
    return Page(title, _label(meta), _date(meta), tuple(sections))


# -- records ----------------------------------------------------------------------------------------------------------


def _names(headings: Sequence[str]) -> frozenset[str]:
    return frozenset(name.casefold().strip().rstrip(":").strip() for name in headings)


def _pair(page: Page, settings: Markdown) -> tuple[Row | None, set[int]]:
    """Returns the page's question/answer row, None without both, and the indices of the sections in it."""
    roles = (("question", _names(settings.questions)), ("answer", _names(settings.answers)))
    texts: dict[str, list[str]] = {"question": [], "answer": []}
    used: set[int] = set()
    line = 0
    above: list[tuple[int, str]] = []  # levels and roles of the sections around this one
    for at, section in enumerate(page.sections):
        above = [item for item in above if item[0] < section.level]
        folded = section.title.casefold().rstrip(":").strip()
        own = next((role for role, names in roles if folded in names), "") if section.level else ""
        role = own or (above[-1][1] if above else "")
        above.append((section.level, role))
        if not role:
            continue
        used.add(at)
        line = line or section.line
        if re.search(r"\w", section.body):
            texts[role].append(section.body if own else f"{'#' * section.level} {section.title}\n\n{section.body}")
    if not texts["question"] or not texts["answer"]:
        return None, set()
    question = "\n\n".join([page.title, *texts["question"]])
    return Row(line, question, "\n\n".join(texts["answer"]), label=page.label, created_at=page.created_at), used


def rows(text: str, name: str, mdx: bool, settings: Markdown) -> Iterator[Row]:
    """Yields the rows of one page, at least one."""
    if UNDEFINED in text or "\0" in text:
        yield Row(1, kind="document", readable=False)
        return
    page = parse(text, name, mdx)
    pair, used = _pair(page, settings) if settings.questions and settings.answers else (None, set[int]())
    if pair is not None:
        yield pair
    bare = pair is None
    for at, section in enumerate(page.sections):
        if at not in used and re.search(r"\w", section.body):
            bare = False
            path = " > ".join(section.path)
            yield Row(section.line, path, section.body, "document", label=page.label, created_at=page.created_at)
    if bare:
        yield Row(1, page.title, "", "document", label=page.label, created_at=page.created_at)
