"""The recall of the bands: a sample of rows is compared with all rows, exactly, without any band.

Output contract: of the sampled rows (drawn by a hash of the id among rows with distinct sets) every pair that reaches
the threshold and asks the same is counted, and the share of them that are edges is the recall, with its 95 % Wilson
interval. Counted as well are the pairs with both rows kept. The similarity of some edges is recomputed from the texts,
by a regular expression and Python's sets. Two runs on the same rows report the same.
Cost: two readings of the shingle tables and a product with the sample's sets, part by part, in a task per block.
This module changes no decision.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.batch import each, shared
from pipeline.config import Dedup
from pipeline.dedup import shingles, verify
from pipeline.dedup.cluster import Edges, Kept
from pipeline.dedup.edges import QUESTION, WHOLE, Blocks, decode, encode, read_sets
from pipeline.dedup.rows import Rows
from pipeline.run import Run

CHECKED = 50  # edges that are recomputed from the texts
_FILTER = 20  # bits: a table of 1 MB tells which hashes cannot be in the sample


def audit(
    run: Run, parts: Sequence[str], blocks: Blocks, rows: Rows, edges: Edges, outcome: Kept, settings: Dedup
) -> dict[str, Any]:
    """Returns the report. `parts` are the run's own WORKING tables, in the order of their rows."""
    sample = _sample(rows, settings.audit_rows)
    active = np.zeros(len(rows), dtype=bool)
    active[rows.distinct] = True
    common = shared((blocks, sample, rows.sizes, active, settings.threshold))
    fetched = each(_fetch, [(block, common) for block in range(len(blocks))])
    ref = shared(tuple(shingles.concat([sets[kind] for part in fetched for sets in part]) for kind in (0, 1)))
    pairs = np.concatenate([np.empty(0, np.uint64), *each(_compare, [(b, ref, common) for b in range(len(blocks))])])
    pairs = np.unique(pairs)
    drawn = np.zeros(len(rows), dtype=bool)
    drawn[sample] = True
    touched = drawn[edges.a] | drawn[edges.b]
    mine = Edges(edges.a[touched], edges.b[touched], edges.jaccard[touched])
    hit = np.isin(pairs, encode(mine.a, mine.b))
    a, b = decode(pairs)
    checked, right = _recompute(run, parts, blocks, rows, mine, settings)
    recall, interval = share(int(hit.sum()), len(pairs))
    return {
        "rows": len(sample),
        "pairs": len(pairs),
        "found": int(hit.sum()),
        "recall": recall,
        "interval": interval,
        "both_kept": int((outcome.kept[a] & outcome.kept[b]).sum()),
        "edges_checked": checked,
        "edges_right": right,
    }


def share(part: int, whole: int) -> tuple[float | None, list[float] | None]:
    """Returns a proportion and its 95 % Wilson interval, None for both where there is nothing to count."""
    if not whole:
        return None, None
    from scipy.stats import binomtest

    interval = binomtest(part, whole).proportion_ci(0.95, "wilson")
    return round(part / whole, 6), [round(float(interval.low), 6), round(float(interval.high), 6)]


def _sample(rows: Rows, count: int) -> np.ndarray:
    """Returns `count` of the run's own rows with distinct sets, or all, sorted: int64 (count,)."""
    distinct = np.sort(rows.distinct)
    distinct = distinct[distinct >= rows.first_own]

    def draws() -> Iterator[tuple[bytes, int]]:
        for start in range(0, len(distinct), 1 << 16):  # the ids of a few rows at a time are Python objects
            numbers = distinct[start : start + (1 << 16)]
            for identity, number in zip(rows.ids.take(numbers).to_pylist(), numbers.tolist(), strict=True):
                yield hashlib.blake2b(identity.encode(), digest_size=8).digest(), number

    return np.array(sorted(number for _, number in heapq.nsmallest(count, draws())), dtype=np.int64)


def _fetch(block: int, common: Any) -> list[tuple[shingles.Shingles, shingles.Shingles]]:
    """Returns the sets of the sampled rows of a block, of text and question, part by part."""
    blocks, sample, _, _, _ = common
    fetched = []
    for part in range(blocks.cuts[block], blocks.cuts[block + 1]):
        chosen = sample[(sample >= blocks.starts[part]) & (sample < blocks.starts[part + 1])] - blocks.starts[part]
        if len(chosen):
            whole, asked = (_chosen(read_sets(blocks.parts[part], column), chosen) for column in (WHOLE, QUESTION))
            fetched.append((whole, asked))
    return fetched


def _chosen(sets: shingles.Shingles, rows: np.ndarray) -> shingles.Shingles:
    values = [sets.values[sets.offsets[row] : sets.offsets[row + 1]] for row in rows]
    return shingles.Shingles(np.concatenate(values), shingles.offsets_of(sets.sizes[rows]))


