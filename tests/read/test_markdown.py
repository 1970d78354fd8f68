"""Pages: front matter, headings, code, one record per section, question/answer pages, MDX."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Markdown, Read
from pipeline.read import markdown

PAGE = """---
title: "Cards"
labels: [cards, overview]
last_modified: 2026-03-03
---

# Cards

All about cards.

## Limits

Per day.

### Cash

```python
# not a heading
```

## Empty

## Order
"""


@pytest.fixture
def page(tmp_path: Path, read_rows: Any) -> Any:
    def work(text: str | bytes, name: str = "my-page.md", markdown: Markdown | None = None) -> list[dict[str, Any]]:
        folder = tmp_path / "kb" / "pages"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return list(read_rows(tmp_path / "kb", Read(markdown=markdown or Markdown())))

    return work


def brief(rows: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    return [(row["line"], row["prompt"], row["response"]) for row in rows]


def test_sections(page: Any) -> None:
    rows = page(PAGE)
    assert brief(rows) == [
        (7, "Cards", "All about cards."),
        (11, "Cards > Limits", "Per day."),
        (15, "Cards > Limits > Cash", "```python\n# not a heading\n```"),
    ]
    assert {(row["kind"], row["label"], row["source"]) for row in rows} == {("document", "cards", "pages")}
    assert rows[0]["created_at"] == datetime(2026, 3, 3, tzinfo=UTC)
    assert rows[1]["source_id"] == "pages/my-page.md:11"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_titles(page: Any, newline: str) -> None:
    def first(text: str) -> tuple[int, str]:
        row = page(text.replace("\n", newline))[0]
        return row["line"], row["prompt"]

    assert first("\ntext\n") == (2, "my page")
    assert first("# [A](x.md) **b** `c` {#id}\n\ntext") == (1, "A b c")
    assert first("Title\n=====\ntext") == (1, "Title")
    assert first("---\ntitle: Guide\n---\nintro\n") == (4, "Guide")
    assert first("---\ntitle: Guide: part two\n---\n## Cash ##\nx") == (4, "Guide: part two > Cash")
    assert first("## a ## b ##\nx") == (1, "my page > a ## b")
    assert first("# a##\nx") == (1, "a##")
    assert first("#\t<b>a</b> &amp; ![c](d)\nx") == (1, "a &")
    assert first("# One\n# Two\nx") == (2, "One > Two")


def test_what_is_not_a_heading(page: Any) -> None:
    text = "# T\n\n#tag\n\n| a | b |\n|---|---|\n\n- item\n---\n\n  ~~~\n# code\n```\n  ~~~\n\n"
    text += "<!--\n# hidden\n-->\n1. a\n   ```\n# b\n   ```\n"
    rows = page(text)
    assert len(rows) == 1
    assert "# code" in rows[0]["response"]
    assert "hidden" not in rows[0]["response"]


def test_comments(page: Any) -> None:
    (row,) = page("a <!-- b --> c <!-- <!-- d\ne --> f <!-- g\n```\n<!-- h -->\n```\ni -->j")
    assert row["response"] == "a  c \n f \n```\n<!-- h -->\n```\nj"


def test_front_matter_that_is_no_title(page: Any) -> None:
    """A nested value is none: aliases make it endless."""
    bomb = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 30))
    for value in ("*a29", "{x: *a29}", "[*a29]", "[" * 1200 + "]" * 1200):
        row = page(f"---\na0: &a0 [x, y]\n{bomb}title: {value}\nlabels: {value}\ndate: {value}\n---\ntext")[0]
        assert (row["prompt"], row["label"], row["response"]) == ("my page", None, "text")
    assert page(f"---\nlabel: 1{':00' * 3000}\n---\ntext")[0]["label"].startswith("1:00:00")  # too long for a number


HOSTILE = {
    "heading, spaces": ("# a", " ", "x"),
    "heading, images": ("# ", "![", ""),
    "heading, anchors": ("# ", "{#", ""),
    "comments": ("", "<!--", ""),
    "import": ("import a", " ", "x"),
    "expressions": ("", "{/*", ""),
    "runs of backticks": ("", "".join(f"a{'`' * count}" for count in range(1, 300)), ""),
    "one run and text": ("a" + "`" * 50_000, "b", ""),
    "nested values": ("---\nlabel: ", "[", "\n---\n"),
}


@pytest.mark.parametrize("suffix", [".md", ".mdx"])
@pytest.mark.parametrize("name", HOSTILE)
def test_the_time_grows_with_the_length_not_faster(page: Any, name: str, suffix: str) -> None:
    start, mark, end = HOSTILE[name]
    started = time.process_time()
    assert page(start + mark * (100_000 // len(mark)) + end, f"page{suffix}")
    assert time.process_time() - started < 2


def test_every_page_is_accounted_for(page: Any) -> None:
    assert brief(page("# A\n\n## B\n\n---\n", "a.md")) == [(1, "A", "")]
    rows = page("", "b.md")
    assert [(row["path"], row["reason"], row["line"]) for row in rows] == [
        ("pages/a.md", "empty_response", 1),
        ("pages/b.md", "empty_response", 1),
    ]


def test_encodings(page: Any) -> None:
    assert page("# Größe\n\nöde".encode("cp1252"))[0]["prompt"] == "Größe"
    assert page(b"\xff\xfe" + "# Größe\n\nöde".encode("utf-16-le"))[0]["prompt"] == "Größe"
    (row,) = page(b"# A\n\n\x81\xe4")
    assert (row["reason"], row["line"], row["kind"], row["response"]) == ("unreadable", 1, "document", "")
    assert page(b"# A\n\nx\0y")[0]["reason"] == "unreadable"


KB = """# Card declined

