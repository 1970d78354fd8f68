"""Markdown and MDX pages, as Confluence, Notion and documentation sites export them.

Output contract: `parse` gives a page's title, label, date and its sections in order; `rows` gives one `Row` per section
with text of its own (kind document: headings path -> body), or, where the settings name question and answer headings,
one question/answer pair per page and documents for the rest. Code fences stay as they are and hold no headings. A page
without any text is one row with an empty response. Lines are those of the file. The time is linear in the length.
This module does not follow links or includes, and knows of Markdown what cuts a page: markdown-it-py finds the same
headings in 2,842 real pages, takes three to four times as long for that alone, and knows no MDX.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import accumulate

import yaml

from pipeline.config import Markdown
from pipeline.read.inputs.open_inputs import UNDEFINED
from pipeline.read.mdx import without_components, without_modules
from pipeline.read.rows import Row, parse_time
from pipeline.read.text.characters import mended, visible
from pipeline.read.text.markup import decoded, plain

FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})(.*)")  # at any indentation: most are inside lists
ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t](.*))?")
SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
PARAGRAPH = re.compile(r" {0,3}(?![-*+>|#<=]|\d+[.)]\s)\S[^|]*")  # a line that an underline turns into a heading
LONGEST_HEADING = 1_000  # characters; a longer line is text
LONGEST_FRONT_MATTER = 10_000  # characters; a longer one is left out
COMMENT = re.compile(r"<!--.*?(-->|\Z)")
STYLED = re.compile(r"[{\[*`<&]")
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


def _front_matter(lines: Sequence[str]) -> tuple[Mapping[str, str], int]:
    """Returns the front matter and the index of the first line after it.

    One that is not YAML (mostly an unquoted colon in a title) is read line by line as `key: value`.
    """
    if not lines or lines[0].rstrip() != "---":
        return {}, 0
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), None)
    if end is None:
        return {}, 0
    text = "\n".join(lines[1:end])
    try:
        value = yaml.load(text, YAML) if len(text) <= LONGEST_FRONT_MATTER else None
        meta = {str(key).lower(): _scalar(item) for key, item in value.items()} if isinstance(value, dict) else {}
    except (yaml.YAMLError, ValueError):
        pairs = (line.partition(":") for line in lines[1:end] if re.match(r"\w[\w-]*:", line))
        meta = {key.lower(): text.strip().strip("\"'") for key, _, text in pairs}
    return meta, end + 1


def _scalar(value: object) -> str:
    """Returns a value, or the first of a list, as text; a nested one, which may be endless, is none."""
    if isinstance(value, list):
        value = next((item for item in value if item), None)
    return str(value).strip() if value and isinstance(value, str | int | float | date) else ""


# -- sections ---------------------------------------------------------------------------------------------------------


def _marked(lines: Sequence[str]) -> list[tuple[str, bool]]:
    """Returns each line, HTML comments outside code emptied, with whether it belongs to a code fence (its marks
    included)."""
    marked, fence, comment = [], "", False
    for line in lines:
        match = FENCE.fullmatch(line)
        code = bool(fence or match)
        if not fence:
            fence = match[1] if match else ""
        elif match and match[1].startswith(fence) and not match[2].strip():
            fence = ""
        if not code and (comment or "<!--" in line):
            line = "<!--" * comment + line
            comment = not [*COMMENT.finditer(line)][-1][1]
            line = COMMENT.sub("", line)
        marked.append((line, code))
    return marked


def _heading(text: str) -> str:
    """Returns a heading without links, emphasis, code marks, tags and anchor."""
    if STYLED.search(text):
        text = re.sub(r"\{#[^{}]*\}$", "", text.rstrip())
        text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
        text = re.sub(r"\[([^\[\]]*)\]\([^)]*\)", r"\1", text)
        text = re.sub(r"[*`]+", "", plain(text))
    return " ".join(text.split())


def _find_heading(marked: Sequence[tuple[str, bool]], at: int) -> tuple[int, str, int] | None:
    """Returns (level, title, lines it takes) of a heading that starts at line `at`."""
    line, code = marked[at]
    if code or not 0 < len(line) <= LONGEST_HEADING:
        return None
    if match := ATX.fullmatch(line):
        text = (match[2] or "").strip()
        bare = text.rstrip("#")  # closing marks stand behind a space
        return len(match[1]), _heading(text if bare[-1:].strip() else bare), 1
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
    marked = [(line if code else decoded(line), code) for line, code in section.lines]
    lines = without_components(marked) if mdx else [line for line, _ in marked]
    return visible("\n".join(lines)).strip("\n").rstrip()


def parse(text: str, name: str, mdx: bool) -> Page:
    """Parses a page; `name` (of its file, without suffix) is the title of one that gives none."""
    lines = mended(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    meta, start = _front_matter(lines)
    marked = _marked(lines[start:])
    if mdx:
        marked = without_modules(marked)
    title, sections = _split(marked, start + 1, " ".join(meta.get("title", "").split()))
    title = title or NOTION_ID.sub("", name).replace("-", " ").replace("_", " ").strip() or name
    for section in sections:
        section.path = (title, *(step for step in section.path if step)) if section.level else (title,)
        section.body = _body(section, mdx)
        if section is sections[0]:  # text above the first heading: its line is the text's
            filled = (at for at, (line, _) in enumerate(section.lines) if line.strip())
            section.line += next(filled, 0)
    label = next((meta[key] for key in LABELS if meta.get(key)), None)
    dates = (parse_time(meta[key]) for key in DATES if meta.get(key))
    return Page(title, label, next((found for found in dates if found), None), tuple(sections))


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


def _removed(text: str, page: Page) -> list[int]:
    """Returns how many characters of each section's lines, its heading aside, are not in its body: tags, comments,
    imports, white space."""
    lengths = [len(line) + 1 for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    until = [0, *accumulate(lengths)]
    starts = [section.line - (section.level == 0) for section in page.sections]
    ends = [section.line - 1 for section in page.sections[1:]] + [len(lengths)]
    spans = (max(0, until[end] - until[start] - 1) for start, end in zip(starts, ends, strict=True))
    return [span - len(section.body) for span, section in zip(spans, page.sections, strict=True)]


def _row(line: int, prompt: str, response: str, kind: str, page: Page, removed: int) -> Row:
    characters = len(prompt) + len(response) + removed
    kinds = {"markup": removed} if removed else {}
    return Row(line, prompt, response, kind, "", page.label, page.created_at, characters=characters, removed=kinds)


def rows(text: str, name: str, mdx: bool, settings: Markdown) -> Iterator[Row]:
    """Yields the rows of one page, at least one."""
    if UNDEFINED in text or "\0" in text:
        yield Row(1, kind="document", readable=False)
        return
    page = parse(text, name, mdx)
    yield from page_rows(page, settings, _removed(text, page))


def page_rows(page: Page, settings: Markdown, removed: Sequence[int]) -> Iterator[Row]:
    """Yields the rows of a page that has been cut into sections, at least one; `removed`: characters per section."""
    pair, used = _pair(page, settings) if settings.questions and settings.answers else (None, set[int]())
    if pair is not None:
        yield _row(pair.line, pair.prompt, pair.response, pair.kind, page, sum(removed[at] for at in used))
    bare = pair is None
    for at, section in enumerate(page.sections):
        if at not in used and re.search(r"\w", section.body):
            bare = False
            yield _row(section.line, " > ".join(section.path), section.body, "document", page, removed[at])
    if bare:
        yield Row(1, page.title, "", "document", label=page.label, created_at=page.created_at)