def _compare(block: int, samples: tuple[shingles.Shingles, shingles.Shingles], common: Any) -> np.ndarray:
    """Returns the encoded pairs of a sampled row and a row of the block that reach the threshold and ask the same:
    uint64 (pairs,). `samples`: the sets of the sampled rows, of text and question."""
    from scipy.sparse import csr_array

    blocks, sample, sizes, active, threshold = common
    sets, questions = samples
    hashes, column = np.unique(sets.values, return_inverse=True)
    mask = np.uint64((1 << _FILTER) - 1)
    maybe = np.zeros(1 << _FILTER, dtype=bool)
    maybe[hashes & mask] = True
    shape = (len(sample), len(hashes))
    sampled = csr_array((np.ones(len(column), np.int32), column, sets.offsets), shape=shape).T.tocsr()
    pairs = [np.empty(0, np.uint64)]
    for part in range(blocks.cuts[block], blocks.cuts[block + 1]):
        others = read_sets(blocks.parts[part])
        hits = np.flatnonzero(maybe[others.values & mask])
        slot = np.minimum(np.searchsorted(hashes, others.values[hits]), max(len(hashes) - 1, 0))
        exact = hashes[slot] == others.values[hits]
        row = np.searchsorted(others.offsets, hits[exact], side="right") - 1
        shape = (len(others.sizes), len(hashes))
        overlap = (csr_array((np.ones(len(row), np.int32), (row, slot[exact])), shape=shape) @ sampled).tocoo()
        number, other = blocks.starts[part] + overlap.row.astype(np.int64), sample[overlap.col]
        near = overlap.data >= threshold * (sizes[number] + sizes[other] - overlap.data)
        hits = np.flatnonzero(near & active[number] & (number != other))
        if len(hits):
            whole, asked = sizes[number[hits]] + sizes[other[hits]], read_sets(blocks.parts[part], QUESTION)
            same = verify.same_question(asked, questions, overlap.row[hits], overlap.col[hits], whole, threshold)
            pairs.append(encode(number[hits[same]], other[hits[same]]))
    return np.concatenate(pairs)


# -- precision, from the texts ----------------------------------------------------------------------------------------


def _recompute(
    run: Run, parts: Sequence[str], blocks: Blocks, rows: Rows, edges: Edges, settings: Dedup
) -> tuple[int, int]:
    """Returns the number of edges between the run's own rows that were recomputed, and of those that were confirmed."""
    chosen = np.flatnonzero((edges.a >= rows.first_own) & (edges.b >= rows.first_own))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(CHECKED, len(chosen))).astype(int)]
    wanted = np.unique(np.concatenate((edges.a[chosen], edges.b[chosen]))).astype(np.int64)
    starts = blocks.starts[len(blocks.parts) - len(parts) :]
    block = np.searchsorted(starts, wanted, side="right") - 1
    calls = [(run, parts[part], wanted[block == part] - starts[part]) for part in np.unique(block).tolist()]
    texts = dict(zip(wanted.tolist(), itertools.chain.from_iterable(each(_texts, calls)), strict=True))
    right = 0
    for edge in chosen.tolist():
        (one, asks), (other, asked) = (
            [_grams(text, settings.shingle_words) for text in texts[int(end[edge])]] for end in (edges.a, edges.b)
        )
        jaccard = len(one & other) / len(one | other)
        sure = not (asks or asked) or 2 * (len(asks) + len(asked)) >= len(one) + len(other)
        same = sure or len(asks & asked) / len(asks | asked) >= min(settings.threshold, verify.ASKED)
        right += int(same and jaccard >= settings.threshold and np.float32(jaccard) == edges.jaccard[edge])
    return len(chosen), right


def _texts(run: Run, part: str, chosen: np.ndarray) -> list[tuple[str, str]]:
    """Returns the compared text of some of a part's unmarked rows, and what the customer says, which a document has
    not."""
    table = run.read_table(part, columns=["kind", *schema.FIRST, "later", "stage"])
    table = table.filter(pc.is_null(table["stage"])).take(chosen)
    return list(zip(texts_of(table), asked(table, schema.sides(table)[0]).to_pylist(), strict=True))


def texts_of(table: Any) -> list[str]:
    """Returns the compared text of each row: its turns, a line each."""
    texts, starts = schema.turns(table)
    return list(pc.binary_join(pa.LargeListArray.from_arrays(starts, texts), "\n").to_pylist())


def asked(table: Any, said: pa.Array) -> pa.Array:
    """Returns what the customer says in each row, nothing for a document; `said`: the first of `schema.sides`."""
    return pc.if_else(pc.equal(table["kind"], "qa"), said, "")


def _grams(text: str, words: int) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
    return {tuple(tokens[start : start + words]) for start in range(max(1, len(tokens) - words + 1)) if tokens}
