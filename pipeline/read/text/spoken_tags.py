"""Tags that a text speaks of, told from tags that it is made of: `put this before </head>`, `the <title> is wrong`.

Output contract: `escape_spoken` writes `&lt;` for the `<` of a tag that is spoken of; what is markup stays as it is. A
start without an end, or an end without a start, hides nothing: browsers would leave out all that follows `<script>`.
This module does not parse: `markup` does.
"""

from __future__ import annotations

import re
from collections import Counter

UNSEEN = ("head", "title", "script", "style")
UNSEEN_TAG = re.compile(r"<(/?)(head|title|script|style)(?=[\s/>])(?:[^<>]*>)?", re.IGNORECASE)
PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s|html|head|body|meta|title|style)[\s>]", re.IGNORECASE)
WHOLE = re.compile(r"<html[\s>].*</html\s*>", re.IGNORECASE | re.DOTALL)
BODY = re.compile(r"<body[\s>]", re.IGNORECASE)
NAMED = re.compile(  # without attributes, where a word would stand
    r"(?<=[\s\"'(`])<(/?)(html|body|div|span|form|table|section|header|footer|main|article|center|code|pre|ol|ul|a|b|i|"
    r"u|s|em|strong|font|small|link|meta|img|h[1-6]|nav|aside|iframe)>(?=[\s.,;:!?)\"'`])",
    re.IGNORECASE,
)

LETTERS = frozenset(
    ["a", "b", "i", "u", "s", "em", "strong", "font", "small", "code", "pre"]
)  # what is around words, spaces or not


def _escape_unseen(text: str, low: str) -> str:
    begins = text.lstrip()[:1] == "<"
    page = bool(PAGE.match(text)) or ("<html" in low and WHOLE.search(text) is not None)
    last = {name: low.rfind(f"</{name}") for name in UNSEEN}
    body = match.start() if page and (match := BODY.search(text)) else len(text)
    opened = dict.fromkeys(UNSEEN, False)

    def judge(match: re.Match[str]) -> str:
        name, at = match[2].lower(), match.start()
        belongs = (page and at < body) if name in ("head", "title") else begins or page
        if match[1]:
            is_markup, opened[name] = opened[name], False
        else:
            is_markup = opened[name] = belongs and at < last[name]
            if belongs and not is_markup and name == "head":
                return ""  # its end may be left out
        return match[0] if is_markup else "&lt;" + match[0][1:]

    return UNSEEN_TAG.sub(judge, text)


def _escape_named(text: str, low: str) -> str:
    named = Counter(match[2].lower() for match in NAMED.finditer(text))

    def judge(match: re.Match[str]) -> str:
        name = match[2].lower()
        if name not in LETTERS and named[name] == low.count(f"<{name}") + low.count(f"</{name}"):
            return "&lt;" + match[0][1:]  # none of them stands where markup would
        other = f"<{name}" if match[1] else f"</{name}"
        return match[0] if other in low else "&lt;" + match[0][1:]

    return NAMED.sub(judge, text)


def escape_spoken(text: str) -> str:
    """Returns markup in which the tags that the text only speaks of are text."""
    low = text.lower()
    if any(f"<{name}" in low or f"</{name}" in low for name in UNSEEN):
        text = _escape_unseen(text, low)
    return text if text.lstrip()[:1] == "<" else _escape_named(text, low)
