"""Training rows as the model will see them: what is context, what is supervised, which tokens are special, what is cut.

Output contract: `spans` splits an encoded row into runs of tokens of one sort, whose texts add up to the row's; `show`
prints rows drawn by the project's seed, in colour, or with the supervised text between ⟦ and ⟧ where there is none.
Needs the tokenizer alone: no weights, no GPU, no Ray. The text is the curated, scrubbed one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import schema
from pipeline.models import template
from pipeline.models.conversation import encode_rows
from pipeline.models.load import Base
from pipeline.wording import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from pipeline.config import Project
    from pipeline.run import Run

COLOURS = {True: "bold green", False: "bright_black"}
SPECIAL = "reverse"
BREAK = "\u23ce\n"  # a line break is a token to learn: it is shown


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one sort."""

    text: str
    supervised: bool
    special: bool


def spans(tokenizer: Any, row: template.Encoded) -> list[Span]:
    """Returns the runs of a row in order; a text is what decoding adds, so no blank is lost at a border."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    sorts = [
        (label != template.IGNORED, token in special) for token, label in zip(row.input_ids, row.labels, strict=True)
    ]
    runs, end, before = [], 0, ""
    for (supervised, is_special), group in itertools.groupby(sorts):
        end += len(list(group))
        whole = str(tokenizer.decode(row.input_ids[:end], clean_up_tokenization_spaces=False))
        runs.append(Span(whole[len(before) :], supervised, is_special))
        before = whole
    return runs


def styled(runs: list[Span], colour: bool) -> Text:
    """Returns the runs as one text to print."""
    from rich.text import Text

    text, open_ = Text(), False
    for span in runs:
        if not colour and span.supervised != open_:
            text.append("⟦" if span.supervised else "⟧")
            open_ = span.supervised
        style = COLOURS[span.supervised] + (f" {SPECIAL}" if span.special else "")
        text.append(span.text.replace("\n", BREAK), style)
    return text.append("⟧") if open_ else text


def show(project: Project, run: Run, count: int, console: Console) -> None:
    """Prints `count` training rows with their masks; raises `MissingStageError` before `curate`."""
    tokenizer = Base.of(project).tokenizer()
    rows = run.read_outputs(run.require("curate"), "data/train").select(["id", "kind", *schema.FIRST, "later"])
    chosen = sorted(rows.to_pylist(), key=lambda row: schema.shuffle_key(project.seed, row["id"]))
    colour = console.color_system is not None
    marks = styled([Span("context", False, False)], colour), styled([Span("learnt", True, False)], colour)
    console.print(*marks, "special tokens reversed" if colour else "", end="\n\n")
    for row in chosen[:count]:
        (examples,) = encode_rows(tokenizer, [schema.turns_of(row)], project.train.max_length, [row["kind"]])
        for number, encoded in enumerate(examples, 1):
            part = f", example {number} of {len(examples)}" if examples[1:] else ""
            learnt = sum(label != template.IGNORED for label in encoded.labels)
            text = f"{row['id']}  {row['kind']}{part}, {len(encoded.input_ids)} tokens, {learnt} learnt"
            console.print(text, markup=False)
            if encoded.truncated or encoded.dropped:
                console.print(_lost(encoded, learnt, project.train.max_length), style="yellow", markup=False)
            console.print(styled(spans(tokenizer, encoded), colour), end="\n\n")
    console.print(f"{min(count, len(chosen)):,} of {len(chosen):,} curated training rows")


def _lost(row: template.Encoded, learnt: int, max_length: int) -> str:
    """Returns what is not learnt of a row that is longer than `max_length`."""
    parts = []
    if row.truncated:
        lost = "" if learnt else "; nothing is left to learn, the row is skipped"
        parts.append(f"cut at train.max_length, {max_length} tokens{lost}")
    if row.dropped:
        parts.append(f"left out, as they end behind train.max_length: the last {counted(row.dropped, 'exchange')}")
    return "; ".join(parts)
