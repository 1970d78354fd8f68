"""Why a row is where it is: the story of a row, read back from what the stages wrote.

Output contract: `tell` returns one `Story` for every row that a name means, each with a step per stage in the order in
which the row went through them. A story holds ids, places, scores, thresholds and types of personal data, never the
personal data; `text` adds the question and the answer of a kept row as they are in `data/`, scrubbed.
It tells of an unfinished run what is known and which stages are still to come. This module decides nothing and
computes no score again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline import wording
from pipeline.curation import data_card
from pipeline.errors import UserError
from pipeline.explain.find_rows import Lookup, Row
from pipeline.run import Run


@dataclass(frozen=True)
class Step:
    """What one stage made of a row."""

    stage: str
    happened: str
    score: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Story:
    """A row from its file to where it is now. `verdict` is one sentence."""

    id: str
    name: str  # source and the row's id in it
    verdict: str
    steps: tuple[Step, ...]  # none where a name means more than MANY rows
    text: tuple[str, str] | None  # question and answer, scrubbed


MANY = 10  # stories that are told in full
ORDER = ("exact", "quality", "language", "pii", "toxicity", "dedup")  # what a row goes through once it is read
PART_OF = dict.fromkeys(("exact", "quality", "language", "pii"), "screen")  # the others are stages of their own


def tell(run: Run, name: str, text: bool = False) -> list[Story]:
    """Returns the story of every row that `name` means; raises `InputError` or `MissingStageError`."""
    lookup = Lookup(run)
    rows = lookup.find(name)
    lookup.load({parent for row in rows if (parent := _parent(row, lookup))})
    narrator = _Narrator(lookup, _settings(run, lookup))
    return [narrator.story(row, text, brief=len(rows) > MANY) for row in rows]


def _parent(row: Row, lookup: Lookup) -> str | None:
    """Returns the id of a rephrasing's parent, which a rejected one has where a row has its file."""
    return str(row["parent_id"] or row["path"]) if row["file"] in lookup.synthetic else None


def _settings(run: Run, lookup: Lookup) -> Mapping[str, Any]:
    """Returns the settings of the curation: those it recorded, or of an unfinished one those in the run folder;
    none where a curation that no job started is not finished."""
    if "curate" in lookup.done:
        metrics = run.read_json("metrics/curate.json")
        if "provenance" in metrics:
            return dict(metrics["provenance"]["settings"])
    if not run.exists("config.yaml"):
        return {}
    return data_card.flat(yaml.safe_load(run.read_bytes("config.yaml"))["curate"])


