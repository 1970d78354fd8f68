"""Is a synthetic question new? ROUGE-L against every question of the pool (Wang et al. 2022, Self-Instruct, section
2.2).

Output contract: a marked table; the decision is exact. Which pairs are scored is narrowed by an upper bound that no
pair over the threshold can escape, so cost follows shared words rather than the size of the pool squared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.evaluate.text_metrics import similarity, words


def reject_known(drafts: pa.Table, pool: Sequence[str], threshold: float) -> pa.Table:
    """Marks variants whose ROUGE-L to a question of the pool, or to a variant accepted before, reaches the threshold.

    Variants are judged in order of (parent, number), so the result does not depend on how they were generated.
    """
    drafts = drafts.sort_by([("path", "ascending"), ("line", "ascending")])
    texts = [words(text) for text in [*pool, *drafts["prompt"].to_pylist()]]
    open_rows = schema.unmarked(drafts)
    scores = np.zeros(drafts.num_rows, np.float32)
    accepted = set(range(len(pool)))
    for row, neighbours in _neighbours(texts, len(pool), threshold):
        if not open_rows[row]:
            continue
        near = (similarity(texts[len(pool) + row], texts[other]) for other in neighbours if other in accepted)
        scores[row] = max(near, default=0.0)
        if scores[row] < threshold:
            accepted.add(len(pool) + row)
    return schema.mark(drafts, scores >= threshold, "synthesize", "not_new", scores, threshold)


def _neighbours(
    texts: list[list[str]], first: int, threshold: float, rows: int = 512
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields, for each text from `first` on, the earlier texts that can reach the threshold: none that can is left out.

    The words two texts share, each as often as both have it, bound their longest common subsequence from above.
    """
    from scipy import sparse

    ids: dict[tuple[str, int], int] = {}
    row_of, column_of = [], []
    for row, text in enumerate(texts):
        seen: Counter[str] = Counter()
        for word in text:
            seen[word] += 1
            row_of.append(row)
            column_of.append(ids.setdefault((word, seen[word]), len(ids)))
    shape = (len(texts), max(1, len(ids)))
    matrix = sparse.csr_matrix((np.ones(len(row_of), np.int32), (row_of, column_of)), shape=shape)
    lengths = np.array([len(text) for text in texts])
    for start in range(first, len(texts), rows):
        shared = (matrix[start : start + rows] @ matrix.T).tocsr()
        for row in range(shared.shape[0]):
            low, high = shared.indptr[row], shared.indptr[row + 1]
            others, overlap = shared.indices[low:high], shared.data[low:high]
            reach = 2 * overlap >= threshold * (lengths[start + row] + lengths[others])
            yield start + row - first, np.sort(others[reach & (others < start + row)])
