"""Measures of text against a plain count, text by text."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from pipeline.screen.quality import text_stats


def symbols(text: str) -> float:
    visible = [byte for byte in text.encode() if byte not in b" \t\n\r\v\f"]
    return sum(byte < 128 and not chr(byte).isalnum() for byte in visible) / max(1, len(visible))


def repeated_lines(text: str) -> float:
    lines = [line.strip() for line in text.split("\n") if len(line.strip().encode()) >= text_stats.SHORT_LINE]
    seen: set[str] = set()
    again = sum(len(line.encode()) for line in lines if line in seen or seen.add(line))
    return min(1.0, again / max(1, len(text.encode())))


def top_gram(text: str) -> float:
    words = text.split()
    counts = Counter(tuple(words[at : at + 3]) for at in range(len(words) - 2))
    most = max((n * len(" ".join(gram).encode()) for gram, n in counts.items() if n >= 3), default=0)
    return min(1.0, most / max(1, len(text.encode())))


def texts() -> list[str]:
    dice = random.Random(0)
    words = [
        "Karte",
        "über",
        "a",
        "b",
        "|",
        "--",
        "the",
        "{",
        "PIN.",
        "\n",
        "\n",
        "long-enough line",
        "\nPlease call us.\n",
    ]
    return ["", " ", "\n", "x", *(" ".join(dice.choices(words, k=dice.randrange(60))) for _ in range(300))]


@pytest.mark.parametrize(
    ("measure", "plain"),
    [
        (text_stats.symbols, symbols),
        (text_stats.repeated_lines, repeated_lines),
        (text_stats.top_gram, top_gram),
        (text_stats.tokens, lambda text: -(-len(text) // 4)),
    ],
)
def test_equals_the_plain_count(measure: Callable[[pa.Array], np.ndarray], plain: Callable[[str], float]) -> None:
    data = texts()
    expected = [plain(text) for text in data]
    assert max(expected) > 0.3
    np.testing.assert_allclose(measure(pa.array(data)), expected)
    np.testing.assert_allclose(measure(pa.array(data).slice(7, 50)), expected[7:57])
    assert len(measure(pa.array([], pa.string()))) == 0
    assert measure(pa.array(["", ""])).tolist() == [0, 0]
