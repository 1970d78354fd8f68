"""Characters as they were meant: broken encodings mended, written-out line breaks made real, invisible signs taken out.

Output contract: `mended` repairs UTF-8 that was decoded as Windows-1252 (`GebÃ¼hr`); `unescaped` turns a written-out
`\\n`, `\\r\\n` or `_x000D_` into the line break it stands for; `visible` gives plain spaces for no-break and thin ones,
takes out zero-width signs and soft hyphens and composes letters (NFC); `tidy` sets white space at line ends.
A text that speaks about such signs keeps them: `C:\\new`, `"\\n"`, `Statt ü sehe ich Ã¼`.
This module does not know HTML or mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from unicodedata import is_normalized, normalize


def has(text: str, signs: Iterable[str]) -> bool:
    """Tells whether one of the signs is in the text. A loop: `any` takes a third longer, and this is done for every
    text."""
    for sign in signs:  # noqa: SIM110
        if sign in text:
            return True
    return False


def is_western(text: str) -> bool:
    """Tells whether all characters are of Latin-1, as in most German mails: composed and, but for two, seen."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


# -- UTF-8 that was decoded as Windows-1252 ---------------------------------------------------------------------------

BYTES = {bytes([code]).decode("cp1252"): code for code in range(128, 160) if code not in (129, 141, 143, 144, 157)}
LATER = "[\x80-\xbf" + "".join(BYTES) + "]"  # a byte of a character after its first
BROKEN = re.compile(f"(?:[\xc2-\xdf]{LATER}|[\xe0-\xef]{LATER}{{2}}|[\xf0-\xf4]{LATER}{{3}})+")
LEADS = tuple("ÂÃÄÅâðÐÑÎÏïËÈÉ")  # most first bytes of European letters, punctuation and emoji


def _decoded(run: str) -> str:
    """Returns what a run was before it was decoded wrongly, the run itself where it is no UTF-8."""
    try:
        return bytes([BYTES.get(sign, ord(sign)) for sign in run]).decode()
    except ValueError:
        return run


def _sure(run: str, meant: str) -> bool:
    """Tells whether a run is nothing that anybody writes: `Ã¼`, `â‚¬`, `Â§`; `Ä…` and `É”` are."""
    return run[0] in "Ââðï" or len(meant) > 2 or (meant.islower() and run[0] == "Ã")


def mended(text: str) -> str:
    """Returns the text with double-decoded UTF-8 as it was meant, if the text as a whole is such."""
    if text.isascii() or not has(text, LEADS):
        return text
    runs = [(match, meant) for match in BROKEN.finditer(text) if (meant := _decoded(match[0])) != match[0]]
    if not runs:
        return text
    whole = sum(letter > "\x7f" and letter.isalpha() for letter in BROKEN.sub("", text))
    if whole >= len(runs):
        return text  # its other letters are sound: it speaks of the broken ones
    sure = any(_sure(match[0], meant) for match, meant in runs)
    within = any(text[match.end() : match.end() + 1].isalpha() for match, _ in runs)
    if not sure and not within:
        return text
    once = BROKEN.sub(lambda match: _decoded(match[0]), text)
    return mended(once) if len(once) < len(text) else once


# -- written-out line breaks ------------------------------------------------------------------------------------------

EXCEL = re.compile(r"(?:(?<=[^\s\"'`„“«(])|^|(?<=\n))((?:_x000[Dd]_|_x000[Aa]_)+)|_x000[Dd]_(?=\r?\n|$)", re.MULTILINE)
WRITTEN = re.compile(r"(?<!\\)(?:\\r\\n|\\n|\\r)+")
FOLDER = r"[\w.$()-]*[\w$)-]"
PATH = re.compile(rf"(?:\b[A-Za-z]:|\\\\[\w.$-]+)\\(?:{FOLDER}(?: {FOLDER})*\\)*(?:{FOLDER})?")
WORD = re.compile(r"[\w-]+$")
QUOTE = "\"'`´’”“„»«/|]"
ENDS, STARTS = ".,:;!?)…", "-*•–>(<"  # what stands before a line break, and after it


def _word_before(text: str, at: int) -> str:
    word = WORD.search(text[max(0, at - 30) : at])
    return word[0] if word else ""


def _is_spoken(text: str, start: int, end: int, paths: list[tuple[int, int]]) -> bool:
    """Tells whether a single escape is a part of a path, of code, or is named: `C:\\new`, `"a\\n"`, `ACME\\nina`."""
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    if (after and after in QUOTE) or before in ("/", "|", "["):
        return True
    if any(first <= start < last for first, last in paths):
        return True
    return after.islower() and len(word := _word_before(text, start)) > 1 and word.isupper()


def _is_break(text: str, start: int, end: int) -> bool:
    """Tells whether an escape can only be a line break: two of them, or one between what ends and starts lines."""
    if end - start > 2:
        return True
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    if not before or before in ENDS:
        return True
    return (not after and not before.isspace()) or after.isupper() or after.isdigit() or bool(after and after in STARTS)


def _written(text: str) -> str:
    paths = [match.span() for match in PATH.finditer(text)]
    found = [match.span() for match in WRITTEN.finditer(text)]
    meant = [span for span in found if span[1] - span[0] > 2 or not _is_spoken(text, *span, paths)]
    if not any(_is_break(text, *span) for span in meant):
        words = {_word_before(text, start) for start, end in meant if text[end : end + 1].isalpha()} - {""}
        if len(words) < 2:  # `acme\\nina` is a login
            return text
    parts, at = [], 0
    for start, end in meant:
        breaks = text[start:end].replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\r", "\n")
        parts += [text[at:start], breaks]
        at = end
    return "".join(parts) + text[at:]


def unescaped(text: str) -> str:
    """Returns the text with written-out line breaks as line breaks."""
    if "_x000" in text:
        text = EXCEL.sub(lambda match: "" if match.end() < len(text) and text[match.end()] in "\r\n" else "\n", text)
    if "\\n" in text or "\\r" in text:
        text = _written(text)
    return text


# -- invisible signs --------------------------------------------------------------------------------------------------

SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"
HIDDEN = "\u00ad\u200b\u2060\ufeff"
UNSEEN = (*SPACES, *HIDDEN, "\u2028", "\u2029")
REPLACED = str.maketrans(dict.fromkeys(SPACES, " ") | dict.fromkeys(HIDDEN, "") | {"\u2028": "\n", "\u2029": "\n\n"})
JOINERS = re.compile("(?<=[\x21-\u024f])[\u200c\u200d]")  # between Latin letters they join nothing


def visible(text: str) -> str:
    """Returns the text with plain spaces, without signs that nobody sees, and with composed letters."""
    if text.isascii() or ("\u00a0" not in text and "\u00ad" not in text and is_western(text)):
        return text
    if has(text, UNSEEN):
        text = text.translate(REPLACED)
    if "\u200c" in text or "\u200d" in text:
        text = JOINERS.sub("", text)
    return text if is_normalized("NFC", text) else normalize("NFC", text)


# -- white space ------------------------------------------------------------------------------------------------------


def tidy(text: str) -> str:
    """Ends lines with LF, without white space before it; at most one blank line in a row, none at the ends."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if " \n" in text or "\t\n" in text:
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n" in text:
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip()
