"""From token ids to text as it streams: whole characters only, ended by a stop string.

Output contract: the pieces of a `Detokenizer` joined are the tokenizer's decoding of all ids, and no piece ends inside
a UTF-8 character. A `StopStrings` lets no part of a stop string through and nothing after it.
This module does not know requests, engines or Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are not, or not yet, a character

Decode = Callable[[list[int]], str]


class Detokenizer:
    """Decodes one answer piece by piece. Holds back trailing bytes that may become a character."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._window: list[int] = []  # the ids since the last but one place where the text was whole
        self._whole = 0  # how many of them lie before the last such place
        self._sent = 0  # characters of the window's text that are out
        self._holds = False  # whether the window's text ends in what may become a character

    def push(self, ids: Sequence[int]) -> str:
        """Returns the text that these ids have completed, perhaps none."""
        self._window.extend(ids)
        text = self._decode(self._window)
        stable = len(text.rstrip(UNFINISHED))
        piece = text[self._sent : stable]
        self._sent = max(self._sent, stable)
        self._holds = stable < len(text)
        if piece and not self._holds:  # decoding from here on gives the same: older ids are not needed
            if self._whole:
                self._window = self._window[self._whole :]
                self._sent = len(self._decode(self._window))
            self._whole = len(self._window)
        return piece

    def flush(self) -> str:
        """Returns what was held back; the answer is over."""
        piece = self._decode(self._window)[self._sent :] if self._holds else ""
        self._window, self._whole, self._sent, self._holds = [], 0, 0, False
        return piece


class StopStrings:
    """Cuts a text before the first stop string in it; `hit` tells that there was one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.hit = False

    def push(self, piece: str) -> str:
        """Returns what surely does not belong to a stop string; nothing once one was found."""
        if self.hit:
            return ""
        text = self._held + piece
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)]
        keep = max((self._overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """Returns how many characters at the text's end may be the beginning of the stop string."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)

    def flush(self) -> str:
        """Returns what was held back for a stop string that did not come."""
        held, self._held = self._held, ""
        return held
