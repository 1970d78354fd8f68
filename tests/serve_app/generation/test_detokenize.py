"""Pieces join to the whole decoding, never split a character, and end before a stop string."""

from __future__ import annotations

import random
from typing import Any

import pytest

from serve_app.generation.detokenize import UNFINISHED, Detokenizer, StopStrings


def decoder(tokenizer: Any) -> Any:
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("text", ["plain text", "Grüße, 東京 and 👩‍👩‍👧 — ok", " leading and  double ", "", "a\ufffdb"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_pieces_join_to_the_text_and_end_at_characters(tokenizer: Any, text: str, chunk: int) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    words = Detokenizer(decoder(tokenizer))
    pieces = [words.push(ids[at : at + chunk]) for at in range(0, len(ids), chunk)]
    assert "".join(pieces) + words.flush() == text
    if UNFINISHED not in text:
        assert not any(UNFINISHED in piece for piece in pieces)


def test_ids_that_are_no_text_decode_as_the_tokenizer_does(tokenizer: Any) -> None:
    rng = random.Random(1)
    for _ in range(200):
        ids = [rng.randrange(len(tokenizer)) for _ in range(rng.randrange(1, 40))]
        words = Detokenizer(decoder(tokenizer))
        assert "".join([words.push([token]) for token in ids]) + words.flush() == decoder(tokenizer)(ids)


def test_half_a_character_at_the_end_comes_out_with_the_flush(tokenizer: Any) -> None:
    ids = tokenizer("ok é", add_special_tokens=False).input_ids[:-1]
    words = Detokenizer(decoder(tokenizer))
    assert "".join([words.push([token]) for token in ids]) == "ok "
    assert words.flush() == UNFINISHED


@pytest.mark.parametrize(
    ("stops", "text", "expected"),
    [
        (["END"], "abcENDdef", "abc"),
        (["END"], "abcEN", "abcEN"),
        (["b", "ab"], "xxabyy", "xx"),
        (["aab"], "aaab", "a"),
        (["\n\n"], "one\ntwo\n\nthree", "one\ntwo"),
        ([], "abc", "abc"),
        (["abc"], "abc", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_a_stop_string_ends_the_text_however_it_is_cut(stops: list[str], text: str, expected: str, size: int) -> None:
    stop = StopStrings(stops)
    pieces = [stop.push(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + stop.flush() == expected
    assert stop.hit == (expected != text)


def test_text_that_cannot_be_part_of_a_stop_string_is_not_held_back() -> None:
    stop = StopStrings(["END"])
    assert [stop.push("abE"), stop.push("x"), stop.push("EN")] == ["ab", "Ex", ""]
