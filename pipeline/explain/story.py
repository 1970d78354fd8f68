"""Why a row was kept or rejected: its story, read back from what the stages wrote.

Output contract: `explain` returns one `Story` for every row of a name, each with a step per stage in the order in which
the row went through them. A story holds ids, paths, scores, thresholds and types of personal data, never the personal
data; `text` adds the scrubbed turns of a kept row, as they are in `data/`. The story of an unfinished run
ends at the first stage that is still to come. This module decides nothing and computes no score again.
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
from pipeline.explain.find_rows import Row, RowFinder
from pipeline.run import Run


@dataclass(frozen=True)
class Step:
    """What one stage decided on a row; score and threshold are between 0 and 1, or a quality rule's own."""

    stage: str
    happened: str
    score: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Story:
    """A row on its way from its input file to its output file. `verdict` is one sentence."""

    id: str
    name: str  # source and the row's id in it
    verdict: str
    steps: tuple[Step, ...]  # none where a name means more than MANY rows
    text: tuple[str, ...] | None  # the turns, scrubbed


MANY = 10  # stories with steps
ORDER = ("exact", "quality", "language", "pii", "toxicity", "dedup")  # what a row goes through once it is read
PART_OF = dict.fromkeys(("exact", "quality", "language", "pii"), "screen")  # the others are stages of their own
UNFINISHED = "not finished yet: start the same command again, it goes on here"
ROUNDING = 1e-6  # of a float32 score or threshold
USE = {
    "train": "the model learns from it",
    "val": "it validates the training",
    "golden": "it is golden, for evaluation alone",
}
KINDS = {"qa": "a question and its answer", "document": "a section of a page"}


def explain(run: Run, name: str, text: bool = False) -> list[Story]:
    """Returns the story of every row of a name; raises `InputError` or `MissingStageError`."""
    finder = RowFinder(run)
    rows = finder.find(name)
    finder.load({parent for row in rows if (parent := _parent(row, finder))})
    explainer = _Explainer(finder, _settings(run, finder))
    return [explainer.story(row, text, brief=len(rows) > MANY) for row in rows]


def _parent(row: Row, finder: RowFinder) -> str | None:
    """Returns the id of a rephrasing's parent, which a rejected rephrasing has in place of its path."""
    return str(row["parent_id"] or row["path"]) if row["file"] in finder.synthetic else None


def _settings(run: Run, finder: RowFinder) -> Mapping[str, Any]:
    """Returns the settings of a finished curation as it recorded them, of an unfinished one as the run folder has them;
    none where an unfinished curation was not started by a job."""
    if "curate" in finder.finished:
        metrics = run.read_json("metrics/curate.json")
        if "provenance" in metrics:
            return dict(metrics["provenance"]["settings"])
    if not run.exists("config.yaml"):
        return {}
    return data_card.flat(yaml.safe_load(run.read_bytes("config.yaml"))["curate"])


def _name(row: Row) -> str:
    return f"{row['source']} {row['source_id'] or '(without an id)'}"


def _removed(row: Row) -> str:
    """Returns what reading removed from a row's texts, in characters by kind."""
    removed = {item["kind"]: item["characters"] for item in row["removed"] or ()}
    if not removed:
        return ""
    kinds = wording.removed(removed)
    return f"; {row['characters']:,} characters, of which {sum(removed.values()):,} were removed: {kinds}"


def _rejection(row: Row, reason: str = "") -> Step:
    return Step(row["stage"], reason or wording.reason(row["reason"]), row["score"], row["threshold"])


