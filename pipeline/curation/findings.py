"""The figures of a curation in sentences, for the report and the data card.

Output contract: plain text, not escaped; each function takes its part of `metrics/curate.json` and adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.wording import REMOVED, counted, personal
from pipeline.wording import removed as worded

Metrics = Mapping[str, Any]
Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]  # head and rows
NAMED = 12  # labels that a sentence lists


def totals(metrics: Metrics) -> tuple[int, int]:
    """Returns how many rows were read and how many kept."""
    read, kept = (sum(source[name] for source in metrics["sources"].values()) for name in ("read", "kept"))
    return read, kept


def conversations(metrics: Metrics) -> list[str]:
    """Returns a sentence on the kept rows of several exchanges (a question with its answer), none without such rows."""
    rows = {int(exchanges): count for exchanges, count in metrics.get("exchanges", {}).items() if exchanges != "1"}
    if not rows:
        return []
    answers = sum(exchanges * count for exchanges, count in rows.items())
    return [
        f"{counted(sum(rows.values()), 'kept row')} of several questions and answers, at most {max(rows)} of each: "
        f"{counted(answers, 'answer')} to learn from."
    ]


def labels(metrics: Metrics) -> Table:
    """Returns the head and the rows of the table of labels, the most frequent first."""
    splits = metrics["labels"]
    names = sorted({name for counts in splits.values() for name in counts})
    names.sort(key=lambda name: -sum(counts.get(name, 0) for counts in splits.values()))
    rows = [(name or "(none)", *(counts.get(name, 0) for counts in splits.values())) for name in names]
    return ("label", *splits), rows


def personal_by_source(metrics: Metrics, types: Sequence[str]) -> Table:
    """Returns the head and the rows of the table of personal details replaced."""
    sources = metrics["pii_by_source"]
    rows = [(personal(kind), *(counts.get(kind, 0) for counts in sources.values())) for kind in types]
    return ("type", *sources), [*rows, ("rows with any", *(metrics["pii_rows"][source] for source in sources))]


def removed(metrics: Metrics) -> list[str]:
    """Returns sentences on the characters that reading removed."""
    sources = metrics["removed"]["sources"].values()
    read, kept = (sum(source[name] for source in sources) for name in ("read", "kept"))
    if read == kept and not metrics["removed"]["kinds"]:
        return [f"All of the {counted(read, 'character')} read were kept."]
    return [
        f"{counted(read, 'character')} read = {kept:,} kept + {read - kept:,} removed.",
        "What is no quoted mail, signature or footer is markup, or another spelling of the same text: it may have "
        "become longer, which is a count below zero.",
    ]


def removed_kinds(metrics: Metrics) -> Table:
    """Returns the head and the rows of the table of what reading removed, by kind."""
    kinds = metrics["removed"]["kinds"]
    order = [*REMOVED, *(kind for kind in kinds if kind not in REMOVED)]
    rows = [
        (REMOVED.get(kind, kind), kinds[kind]["characters"], kinds[kind]["rows"]) for kind in order if kind in kinds
    ]
    return ("removed", "characters", "rows"), rows


def removed_most(metrics: Metrics) -> Table:
    """Returns the head and the rows of the table of the rows that lost most, those first."""
    rows = [
        (row["id"][:12], f"{row['path']}:{row['line']}", worded(row["removed"]), row["characters"])
        for row in metrics["removed"]["most"]
    ]
    return ("id, for jobs.why", "read from", "removed", "characters read"), rows


def share(value: float) -> str:
    """Returns a share as a percentage that does not round to all or nothing what is neither."""
    digits = 0 if value in (0, 1) else 1 if 0.01 <= value <= 0.99 else 2
    return f"{100 * value:.{digits}f} %"


def recall(value: float, interval: Sequence[float] | None) -> str:
    """Returns a recall with its 95 % interval, where there is one."""
    if not interval:
        return share(value)
    return f"{share(value)} (95 % interval {share(interval[0])} to {share(interval[1])})"


def left_out(part: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a sentence on each kind of file that is not read: how many, why, and what to do."""
    sentences = []
    for group in part:
        more = group["files"] - len(group["examples"])
        names = ", ".join(group["examples"]) + (f" and {more:,} more" if more else "")
        verb = "is" if group["files"] == 1 else "are"
        sentences.append(f"{counted(group['files'], 'file')} {verb} not read, {group['why']}: {names}.")
    return sentences


