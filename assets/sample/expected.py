"""Writes the Markdown pages and EXPECTED.md.

Contract: `write_pages` splits content/pages.md into one file per page with YAML front matter, adds one page a second
time, and returns the text of every section in file order; `page` returns EXPECTED.md, whose one json block holds the
counts that a run over the dump must reproduce.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

from overlap import Index

REASONS = ("exact_duplicate", "near_duplicate", "language", "toxicity", "unreadable", "empty_prompt", "empty_response")
COPIED = "de/lastschriften.md"
HEAD = """# Expected counts

What a run over this folder must find, as planted by `build.py`. Each rejected row has exactly one reason; `read` is
always `kept` plus all `rejected`. `manifest.jsonl` says the same row by row (a row is named by source and ticket id;
the broken rows carry the id they would have had).

- `exact_duplicate`: same subject, description and answer under another ticket id; white space differs in half of them.
- `near_duplicate`: one or two words of the description replaced; Jaccard of word 3-grams at least 0.88, masked or not.
  Every other pair of tickets stays below 0.70.
- `language`: French, Spanish, Italian, Dutch, Polish, Turkish.
- `toxicity`: abuse in English and German. Fifteen angry but decent complaints are ordinary and must be kept.
- `unreadable`: too few or too many fields, NUL bytes, and the last row of `freshdesk.csv`, cut inside a quoted field.
- `empty_prompt`, `empty_response`: nothing but white space in both subject and description, or in the answer.
- `pages`: a record is a heading with text of its own; `{copy}` is a second copy of `{copied}`.
- `pii_planted`: values planted in kept rows, one per row, by Presidio's type names. PERSON is the row's own requester
  or agent, {genitive} of them as a German genitive ("Schmidts"). Signatures and quoted replies hold more names, e-mail
  addresses and phone numbers; these are not counted here.

```json
{counts}
```
"""


def copy_name(name: str) -> str:
    """File name of the second copy of a page, as a file manager would choose it."""
    return name.replace(".md", " (1).md")


def write_pages(target: Path) -> list[str]:
    """Write all pages below `target`; returns the sections (headings path, blank line, text), copies included."""
    source = (Path(__file__).parent / "content" / "pages.md").read_text(encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    sections: list[str] = []
    for number, block in enumerate(source.split("=== ")[1:]):
        head, _, body = block.partition("\n")
        name, title, space, labels = head.split(" | ")
        front = f'---\nid: {3_400_017 + 131 * number}\ntitle: "{title}"\nspace: {space}\nversion: {number % 7 + 1}\n'
        front += f"last_modified: 2026-{number % 9 + 1:02d}-{number % 27 + 1:02d}\nlabels: [{labels}]\n---\n\n"
        for path in [name, copy_name(name)] if name == COPIED else [name]:
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes((front + body.strip() + "\n").encode("utf-8"))
            sections += split_sections(body)
    return sections


def split_sections(body: str) -> list[str]:
    """Sections with text of their own; a `#` inside a code fence is no heading."""
    trail: list[str] = []
    texts: list[tuple[str, list[str]]] = []
    fenced = False
    for line in body.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else re.match(r"(#+) (.*)", line)
        if heading:
            trail = [*trail[: len(heading[1]) - 1], heading[2]]
            texts.append((" > ".join(trail), []))
        else:
            texts[-1][1].append(line)
    return [f"{path}\n\n{text}" for path, rows in texts if (text := "\n".join(rows).strip())]


def check_pages(sections: list[str], limit: float) -> int:
    """Number of exact copies; raises ValueError if two other sections reach `limit`."""
    index, distinct = Index(), list(dict.fromkeys(sections))
    for section in distinct:
        score, twin = index.nearest(section)
        if score >= limit:
            raise ValueError(f"content/pages.md: {section.splitlines()[0]!r} is {score:.2f} like section {twin}")
        index.add(section)
    return len(sections) - len(distinct)


def counts(rows: list[dict[str, object]], read: int, copies: int) -> dict[str, object]:
    """The json block: per source read, kept, rejected by reason; planted personal values by type."""
    sources: dict[str, object] = {}
    for source in ("zendesk", "freshdesk"):
        found = Counter(str(row["reason"]) for row in rows if row["source"] == source)
        rejected = {name: found[name] for name in REASONS}
        sources[source] = {"read": found.total(), "kept": found["kept"], "rejected": rejected}
    rejected = {name: copies if name == "exact_duplicate" else 0 for name in REASONS}
    sources["pages"] = {"read": read, "kept": read - copies, "rejected": rejected}
    return {"sources": sources, "pii_planted": dict(sorted(pii_counts(rows).items()))}


def pii_counts(rows: list[dict[str, object]]) -> Counter[str]:
    """Planted values by type, kept rows only."""
    found: Counter[str] = Counter()
    for row in rows:
        values = row["pii"]
        if row["reason"] == "kept" and isinstance(values, list):
            found.update(value["type"] for value in values)
    return found


def page(rows: list[dict[str, object]], read: int, copies: int, genitive: int) -> str:
    """EXPECTED.md as text."""
    block = json.dumps(counts(rows, read, copies), indent=2)
    return HEAD.format(counts=block, genitive=genitive, copy=copy_name(COPIED), copied=COPIED)
