"""The early exit: a linear head on the states of Detoxify's first layers, fitted to Detoxify's own scores in the run.

Texts drawn at random are scored in full, a ridge regression on their hidden states predicts the log odds of the scores,
the texts that it ranks highest are scored next, and so on (active learning): toxic rows are rare, and a random sample
holds too few of them. These rounds use the embeddings, which cost next to nothing. Then the depth is chosen:
the scored texts tell how much of the work an exit at each of a few depths leaves.
The cut lies below the log odds of the positives. Each is predicted without itself (leave-one-out, in closed form), the
lower tail of the predictions is taken for exponential, and the cut is where (1 - recall) / `MARGIN` of it is left, at
the upper confidence limit of its mean. Every text above the cut is scored, then a random probe of those below; either
may turn up positives that lower the cut, until neither does.
Output contract: `calibrate` returns an `EarlyExit`, or None where it would save too little. The same texts in the same
order, the same model and kind of processor give the same result. Where fewer than `MIN_POSITIVES` texts reach the
threshold, the highest others count as if they just did, as much over or under their prediction as now.
The recall at a cut is an estimate here; `audit` measures it. This module loads no model.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.screen.toxicity import audit
from pipeline.screen.toxicity.encoder import ExitHead

MIN_PROBE = 100  # texts of the first draw and of the probe, at least; else the square root of their number
ROUND, GROWTH = 50, 1 / 8  # texts scored before the next fit, at least; or the share of those scored before
MAX_ROUNDS = 16
MIN_POSITIVES = 20  # that a cut is set by
TAIL, MIN_TAIL = 0.1, 6  # share of the positives that the exponential is fitted to, and at least how many
CONFIDENCE = 0.95
MARGIN = 10.0  # how much further than the recall asks: a tail of few positives is a guess, and lower costs little
MAX_FLAGGED = 0.4  # share of the texts; a head that flags more is not worth its risk
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the ridge; leave-one-out chooses
DEPTHS = (0, 1 / 12, 1 / 6, 1 / 3)  # of an exit, as shares of the layers; 0: after the embeddings
MIN_SPREAD = 1e-3  # of a feature
DIGEST = 12  # bytes that stand for a text


class Encoder(Protocol):
    """The part of `pipeline.screen.toxicity.encoder.Encoder` that a calibration uses."""

    depth: int

    def features(self, texts: Sequence[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the features at `depth`, float16 (windows, 3 * hidden), and the text of each window, int64."""

    def score_with_features(self, texts: Sequence[str], depths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores, float32 (texts,), and the features, float16 (depths, texts, 3 * hidden)."""


@dataclass(frozen=True)
class EarlyExit:
    """A fitted head. `cache`: digest of a text of the pool -> (log odds, score; nan where the text left early)."""

    head: ExitHead
    edges: np.ndarray  # of the audit's strata
    flagged: float  # share of the pool's texts that go on
    positives: int  # texts the cut was set by
    toxic: int  # of them, those that reach the threshold
    cache: dict[bytes, tuple[float, float]] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """The number of texts scored in full."""
        return sum(not math.isnan(score) for _, score in self.cache.values())

    def to_bytes(self) -> bytes:
        """Returns an .npz file of plain arrays: the same bytes for the same early exit."""
        sink = io.BytesIO()
        head = self.head
        np.savez_compressed(
            sink,
            weights=head.weights,
            edges=self.edges,
            plain=np.array([head.depth, head.bias, head.cut, self.flagged, self.positives, self.toxic], np.float64),
            digests=np.frombuffer(b"".join(self.cache), dtype=np.uint8).reshape(-1, DIGEST),
            values=np.array(list(self.cache.values()), dtype=np.float64).reshape(-1, 2),
        )
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> EarlyExit:
        """Reads what `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            depth, bias, cut, flagged, positives, toxic = file["plain"].tolist()
            head = ExitHead(int(depth), file["weights"], bias, cut)
            values = map(tuple, file["values"].tolist())
            cache = {row.tobytes(): value for row, value in zip(file["digests"], values, strict=True)}
            return cls(head, file["edges"], flagged, int(positives), int(toxic), cache)


def digest(text: str) -> bytes:
    """Returns the key of a text in `EarlyExit.cache`: `DIGEST` bytes of BLAKE2b."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def calibrate(texts: Sequence[str], encoder: Encoder, threshold: float, recall: float) -> EarlyExit | None:
    """Fits an early exit on distinct `texts`, whose order must not depend on their meaning.

    `recall`: share of the texts reaching `threshold` that must go on.
    """
    pool = _Pool(texts, encoder, threshold)
    probe = max(MIN_PROBE, math.isqrt(len(texts)))
    pool.score(np.arange(min(len(texts), probe)))
    for _ in range(MAX_ROUNDS):
        ranked = pool.ranked(pool.predict(pool.fit()))
        if not pool.score(ranked[: max(ROUND, int(GROWTH * len(pool.rows)))]):
            break  # the top of the ranking holds no more positives
    if index := _best_depth(pool, probe, recall):
        pool.use_depth(index)
    while True:
        fit = pool.fit()
        cut = _cut(pool, fit, recall)
        odds = pool.predict(fit)
        flagged = float((odds >= cut.odds).mean())
        if flagged > MAX_FLAGGED:
            if pool.depth == pool.depths[-1]:
                return None
            pool.use_depth(pool.depths.index(pool.depth) + 1)
        elif not _score_more(pool, odds, cut, probe):
            head = ExitHead(pool.depth, fit.weights, fit.bias, cut.odds)
            edges = audit.edges(odds[odds < cut.odds])
            return EarlyExit(head, edges, flagged, cut.positives, pool.positives(), pool.cache(odds))


def _score_more(pool: _Pool, odds: np.ndarray, cut: _Cut, probe: int) -> bool:
    """Scores the texts above the cut, or else a random probe below it; returns whether the cut may change."""
    ranked = pool.ranked(odds)
    above = int((odds[ranked] >= cut.odds).sum())
    if above:
        pool.score(ranked[: max(above, ROUND)])
    return bool(above) or pool.score(np.sort(ranked)[:probe])


def _best_depth(pool: _Pool, first: int, recall: float) -> int:
    """Returns the index of the depth that leaves the least work, by the `first` texts scored, which are random."""
    costs = []
    for index, depth in enumerate(pool.depths):
        fit = pool.fit(index)
        flagged = float((fit.left_out[:first] >= _cut(pool, fit, recall).odds).mean())
        share = depth / pool.layers
        costs.append(share + (1 - share) * flagged)
    return int(np.argmin(costs))


class _Fit(NamedTuple):
    """A linear model of features, and its leave-one-out predictions for the scored texts, float64 (rows,)."""

    weights: np.ndarray
    bias: float
    left_out: np.ndarray


class _Cut(NamedTuple):
    odds: float
    positives: int


class _Pool:
    """Texts with their features at one depth. Those in `rows`, in the order scored, have features at every depth."""

    def __init__(self, texts: Sequence[str], encoder: Encoder, threshold: float) -> None:
        self.texts, self.layers = texts, encoder.depth
        self.depths = sorted({int(share * self.layers) for share in DEPTHS})
        self._encoder, self.threshold = encoder, np.array(threshold, dtype=np.float32)
        self.rows = np.empty(0, np.int64)
        self.scores = np.empty(0, np.float32)
        self._scored_features: list[np.ndarray] = []
        self.use_depth(0)

    def use_depth(self, index: int) -> None:
        """Computes the features of all texts at another depth."""
        self._index, self.depth = index, self.depths[index]
        self._features, self._owners = self._encoder.features(self.texts, self.depth)

    def score(self, rows: np.ndarray) -> bool:
        """Scores texts in full; returns whether any of them reaches the threshold."""
        if not len(rows):
            return False
        before = self.positives()
        scores, features = self._encoder.score_with_features([self.texts[row] for row in rows.tolist()], self.depths)
        self.rows = np.concatenate((self.rows, rows))
        self.scores = np.concatenate((self.scores, scores))
        self._scored_features.append(features)
        return self.positives() > before

    def positives(self) -> int:
        return int((self.scores >= self.threshold).sum())

    def fit(self, index: int | None = None) -> _Fit:
        """Returns the ridge regression of the scores' log odds at the pool's depth or another. Leave-one-out chooses
        its penalty."""
        index = self._index if index is None else index
        features = np.concatenate([batch[index] for batch in self._scored_features]).astype(np.float64)
        mean, spread = features.mean(0), (features.std(0) + MIN_SPREAD) * math.sqrt(features.shape[1])
        matrix = (features - mean) / spread
        target = log_odds(self.scores)
        bias = float(target.mean())
        eigenvalues, vectors = np.linalg.eigh(matrix @ matrix.T)
        rotated = vectors.T @ (target - bias)
        duals = [vectors @ (rotated / (eigenvalues + penalty)) for penalty in PENALTIES]
        errors = [  # leave-one-out, Allen's PRESS
            dual / (vectors**2 @ (1 / (eigenvalues + penalty))) for dual, penalty in zip(duals, PENALTIES, strict=True)
        ]
        best = int(np.argmin([(error**2).sum() for error in errors]))
        weights = matrix.T @ duals[best] / spread
        return _Fit(weights.astype(np.float32), bias - float(weights @ mean), target - errors[best])

    def predict(self, fit: _Fit) -> np.ndarray:
        """Returns the predicted log odds, float64 (texts,): the highest of each text's windows."""
        odds = np.full(len(self.texts), -np.inf)
        np.maximum.at(odds, self._owners, ExitHead(self.depth, fit.weights, fit.bias, 0.0).odds(self._features))
        return odds

    def ranked(self, odds: np.ndarray) -> np.ndarray:
        """Returns the rows that are not scored yet, int64, by falling log odds."""
        ranked = np.argsort(-odds, kind="stable")
        return ranked[~np.isin(ranked, self.rows)]

    def cache(self, odds: np.ndarray) -> dict[bytes, tuple[float, float]]:
        scores = np.full(len(self.texts), np.nan)
        scores[self.rows] = self.scores
        pairs = zip(odds.tolist(), scores.tolist(), strict=True)
        return dict(zip(map(digest, self.texts), pairs, strict=True))


def log_odds(scores: np.ndarray) -> np.ndarray:
    """Returns the log odds, float64, of scores with 3 decimals; 0 and 1 count as half a unit off."""
    scores = scores.astype(np.float64)
    return np.asarray(np.log((scores + 5e-4) / (1.0005 - scores)))


def _cut(pool: _Pool, fit: _Fit, recall: float) -> _Cut:
    """Returns the cut below the leave-one-out predictions of the pool's positives."""
    from scipy.special import gammaincinv

    count = min(len(pool.rows), max(MIN_POSITIVES, pool.positives()))
    highest = np.argsort(-pool.scores, kind="stable")[:count]
    short = log_odds(pool.threshold) - log_odds(pool.scores[highest])  # of the threshold, where it is not reached
    positive = np.sort(fit.left_out[highest] + np.maximum(short, 0))
    size = min(max(MIN_TAIL, int(TAIL * count)), count - 1)
    mean = max(float(np.mean(positive[size] - positive[:size])), 1e-3)
    upper = mean * size / float(gammaincinv(size, 1 - CONFIDENCE))  # 2 n mean / chi2, of 2 n degrees of freedom
    cut = min(positive[size] - upper * math.log(size / count / ((1 - recall) / MARGIN)), positive[0])
    return _Cut(round(float(cut), 3), count)
