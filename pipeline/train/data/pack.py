"""The stage `pack`: curated rows become packed rows of tokens, many examples side by side in one.

Output contract: `stages/pack/{train,val}-NNNNN.parquet`, one packed row per table row: `input_ids` and `labels` (int32,
at most `pack_tokens`, no padding) and `seq_lengths` (int32, they add up to the row). `stages/pack/summary.json` counts
examples, tokens, truncations, exchanges that a conversation is too long for, and names the rows whose whole answer was
cut away: those alone are left out. The same rows give the same bytes, whatever blocks they arrive in: they are sorted
by id, then packed best-fit decreasing; for an architecture whose packed rows are not proven everywhere, by length, so
that a row is a batch with little padding.
This module does not shuffle or pad, and no example is split over two packed rows.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.batch import each
from pipeline.errors import ConfigError, InputError, UserError
from pipeline.formats import FORMATS
from pipeline.models import architectures, prompt_check, template
from pipeline.models.conversation import encode_rows
from pipeline.run import fingerprint, outputs
from pipeline.train.data import general_rows
from pipeline.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project, Train
    from pipeline.models.load import Base
    from pipeline.run import Run, Stage

STAGE = "pack"
SUMMARY = f"stages/{STAGE}/summary.json"
SHARD_TOKENS = 4 << 20
SMALL = 10_000
"""Up to so many rows the job's own process tokenises: quicker than starting workers that import transformers (8 s)."""

CHECKED = 100
"""Training rows in which the prompt's tokens are compared with those that serving asks with."""

ENCODED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("dropped", pa.int32(), nullable=False),  # exchanges of its row that are in no example
    ]
)
_COLUMNS = ["id", "kind", *schema.FIRST, "later"]
Arrange = Callable[[np.ndarray, int], list[list[int]]]
"""Takes the examples' lengths and a row's capacity; returns the rows, each a list of positions in the lengths."""

PACKED = pa.schema([pa.field(name, pa.list_(pa.int32())) for name in ("input_ids", "labels", "seq_lengths")])


class Tokenise:
    """Makes of records an `ENCODED` table: the examples of each row, in the order of the rows."""

    def __init__(self, base: Base, max_length: int) -> None:
        self.tokenizer, self.max_length = base.tokenizer(), max_length

    def __call__(self, table: pa.Table) -> pa.Table:
        texts, starts = schema.turns(table)
        turns = [part.to_pylist() for part in map(texts.slice, starts[:-1], np.diff(starts))]
        rows = encode_rows(self.tokenizer, turns, self.max_length, table["kind"].to_pylist())
        ids = table["id"].cast(pa.string()).combine_chunks()
        examples = [example for row in rows for example in row]
        columns = [
            ids.take(np.repeat(np.arange(len(rows)), [len(row) for row in rows])),
            *(
                pa.array([getattr(example, field.name) for example in examples], field.type)
                for field in list(ENCODED)[1:]
            ),
        ]
        return pa.Table.from_arrays(columns, schema=ENCODED)


