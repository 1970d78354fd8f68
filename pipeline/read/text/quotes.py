"""Quoted mails, cut where there is evidence that they are quoted.

Output contract: `cut_quotes` takes the lines of a message (from `markup.marked`) and returns those that stay. Evidence
is a line that says who wrote what follows, a mail client's mark, the headers of a mail of the help desk's own, a line
above which one is asked to answer, or a text that the ticket holds already. Without it everything stays: lines with `>`
(commands, menus), blockquotes, the fields of a form, a customer's mail that is passed on. No cut is made that leaves
only a greeting.
This module knows English and German mail clients. The libraries for this were measured on `tests/read/mails.txt`: the
best of four gets 29 of its 57 mails right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.read.text.characters import has
from pipeline.read.text.evidence import COMPARED, Ticket
from pipeline.read.text.headers import read_block, read_inline
from pipeline.read.text.markup import INDENTED, QUOTED
from pipeline.read.text.signatures import RULE, says_something

# -- lines that say that a quote follows ------------------------------------------------------------------------------

WROTE = r"(?:wrote|schrieb(?:en)?|geschrieben)\b"
ATTRIBUTION = re.compile(
    rf"\s*(?:>\s*)*(?:(?:on|am)\s.{{4,200}}{WROTE}.{{0,120}}:|.{{2,120}}\s(?:wrote|schrieb(?:en)?|hat)\s+(?:on|am)\s.{{4,80}}:|"
    rf".{{2,160}}\s{WROTE}\s*:|(?:zitat von|quoting)\s.{{2,120}}:|"
    r"\d{4}-\d\d-\d\d \d{1,2}:\d\d\s(?:(?:gmt|utc)[+-]?[\d:]*\s)?.{2,80}<\S+@\S+>\s?:)\s*",
    re.IGNORECASE,
)
LONGEST = 300  # characters of a line that says who wrote what follows
ATTRIBUTION_SIGNS = ("wrote", "schrieb", "geschrieben", "zitat von", "quoting", ">:", "> :")
ORIGINAL_SIGNS = ("original", "rspr", "reply message", "antwort", "wrote -", "schrieb -", "geschrieben -")
HEADER_SIGNS = ("from:", "von:", "absender:", "from :", "von :")
DATED = re.compile(r"\d{1,2}:\d{2}|\d{4}|@")  # of a mail client; "Am 3. Mai schrieb mir Ihr Kollege:" is a sentence
STAMPED = re.compile(r"(?<![\d.])\d{1,2}:\d{2}\b|(?<![\d.])\d{1,2}\.\d{2}(?!\.)\b|@")
NARRATED = re.compile(  # who tells what somebody wrote, and where: no mail client does
    r"^[^@<]*\b(?:ins|im|in das|in the|into the|to the|folgendes|ihnen|mir|uns|wir|ich|we|ihr|ihre|ihrem|euer|your|our|"
    r"der server|das system|the server|the system|the service)\b[^@<]*$",
    re.IGNORECASE,
)
TOLD = re.compile(
    rf"{WROTE}\s+(?:mir|uns|ihnen|ihr|ihre|mein|meine|unser|unsere|der|die|das|ein|eine|me|us|you|your|my|our|the|an?|"
    r"that|dass)\b",
    re.IGNORECASE,
)
NAME_WROTE = re.compile(  # "The terminal wrote:" is a sentence
    rf"\s*(?!(?:the|an?|your|my|our|it|he|she|they|ihre?|mein|meine|unser|der|die|das|ein|eine|er|sie|es)\b)"
    rf"(?:\S+\s){{1,4}}{WROTE}\s*:\s*",
    re.IGNORECASE,
)
DATE_FIRST = re.compile(
    r"\s*(?:>\s*)*(?:(?:on|am)\s|.{2,120}\s(?:wrote|schrieb(?:en)?|hat)\s+(?:on|am)\s)", re.IGNORECASE
)
NAME_OF_MAIL = (
    r"(?:original(?:e)?[ -]?(?:message|nachricht|e-?mail|mail|appointment)|"
    r"urspr(?:ü|ue)ngl(?:iche|\.) (?:nachricht|e-?mail|mail))"
)
ORIGINAL = re.compile(
    rf"\s*(?:>\s*)*(?:[-_=*]{{2,}}\s*{NAME_OF_MAIL}\s*:?\s*[-_=*]*|[-_]{{3,}}\s*(?:reply message|antwort)\s*[-_]{{3,}}|"
    rf"-{{2,}}\s*(?:on|am)\s.{{4,200}}{WROTE}\s*-{{2,}})\s*",
    re.IGNORECASE,
)
BARE_ORIGINAL = re.compile(rf"\s*{NAME_OF_MAIL}\s*:?\s*", re.IGNORECASE)  # needs headers under it
PASSED_ON_LINE = re.compile(
    r"\s*(?:>\s*)*(?:[-_=]{2,}\s*(?:forwarded (?:message|mail)|weitergeleitete (?:nachricht|mail|e-?mail))\s*[-_=]*|"
    r"begin forwarded message:?|anfang der weitergeleiteten (?:nachricht|e-?mail):?)\s*",
    re.IGNORECASE,
)
REPLY_LINE = re.compile(
    r"\s*(?:>\s*)*(?:##-.{0,200}-##|\W{0,10}(?:please )?(?:type |write |enter )?(?:your )?(?:reply|answer|respond) "
    r"above this line\W{0,10}|\W{0,10}(?:bitte )?(?:geben sie ihre antwort |antworten sie |ihre antwort )?(?:bitte )?"
    r"(?:oberhalb|über) dieser (?:zeile|linie)(?: ein(?:geben)?| antworten| schreiben)?\W{0,10})\s*",
    re.IGNORECASE,
)
QUOTE_SIGNS = (
    ":",
    "\n>",
    "\n >",
    "--",
    "__",
    "##-",
    "this line",
    "dieser ",
    QUOTED,
    INDENTED,
)  # one is in all that is cut


def _is_quoted_line(line: str) -> bool:
    return line[:1] in (">", QUOTED, INDENTED) or line[:2] == " >"


def _bare(line: str) -> str:
    """Returns a line without its marks of quotation."""
    return line.lstrip(QUOTED + INDENTED + "> \t")


def _attribution(lines: Sequence[str], at: int) -> tuple[int, bool]:
    """Returns how many lines (0 to 3) say who wrote what follows, long ones being wrapped, and whether what follows
    is marked as a quote."""
    line = ""
    for count, part in enumerate(lines[at : at + 3], 1):
        if not part.strip() or len(part) > LONGEST or line.endswith((".", "!", "?")):
            break
        line = f"{line} {part}" if line else part
        low = line.lower()
        if not any(sign in low for sign in ATTRIBUTION_SIGNS) or not ATTRIBUTION.fullmatch(line):
            continue
        after = next((rest for rest in lines[at + count : at + count + 3] if rest.strip()), "")
        if _is_quoted_line(after) and (DATED.search(line) or after[:1] == QUOTED or NAME_WROTE.fullmatch(part)):
            return (count, True) if count == 1 or DATE_FIRST.match(line) else (0, False)
        if DATE_FIRST.match(line) and STAMPED.search(line) and not (TOLD.search(line) or NARRATED.search(line)):
            return count, False
    return 0, False


# -- threads in one line ----------------------------------------------------------------------------------------------

INLINE_ATTRIBUTION = re.compile(
    rf"(?<=\S)\s+(?-i:On|Am)\s(?=[^:]{{4,60}}:\d\d)(?:(?!\s(?-i:On|Am)\s).){{4,200}}?{WROTE}[^:]{{0,120}}:\s",
    re.IGNORECASE,
)
INLINE_ORIGINAL = re.compile(rf"(?<=\S)\s+-{{3,}}\s*{NAME_OF_MAIL}\s*-{{3,}}", re.IGNORECASE)


def _inline(line: str, ticket: Ticket) -> int | None:
    """Returns where a quoted mail begins in a line that holds a whole thread, as exports without line breaks do."""
    low = line.lower()
    starts = []
    if "original" in low or "rspr" in low:
        starts += [match.start()] if (match := INLINE_ORIGINAL.search(line)) else []
    if "wrote" in low or "schrieb" in low:
        for match in INLINE_ATTRIBUTION.finditer(line):
            if "@" in match[0] or line[match.end() : match.end() + 1] == ">":
                starts.append(match.start())
                break
    if "from:" in low or "von:" in low:
        found = read_inline(line)
        if found and found[0] and ticket.is_quoted(found[1], False, [line[found[1].end :]]):
            starts.append(found[0])
    return min(starts, default=None)


# -- the cut ----------------------------------------------------------------------------------------------------------


class _Cutter:
    """Goes through the lines of a message once and keeps those that are not quoted."""

    def __init__(self, lines: Sequence[str], low: str, ticket: Ticket) -> None:
        self._lines, self._ticket = lines, ticket
        self._judges = [judge for signs, judge in self._JUDGES if has(low, signs)]
        self._kept: list[str] = []
        self._answers: bool | None = None  # is a reply between marked lines; do its quotes repeat the ticket

    def cut(self) -> Sequence[str]:
        """Returns the lines that stay."""
        if not self._judges:
            return self._lines
        at: int | None = 0
        while at is not None and at < len(self._lines):
            at = self._next(at)
        while at is None and self._kept and (not self._kept[-1].strip() or RULE.fullmatch(self._kept[-1])):
            self._kept.pop()  # the rule that Outlook draws above the headers
        return self._kept

    def _next(self, at: int) -> int | None:
        """Deals with line `at`; returns the line to go on with, None where the rest is quoted."""
        for judge in self._judges:
            if (after := judge(self, at)) != at:
                return after
        self._kept.append(self._lines[at])
        return at + 1

    def _keep(self, at: int, end: int) -> int:
        self._kept += self._lines[at:end]
        return end

    def _reply_line(self, at: int) -> int | None:
        if not REPLY_LINE.fullmatch(self._lines[at]):
            return at
        return None if says_something(self._kept) else at + 1

    def _passed_on(self, at: int) -> int | None:
        """A mail that is passed on is what the message is about, unless the ticket holds it already."""
        if not PASSED_ON_LINE.fullmatch(_bare(self._lines[at])):
            return at
        first = self._skip_blank(at + 1)
        headers = read_block(self._lines, first)
        end = headers.end if headers else at + 1
        if self._ticket.holds(self._under(end)) and says_something(self._kept):
            return None
        if _is_quoted_line(self._lines[at]):
            while end < len(self._lines) and _is_quoted_line(self._lines[end]):
                end += 1
        return self._keep(at, end)

    def _separator(self, at: int) -> int | None:
        line = _bare(self._lines[at])
        bare = BARE_ORIGINAL.fullmatch(line)
        if not bare and not ORIGINAL.fullmatch(line):
            return at
        headers = read_block(self._lines, self._skip_blank(at + 1))
        if bare and headers is None:
            return at
        if headers and not self._ticket.is_quoted(headers, True, self._under(headers.end)):
            return self._keep(at, headers.end)
        return None if says_something(self._kept) else self._keep(at, headers.end if headers else at + 1)

    def _headers(self, at: int) -> int | None:
        headers = read_block(self._lines, at) if ":" in self._lines[at] else None
        if headers is None:
            return at
        if self._ticket.is_quoted(headers, False, self._under(headers.end)) and says_something(self._kept):
            return None
        return self._keep(at, headers.end)

    def _attributed(self, at: int) -> int | None:
        count, is_marked = _attribution(self._lines, at)
        if not count:
            return at
        first = self._skip_blank(at + count)
        if not is_marked:  # a quote without marks has no end; a marked one may have an answer below it
            return None if says_something(self._kept) else self._keep(at, at + count)
        end = self._block_end(first)
        if self._answers is None:
            self._answers = self._ticket.holds([_bare(line) for line in self._lines[first:end]])
        return end

    def _block(self, at: int) -> int | None:
        if not _is_quoted_line(self._lines[at]):
            return at
        end = self._block_end(at)
        texts = [_bare(line) for line in self._lines[at:end]]
        held = self._ticket.holds(texts)
        if self._lines[at][:1] == QUOTED:
            quoted = not PASSED_ON_LINE.fullmatch(next(filter(None, texts), ""))
        elif self._lines[at][:1] == INDENTED:
            quoted = held or _attribution(texts, 0)[0] > 0
        else:
            quoted = held or self._answers is False or (self._answers is None and _attribution(texts, 0)[0] > 0)
        return end if quoted else self._keep(at, end)

    def _in_one_line(self, at: int) -> int | None:
        line = self._lines[at]
        start = _inline(line, self._ticket) if len(line) > 60 else None
        if start is None or not says_something([*self._kept, line[:start]]):
            return at
        self._kept.append(line[:start].rstrip())
        return None

    def _block_end(self, at: int) -> int:
        """Returns the end of the marked lines that begin at `at`, lines that they were wrapped into not included."""
        mark = self._lines[at][:1]
        if mark not in (QUOTED, INDENTED):
            mark = ""
        while at < len(self._lines) and (self._lines[at][:1] == mark if mark else self._lines[at].lstrip()[:1] == ">"):
            at += 1
        return at

    def _under(self, at: int) -> Sequence[str]:
        """Returns the lines from `at`, as many as are compared."""
        return [_bare(line) for line in self._lines[at : at + COMPARED]]

    def _skip_blank(self, at: int) -> int:
        while at < len(self._lines) and not self._lines[at].strip():
            at += 1
        return at

    _JUDGES = (  # in this order, where one of the signs is in the text
        (("##-", "line", "zeile", "linie"), _reply_line),
        (("forward", "weitergeleitet"), _passed_on),
        (ORIGINAL_SIGNS, _separator),
        (HEADER_SIGNS, _headers),
        (ATTRIBUTION_SIGNS, _attributed),
        (("\n>", "\n >", QUOTED, INDENTED), _block),
        ((*HEADER_SIGNS, "original", "rspr", "wrote", "schrieb"), _in_one_line),
    )


def cut_quotes(lines: Sequence[str], low: str, ticket: Ticket) -> Sequence[str]:
    """Returns the lines without quoted mails; all of them where that would leave nothing to speak of. `low`: the text
    in small letters, a line break before it."""
    kept = _Cutter(lines, low, ticket).cut()
    return kept if len(kept) == len(lines) or says_something(map(_bare, kept)) else lines
