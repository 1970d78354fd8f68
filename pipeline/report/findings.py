"""What a curation measured about itself, in sentences: for the page and for the data card alike.

Output contract: plain text, not escaped; each function takes the part of `metrics/curate.json` that it puts into words
and says nothing that is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report.words import counted, personal

Metrics = Mapping[str, Any]
NAMED = 12  # labels that a sentence lists


def share(value: float) -> str:
    """Returns a share as a percentage that does not round to all or nothing what is neither."""
    digits = 0 if value in (0, 1) else 1 if 0.01 <= value <= 0.99 else 2
    return f"{100 * value:.{digits}f} %"


def recall(part: Metrics) -> str:
    """Returns a recall with its 95 % interval, where there is one."""
    text = share(part["recall"])
    if part.get("recall_low") is not None:
        text += f" (95 % interval {share(part['recall_low'])} to {share(part['recall_high'])})"
    return text


def near_duplicates(dedup: Metrics) -> list[str]:
    """Returns sentences on the near duplicates: how many were compared, how many of those there are were found."""
    sentences = [
        f"{counted(dedup['candidates'], 'pair')} compared word by word, {dedup['edges']:,} of them alike enough; "
        f"{counted(dedup['identical'], 'more row')} had exactly the words of another. No row is dropped on an estimate."
    ]
    audit = dedup.get("audit")
    if audit and audit["true_pairs"]:
        precision = f" and {share(audit['precision'])} of what was dropped rightly so" if "precision" in audit else ""
        sentences.append(
            f"Audit: {counted(audit['sample_rows'], 'row')} compared with all others have "
            f"{counted(audit['true_pairs'], 'true pair')}, of which {audit['found_pairs']:,} were found: recall "
            f"{recall(audit)}{precision}."
        )
    elif audit:
        sentences.append(f"Audit: {counted(audit['sample_rows'], 'row')} compared with all others have no near pair.")
    if capped := dedup.get("capped_buckets"):
        sentences.append(
            f"{counted(capped, 'bucket')} held so many rows that they were compared with the best row only, not each "
            "with each."
        )
    return sentences


def toxicity(part: Metrics) -> list[str]:
    """Returns sentences on the screen before the toxicity model, and on what it may have missed."""
    sentences = [f"{part['scored']:,} of {counted(part['rows'], 'row')} scored by the toxicity model."]
    if part.get("recall") is not None:
        sentences.append(
            f"The others were passed by a screen fitted in this run; it finds {recall(part)} of the rows that the "
            "model would drop, by an audit of a sample of what it passed."
        )
    return sentences


def leaks(part: Metrics) -> list[str]:
    """Returns sentences on what a second, stricter search still finds in kept rows, and on what that means."""
    found = ", ".join(f"{personal(kind)} {count:,}" for kind, count in sorted(part["findings"].items()) if count)
    meaning = (
        "This is an upper bound of what was missed: the second search also takes for personal data what is none, such "
        "as an order number for a phone number."
    )
    if not found:
        return [f"A second, stricter search of {counted(part['rows'], 'kept row')} finds nothing more."]
    return [
        f"A second, stricter search of {counted(part['rows'], 'kept row')} still finds {part['per_1000']:,.1f} details "
        f"per 1,000 rows: {found}.",
        meaning,
    ]


def split(part: Metrics) -> list[str]:
    """Returns sentences on how labels and groups came to lie in the splits."""
    sentences = []
    if pooled := part["pooled"]:
        largest = sorted(pooled.items(), key=lambda item: (-item[1], item[0]))
        names = [f"{name or 'no label'} ({rows:,})" for name, rows in largest[:NAMED]]
        names += [f"{len(largest) - NAMED:,} more"] if largest[NAMED:] else []
        sentences.append(
            f"{counted(len(pooled), 'label')} too small to be divided alone, so divided together: {', '.join(names)}."
        )
    large = part["large_groups"]
    if large["groups"]:
        sentences.append(
            f"{counted(large['groups'], 'group')} of near duplicates, {large['rows']:,} rows, are too large for "
            "validation or golden set and train whole."
        )
    frozen = part["frozen"]
    if frozen["ids"]:
        sentences.append(
            f"{counted(frozen['ids'], 'id')} frozen as golden by earlier runs: {frozen['present']:,} are in this dump, "
            f"with {frozen['with_their_group']:,} more of their groups."
        )
    if carried := part.get("carried"):
        sentences.append(f"{counted(carried, 'golden row')} of earlier dumps are carried over.")
    return sentences


def audits(metrics: Metrics) -> list[str]:
    """Returns a line for each audit that the run has made, for a terminal."""
    parts = (
        ("near duplicates", "dedup", near_duplicates),
        ("toxicity", "toxicity", toxicity),
        ("leaks", "leaks", leaks),
    )
    return [f"{title}: {' '.join(tell(metrics[key]))}" for title, key, tell in parts if key in metrics]