def pack(project: Project, base: Base, run: Run, console: Console) -> dict[str, Any]:
    """Runs the stage, or finds it finished; returns its manifest.

    Raises `MissingStageError` before `curate`, `ConfigError` for lengths that cannot be, `InputError` when no training
    row is left.
    """
    capacity = int(project.train.pack_tokens)  # `auto` is settled by now
    check_lengths(project.train, base)
    curated, made = run.require("curate"), run.manifest("synthesize")
    inputs = {"curate": curated["key"], "synthesize": made["key"] if made else None}
    tokenise = Tokenise(base, project.train.max_length)
    key = fingerprint(
        inputs,
        template.template_sha256(tokenise.tokenizer),
        base.fingerprint,
        project.train.max_length,
        capacity,
        general_rows.fingerprint_of(project),
        FORMATS[STAGE],
    )
    finished = run.manifest(STAGE, key)
    if finished is not None:
        console.print(f"pack: finished before, {finished['rows']['train']:,} packed rows")
        return finished
    stage = run.begin(STAGE, key)
    sources = {split: outputs(curated, f"data/{split}") for split in ("train", "val")}
    sources["train"] += outputs(made, "data/synthetic") if made else []
    prompt_check.check(tokenise.tokenizer, _first_rows(run, sources["train"]))
    few = sum(curated["rows"].values()) + (sum(made["rows"].values()) if made else 0) <= SMALL
    encoded = {split: _encoded(run, paths, tokenise, here=few) for split, paths in sources.items()}
    encoded["train"], mixed = _mix(project, run, stage, encoded["train"], tokenise)
    summary: dict[str, Any] = {}
    arrange = best_fit if architectures.of(base.config, base.name).packs == "always" else by_length
    for split, rows in encoded.items():
        packed, summary[split] = pack_rows(rows.sort_by("id"), capacity, arrange)
        step = max(1, SHARD_TOKENS // capacity)
        for number, start in enumerate(range(0, packed.num_rows, step)):
            run.put(stage, f"stages/{STAGE}/{split}-{number:05d}.parquet", packed.slice(start, step))
    if not summary["train"]["examples"]:
        raise InputError(f"{run.uri} holds no training row with an answer: curate more data")
    summary["train"]["general"] = mixed
    run.put_json(stage, SUMMARY, summary)
    rows_of = {split: summary[split]["packed_rows"] for split in summary}
    console.print(_line(summary["train"]))
    return run.commit(stage, inputs, rows_of)


def check_lengths(settings: Train, base: Base) -> None:
    """Raises `ConfigError` for examples that are longer than a packed row, or than the base's positions."""
    if settings.pack_tokens != "auto" and settings.max_length > settings.pack_tokens:
        raise ConfigError("train.max_length must not exceed train.pack_tokens: an example is never split")
    if settings.max_length > (limit := base.positions):
        raise ConfigError(f"train.max_length: {base.name} takes no more than {limit} tokens")


def _first_rows(run: Run, paths: list[str]) -> list[list[str]]:
    """Returns the turns of the first training rows of one exchange and of the first of several."""
    rows = _records(run, paths[0]).filter(pc.field("kind") == "qa").to_pylist() if paths else []
    single, several = ([row for row in rows if bool(row["later"]) is later] for later in (False, True))
    return [schema.turns_of(row) for row in (*single[:CHECKED], *several[:CHECKED])]


def _records(run: Run, path: str) -> pa.Table:
    return schema.completed(run.read_table(path)).select(_COLUMNS)


def _line(train: dict[str, Any]) -> str:
    text = (
        f"pack: {train['examples']:,} examples, {train['tokens']:,} tokens in {train['packed_rows']:,} rows "
        f"({train['fill']:.0%} full), {train['supervised_tokens']:,} supervised"
    )
    if "padding" in train:
        text += f"; by length: as batches they are {train['padding']:.1%} padding"
    if train["truncated"]:
        text += f"; {train['truncated']} cut at max_length, {len(train['skipped'])} of them left without an answer"
    if train["shortened"]:
        text += (
            f"; {counted(train['shortened'], 'conversation')} shortened by {counted(train['dropped'], 'exchange')} to "
            "fit max_length"
        )
    if several := train["several_examples"]:
        text += f"; {counted(several, 'conversation')} of several examples each, as the chat template rewrites answers"
    if mixed := train["general"]:
        text += f"; {mixed['rows']:,} general-domain rows, {mixed['share']:.1%} of the supervised tokens"
        if mixed["rows"] == mixed["available"]:
            text += f" (all there are: {mixed['wanted']:.0%} were wanted)"
    return text


def _mix(
    project: Project, run: Run, stage: Stage, encoded: pa.Table, tokenise: Tokenise
) -> tuple[pa.Table, dict[str, Any] | None]:
    """Adds the general-domain rows that the settings ask for and writes them as `data/general`; returns all rows and
    what was added. Rows that the run has curated, whatever their split, are not added again."""
    settings = project.train.general
    if settings is None:
        return encoded, None
    taken = set(run.read_outputs(run.require("curate"), "data")["id"].to_pylist())
    rows = general_rows.available(project, settings.path, taken)
    own = int(np.count_nonzero(np.asarray(encoded["labels"].combine_chunks().values) != template.IGNORED))
    drawn, added, counts = general_rows.draw(rows, settings.share, own, tokenise)
    run.put(stage, f"{general_rows.FOLDER}/00000.parquet", drawn)
    return pa.concat_tables([encoded, added]), counts


def _encoded(run: Run, paths: list[str], tokenise: Tokenise, here: bool) -> pa.Table:
    """Tokenises the records of Parquet files, in this process or in Ray tasks; returns an `ENCODED` table."""

    def work(path: str) -> pa.Table:
        return tokenise(_records(run, path))

    tables = [work(path) for path in paths] if here else each(work, [(path,) for path in paths])
    return pa.concat_tables([ENCODED.empty_table(), *tables])


def pack_rows(rows: pa.Table, capacity: int, arrange: Arrange | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """Packs an `ENCODED` table (sorted by id) into a `PACKED` one, best-fit unless `arrange` says otherwise; returns it
    and its counts.

    Rows with no supervised token are left out and named under `skipped`. `padding`, for rows `by_length`, is the share
    of padding in them as batches.
    """
    arrange = arrange or best_fit
    ids = rows["input_ids"].combine_chunks()
    labels = rows["labels"].combine_chunks()
    starts = np.asarray(ids.offsets)
    tokens, targets = np.asarray(ids.values), np.asarray(labels.values)
    lengths = np.diff(starts)
    answers = np.add.reduceat(np.append(targets != template.IGNORED, False), starts[:-1]) if len(lengths) else lengths
    kept = np.flatnonzero(answers > 0)
    bins = [kept[members] for members in arrange(lengths[kept], capacity)]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in PACKED.names}
    for members in bins:
        spans = [slice(starts[i], starts[i + 1]) for i in members]
        columns["input_ids"].append(np.concatenate([tokens[span] for span in spans]))
        columns["labels"].append(np.concatenate([targets[span] for span in spans]))
        columns["seq_lengths"].append(lengths[members].astype(np.int32))
    total = int(lengths[kept].sum())
    dropped = np.asarray(rows["dropped"])
    rows_of = pc.value_counts(rows["id"])
    summary = {
        "examples": len(kept),
        "truncated": int(np.count_nonzero(np.asarray(rows["truncated"]))),
        "skipped": [rows["id"][int(i)].as_py() for i in np.flatnonzero(answers == 0)],
        "shortened": int(np.count_nonzero(dropped)),
        "dropped": int(dropped.sum()),
        "several_examples": int(pc.sum(pc.greater(pc.struct_field(rows_of, "counts"), 1)).as_py() or 0),
        "packed_rows": len(bins),
        "tokens": total,
        "supervised_tokens": int(answers.sum()),
        "fill": round(total / (len(bins) * capacity), 4) if bins else 0.0,
    }
    if arrange is by_length:
        area = sum(int(lengths[members].max()) * len(members) for members in bins)
        summary["padding"] = round(1 - total / area, 4) if bins else 0.0
    return pa.table(columns, schema=PACKED), summary


def by_length(lengths: np.ndarray, capacity: int) -> list[list[int]]:
    """Groups by length, longest first: each group, padded to its longest, holds at most `capacity` tokens.

    Returns the groups, each a list of positions in `lengths`; ties go to the earlier position. Raises `UserError` for a
    length over the capacity.
    """
    groups: list[list[int]] = []
    for position in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        length = int(lengths[position])
        _require_fit(length, capacity)
        if not groups or int(lengths[groups[-1][0]]) * (len(groups[-1]) + 1) > capacity:
            groups.append([])
        groups[-1].append(position)
    return groups


def _require_fit(length: int, capacity: int) -> None:
    if length > capacity:
        raise UserError(f"an example of {length} tokens does not fit a packed row of {capacity}")


def best_fit(lengths: np.ndarray, capacity: int) -> list[list[int]]:
    """Best-fit-decreasing bin packing: longest first, each into the fullest bin that still holds it.

    Returns the bins, each a list of positions in `lengths`; ties go to the earlier position and the older bin.
    Raises `UserError` for a length over the capacity.
    """
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free tokens, bin), sorted
    for position in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        length = int(lengths[position])
        _require_fit(length, capacity)
        place = bisect.bisect_left(room, (length, -1))
        if place == len(room):
            bins.append([])
            free, index = capacity, len(bins) - 1
        else:
            free, index = room.pop(place)
        bins[index].append(position)
        bisect.insort(room, (free - length, index))
    return bins


def plan_order(rows: int, settings: Train, seed: int) -> np.ndarray:
    """Returns which packed row is trained at which position, over all epochs: a new shuffle each."""
    wanted = max(1, round(rows * settings.epochs))
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(rows) for _ in range(math.ceil(wanted / rows))])[:wanted]


def total_steps(rows: int, settings: Train) -> int:
    """Returns how many optimiser steps a training on so many packed rows takes."""
    return math.ceil(max(1, round(rows * settings.epochs)) / settings.rows_per_step)
