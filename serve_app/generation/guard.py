"""The guard: curation's own scrubber and scorer on what comes in and on what goes out, on a stream too.

Output contract: `inbound` returns the texts as the engine may have them, or raises a 400 with the code
`content_filter`. An `Outbound` takes one answer piece by piece and gives back what may be sent: with an action other
than `off` the last words are held back, up to the length of the longest pattern, so that nothing that is found later
has been sent already. What is refused ends the answer. `Noted` counts what was found, by direction, kind and action;
nothing here keeps or logs text.
This module does not know routes or engines. It does not judge what the curation would not: types of personal data,
names models, thresholds and the toxicity model are those of the `curate` section.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.config import Guard as Settings
from pipeline.config import Project
from pipeline.screen.pii.spans import Finding, merge
from serve_app import errors

HOLD = 64  # characters held back: an IBAN in groups of four has 42, the longest pattern with spaces in it
CONTEXT = 64  # characters before, which a names model looks at
LONGEST = 2_048  # characters without a space that are held back; longer ones are cut
JUDGED = 600  # characters of an answer that are judged for toxicity together
STEP = 120  # new characters after which they are judged again, or at the end of a sentence
LONG_SENTENCE = 240  # characters
ENDS = (".", "!", "?", "\n")

Noted = Counter[tuple[str, str, str]]
"""How often what was found: (direction `in` or `out`, type of personal data or `TOXICITY`, action)."""


class Guard:
    """Holds the scrubber and the scorer that the settings ask for; one per replica."""

    def __init__(self, project: Project, key: bytes | None = None) -> None:
        """Loads what is needed; `key` is that of the run's pseudonyms, for modes that need one.

        Raises `MissingModelError` and `ConfigError` as curation does.
        """
        self.settings: Settings = project.serve.guard
        self.noted: Noted = Counter()
        self._scrubber: Any = None
        self._scorer: Any = None
        self._threshold = project.curate.toxicity.threshold
        # one language for each names model: which of them a short text is in, nobody can tell for sure
        models = {model: language for language, model in reversed(project.curate.pii.ner.items())}
        self._languages: list[str | None] = [*models.values()] or [None]
        if self.needs_key(project):
            from pipeline.screen.pii.scrub import Scrubber

            self._scrubber = Scrubber(project.curate.pii, project.curate.languages, key)
        if {self.settings.toxicity_in, self.settings.toxicity_out} != {"off"}:
            from pipeline.screen.toxicity.encoder import Encoder

            self._scorer = Encoder(project.curate.toxicity.model)

    @staticmethod
    def needs_key(project: Project) -> bool:
        """Whether a scrubber is made, which may replace by tags that the run's key makes."""
        return {project.serve.guard.pii_in, project.serve.guard.pii_out} != {"off"}

    @property
    def looks_in(self) -> bool:
        """Whether questions are looked at."""
        return self.settings.pii_in != "off" or self.settings.toxicity_in != "off"

    @property
    def rewrites(self) -> bool:
        """Whether an answer may differ from what the engine gave: then its tokens must not be told either."""
        return self.settings.pii_out in ("redact", "refuse") or self.settings.toxicity_out == "refuse"

    async def inbound(self, texts: Sequence[str]) -> list[str]:
        """Returns the texts of a request, replaced where the settings say so; raises an `ApiError` to refuse it."""
        return list(texts) if not self.looks_in else await asyncio.to_thread(self._inbound, list(texts))

    def _inbound(self, texts: list[str]) -> list[str]:
        action = self.settings.pii_in
        if action != "off":
            found = self.find(texts)
            types = {finding.type for findings in found for finding in findings}
            self.note("in", types, action)
            if types and action == "refuse":
                raise errors.filtered(f"personal data ({', '.join(sorted(types))})")
            if action == "redact":
                texts = [self.replace(text, findings) for text, findings in zip(texts, found, strict=True)]
        if self.settings.toxicity_in != "off" and self.abusive(texts):
            self.note("in", {"TOXICITY"}, self.settings.toxicity_in)
            if self.settings.toxicity_in == "refuse":
                raise errors.filtered("abusive text")
        return texts

    def outbound(self) -> Outbound | None:
        """Returns what one answer goes through, None where answers are not looked at."""
        looks = self.settings.pii_out != "off" or self.settings.toxicity_out != "off"
        return Outbound(self) if looks else None

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """Returns each text's personal data, without overlaps."""
        every: list[list[Finding]] = [[] for _ in texts]
        for language in self._languages:
            for at, findings in self._scrubber.find_all(texts, [language] * len(texts)).items():
                every[at] += findings
        return [merge(set(findings)) for findings in every]

    def replace(self, text: str, findings: Sequence[Finding]) -> str:
        """Returns the text with its findings replaced as curation replaces them."""
        return str(self._scrubber.replace(text, findings)[0])

    def abusive(self, texts: Sequence[str]) -> bool:
        """Whether any text reaches the threshold at which curation drops a row."""
        return bool((self._scorer(texts) >= self._threshold).any())

    def note(self, direction: str, types: set[str], action: str) -> None:
        """Counts what was found."""
        self.noted.update((direction, kind, action) for kind in types)


