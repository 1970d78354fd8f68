"""The guard: curation's own scrubber and scorer on a request's texts and on its answer, streamed or not.

Output contract: `inbound` returns the texts for the engine, or raises a 400 with the code `content_filter`. An
`Outbound` takes one answer piece by piece and returns the text to be sent. With an action other than `off` it holds
the last words back, up to the length of the longest pattern: no finding begins in text already sent. A refusal ends
the answer. `FindingCounts` counts findings by direction, type and action; nothing here keeps or logs text.
Types of personal data, names models, thresholds and the toxicity model are those of the `curate` section.
This module does not know routes or engines.
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

HOLD = 96  # characters held back: an address with flat, town and postcode, the longest pattern with spaces in it
CONTEXT = 96  # characters before, which a names model and the words before a number or a password are looked for in
LONGEST = 2_048  # characters without a space: the most that are held back
WINDOW = 600  # characters of an answer that are scored for toxicity together
STEP = 120  # new characters until the next scoring, unless a sentence ends before
LONG_SENTENCE = 240  # characters
ENDS = (".", "!", "?", "\n")

FindingCounts = Counter[tuple[str, str, str]]
"""Number of findings by (direction `in` or `out`, type of personal data or `TOXICITY`, action)."""


class Guard:
    """Holds the scrubber and the scorer that the settings ask for; one per replica."""

    def __init__(self, project: Project, key: bytes | None = None) -> None:
        """Loads the models; `key` is that of the run's pseudonyms, for modes that need one.

        Raises `MissingModelError` and `ConfigError` as curation does.
        """
        self.settings: Settings = project.serve.guard
        self.finding_counts: FindingCounts = Counter()
        self._scrubber: Any = None
        self._scorer: Any = None
        self._threshold = project.curate.toxicity.threshold
        # one language for each names model: the language of a short text is never certain
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
        """Whether there is a scrubber, which may need the run's key for its replacements."""
        return {project.serve.guard.pii_in, project.serve.guard.pii_out} != {"off"}

    @property
    def checks_input(self) -> bool:
        """Whether the texts of requests are checked."""
        return self.settings.pii_in != "off" or self.settings.toxicity_in != "off"

    @property
    def rewrites(self) -> bool:
        """Whether an answer may differ from the engine's: then its log-probabilities must not be given."""
        return self.settings.pii_out in ("redact", "refuse") or self.settings.toxicity_out == "refuse"

    async def inbound(self, texts: Sequence[str]) -> list[str]:
        """Returns a request's texts, scrubbed as the settings say; raises an `ApiError` for a refusal."""
        return list(texts) if not self.checks_input else await asyncio.to_thread(self._inbound, list(texts))

    def _inbound(self, texts: list[str]) -> list[str]:
        action = self.settings.pii_in
        if action != "off":
            matches = self.find(texts)
            types = {finding.type for findings in matches for finding in findings}
            self.count("in", types, action)
            if types and action == "refuse":
                raise errors.filtered(f"personal data ({', '.join(sorted(types))})")
            if action == "redact":
                texts = [self.replace(text, findings) for text, findings in zip(texts, matches, strict=True)]
        if self.settings.toxicity_in != "off" and self.abusive(texts):
            self.count("in", {"TOXICITY"}, self.settings.toxicity_in)
            if self.settings.toxicity_in == "refuse":
                raise errors.filtered("abusive text")
        return texts

    def outbound(self) -> Outbound | None:
        """Returns the filter of one answer, None where answers are not checked."""
        checks = self.settings.pii_out != "off" or self.settings.toxicity_out != "off"
        return Outbound(self) if checks else None

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """Returns each text's personal data, without overlaps."""
        every: list[list[Finding]] = [[] for _ in texts]
        for language in self._languages:
            for index, findings in self._scrubber.find_all(texts, [language] * len(texts)).items():
                every[index] += findings
        return [merge(set(findings)) for findings in every]

    def replace(self, text: str, findings: Sequence[Finding]) -> str:
        """Returns the text with its findings replaced, as in curation."""
        return str(self._scrubber.replace(text, findings)[0])

    def abusive(self, texts: Sequence[str]) -> bool:
        """Whether any text reaches the threshold at which curation drops a row."""
        return bool((self._scorer(texts) >= self._threshold).any())

    def count(self, direction: str, types: set[str], action: str) -> None:
        """Adds one to the count of each type."""
        self.finding_counts.update((direction, kind, action) for kind in types)


