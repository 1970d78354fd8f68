"""A cheap screen, distilled in the run from the judge that it saves: which texts need a judge's look at all.

The judge (Detoxify) scores some of the run's own texts; a linear model on hashed character n-grams is fitted to its
scores, with a small model's score (the hint) as one more feature where there is one; the texts that it ranks highest
are scored next, and so on (active learning): toxic rows are rare, a random sample holds too few of them to learn from.
Then the cut is set below the scores of the positives. What a text's own positive scores is predicted without it
(four-fold), the lower tail of these scores is taken for exponential, and the cut is where it has left
(1 - recall) / `MARGIN`, at the upper confidence limit of its mean. Everything above the cut is scored, then a random
`PROBE` of what lies under it; either may turn up more positives and lower the cut, until neither does. Where the pool
is the whole run nothing has to be foreseen: the asking goes down the ranking until it is dry.
Output contract: `distil` returns a `Screen`, or None where it would save too little: then every text needs the judge.
The same texts, in the same order, and the same judge give the same screen, bit by bit. Where fewer than `POSITIVES`
texts reach the threshold, the most suspicious others count as positives too, which lowers the cut.
The recall that a cut achieves is an estimate here; `pipeline.screen.audit` measures it. This module loads no model.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.screen import ngrams

ROUND = 100  # texts that the judge scores before the next fit
MOST_ROUNDS = 12
DRY = 2  # rounds without a positive that end the asking where the pool is the whole run
PROBE = 300  # texts under the cut, drawn at random, that must hold no positive
POSITIVES = 10  # that a cut is set by, at least
TAIL, FEWEST = 0.1, 6  # share of the positives that the exponential is fitted to, and at least how many
CONFIDENCE = 0.95
MARGIN = 2.0
MOST_FLAGGED = 0.4  # share of the texts; a screen that flags more is not worth its risk
FOLDS = 4
HINT = 8.0  # log odds that count as one unit of the hint in the fit
RIDGE = 1e-6
STEPS, RANKING_STEPS = 200, 50  # of the accelerated gradient descent, for a cut and for an order to ask in
DIGEST = 12  # bytes that stand for a text
ONE = 1 << 16  # weights and biases are integers, in units of 1 / ONE

Scores = Callable[[Sequence[str]], np.ndarray]  # texts -> float32 between 0 and 1, with 3 decimals


@dataclass(frozen=True)
class Linear:
    """A logistic model: `weights` (int32, one per bucket), and the weight of the hint's log odds."""

    weights: np.ndarray
    hint: float
    bias: float

    def __call__(self, texts: Sequence[str], hints: np.ndarray) -> np.ndarray:
        """Returns log odds (float64), one per text."""
        return ngrams.scores(texts, self.weights) / ONE + self.hint * hints + self.bias


