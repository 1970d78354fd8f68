"""Exact Jaccard against Python sets."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dedup import shingles, verify


def sets_of(rows: list[list[int]]) -> shingles.Shingles:
    values = np.array([value for row in rows for value in sorted(set(row))], dtype=np.uint64)
    return shingles.Shingles(values, shingles.offsets_of(np.array([len(set(row)) for row in rows])))


@pytest.mark.parametrize("chunk", [1, 50, 1 << 22])
def test_equals_python_sets(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "VALUES", chunk)
    generator = np.random.default_rng(0)
    top = (1 << 63) - 1
    left = [[top - int(v) for v in generator.integers(0, 30, generator.integers(1, 25))] for _ in range(20)]
    right = [[top - int(v) for v in generator.integers(0, 30, generator.integers(1, 25))] for _ in range(10)]
    a, b = generator.integers(0, 20, 200), generator.integers(0, 10, 200)
    found = verify.jaccard(sets_of(left), sets_of(right), a, b)
    expected = [
        len(set(left[i]) & set(right[j])) / len(set(left[i]) | set(right[j])) for i, j in zip(a, b, strict=True)
    ]
    assert found.tolist() == expected


def test_the_threshold_itself_is_exact() -> None:
    one, other = sets_of([list(range(5)), list(range(10))]), sets_of([list(range(4)), list(range(8))])
    assert (verify.jaccard(one, other, np.array([0, 1]), np.array([0, 1])) >= 0.8).all()


def test_no_pairs() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert verify.jaccard(sets_of([[1]]), sets_of([[2]]), nothing, nothing).tolist() == []


def test_questions_are_compared_where_answers_are_longer() -> None:
    asked = shingles.shingle(["a b c d e f", "a b c d x y", "", "a b c d e f"], 3)
    a, b = np.array([0, 0, 0, 2]), np.array([1, 3, 2, 2])

    def same(whole: int, threshold: float) -> list[bool]:
        return list(verify.same_question(asked, asked, a, b, np.full(4, whole), threshold).tolist())

    assert same(100, 0.8) == [False, True, False, True]  # 2 of 6 shingles; the last two have no question, both
    assert same(100, 0.3) == [True, True, False, True]
    assert same(16, 0.8) == [
        True,
        True,
        False,
        True,
    ]  # half of the text: the rows are not alike unless the questions are
    assert same(17, 0.8) == [False, True, False, True]
