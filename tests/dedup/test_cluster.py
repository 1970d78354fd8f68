"""Stars and components on small and random graphs."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dedup.cluster import Edges, best_of_component, components, star


def edges(*triples: tuple[int, int, float]) -> Edges:
    a, b, jaccard = zip(*triples, strict=True) if triples else ((), (), ())
    return Edges(np.array(a, np.int64), np.array(b, np.int64), np.array(jaccard, np.float32))


def test_a_chain_keeps_both_ends() -> None:
    """1 resembles 0 and 2, but 0 and 2 do not resemble each other: both stay, 1 repeats the more similar one."""
    found = star(4, edges((0, 1, 0.8), (1, 2, 0.9)), np.array([0, 1, 2, 3]))
    assert found.kept.tolist() == [True, False, True, True]
    assert found.twin.tolist() == [-1, 2, -1, -1]
    assert found.jaccard.tolist() == [0, np.float32(0.9), 0, 0]


def test_rank_decides_who_stays_and_ties() -> None:
    triples = edges((0, 1, 0.8), (1, 2, 0.8))
    assert star(3, triples, np.array([2, 0, 1])).kept.tolist() == [False, True, False]
    assert star(3, triples, np.array([0, 2, 1])).twin.tolist() == [-1, 0, -1]
    assert star(3, triples, np.array([1, 2, 0])).twin.tolist() == [-1, 2, -1]


def test_no_edges() -> None:
    found = star(3, edges(), np.arange(3))
    assert found.kept.all()
    assert len(set(components(3, edges()).tolist())) == 3
    assert star(0, edges(), np.arange(0)).kept.tolist() == []


def test_components() -> None:
    labels = components(6, edges((0, 1, 1), (4, 1, 1), (3, 5, 1)))
    assert labels[0] == labels[1] == labels[4]
    assert labels[3] == labels[5]
    assert len({labels[0], labels[2], labels[3]}) == 3


def test_fixed_rows_stay_and_drop_others() -> None:
    """Rows 0 and 1 are earlier ones that resemble each other: both stay; 2 repeats the one it is more like."""
    found = star(4, edges((0, 1, 0.95), (1, 2, 0.9), (0, 2, 0.8), (2, 3, 0.99)), np.array([0, 1, 2, 3]), fixed=2)
    assert found.kept.tolist() == [True, True, False, True]
    assert found.twin.tolist() == [-1, -1, 3, -1]
    found = star(4, edges((0, 1, 0.95), (1, 2, 0.9), (0, 2, 0.8)), np.array([1, 0, 3, 2]), fixed=2)
    assert (found.kept.tolist(), found.twin.tolist()) == ([True, True, False, True], [-1, -1, 1, -1])


def test_best_of_component() -> None:
    best = best_of_component(np.array([0, 1, 0, 2, 1]), np.array([3, 4, 0, 2, 1]))
    assert best.tolist() == [2, 4, 2, 3, 4]


@pytest.mark.parametrize("seed", range(5))
def test_guarantees_on_random_graphs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pairs = np.unique(np.sort(generator.integers(0, 80, (150, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    graph = Edges(pairs[:, 0], pairs[:, 1], generator.integers(80, 100, len(pairs)).astype(np.float32) / 100)
    rank = generator.permutation(80)
    found = star(80, graph, rank)
    assert not (found.kept[graph.a] & found.kept[graph.b]).any()
    similar = {**dict(zip(zip(graph.a, graph.b, strict=True), graph.jaccard, strict=True))}
    similar |= {(b, a): jaccard for (a, b), jaccard in similar.items()}
    for row in np.flatnonzero(~found.kept):
        choices = [(similar[row, other], -rank[other], other) for other in range(80) if (row, other) in similar]
        assert (found.jaccard[row], found.twin[row]) == max(c for c in choices if found.kept[c[2]])[::2]
    shuffled = generator.permutation(len(pairs))
    again = star(80, Edges(graph.b[shuffled], graph.a[shuffled], graph.jaccard[shuffled]), rank)
    assert (again.twin == found.twin).all()