@dataclass(frozen=True)
class Screen:
    """What a screening pass needs. `known` maps the digest of a text to the judge's score of it."""

    linear: Linear
    cut: float  # texts whose log odds reach it need the judge
    scale: float  # log odds over which the share of positives is expected to fall to a quarter
    flagged: float  # share of the texts in the pool that need the judge
    positives: int  # texts the cut was set by
    toxic: int  # of them, those that reach the threshold
    known: dict[bytes, float] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Returns the screen as an .npz file: plain arrays, the same bytes for the same screen."""
        sink = io.BytesIO()
        plain = [self.linear.hint, self.linear.bias, self.cut, self.scale, self.flagged, self.positives, self.toxic]
        digests = np.frombuffer(b"".join(self.known), dtype=np.uint8).reshape(-1, DIGEST)
        scores = np.array(list(self.known.values()), dtype=np.float32)
        np.savez_compressed(
            sink, weights=self.linear.weights, plain=np.array(plain, np.float64), digests=digests, scores=scores
        )
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Screen:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            hint, bias, cut, scale, flagged, positives, toxic = file["plain"].tolist()
            digests, scores = file["digests"], file["scores"].tolist()
            known = {row.tobytes(): score for row, score in zip(digests, scores, strict=True)}
            linear = Linear(file["weights"], hint, bias)
        return cls(linear, cut, scale, flagged, int(positives), int(toxic), known)


def digest(text: str) -> bytes:
    """Returns what stands for a text in `Screen.known`."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def distil(
    texts: Sequence[str], judge: Scores, hints: np.ndarray, threshold: float, recall: float, whole: bool = False
) -> Screen | None:
    """Fits a screen of `judge` to distinct `texts`, in an order that has nothing to do with what they say.

    `hints`: log odds of a small model, one per text, all 0 without one. `recall`: of the texts that reach `threshold`.
    `whole`: there are no texts but these, and what the screen has to foresee of others does not matter.
    """
    pool = _Pool(texts, judge, hints)
    pool.score(_spread(hints) if hints.any() else np.arange(min(len(texts), 3 * ROUND)))
    if whole:
        return _exhaust(pool, threshold)
    for _ in range(MOST_ROUNDS):
        if not pool.ask(pool.ranked(pool.fitted(RANKING_STEPS))[:ROUND], threshold):
            break  # the top of the ranking holds no more of them
    while True:
        screen = _cut(pool, threshold, recall)
        if screen.flagged > MOST_FLAGGED:
            return None
        ranked = pool.ranked(screen.linear)
        above = int((pool.odds(screen.linear)[ranked] >= screen.cut).sum())
        if above:
            pool.score(ranked[: max(above, ROUND, len(pool.rows) // 8)])
        elif not pool.ask(np.sort(ranked)[:PROBE], threshold):
            return replace(screen, known=pool.known())


def _exhaust(pool: _Pool, threshold: float) -> Screen | None:
    """Asks down the ranking until `DRY` rounds in a row and a random probe of the rest hold no positive."""
    dry = 0
    while len(pool.rows) <= MOST_FLAGGED * len(pool.texts):
        linear = pool.fitted(RANKING_STEPS)
        ranked = pool.ranked(linear)
        if dry < DRY:
            dry = 0 if pool.ask(ranked[:ROUND], threshold) else dry + 1
        elif pool.ask(np.sort(ranked)[:PROBE], threshold):
            dry = 0
        else:
            break
    else:
        return None
    if pool.reaching(threshold) < POSITIVES:
        return None  # too few to tell what the ranking is worth
    linear = pool.fitted()
    odds = pool.odds(linear)
    cut = float(odds[pool.ranked(linear)[0]]) + 1 / ONE
    spread = float(np.std(odds))
    return Screen(linear, cut, spread, 0.0, pool.reaching(threshold), pool.reaching(threshold), pool.known())


def _spread(hints: np.ndarray) -> np.ndarray:
    """Returns the rows to begin with: the `ROUND` highest hints, and as many more evenly down the ranking."""
    ranked = np.argsort(-hints, kind="stable")
    return np.union1d(ranked[:ROUND], ranked[:: max(1, len(ranked) // ROUND)])


class _Pool:
    """Texts, what the judge said of some of them (`rows`, in the order asked; `matrix` and `scores` beside it)."""

    def __init__(self, texts: Sequence[str], judge: Scores, hints: np.ndarray) -> None:
        self.texts, self.hints, self._judge = texts, hints, judge
        self.rows = np.empty(0, np.int64)
        self.scores = np.empty(0, np.float32)
        self.matrix = ngrams.matrix([])

    def score(self, rows: np.ndarray) -> None:
        from scipy import sparse

        texts = [self.texts[row] for row in rows.tolist()]
        self.rows = np.concatenate((self.rows, rows))
        self.scores = np.concatenate((self.scores, self._judge(texts)))
        self.matrix = sparse.vstack((self.matrix, ngrams.matrix(texts)), format="csr")

    def ask(self, rows: np.ndarray, threshold: float) -> bool:
        """Has rows scored; returns whether any of them reaches the threshold."""
        before = self.reaching(threshold)
        self.score(rows)
        return self.reaching(threshold) > before

    def reaching(self, threshold: float) -> int:
        return int((self.scores >= np.float32(threshold)).sum())

    def known(self) -> dict[bytes, float]:
        """Returns the judge's scores by the texts' digests."""
        digests = (digest(self.texts[row]) for row in self.rows.tolist())
        return dict(zip(digests, self.scores.tolist(), strict=True))

    def fitted(self, steps: int = STEPS, without: int | None = None) -> Linear:
        """Returns the model fitted to what is known; `without` leaves one fold of it out."""
        chosen = np.flatnonzero(np.arange(len(self.rows)) % FOLDS != (-1 if without is None else without))
        return fit(self.matrix[chosen], self.hints[self.rows[chosen]], self.scores[chosen], steps)

    def odds(self, linear: Linear) -> np.ndarray:
        return linear(self.texts, self.hints)

    def ranked(self, linear: Linear) -> np.ndarray:
        """Returns the rows not scored yet, the most suspicious first."""
        ranked = np.argsort(-self.odds(linear), kind="stable")
        return ranked[~np.isin(ranked, self.rows)]


def _cut(pool: _Pool, threshold: float, recall: float) -> Screen:
    """Returns the screen fitted to what is known so far, cut below what its positives score when they are left out."""
    from scipy.special import gammaincinv

    odds = np.empty(len(pool.rows))
    for fold in range(FOLDS):
        out = np.arange(fold, len(odds), FOLDS)
        rows = pool.rows[out]
        odds[out] = pool.fitted(without=fold)([pool.texts[row] for row in rows.tolist()], pool.hints[rows])
    reaching = pool.reaching(threshold)
    count = min(len(odds), max(POSITIVES, reaching))
    positive = np.sort(odds[np.argsort(-pool.scores, kind="stable")[:count]])
    size = min(max(FEWEST, int(TAIL * count)), count - 1)
    mean = float(np.mean(positive[size] - positive[:size]))
    upper = mean * size / float(gammaincinv(size, 1 - CONFIDENCE))  # 2 n mean / chi2, of 2 n degrees of freedom
    cut = min(positive[size] - upper * math.log(size / count / ((1 - recall) / MARGIN)), positive[0])
    linear = pool.fitted()
    flagged = float((pool.odds(linear) >= cut).mean())
    return Screen(linear, float(cut), max(mean * math.log(4), 1e-6), flagged, count, reaching, {})


def fit(matrix: Any, hints: np.ndarray, scores: np.ndarray, steps: int) -> Linear:
    """Fits a ridge-penalised logistic model to soft labels `scores`, by Nesterov's accelerated gradient.

    No BLAS and no threads: the same input gives the same bits. `matrix`: CSR, a row per text.
    """
    columns, places = np.unique(matrix.indices, return_inverse=True)
    values = matrix.data.astype(np.float64)  # scipy would convert them at every product
    matrix = type(matrix)((values, places.astype(np.int32), matrix.indptr), shape=(matrix.shape[0], len(columns)))
    back, hint = matrix.T.tocsr(), hints / HINT
    rate = 1 / (0.25 * _curvature(matrix, back, hint) + RIDGE)
    now = np.zeros(len(columns) + 2)  # bucket weights, the hint's, the bias
    ahead, momentum = now.copy(), 1.0
    for _ in range(steps):
        odds = matrix @ ahead[:-2] + hint * ahead[-2] + ahead[-1]
        error = (1 / (1 + np.exp(-odds)) - scores) / len(scores)
        slope = np.concatenate((back @ error + RIDGE * ahead[:-2], [(error * hint).sum(), error.sum()]))
        before, now = now, ahead - rate * slope
        faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead, momentum = now + (momentum - 1) / faster * (now - before), faster
    weights = np.zeros(ngrams.BUCKETS, dtype=np.int32)
    weights[columns] = np.round(now[:-2] * ONE)
    return Linear(weights, round(float(now[-2]) / HINT * ONE) / ONE, round(float(now[-1]) * ONE) / ONE)


def _curvature(matrix: Any, back: Any, hint: np.ndarray) -> float:
    """Returns an upper estimate of the largest eigenvalue of the features' mean outer product, by power iteration."""
    vector, size = np.ones(matrix.shape[1] + 2), 1.0
    for _ in range(12):
        vector /= math.sqrt(float((vector**2).sum()))
        image = (matrix @ vector[:-2] + hint * vector[-2] + vector[-1]) / matrix.shape[0]
        vector = np.concatenate((back @ image, [(image * hint).sum(), image.sum()]))
        size = math.sqrt(float((vector**2).sum()))
    return 1.2 * size
