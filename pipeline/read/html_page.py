"""HTML pages, as Confluence and Notion export them and web sites serve them.

Output contract: `rows` gives what `markdown.rows` gives for a Markdown page: a `Row` per section with text of its own,
or a question/answer pair where the settings name headings. The page is its main part (Confluence's `main-content`,
`<main>`, the only `<article>`), else its body without navigation and footer. `<pre>` becomes a code fence. A row's line
is the number of its section, because the parser knows no lines. The time is linear in the length.
This module follows no links.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from lxml import etree

from pipeline.config import Markdown
from pipeline.read.inputs.open_inputs import UNDEFINED
from pipeline.read.markdown import NOTION_ID, Page, Section, page_rows
from pipeline.read.rows import Row
from pipeline.read.text.markup import TAG, plain

HEADINGS = {f"h{level}": level for level in range(1, 7)}
UNSEEN = frozenset({"script", "style", "noscript", "template", "iframe", "svg", "object"}) | frozenset(
    {"nav", "footer", "button", "select", "textarea"}  # seen, and no text of the page
)
VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
DEEPEST = 512  # as in browsers; the parser looks through all open elements at an end tag without a start
PIECE = 1 << 15  # characters parsed before an end to it
MARK = re.compile("\ue000(\\d+)\ue001")  # stands for a heading or a code block in the text
PRIVATE = re.compile("[\ue000\ue001]")
DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
MODIFIED = re.compile(r"\bon ([A-Z][a-z]{2} \d{1,2}, \d{4})\s*$")


class _Collector:
    """Writes a page anew from what the parser reports: without attributes, with marks for headings and code."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.held: list[tuple[int, str]] = []  # of each mark: level of a heading, 0 for code; its text
        self.named: dict[str, str] = {}  # text of `title`, `title-text`, `page-metadata`
        self.regions: dict[str, list[tuple[int, int]]] = {}  # parts of the page's main element
        self._open: list[str] = []  # what each open element is
        self._starts: list[tuple[int, str, int]] = []  # depth, region, first part
        self._hidden = 0  # depth of the element that is left out
        self._holding: list[str] | None = None  # text of the heading or code block
        self._naming, self._named = "", 0  # what text is collected for, since which depth

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._open.append(tag)
        depth = len(self._open)
        if depth > DEEPEST:
            raise RecursionError
        name, classes = (attributes.get("id", ""), attributes.get("class", "")) if attributes else ("", "")
        if tag == "title" or name == "title-text" or "page-metadata" in classes:
            self._naming = "title" if tag == "title" else "title-text" if name == "title-text" else "page-metadata"
            self.named.setdefault(self._naming, "")
            self._named = depth
        if self._hidden:
            return
        if tag in UNSEEN or tag == "head" or "toc-macro" in classes:
            self._hidden = depth
        elif self._holding is not None:
            self._holding.append("\n" if tag == "br" else " " if tag == "img" else "")
        elif tag in HEADINGS or tag == "pre":
            self._holding = []
        else:
            region = "content" if name == "main-content" else tag
            if region in ("content", "main", "article"):
                self._starts.append((depth, region, len(self.parts)))
            if tag not in ("html", "body"):
                self.parts.append(f"<{'div' if tag == 'blockquote' else tag}>")

    def end(self, tag: str) -> None:
        depth = len(self._open)
        self._open.pop()
        if depth == self._named:
            self._naming, self._named = "", 0
        if self._hidden:
            self._hidden = 0 if depth == self._hidden else self._hidden
        elif self._holding is not None:
            if tag in HEADINGS or tag == "pre":
                self.parts.append(f"<p>\ue000{len(self.held)}\ue001</p>")
                self.held.append((HEADINGS.get(tag, 0), "".join(self._holding)))
                self._holding = None
        else:
            if tag not in ("html", "body", *VOID):
                self.parts.append(f"</{'div' if tag == 'blockquote' else tag}>")
            if self._starts and self._starts[-1][0] == depth:
                _, region, first = self._starts.pop()
                self.regions.setdefault(region, []).append((first, len(self.parts)))

    def data(self, text: str) -> None:
        if self._naming:
            self.named[self._naming] += text
        if self._hidden:
            return
        text = PRIVATE.sub("", text)
        if self._holding is not None:
            self._holding.append(text)
        else:
            self.parts.append(html.escape(text, quote=False))

    def close(self) -> _Collector:
        return self

    def main(self) -> str:
        """Returns the main part of the page as HTML."""
        for region in ("content", "main", "article"):
            if len(spans := self.regions.get(region, [])) == 1:
                return "".join(self.parts[spans[0][0] : spans[0][1]])
        return "".join(self.parts)


def _collect(text: str) -> _Collector:
    parser = etree.HTMLParser(target=_Collector(), remove_comments=True, remove_pis=True)
    parser.feed("<html>")  # a page without an element would be an error
    for at in range(0, len(text), PIECE):
        parser.feed(text[at : at + PIECE])
    collected: _Collector = parser.close()
    return collected


def _title(page: _Collector, name: str) -> str:
    """Returns the title that the page's head gives, without the space's name before it, else the file's name."""
    title = " ".join((page.named.get("title-text") or page.named.get("title", "")).split())
    if "title-text" in page.named:
        title = title.partition(" : ")[2] or title
    return title or NOTION_ID.sub("", name).replace("-", " ").replace("_", " ").strip() or name


def parse(text: str, name: str) -> Page:
    """Parses a page; `name` (of its file, without suffix) is the title of one that gives none."""
    marked = TAG.search(text) is not None
    try:
        page = _collect(DECLARATION.sub("", text, count=1) if marked else "")
        pieces = MARK.split(plain(page.main() if marked else text))
    except RecursionError:
        page, pieces = _Collector(), [plain(text)]
    title, own = _title(page, name), "title-text" in page.named
    sections = [Section(0, title, 1, (title,), body=pieces[0])]
    above: list[tuple[int, str]] = []
    for number, after in zip(pieces[1::2], pieces[2::2], strict=True):
        level, held = page.held[int(number)]
        if level == 0:
            code = held.strip("\n").rstrip()
            sections[-1].body = f"{sections[-1].body.rstrip()}\n\n```\n{code}\n```\n\n{after.lstrip()}"
            continue
        heading = " ".join(held.split())
        if level == 1 and len(sections) == 1 and not own:
            title, level = heading or title, 0
        above = [item for item in above if item[0] < level] + ([(level, heading)] if level else [])
        path = tuple(step for _, step in above if step)
        sections.append(Section(level, heading, len(sections) + 1, path, body=after))
    for section in sections:
        section.path = (title, *(section.path if section.level else ()))
        section.body = section.body.strip()
    return Page(title, None, _modified(page.named.get("page-metadata", "")), tuple(sections))


def _modified(text: str) -> datetime | None:
    """Returns the day that Confluence says a page was last modified on."""
    match = MODIFIED.search(" ".join(text.split()))
    try:
        return datetime.strptime(match[1], "%b %d, %Y").replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def rows(text: str, name: str, settings: Markdown) -> Iterator[Row]:
    """Yields the rows of one page, at least one."""
    if UNDEFINED in text or "\0" in text:
        yield Row(1, kind="document", readable=False)
        return
    page = parse(text, name)
    yield from page_rows(page, settings, [0] * len(page.sections))
