"""When a text may leave Detoxify early: a head on the states of its first layers, fitted to its own scores in the run.

Texts drawn at random are scored in full, a ridge regression on their hidden states predicts the log odds of the scores,
the texts that it ranks highest are scored next, and so on (active learning): toxic rows are rare, a random sample holds
too few of them to learn from. This is done on the embeddings, which cost next to nothing. Then the depth is chosen:
for each of a few, the scored texts tell how much of the work an exit there leaves.
The cut lies below the log odds of the positives. Each is predicted without it (leave-one-out, in closed form), the
lower tail of these is taken for exponential, and the cut is where it has left (1 - recall) / `MARGIN`, at the upper
confidence limit of its mean. Everything above the cut is scored, then a random probe of what lies under it; either may
turn up more positives and lower the cut, until neither does.
Output contract: `calibrate` returns a `Screen`, or None where it would save too little: then every text is scored. The
same texts in the same order, the same model and kind of processor give the same screen. Where fewer than `POSITIVES`
texts reach the threshold, the highest others count as if they just did, as much over or under their prediction as now.
The recall that a cut achieves is an estimate here; `audit` measures it. This module loads no model.
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
from pipeline.screen.toxicity.encoder import Exit

LEAST = 100  # texts that are drawn to begin with, or the root of how many there are; as many are the probe
ROUND, GROWTH = 50, 1 / 8  # texts that are scored before the next fit, at least; or the share of those scored before
MOST_ROUNDS = 16
POSITIVES = 20  # that a cut is set by, at least
TAIL, FEWEST = 0.1, 6  # share of the positives that the exponential is fitted to, and at least how many
CONFIDENCE = 0.95
MARGIN = 10.0  # how much further than the recall asks: a tail of few positives is a guess, and lower costs little
MOST_FLAGGED = 0.4  # share of the texts; a screen that flags more is not worth its risk
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the ridge; leave-one-out chooses
DEPTHS = (0, 1 / 12, 1 / 6, 1 / 3)  # where a text may leave, as shares of the layers; 0: after the embeddings
LEAST_SPREAD = 1e-3  # of a feature
DIGEST = 12  # bytes that stand for a text


class Encoder(Protocol):
    """What is asked of `pipeline.screen.toxicity.encoder.Encoder`."""

    depth: int

    def features(self, texts: Sequence[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns what an exit at `depth` sees: float16 (windows, 3 * hidden), and the text of each window."""

    def study(self, texts: Sequence[str], depths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores of texts, and what exits at `depths` see: float16 (depths, texts, 3 * hidden)."""


@dataclass(frozen=True)
class Screen:
    """What a screening pass needs. `known`: digest of a text -> (log odds, score, or nan where it left early)."""

    exit: Exit
    edges: np.ndarray  # of the audit's strata
    flagged: float  # share of the texts in the pool that go on
    positives: int  # texts the cut was set by
    toxic: int  # of them, those that reach the threshold
    known: dict[bytes, tuple[float, float]] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """How many texts have been scored in full."""
        return sum(not math.isnan(score) for _, score in self.known.values())

    def to_bytes(self) -> bytes:
        """Returns the screen as an .npz file: plain arrays, the same bytes for the same screen."""
        sink = io.BytesIO()
        leave = self.exit
        plain = [leave.depth, leave.bias, leave.cut, self.flagged, self.positives, self.toxic]
        np.savez_compressed(
            sink,
            weights=leave.weights,
            edges=self.edges,
            plain=np.array(plain, np.float64),
            digests=np.frombuffer(b"".join(self.known), dtype=np.uint8).reshape(-1, DIGEST),
            values=np.array(list(self.known.values()), dtype=np.float64).reshape(-1, 2),
        )
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Screen:
        """Returns the screen that `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            depth, bias, cut, flagged, positives, toxic = file["plain"].tolist()
            leave = Exit(int(depth), file["weights"], bias, cut)
            edges = file["edges"]
            values = map(tuple, file["values"].tolist())
            known = {row.tobytes(): value for row, value in zip(file["digests"], values, strict=True)}
        return cls(leave, edges, flagged, int(positives), int(toxic), known)


def digest(text: str) -> bytes:
    """Returns what stands for a text in `Screen.known`."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def calibrate(texts: Sequence[str], encoder: Encoder, threshold: float, recall: float) -> Screen | None:
    """Fits a screen on distinct `texts`, in an order that has nothing to do with what they say.

    `recall`: of the texts that reach `threshold`, how many the screen lets go on.
    """
    pool = _Pool(texts, encoder, threshold)
    probe = max(LEAST, math.isqrt(len(texts)))
    pool.ask(np.arange(min(len(texts), probe)))
    for _ in range(MOST_ROUNDS):
        if not pool.ask(pool.ranked(pool.fitted())[: max(ROUND, int(GROWTH * len(pool.rows)))]):
            break  # the top of the ranking holds no more of them
    if number := _depth(pool, probe, recall):
        pool.deepen(number)
    while True:
        fit = pool.fitted()
        cut = _cut(pool, fit, recall)
        odds = pool.odds(fit)
        flagged = float((odds >= cut.at).mean())
        if flagged > MOST_FLAGGED:
            if pool.depth == pool.depths[-1]:
                return None
            pool.deepen(pool.depths.index(pool.depth) + 1)
            continue
        ranked = pool.ranked(fit)
        above = int((odds[ranked] >= cut.at).sum())
        if above:
            pool.ask(ranked[: max(above, ROUND)])
        elif not pool.ask(np.sort(ranked)[:probe]):
            leave = Exit(pool.depth, fit.weights, fit.bias, cut.at)
            edges = audit.edges(odds[odds < cut.at])
            return Screen(leave, edges, flagged, cut.positives, pool.reaching(), pool.known(odds))


def _depth(pool: _Pool, first: int, recall: float) -> int:
    """Returns which of the pool's depths leaves the least work, by the `first` texts scored: they were random."""
    costs = []
    for number, depth in enumerate(pool.depths):
        fit = pool.fitted(number)
        flagged = float((fit.left_out[:first] >= _cut(pool, fit, recall).at).mean())
        share = depth / pool.layers
        costs.append(share + (1 - share) * flagged)
    return int(np.argmin(costs))


class _Fit(NamedTuple):
    """A linear model of features, and what it says of each scored text when that text is left out (float64)."""

    weights: np.ndarray
    bias: float
    left_out: np.ndarray


class _Cut(NamedTuple):
    at: float
    positives: int


class _Pool:
    """Texts, their features at one depth, and of some of them (`rows`, in the order asked) the scores and the features
    at every depth."""

    def __init__(self, texts: Sequence[str], encoder: Encoder, threshold: float) -> None:
        self.texts, self.layers = texts, encoder.depth
        self.depths = sorted({int(share * self.layers) for share in DEPTHS})
        self._encoder, self.threshold = encoder, np.array(threshold, dtype=np.float32)
        self.rows = np.empty(0, np.int64)
        self.scores = np.empty(0, np.float32)
        self._studied: list[np.ndarray] = []
        self.deepen(0)

    def deepen(self, number: int) -> None:
        """Takes the features at another depth."""
        self._number, self.depth = number, self.depths[number]
        self._features, self._owners = self._encoder.features(self.texts, self.depth)

    def ask(self, rows: np.ndarray) -> bool:
        """Has texts scored; returns whether any of them reaches the threshold."""
        if not len(rows):
            return False
        before = self.reaching()
        scores, features = self._encoder.study([self.texts[row] for row in rows.tolist()], self.depths)
        self.rows = np.concatenate((self.rows, rows))
        self.scores = np.concatenate((self.scores, scores))
        self._studied.append(features)
        return self.reaching() > before

    def reaching(self) -> int:
        return int((self.scores >= self.threshold).sum())

    def fitted(self, number: int | None = None) -> _Fit:
        """Returns the ridge regression of the log odds of the scores, at the pool's depth or another; leave-one-out
        chooses its penalty."""
        number = self._number if number is None else number
        features = np.concatenate([each[number] for each in self._studied]).astype(np.float64)
        mean, spread = features.mean(0), (features.std(0) + LEAST_SPREAD) * math.sqrt(features.shape[1])
        matrix = (features - mean) / spread
        target = log_odds(self.scores)
        bias = float(target.mean())
        sizes, vectors = np.linalg.eigh(matrix @ matrix.T)
        turned = vectors.T @ (target - bias)
        duals = [vectors @ (turned / (sizes + penalty)) for penalty in PENALTIES]
        errors = [  # leave-one-out, Allen's PRESS
            dual / (vectors**2 @ (1 / (sizes + penalty))) for dual, penalty in zip(duals, PENALTIES, strict=True)
        ]
        best = int(np.argmin([(error**2).sum() for error in errors]))
        weights = matrix.T @ duals[best] / spread
        return _Fit(weights.astype(np.float32), bias - float(weights @ mean), target - errors[best])

    def odds(self, fit: _Fit) -> np.ndarray:
        """Returns what a fit says of every text: the highest of its windows."""
        found = np.full(len(self.texts), -np.inf)
        np.maximum.at(found, self._owners, Exit(self.depth, fit.weights, fit.bias, 0.0).odds(self._features))
        return found

    def ranked(self, fit: _Fit) -> np.ndarray:
        """Returns the rows not scored yet, the most suspicious first."""
        ranked = np.argsort(-self.odds(fit), kind="stable")
        return ranked[~np.isin(ranked, self.rows)]

    def known(self, odds: np.ndarray) -> dict[bytes, tuple[float, float]]:
        scores = np.full(len(self.texts), np.nan)
        scores[self.rows] = self.scores
        pairs = zip(odds.tolist(), scores.tolist(), strict=True)
        return dict(zip(map(digest, self.texts), pairs, strict=True))


def log_odds(scores: np.ndarray) -> np.ndarray:
    """Returns the log odds of scores that have 3 decimals; 0 and 1 stand for half a unit of them."""
    scores = scores.astype(np.float64)
    return np.asarray(np.log((scores + 5e-4) / (1.0005 - scores)))


def _cut(pool: _Pool, fit: _Fit, recall: float) -> _Cut:
    """Returns where to cut below what the positives of the pool score when they are left out."""
    from scipy.special import gammaincinv

    count = min(len(pool.rows), max(POSITIVES, pool.reaching()))
    highest = np.argsort(-pool.scores, kind="stable")[:count]
    short = log_odds(pool.threshold) - log_odds(pool.scores[highest])  # of the threshold, where it is not reached
    positive = np.sort(fit.left_out[highest] + np.maximum(short, 0))
    size = min(max(FEWEST, int(TAIL * count)), count - 1)
    mean = max(float(np.mean(positive[size] - positive[:size])), 1e-3)
    upper = mean * size / float(gammaincinv(size, 1 - CONFIDENCE))  # 2 n mean / chi2, of 2 n degrees of freedom
    cut = min(positive[size] - upper * math.log(size / count / ((1 - recall) / MARGIN)), positive[0])
    return _Cut(round(float(cut), 3), count)