class _Narrator:
    """Puts into words what is known about rows."""

    def __init__(self, lookup: Lookup, settings: Mapping[str, Any]) -> None:
        self._lookup, self._settings = lookup, settings

    def story(self, row: Row, text: bool, brief: bool = False) -> Story:
        synthetic = row["file"] in self._lookup.synthetic
        tell = self._synthetic if synthetic else self._curated if row["file"] in self._lookup.parts else self._carried
        steps = () if brief else tuple(tell(row))
        content = self._lookup.text(row) if text and row["split"] and not brief else None
        kind = "rephrasing of " if synthetic else ""
        return Story(row["id"], f"{kind}{_name(row)}", self._verdict(row), steps, content)

    def _verdict(self, row: Row) -> str:
        if row["stage"]:
            twin = f" ({self._twin(row)})" if row["twin"] else ""
            return f"Rejected by stage `{row['stage']}`: {wording.reason(row['reason'])}{twin}."
        if row["split"]:
            return f"Kept: {USE[row['split']]}."
        return f"Not decided yet: {', '.join(self._lookup.pending)} still to come."

    def _threshold(self, name: str) -> float | None:
        value = self._settings.get(name)
        return None if value is None else float(value)

    # -- the stages ---------------------------------------------------------------------------------------------------

    def _curated(self, row: Row) -> Iterator[Step]:
        """Yields a step for every stage up to the one that rejected the row, then what became of it."""
        at_fault = row["stage"] == "read"
        outcome = wording.reason(row["reason"]) if at_fault else KINDS[row["kind"]]
        yield Step("read", f"{row['path']}, line {row['line']}: {outcome}")
        if at_fault:
            yield self._end(row)
            return
        pending = self._lookup.pending
        for stage in ORDER:
            if stage == "quality" and not any(name.startswith("quality.") for name in self._settings):
                continue
            if PART_OF.get(stage, stage) in pending:
                yield Step(stage, "not finished yet: start the same command again, it goes on here")
                return
            yield getattr(self, f"_{stage}")(row)
            if row["stage"] == stage:
                yield self._end(row)
                return
        if row["stage"]:
            yield self._rejected(row["stage"], row, wording.reason(row["reason"]))
        elif "curate" in pending:
            yield Step("curate", "not finished yet: start the same command again, it goes on here")
            return
        else:
            yield self._split(row)
        yield self._end(row)

    def _rejected(self, stage: str, row: Row, happened: str) -> Step:
        return Step(stage, happened, row["score"], row["threshold"])

    def _exact(self, row: Row) -> Step:
        copies = sum(other["stage"] == "exact" for other in self._lookup.of(row["id"]))
        if row["stage"] == "exact":
            return self._rejected("exact", row, f"same content as {self._other(row)}")
        if not copies:
            return Step("exact", "no other row has its content")
        return Step("exact", f"stays for {wording.counted(copies + 1, 'row')} of the same content")

    def _quality(self, row: Row) -> Step:
        if row["stage"] == "quality":
            return self._rejected("quality", row, wording.reason(row["reason"]))
        rules = sum(
            name.startswith("quality.") and isinstance(value, int | float) for name, value in self._settings.items()
        )
        return Step("quality", f"passed {wording.counted(rules, 'rule')}")

    def _language(self, row: Row) -> Step:
        name, threshold = wording.language(row["lang"]), self._threshold("language.threshold")
        if row["stage"] == "language":
            likeliest = f"; the likeliest is {name}" if row["lang"] else ""
            return self._rejected("language", row, wording.reason(row["reason"]) + likeliest)
        score = row["lang_score"]
        if score is not None and threshold is not None and score < threshold - 1e-6:
            return Step(
                "language", f"{name}, too short a text to be sure: kept by the rule for those", score, threshold
            )
        return Step("language", name, score, threshold)

    def _pii(self, row: Row) -> Step:
        types_found = Counter(row["pii"] or ())
        if not types_found:
            return Step("pii", "no personal data found")
        types = ", ".join(f"{kind} {count}" for kind, count in sorted(types_found.items()))
        mode = self._settings.get("pii.mode")
        by = f" (mode {mode})" if mode else ""
        return Step("pii", f"{wording.counted(sum(types_found.values()), 'personal detail')} replaced{by}: {types}")

    def _toxicity(self, row: Row) -> Step:
        if self._settings.get("toxicity.skip"):
            return Step("toxicity", "not judged: the configuration skips it")
        threshold = self._threshold("toxicity.threshold")
        if row["stage"] == "toxicity":
            return self._rejected("toxicity", row, wording.reason(row["reason"]))
        if row["toxicity"] is None:
            return Step("toxicity", "passed: cleared early in the model, so it has no score", None, threshold)
        return Step("toxicity", "passed", row["toxicity"], threshold)

    def _dedup(self, row: Row) -> Step:
        threshold = self._threshold("dedup.threshold")
        rows, kept = self._lookup.group(row["group"])
        group = f"group {row['group'][:8]} of {wording.counted(rows, 'row')}, {kept:,} kept"
        if row["stage"] == "dedup" and row["twin"]:
            near = "nearly the same as" if row["score"] >= (threshold or 0) - 1e-6 else "joined by near duplicates to"
            return Step("dedup", f"{near} {self._other(row)}; {group}", row["score"], threshold)
        if row["stage"] == "dedup":
            return Step("dedup", wording.reason(row["reason"]))
        if rows == 1:
            return Step("dedup", "no other row is nearly the same", None, threshold)
        return Step("dedup", f"no kept row is nearly the same; {group}", None, threshold)

    def _split(self, row: Row) -> Step:
        variants, kept = self._lookup.children(row["id"])
        children = f"; {wording.counted(variants, 'rephrasing')} made from it, {kept:,} kept" if variants else ""
        frozen = ""
        if row["split"] == "golden":
            since = " since an earlier curation" if row["id"] in self._lookup.frozen else ""
            frozen = f"; golden{since} and in every later one"
        whole = ", as does its whole group" if self._lookup.group(row["group"])[1] > 1 else ""
        label = f"label {row['label']}" if row["label"] else "no label"
        return Step("split", f"{label}: goes to {row['split']}{whole}{frozen}{children}")

    def _synthetic(self, row: Row) -> Iterator[Step]:
        """Yields the steps of a rephrasing."""
        about = self._fate(str(_parent(row, self._lookup)))
        fault = f"; {wording.reason(row['reason'])}" if row["stage"] == "synthesize" else ""
        yield Step("synthesize", f"made from {about}, whose answer it has{fault}")
        if row["stage"] and row["stage"] != "synthesize":
            yield self._rejected(row["stage"], row, wording.reason(row["reason"]))
        elif not row["stage"]:
            yield Step(
                "language", wording.language(row["lang"]), row["lang_score"], self._threshold("language.threshold")
            )
            yield Step("split", "trains, as its parent does")
        yield self._end(row)

    def _carried(self, row: Row) -> Iterator[Step]:
        yield Step("read", "not in this dump, or not kept from it")
        yield Step("split", "golden since an earlier curation of this folder, and carried over")
        yield self._end(row)

    def _end(self, row: Row) -> Step:
        if row["split"]:
            return Step("now", f"kept, in {self._lookup.place(row)}")
        if row["file"] not in self._lookup.parts or "curate" in self._lookup.done:
            return Step("now", f"rejected, listed without its text in {self._lookup.place(row)}")
        return Step("now", "rejected; will be listed in rejects/ once the curation is finished")

    # -- other rows ---------------------------------------------------------------------------------------------------

    def _row(self, identity: str) -> Row | None:
        """Returns the row with an id; of copies the one that went furthest."""
        return max(
            self._lookup.of(identity), key=lambda row: (bool(row["split"]), row["stage"] != "exact"), default=None
        )

    def _twin(self, row: Row) -> str:
        twin = None if row["twin_run"] else self._row(row["twin"])
        return _name(twin) if twin else str(row["twin"])

    def _other(self, row: Row) -> str:
        """Returns name, id and fate of the twin, which may be in an earlier run."""
        if row["twin_run"] is None:
            return self._fate(row["twin"], exact=row["stage"] == "exact")
        try:
            earlier = _Narrator(Lookup(Run.open(row["twin_run"], make=False)), {})
        except UserError:
            return f"{row['twin']} of the earlier run {row['twin_run']}, which cannot be read any more"
        return f"{earlier._fate(row['twin'])} of the earlier run {row['twin_run']}"

    def _fate(self, identity: str, exact: bool = False) -> str:
        """Returns name, id and fate of another row."""
        row = self._row(identity)
        if row is None:
            return f"{identity}, which is not in this run"
        fate = "not decided yet"
        if row["stage"]:
            fate = f"itself rejected by {row['stage']}: {wording.reason(row['reason'])}"
        elif row["split"]:
            fate = f"kept, in {row['split']}"
        place = f"{row['path']}:{row['line']}" if exact else identity[:12]
        return f"{_name(row)} ({place}; {fate})"


USE = {
    "train": "the model learns from it",
    "val": "it validates the training",
    "golden": "it is golden, for evaluation alone",
}
KINDS = {"qa": "a question and its answer", "document": "a section of a page"}


def _name(row: Row) -> str:
    source_id = row["source_id"]
    return f"{row['source']} {source_id}" if source_id else f"{row['source']} (without an id)"