def near_duplicates(dedup: Metrics) -> list[str]:
    """Returns sentences on the near duplicates: pairs compared, pairs found, and the recall of the audit."""
    sentences = [
        f"{counted(dedup['candidates'], 'pair')} compared word by word, {dedup['edges']:,} of them alike enough; "
        f"{counted(dedup['identical'], 'more row')} had exactly the words of another. No row is dropped on an estimate."
    ]
    if earlier := dedup.get("earlier"):
        sentences.append(f"Compared with {counted(earlier, 'row')} of earlier runs or golden sets as well.")
    audit = dedup.get("audit")
    if audit and audit["pairs"]:
        measured = recall(audit["recall"], audit["interval"])
        sentences.append(
            f"Audit: {counted(audit['rows'], 'row')} compared with all others have {counted(audit['pairs'], 'pair')} "
            f"alike enough, of which {audit['found']:,} were found: recall {measured}. In "
            f"{counted(audit['both_kept'], 'pair')} both rows are kept."
        )
    elif audit:
        sentences.append(f"Audit: {counted(audit['rows'], 'row')} compared with all others: no pair is alike enough.")
    if audit and audit["edges_checked"]:
        sentences.append(
            f"{audit['edges_right']:,} of {counted(audit['edges_checked'], 'similarity', 'similarities')} computed "
            "once more from the texts are right."
        )
    capped = dedup.get("capped")
    if capped and capped["buckets"]:
        sentences.append(
            f"{counted(capped['buckets'], 'bucket')} held more than {capped['cap']:,} rows, the largest "
            f"{capped['largest']:,}: of these not all were compared with one another, which the audit includes."
        )
    return sentences


def toxicity(part: Metrics) -> list[str]:
    """Returns sentences on the screen before the toxicity model and on its recall."""
    if part["screen"] is None:
        return [f"The toxicity model scored every text: {part['scored']:,}."]
    layers = part["screen"]["layers"]
    where = f"after {counted(layers, 'layer')} of it" if layers else "on its word embeddings"
    sentences = [
        f"The toxicity model scored {part['scored']:,} of {counted(part['texts'], 'text')}; the others were passed "
        f"{where}, by a screen fitted in this run."
    ]
    if part["recall"] is not None:
        sentences.append(
            "Of the rows that the model would drop "
            f"{recall(part['recall'], part['recall_interval'])} are dropped, by an audit of "
            f"{counted(part['audited'], 'row')} that the screen had passed; at most {part['missed_at_most']:,.0f} "
            "toxic rows are left."
        )
    return sentences


def leaks(part: Metrics) -> list[str]:
    """Returns sentences on the findings of the leak audit, a second, stricter search of the kept rows."""
    rows = counted(part["rows"], "kept row")
    if not part["types"]:
        return [f"A second, stricter search of {rows} finds nothing more."]
    by_type = ", ".join(f"{personal(kind)} {part['types'][kind]['findings']:,}" for kind in sorted(part["types"]))
    return [
        f"A second, stricter search of {rows} finds something in {part['rows_with_findings']:,}: {by_type}.",
        "This is more than was missed: the search is built to find too much, such as an order number for a phone "
        "number. Each kind has rows to look at.",
    ]


def split(part: Metrics) -> list[str]:
    """Returns sentences on the labels and groups that the split treated specially."""
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
    describe = {"dedup": near_duplicates, "toxicity": toxicity, "leaks": leaks}
    titles = {"dedup": "near duplicates"}
    lines = [f"reading: {removed(metrics)[0]}"] if "removed" in metrics else []
    made = [key for key in describe if key in metrics]
    return lines + [f"{titles.get(key, key)}: {' '.join(describe[key](metrics[key]))}" for key in made]
