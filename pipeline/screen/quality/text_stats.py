"""Statistics of texts: length, symbols, repetition. A batch at a time, without a loop.

Output contract: every function takes a pa.StringArray without nulls and returns a float64 or int64 array with one
value per text. Shares are between 0 and 1, of UTF-8 bytes; 0 for an empty text.
The two measures of repetition are those of Rae et al. 2021 (Gopher, arXiv:2112.11446, table A1).
This module knows no thresholds.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CHARACTERS_PER_TOKEN = 4
SHORT_LINE = 10  # bytes; a shorter line (`}`, `Hello,`) may well come twice
GRAM = 3  # words
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing

SPACE = np.isin(np.arange(256), list(b" \t\n\r\v\f"))  # by byte
SYMBOL = np.array([byte < 128 and not chr(byte).isalnum() for byte in range(256)]) & ~SPACE  # ASCII, no letter or digit


def tokens(texts: pa.StringArray) -> np.ndarray:
    """Returns estimated tokens: characters / 4, rounded up, as the report counts them."""
    return -(-np.asarray(pc.utf8_length(texts), dtype=np.int64) // CHARACTERS_PER_TOKEN)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.minimum(part / np.maximum(whole, 1), 1.0))


def symbols(texts: pa.StringArray) -> np.ndarray:
    """Returns the share of ASCII punctuation and control characters among the characters but white space."""
    length = np.asarray(pc.binary_length(texts), dtype=np.int64)
    full = np.flatnonzero(length)
    starts = np.cumsum(length)[full] - length[full]
    _, offsets, data = texts.buffers()
    first = np.frombuffer(offsets, np.int32)[texts.offset] if len(full) else 0
    bytes_ = np.frombuffer(data if len(full) else b"", np.uint8)[first : first + int(length.sum())]
    counts = np.zeros((2, len(length)), dtype=np.int64)
    for row, kind in enumerate((SYMBOL, SPACE) if len(full) else ()):
        counts[row, full] = np.add.reduceat(kind[bytes_], starts, dtype=np.int64)
    return _share(counts[0], length - counts[1])


def repeated_lines(texts: pa.StringArray) -> np.ndarray:
    """Returns the share of a text in lines that repeat an earlier line of it."""
    split = pc.split_pattern(texts, "\n")
    lines = pc.utf8_trim_whitespace(pc.list_flatten(split))
    row = np.asarray(pc.list_parent_indices(split), dtype=np.int64)
    length = np.asarray(pc.binary_length(lines), dtype=np.int64)
    long = length >= SHORT_LINE
    row, length, lines = row[long], length[long], lines.filter(pa.array(long))
    code = np.asarray(lines.dictionary_encode().indices, dtype=np.int64)
    key = row * np.int64(len(code) + 1) + code
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(key), dtype=bool)
    again[order[1:]] = key[order[1:]] == key[order[:-1]]
    repeated = np.bincount(row[again], weights=length[again], minlength=len(texts))
    return _share(repeated, np.asarray(pc.binary_length(texts), dtype=np.int64))


def top_gram(texts: pa.StringArray) -> np.ndarray:
    """Returns the share of the most frequent sequence of three words in a text; 0 if none occurs three times."""
    split = pc.ascii_split_whitespace(texts)
    words = pc.list_flatten(split)
    row = np.asarray(pc.list_parent_indices(split), dtype=np.int64)
    covered = np.zeros(len(texts))
    if len(row) < GRAM:
        return covered
    code = np.asarray(words.dictionary_encode().indices).astype(np.uint64)
    length = np.asarray(pc.binary_length(words), dtype=np.int64)
    ends = len(row) - GRAM + 1
    key = row[:ends].astype(np.uint64)
    size = np.full(ends, GRAM - 1, dtype=np.int64)  # the spaces between them
    for shift in range(GRAM):
        key = (key * MIX) ^ code[shift : shift + ends]
        key ^= key >> np.uint64(29)
        size += length[shift : shift + ends]
    whole = np.flatnonzero(row[:ends] == row[GRAM - 1 :])  # all of it in one text
    key = key[whole]
    often = _thrice(key)
    slot = np.minimum(np.searchsorted(often, key), max(len(often) - 1, 0))
    hits = np.flatnonzero(often[slot] == key) if len(often) else np.empty(0, np.int64)
    count = np.bincount(slot[hits], minlength=len(often))
    start = whole[hits]
    np.maximum.at(covered, row[start], count[slot[hits]] * size[start])
    return _share(covered, np.asarray(pc.binary_length(texts), dtype=np.int64))


def _thrice(key: np.ndarray) -> np.ndarray:
    """Returns the values that occur three times or more, sorted."""
    key = np.sort(key)
    third = np.flatnonzero(key[2:] == key[:-2])
    return np.unique(key[third])
