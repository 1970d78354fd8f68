"""The page's section on curation: for whoever must answer for the data, and for whoever paid for it.

Output contract: HTML made of `metrics/curate.json` alone. What a run did not measure is not there: a part is shown only
where the metrics have its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from pipeline import wording
from pipeline.curation import findings
from pipeline.report import elements
from pipeline.report.elements import NONE, box, folded, paragraph, table
from pipeline.report.plots import bars, histogram, scores

Metrics = Mapping[str, Any]
LOSERS = 5  # rows that lost most before the rest folds
LABELS = 15  # rows of the label table before the rest folds


def section(curate: Metrics) -> str:
    """Returns the whole section."""
    splits = ", ".join(f"{n:,} {split}" for split, n in curate["splits"].items())
    boxes = [
        _funnel(curate),
        _reasons(curate),
        *_removed(curate),
        *_language(curate),
        *_personal(curate),
        *_audits(curate),
    ]
    boxes += [*_lengths(curate), _labels(curate), _provenance(curate)]
    return elements.section("Curation", boxes, f"{splits} rows.", _sources(curate))


def _sources(curate: Metrics) -> str:
    sources = curate["sources"]
    reasons = sorted({reason for source in sources.values() for reason in source["rejected"]})
    rows = [
        [name, source["read"], source["kept"], *(source["rejected"].get(reason, 0) for reason in reasons)]
        for name, source in sources.items()
    ]
    head = ["source", "read", "kept", *map(wording.plain, reasons)]
    unread = findings.left_out(curate.get("left_out", ()))
    body = table(head, rows) + (paragraph(unread) if unread else "")
    return box("Every row is kept or rejected for one reason", body, "sources")


def _funnel(curate: Metrics) -> str:
    steps = [(wording.FUNNEL.get(step["stage"], step["stage"]), step["rows"]) for step in curate["funnel"]]
    return box("From rows read to rows kept", bars(steps))


def _reasons(curate: Metrics) -> str:
    rows = [
        (
            wording.reason(reason["reason"]),
            reason["stage"],
            "" if reason["threshold"] is None else f"{reason['threshold']:g}",
            reason["rows"],
        )
        for reason in curate["reasons"]
    ]
    body = table(("the row", "stage", "threshold", "rows"), rows, words=2) if rows else NONE
    return box("Why rows were rejected", body)


def _removed(curate: Metrics) -> list[str]:
    if "removed" not in curate:
        return []
    body = paragraph(findings.removed(curate)) + table(*findings.removed_kinds(curate))
    head, rows = findings.removed_most(curate)
    if rows:
        body += "<h4>rows that lost most to quoted mails, signatures and footers</h4>"
        body += table(head, rows[:LOSERS], words=3)
    if rows[LOSERS:]:
        body += folded(f"{len(rows) - LOSERS} more rows", table(head, rows[LOSERS:], words=3))
    return [box("What reading removed", body, "wide")]


def _language(curate: Metrics) -> list[str]:
    kept = sorted(curate["languages"].items(), key=lambda item: -item[1])
    body = bars([(wording.language(code), n) for code, n in kept])
    if rejected := curate["languages_rejected"]:
        worst = sorted(rejected.items(), key=lambda item: -item[1])
        body += "<h4>of rejected rows</h4>" + bars([(wording.language(code), n) for code, n in worst], tone="b")
    note = (
        "How sure the language is, among the expected ones.",
        "Rejected rows right of the line were taken by another stage.",
    )
    plot = _scores(curate, "lang_score", "language.threshold")
    return [box("Languages of the rows kept", body), box("Language score", plot + paragraph(note))]


def _scores(curate: Metrics, name: str, setting: str) -> str:
    histogram, threshold = curate["scores"][name], curate["provenance"]["settings"][setting]
    series = [(fate, histogram[fate]["counts"]) for fate in ("kept", "rejected")]
    return scores(histogram["kept"]["edges"], series, threshold)


def _personal(curate: Metrics) -> list[str]:
    types = sorted(curate["pii"].items(), key=lambda item: -item[1])
    body = bars([(wording.personal(kind), n) for kind, n in types], tone="c")
    touched, (_, kept) = sum(curate["pii_rows"].values()), findings.totals(curate)
    body += paragraph([f"{wording.counted(touched, 'kept row')} of {kept:,} had any."])
    if "leaks" in curate:
        body += "<h4>leak audit</h4>" + paragraph(findings.leaks(curate["leaks"])) + _leaks(curate["leaks"]["types"])
    boxes = [box("Personal details replaced, by type", body)]
    if len(curate["pii_by_source"]) > 1:
        shown = findings.personal_by_source(curate, [kind for kind, _ in types])
        boxes.append(box("Personal details, by source", table(*shown)))
    return [*boxes, _reference(curate["provenance"]["pii_recall"])]


def _reference(measured: Metrics) -> str:
    rows = [
        (wording.personal(kind), result["spans"], f"{result['recall']:.3f}", f"{result['precision']:.3f}")
        for kind, result in measured["types"].items()
    ]
    note = (
        f"Of {measured['texts']:,} made English texts ({measured['set']}), never trained on: the share of spans",
        "covered whole, and of findings that touch one. Not measured on this data, nor in German.",
    )
    head = ("type", "spans", "recall", "precision")
    return box("What the recognisers find in a reference set", table(head, rows) + paragraph(note))


def _leaks(types: Metrics) -> str:
    if not types:
        return ""
    rows = [(wording.personal(kind), leak["findings"], f"{leak['rows_per_1000']:,.1f}") for kind, leak in types.items()]
    ids = [(wording.personal(kind), " ".join(name[:12] for name in leak["first_ids"])) for kind, leak in types.items()]
    look = folded("rows to look at", table(("what", "ids, for jobs.why RUN ID --text"), ids, words=2))
    return table(("what", "found", "rows in 1,000"), rows) + look


def _audits(curate: Metrics) -> list[str]:
    boxes, plot = [], ""
    if any(sum(scored["counts"]) for scored in curate["scores"]["toxicity"].values()):
        plot = _scores(curate, "toxicity", "toxicity.threshold")
    note = paragraph(findings.toxicity(curate["toxicity"])) if "toxicity" in curate else ""
    if plot or note:
        boxes.append(box("Toxicity of the rows scored", plot + note))
    if "dedup" in curate:
        sentences = findings.near_duplicates(curate["dedup"])
        boxes.append(box("Near duplicates", "".join(paragraph([sentence]) for sentence in sentences)))
    return boxes


def _labels(curate: Metrics) -> str:
    head, rows = findings.labels(curate)
    body = table(head, rows[:LABELS]) if rows else NONE
    if rows[LABELS:]:
        body += folded(f"{len(rows) - LABELS:,} more labels", table(head, rows[LABELS:]))
    if "split" in curate and (sentences := findings.split(curate["split"])):
        body += paragraph(sentences)
    return box("Labels in each split", body, "wide")


def _lengths(curate: Metrics) -> list[str]:
    boxes = [
        box(f"Length of the {name}s", histogram(by_split["edges"], by_split["counts"], "words"))
        for name, by_split in sorted(curate["lengths"].items())
    ]
    if sentences := findings.conversations(curate):
        boxes.append(box("Conversations", paragraph(sentences)))
    return boxes


def _provenance(curate: Metrics) -> str:
    provenance = curate["provenance"]
    models = [(role, model["name"], model["version"]) for role, model in provenance["models"].items()]
    settings = [(f"curate.{name}", wording.setting(value)) for name, value in provenance["settings"].items()]
    licences = [
        (source, licence, sum(file["source"] == source for file in provenance["inputs"]))
        for source, licence in provenance["licences"].items()
    ]
    files = [(file["path"], file["source"], file["blake2b"], file["bytes"]) for file in provenance["inputs"]]
    lead = (
        f"{escape(wording.version(provenance))}, seed {provenance['seed']}. The data card "
        "is <code>data/README.md</code>; what became of a row: <code>python -m jobs.why RUN ROW</code>."
    )
    body = (
        f'<p class="note">{lead}</p>'
        + table(("source", "licence", "files"), licences, words=2)
        + table(("model for", "name", "version or BLAKE2b"), models, words=3)
        + folded(wording.counted(len(settings), "setting"), table(("setting", "value"), settings, words=2))
        + folded(
            f"{wording.counted(len(files), 'input file')} with BLAKE2b digests",
            table(("file", "source", "BLAKE2b-128", "bytes"), files, words=3),
        )
    )
    return box("What this was made of", body, "wide")
