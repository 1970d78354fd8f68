"""Characters as they were meant; and texts that speak about such signs, which keep them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.read.text.characters import mended, tidy, unescaped, visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GebÃ¼hr", "Gebühr"), ("KÃ–LN", "KÖLN"), ("5 â‚¬", "5 €"), ("JÃ¶rg WeiÃŸ", "Jörg Weiß"),
        ("Ã\x9cbung", "Übung"),
        ("â€žHalloâ€œ", "„Hallo“"), ("It doesnâ€™t", "It doesn’t"), ("napisaÅ‚ bÅ‚Ä…d", "napisał błąd"),
        ("GrÃƒÂ¼ÃƒÅ¸e", "Grüße"), ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"), ("ï»¿Karte", "\ufeffKarte"), ("Â§ 5", "§ 5"),
        ("Statt ü sehe ich Ã¼", None), ("Der Buchstabe „Ä“ fehlt", None), ("CAFÉ”", None), ("MANHÃ… e", None),
        ("größer als 5 €", None), ("Ärger", None),
    ],
)  # fmt: skip
def test_double_decoded_text(text: str, expected: str | None) -> None:
    assert mended(text) == (expected or text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"Dear Support,\n\nI hope\nthis works.\nBye", "Dear Support,\n\nI hope\nthis works.\nBye"),
        (r"Hallo,\r\nwas tun?\r\n", "Hallo,\nwas tun?\n"), (r"x\n- one\n- two", "x\n- one\n- two"),
        (r"one line\nanother one\nand more", "one line\nanother one\nand more"), (r"Thanks\n", "Thanks\n"),
        (r"It is in C:\temp.\n\nThanks", "It is in C:\\temp.\n\nThanks"),
        (r"Put it into C:\Program Files\nodejs.\nThen start.", "Put it into C:\\Program Files\\nodejs.\nThen start."),
        ("a_x000D_\nb_x000D_\n_x000D_\nc", "a\nb\n\nc"), ("a_x000D_b", "a\nb"), ("a_x000D_", "a\n"),
        (r"C:\new\nodes is gone", None), (r"ACME\nina cannot log in", None), (r"\\server\new is gone", None),
        (r"Write \n for a new line", None), (r'print("a\n")', None), (r"sed 's/\n/,/' file", None), (r"a\\nb", None),
        ("What is _x000D_ in my file", None), (r"\alpha and \nu", None),
    ],
)  # fmt: skip
def test_written_out_line_breaks(text: str, expected: str | None) -> None:
    assert unescaped(text) == (expected or text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5\u00a0€, 5\u202f€, 5\u2009€", "5 €, 5 €, 5 €"), ("an\u200bna\u00ad@\ufeffx", "anna@x"),
        ("Gro\u0308\u00dfe", "Größe"), ("a\u200db", "ab"), ("👩\u200d💻", "👩\u200d💻"), ("a\u2028b", "a\nb"),
        ("x  y", "x  y"),
    ],
)  # fmt: skip
def test_invisible_signs(text: str, expected: str) -> None:
    assert visible(text) == expected


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text(st.characters(categories=("L", "P", "Zs", "Sc"), max_codepoint=0x24F), max_size=30))
def test_a_second_time_changes_nothing(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert tidy(tidy(text)) == tidy(text)
    assert mended(mended(text)) == mended(text)
