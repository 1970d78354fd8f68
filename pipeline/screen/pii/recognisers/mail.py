"""E-mail addresses, in public and private domains, and as people write them against robots.

Output contract: a finding is an address whose domain ends in a public suffix (score 1.0), in a name of a private
network (`firma.local`, `@localhost`) or in a word that is no ending of a file name (`icon@2x.png` is no address); or
one that spells its `@` or dots: `anna.schmidt[at]beispiel[dot]de`, `anna (punkt) schmidt (at) beispiel (punkt) de`.
Presidio's own recogniser downloads a list of suffixes; ours reads the one that tldextract brings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import tldextract

from pipeline.screen.pii.recognisers.span_recogniser import Span, SpanRecognizer, words

_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~.-]{1,64}$")
_DOMAIN = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_FILES = words(
    "png jpg jpeg gif svg webp bmp ico tif tiff pdf doc docx xls xlsx csv txt json xml yaml yml html htm css scss js "
    "jsx ts tsx java class cpp hpp exe dll log zip gz tar tgz whl lock md rst mp3 mp4 mov wav local_"
)
_LAST_LABEL = re.compile(r"[a-z][a-z0-9-]{1,23}")
_WORD = r"[A-Za-z0-9_+-]{1,64}"
_DOT = r"(?: ?[(\[{<] ?(?:dot|punkt|pkt|\.) ?[)\]}>] ?| (?:dot|punkt) |\.)"
_AT = r"(?: ?[(\[{<] ?(?:at|ät|@) ?[)\]}>] ?| (?:at|ät) | ?@ ?)"
_SPELLED = re.compile(
    rf"(?<![\w.+-])({_WORD}(?:{_DOT}{_WORD}){{0,4}})({_AT})({_WORD}(?:{_DOT}{_WORD}){{1,4}})(?!\w)", re.IGNORECASE
)
PREFILTER = r"@|(?i:[(\[{<] ?(?:at|ät) ?[)\]}>]| (?:at|ät) [a-z0-9_-]+(?:\.[a-z]{2}| (?:dot|punkt) | ?[(\[{<]))"  # RE2


class MailAddressRecognizer(SpanRecognizer):
    """E-mail addresses."""

    KIND = "EMAIL_ADDRESS"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields addresses as they are written, then those that are spelled."""
        for at in re.finditer("@", text):
            local = _LOCAL.search(text[max(0, at.start() - 64) : at.start()])
            domain = _DOMAIN.match(text, at.end())
            if local and domain:
                yield from self._address(at.start(), local.group(), domain.group())
        for match in _SPELLED.finditer(text):
            if _is_spelled(*match.groups()):
                yield *match.span(), 1.0

    @staticmethod
    def _address(at: int, local: str, domain: str) -> Iterator[Span]:
        in_link = re.split(r"[/=?&]", local)[-1]  # the standard allows these characters; links use them
        local = (in_link if re.search(r"\w", in_link) else local).lstrip("!#$%&'*+/=?^`{|}~.-")
        domain = domain.rstrip("-_")
        score = _score(domain.casefold())
        if local and score:
            yield at - len(local), at + 1 + len(domain), score


def _score(domain: str) -> float:
    """Returns how sure it is that a domain is one of addresses; 0: it is none."""
    name, _, last = domain.rpartition(".")
    if not name:
        return 0.5 if last == "localhost" else 0.0
    if bool(_suffixes()(domain).fqdn):
        return 1.0
    return 0.5 if _LAST_LABEL.fullmatch(last) and last not in _FILES else 0.0


def _is_spelled(local: str, at: str, domain: str) -> bool:
    """Whether words with a spelled `@` are an address: by its brackets, a spelled dot or a name's form, and its end."""
    if at == "@":
        return False  # written, not spelled
    host = re.sub(_DOT, ".", domain, flags=re.IGNORECASE)
    certain = re.search(r" (?:dot|punkt) |[(\[{<]", local + domain, re.IGNORECASE)
    shaped = local[0].isalpha() and re.search(r"\w[._+-]\w|\d", local)
    if any(char in "([{<" for char in at):
        return _score(host.casefold()) > 0
    return bool((certain or shaped) and _suffixes()(host).fqdn)


@cache
def _suffixes() -> Any:
    """Returns the process's one extractor: building its table takes a quarter of a second."""
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
