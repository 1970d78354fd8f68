"""From token ids to text as it streams: whole characters only, ended by a stop string.

Output contract: the joined pieces of a `Detokenizer` are the tokenizer's decoding of all ids, and no piece ends inside
a UTF-8 character. A `StopStrings` returns no part of a stop string and nothing after it.
This module does not know requests, engines or Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"  # stands for bytes that are not, or not yet, a character

Decode = Callable[[list[int]], str]


class Detokenizer:
    """Decodes one answer piece by piece. Holds back trailing bytes that may become a character."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._window: list[int] = []  # the ids since the last but one position where the text was whole
        self._whole = 0  # the number of ids before the last such position
        self._sent = 0  # characters of the window's text that are out
        self._holds = False  # whether the window's text ends in what may become a character

    def push(self, ids: Sequence[int]) -> str:
        """Returns the text that these ids complete, perhaps none."""
        self._window.extend(ids)
        text = self._decode(self._window)
        stable = len(text.rstrip(UNFINISHED))
        piece = text[self._sent : stable]
        self._sent = max(self._sent, stable)
        self._holds = stable < len(text)
        if piece and not self._holds:  # decoding from here on gives the same text: older ids go
            if self._whole:
                self._window = self._window[self._whole :]
                self._sent = len(self._decode(self._window))
            self._whole = len(self._window)
        return piece

    def flush(self) -> str:
        """Returns the text held back, at the end of the answer."""
        piece = self._decode(self._window)[self._sent :] if self._holds else ""
        self._window, self._whole, self._sent, self._holds = [], 0, 0, False
        return piece


class StopStrings:
    """Cuts a text before its first stop string; `hit` is set once there was one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._pending = ""
        self.hit = False

    def push(self, piece: str) -> str:
        """Returns the text that belongs to no stop string; nothing after the first one."""
        if self.hit:
            return ""
        text = self._pending + piece
        starts = [start for start in (text.find(stop) for stop in self._stops) if start >= 0]
        if starts:
            self.hit, self._pending = True, ""
            return text[: min(starts)]
        keep = max((self._overlap(text, stop) for stop in self._stops), default=0)
        self._pending = text[len(text) - keep :]
        return text[: len(text) - keep]

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """Returns the number of characters at the text's end that may begin the stop string."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)

    def flush(self) -> str:
        """Returns the text held back for a stop string that did not come."""
        text, self._pending = self._pending, ""
        return text