Lead text.

## Issue:

It is declined.

### Steps

1. Pay.

## Cause

No money.

## SOLUTION

Top up.

### In the app

Tap it.

## Related reading

A link.
"""
SETTINGS = Markdown(questions=("Issue", "Problem"), answers=("Solution", "Lösung"))


def test_question_and_answer_page(page: Any) -> None:
    rows = page(KB, markdown=SETTINGS)
    assert [(row["kind"], row["line"], row["prompt"]) for row in rows] == [
        ("qa", 5, "Card declined\n\nIt is declined.\n\n### Steps\n\n1. Pay."),
        ("document", 1, "Card declined"),
        ("document", 13, "Card declined > Cause"),
        ("document", 25, "Card declined > Related reading"),
    ]
    assert rows[0]["response"] == "Top up.\n\n### In the app\n\nTap it."


def test_answer_inside_the_question(page: Any) -> None:
    rows = page("# T\n## Problem\np\n### Lösung\nl\n### Sonst\ns\n", markdown=SETTINGS)
    assert brief(rows) == [(2, "T\n\np\n\n### Sonst\n\ns", "l")]


def test_question_without_answer_stays_documents(page: Any) -> None:
    rows = page("# T\n\n## Issue\n\nx\n\n## Solution\n\n---\n", markdown=SETTINGS)
    assert [(row["kind"], row["prompt"]) for row in rows] == [("document", "T > Issue")]


def test_mdx(page: Any) -> None:
    text = """---
title: Guide
---
import { A } from "./a"
import B from './b';
export const meta = {
  x: 1,
};

import data into the system first.

<Tabs items={["a", "b"]}>
  <Tab title="x > y"
       icon="z">

Inner `<Kept />` text.

    ```bash
export PATH=/bin
# code
<Kept>
    ```
  </Tab>
</Tabs>
{/* gone */}

## Next

<Card href="/x" onClick={() => { go({}) }}>Card text</Card> <div>html</div>
"""
    rows = page(text, "g.mdx")
    assert brief(rows) == [
        (
            10,
            "Guide",
            "import data into the system first.\n\nInner `<Kept />` text.\n\n"
            "    ```bash\nexport PATH=/bin\n# code\n<Kept>\n    ```",
        ),
        (27, "Guide > Next", "Card text <div>html</div>"),
    ]
    (row,) = page("a ``<A>`<B>`</A>`` <C/>`` <D a={`b`} />{/* ` */}`{/*<E>", "g.mdx")
    assert row["response"] == "a ``<A>`<B>`</A>`` `` `{/*"


def test_what_is_not_in_a_body_is_counted_and_entities_are_characters() -> None:
    text = (
        "---\ntitle: A page\n---\n\nintro <!-- c -->\n\n## One\n\nanna&#64;example.org `a &amp; b`\n\n"
        "```\n&amp;\n```\n\n## Two\n\nGebÃ¼hr\u00a05 <b>x</b>\n"
    )
    found = [(row.response, row.characters, dict(row.removed)) for row in markdown.rows(text, "a", False, Markdown())]
    assert found == [
        ("intro", 23, {"markup": 12}),
        ("anna@example.org `a &amp; b`\n\n```\n&amp;\n```", 61, {"markup": 6}),
        ("Gebühr 5 <b>x</b>", 32, {"markup": 3}),
    ]