class Outbound:
    """The filter of one answer."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self._settings = guard, guard.settings
        self._sent, self._pending = "", ""  # the engine's own text: the end of what was sent, and all that was not
        self._scored = 0  # characters of `_pending`
        self._abusive = False
        self.refused = False

    async def push(self, text: str, last: bool) -> str:
        """Returns the text to be sent now; `last`: no text follows. Sets `refused` when the answer ends here."""
        self._pending += text
        if self.refused or not (text or last):
            return ""
        return await asyncio.to_thread(self._push, last)

    def _push(self, last: bool) -> str:
        due = last or len(self._pending) - self._scored >= STEP or self._pending.endswith(ENDS)
        if due and self._settings.toxicity_out != "off":
            self._score()
        if self.refused:
            return ""
        cleared = self._cleared() if self._settings.toxicity_out == "refuse" else len(self._pending)
        limit = len(self._pending) if last else self._space(min(cleared, len(self._pending) - HOLD))
        if self._settings.pii_out == "off":
            return self._send(len(self._pending) if self._settings.toxicity_out == "mark" else limit)
        return self._scrubbed(limit)

    def _cleared(self) -> int:
        """Returns the characters that were scored with their whole sentence; a very long sentence goes by parts."""
        whole = max(self._pending.rfind(end, 0, self._scored) for end in ENDS) + 1
        return whole if self._scored - whole < LONG_SENTENCE else self._scored

    def _scrubbed(self, most: int) -> str:
        """Sends at most `most` characters, scrubbed as the settings say; never a part of a finding."""
        action, before = self._settings.pii_out, len(self._sent[-CONTEXT:])
        (findings,) = self._guard.find([self._sent[-CONTEXT:] + self._pending])
        findings = [each._replace(start=max(0, each.start - before), end=each.end - before) for each in findings]
        cut = min([most, *(each.start for each in findings if each.start < most < each.end)])
        inside = [each for each in findings if 0 < each.end <= cut]
        if inside:
            self._guard.count("out", {each.type for each in inside}, action)
        if inside and action == "refuse":
            self.refused = True
            return self._send(inside[0].start)
        sent = self._send(cut)
        return self._guard.replace(sent, inside) if action == "redact" else sent

    def _send(self, count: int) -> str:
        """Moves `count` characters from the pending to the sent text; returns them."""
        sent, self._pending = self._pending[:count], self._pending[count:]
        self._scored = max(0, self._scored - count)
        self._sent = (self._sent + sent)[-WINDOW:]
        return sent

    def _space(self, most: int) -> int:
        """Returns the last position at or before `most` that follows a space; 0 where there is none."""
        for end in range(min(most, len(self._pending)), 0, -1):
            if self._pending[end - 1].isspace():
                return end
        return max(0, most) if most > LONGEST else 0

    def _score(self) -> None:
        """Scores the last `WINDOW` characters, and their new sentences alone: polite ones before lower the score."""
        window = (self._sent + self._pending)[-WINDOW:]
        new = len(self._pending) - self._scored
        first = max(window.rfind(end, 0, max(0, len(window) - new)) for end in ENDS)
        self._scored = len(self._pending)
        if not self._abusive and self._guard.abusive([window, window[first + 1 :]]):
            self._abusive = True  # counted once
            self._guard.count("out", {"TOXICITY"}, self._settings.toxicity_out)
            self.refused = self._settings.toxicity_out == "refuse"