class _Explainer:
    """Puts into words what the stages wrote about rows."""

    def __init__(self, finder: RowFinder, settings: Mapping[str, Any]) -> None:
        self._finder, self._settings = finder, settings

    def story(self, row: Row, text: bool, brief: bool = False) -> Story:
        """Returns the story of a row; a brief one has neither steps nor text."""
        synthetic = row["file"] in self._finder.synthetic
        stages = self._synthetic if synthetic else self._curated if row["file"] in self._finder.parts else self._carried
        steps = () if brief else (*stages(row), *self._end(row))
        content = self._finder.text(row) if text and row["split"] and not brief else None
        kind = "rephrasing of " if synthetic else ""
        return Story(row["id"], f"{kind}{_name(row)}", self._verdict(row), steps, content)

    def _verdict(self, row: Row) -> str:
        if row["stage"]:
            twin = f" ({self._twin(row)})" if row["twin"] else ""
            return f"Rejected by stage `{row['stage']}`: {wording.reason(row['reason'])}{twin}."
        if row["split"]:
            return f"Kept: {USE[row['split']]}."
        return f"Not decided yet: {', '.join(self._finder.pending)} still to come."

    def _threshold(self, name: str) -> float | None:
        value = self._settings.get(name)
        return None if value is None else float(value)

    # -- the stages ---------------------------------------------------------------------------------------------------

    def _curated(self, row: Row) -> Iterator[Step]:
        """Yields a step for every finished stage up to the one that rejected the row."""
        pending, unreadable = self._finder.pending, row["stage"] == "read"
        outcome = wording.reason(row["reason"]) if unreadable else KINDS[row["kind"]]
        yield Step("read", f"{row['path']}, line {row['line']}: {outcome}{_removed(row)}")
        if unreadable:
            return
        for stage in ORDER:
            if stage == "quality" and not any(name.startswith("quality.") for name in self._settings):
                continue
            if PART_OF.get(stage, stage) in pending:
                yield Step(stage, UNFINISHED)
                return
            yield getattr(self, f"_{stage}")(row)
            if row["stage"] == stage:
                return
        if row["stage"]:
            yield _rejection(row)
        else:
            yield Step("curate", UNFINISHED) if "curate" in pending else self._split(row)

    def _exact(self, row: Row) -> Step:
        copies = sum(other["stage"] == "exact" for other in self._finder.of(row["id"]))
        if row["stage"] == "exact":
            return _rejection(row, f"same content as {self._other(row)}")
        if not copies:
            return Step("exact", "no other row has its content")
        return Step("exact", f"stays for {wording.counted(copies + 1, 'row')} of the same content")

    def _quality(self, row: Row) -> Step:
        if row["stage"] == "quality":
            return _rejection(row)
        settings = self._settings.items()
        rules = sum(name.startswith("quality.") and isinstance(value, int | float) for name, value in settings)
        return Step("quality", f"passed {wording.counted(rules, 'rule')}")

    def _language(self, row: Row) -> Step:
        name, threshold, score = wording.language(row["lang"]), self._threshold("language.threshold"), row["lang_score"]
        if row["stage"] == "language":
            likeliest = f"; the likeliest is {name}" if row["lang"] else ""
            return _rejection(row, wording.reason(row["reason"]) + likeliest)
        if score is not None and threshold is not None and score < threshold - ROUNDING:
            name += ", too short a text to be sure: kept by the rule for those"
        return Step("language", name, score, threshold)

    def _pii(self, row: Row) -> Step:
        counts = Counter(row["pii"] or ())
        if not counts:
            return Step("pii", "no personal data found")
        types = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        mode = self._settings.get("pii.mode")
        by = f" (mode {mode})" if mode else ""
        return Step("pii", f"{wording.counted(counts.total(), 'personal detail')} replaced{by}: {types}")

    def _toxicity(self, row: Row) -> Step:
        if self._settings.get("toxicity.skip"):
            return Step("toxicity", "not judged: the configuration skips it")
        if row["stage"] == "toxicity":
            return _rejection(row)
        cleared = ": cleared early in the model, so it has no score" if row["toxicity"] is None else ""
        return Step("toxicity", f"passed{cleared}", row["toxicity"], self._threshold("toxicity.threshold"))

    def _dedup(self, row: Row) -> Step:
        threshold = self._threshold("dedup.threshold")
        rows, kept = self._finder.group(row["group"])
        group = f"group {row['group'][:8]} of {wording.counted(rows, 'row')}, {kept:,} kept"
        if row["stage"] == "dedup" and row["twin"]:
            near = row["score"] >= (threshold or 0) - ROUNDING
            relation = "nearly the same as" if near else "joined by near duplicates to"
            return Step("dedup", f"{relation} {self._other(row)}; {group}", row["score"], threshold)
        if row["stage"] == "dedup":
            return Step("dedup", wording.reason(row["reason"]))
        alone = "no other row is nearly the same"
        return Step("dedup", alone if rows == 1 else f"no kept row is nearly the same; {group}", None, threshold)

    def _split(self, row: Row) -> Step:
        variants, kept = self._finder.children(row["id"])
        children = f"; {wording.counted(variants, 'rephrasing')} made from it, {kept:,} kept" if variants else ""
        frozen = ""
        if row["split"] == "golden":
            since = " since an earlier curation" if row["id"] in self._finder.frozen else ""
            frozen = f"; golden{since} and in every later one"
        whole = ", as does its whole group" if self._finder.group(row["group"])[1] > 1 else ""
        label = f"label {row['label']}" if row["label"] else "no label"
        return Step("split", f"{label}: goes to {row['split']}{whole}{frozen}{children}")

    def _synthetic(self, row: Row) -> Iterator[Step]:
        """Yields the steps of a rephrasing."""
        parent = self._fate(str(_parent(row, self._finder)))
        fault = f"; {wording.reason(row['reason'])}" if row["stage"] == "synthesize" else ""
        yield Step("synthesize", f"made from {parent}, whose answer it has{fault}")
        if row["stage"] and row["stage"] != "synthesize":
            yield _rejection(row)
        elif not row["stage"]:
            threshold = self._threshold("language.threshold")
            yield Step("language", wording.language(row["lang"]), row["lang_score"], threshold)
            yield Step("split", "trains, as its parent does")

    def _carried(self, _: Row) -> Iterator[Step]:
        yield Step("read", "not in this dump, or not kept from it")
        yield Step("split", "golden since an earlier curation of this folder, and carried over")

    def _end(self, row: Row) -> Iterator[Step]:
        """Yields where a row is now, once it is kept or rejected."""
        if row["split"]:
            yield Step("now", f"kept, in {self._finder.final_file(row)}")
        elif row["stage"] and (row["file"] not in self._finder.parts or "curate" in self._finder.finished):
            yield Step("now", f"rejected, listed without its text in {self._finder.final_file(row)}")
        elif row["stage"]:
            yield Step("now", "rejected; will be listed in rejects/ once the curation is finished")

    # -- other rows ---------------------------------------------------------------------------------------------------

    def _row(self, identity: str) -> Row | None:
        """Returns the row with an id; of copies the one that went furthest."""
        rows = self._finder.of(identity)
        return max(rows, key=lambda row: (bool(row["split"]), row["stage"] != "exact"), default=None)

    def _twin(self, row: Row) -> str:
        twin = None if row["twin_run"] else self._row(row["twin"])
        return _name(twin) if twin else str(row["twin"])

    def _other(self, row: Row) -> str:
        """Returns name, id and fate of the twin, which may be in an earlier run."""
        if row["twin_run"] is None:
            return self._fate(row["twin"], exact=row["stage"] == "exact")
        try:
            earlier = _Explainer(RowFinder(Run.open(row["twin_run"], make=False)), {})
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
        position = f"{row['path']}:{row['line']}" if exact else identity[:12]
        return f"{_name(row)} ({position}; {fate})"