class Outbound:
    """One answer on its way out."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self._settings = guard, guard.settings
        self._sent, self._held = "", ""  # as the engine wrote them; of what was sent, the end
        self._judged = 0  # characters of what is held
        self._abusive = False
        self.refused = False

    async def push(self, text: str, last: bool) -> str:
        """Returns what may be sent now; `last`: nothing comes after. Sets `refused` when the answer ends here."""
        self._held += text
        if self.refused or not (text or last):
            return ""
        return await asyncio.to_thread(self._push, last)

    def _push(self, last: bool) -> str:
        due = last or len(self._held) - self._judged >= STEP or self._held.endswith(ENDS)
        if due and self._settings.toxicity_out != "off":
            self._judge()
        if self.refused:
            return ""
        cleared = self._cleared() if self._settings.toxicity_out == "refuse" else len(self._held)
        held = len(self._held) if last else self._space(min(cleared, len(self._held) - HOLD))
        if self._settings.pii_out == "off":
            return self._send(len(self._held) if self._settings.toxicity_out == "mark" else held)
        return self._scrubbed(held)

    def _cleared(self) -> int:
        """Returns how much of what is held was judged with its whole sentence; a very long one goes by parts."""
        whole = max(self._held.rfind(end, 0, self._judged) for end in ENDS) + 1
        return whole if self._judged - whole < LONG_SENTENCE else self._judged

    def _scrubbed(self, most: int) -> str:
        """Sends at most so many characters, treated as the settings say; never a part of a finding."""
        action, before = self._settings.pii_out, len(self._sent[-CONTEXT:])
        (findings,) = self._guard.find([self._sent[-CONTEXT:] + self._held])
        found = [each._replace(start=max(0, each.start - before), end=each.end - before) for each in findings]
        cut = min([most, *(each.start for each in found if each.start < most < each.end)])
        inside = [each for each in found if 0 < each.end <= cut]
        if inside:
            self._guard.note("out", {each.type for each in inside}, action)
        if inside and action == "refuse":
            self.refused = True
            return self._send(inside[0].start)
        shown = self._send(cut)
        return self._guard.replace(shown, inside) if action == "redact" else shown

    def _send(self, count: int) -> str:
        """Moves so many characters from what is held to what was sent; returns them."""
        shown, self._held = self._held[:count], self._held[count:]
        self._judged = max(0, self._judged - count)
        self._sent = (self._sent + shown)[-JUDGED:]
        return shown

    def _space(self, most: int) -> int:
        """Returns the last place at or before `most` that follows a space; 0 where there is none."""
        for at in range(min(most, len(self._held)), 0, -1):
            if self._held[at - 1].isspace():
                return at
        return max(0, most) if most > LONGEST else 0

    def _judge(self) -> None:
        """Judges what is new with its own sentence, which polite ones would water down, and the last of it all."""
        window = (self._sent + self._held)[-JUDGED:]
        new = len(self._held) - self._judged
        first = max(window.rfind(end, 0, max(0, len(window) - new)) for end in ENDS)
        self._judged = len(self._held)
        if not self._abusive and self._guard.abusive([window, window[first + 1 :]]):
            self._abusive = True  # told once
            self._guard.note("out", {"TOXICITY"}, self._settings.toxicity_out)
            self.refused = self._settings.toxicity_out == "refuse"
