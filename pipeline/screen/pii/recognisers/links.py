"""Links that let in whoever has them: with a password, a token, a signature, or to a file that needs no login.

Output contract: the finding is the whole link. A link is one that carries a user's password, a secret in its query or
fragment, a random piece in a path that resets, confirms, invites or hands out (`/reset/9f8c…`, `/attachments/token/…`),
or that leads to a share of a known service. A link to a page of words (`/how-to-reset-your-password-2`) is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.screen.pii.recognisers.credentials import PLACEHOLDER
from pipeline.screen.pii.recognisers.span_recogniser import Span, SpanRecognizer, words

PREFILTER = "://|www\\."  # RE2
_LINK = re.compile(r"\b(?:[a-z][a-z0-9+.-]{1,15}://|www\.)[^\s<>\"'`|]+", re.IGNORECASE)
_AFTER = re.compile(r"[.,;:!?)\]}*…]+$")
_PASSWORD = re.compile(r"://[^/@:]*:[^/@]+@[^/]")
_SECRET_FIELD = re.compile(
    r"(?:\w{0,24}[_.-])?(?:token|(?:api|access|private|secret|auth|session|reset)?[_-]?key|passw(?:or[dt]|d)|pwd|secret|"
    r"sig|signature|session(?:_?id)?|sid|jwt|ticket|otp|auth|hmac|code|verifier|invite|nonce)|apikey|accesstoken|"
    r"(?:reset|confirmation|perishable|magic|share|login|verification)_?(?:token|code|id|hash)",
    re.IGNORECASE,
)
_ALWAYS = words(  # fields whose value is a secret whatever it looks like
    "token access_token auth_token id_token refresh_token api_token reset_token csrf_token key apikey api_key api-key "
    "password passwd pwd secret sig signature session sessionid session_id jwt access-token authtoken"
)
_PATH = re.compile(
    r"[/#](?:[\w-]{0,32}[_-])?(?:reset|resets|password|passwort|passwords|kennwort|recover\w*|confirm\w*|verif\w*|activat\w*|"
    r"aktivier\w*|bestaetig\w*|best%C3%A4tig\w*|invit\w*|einlad\w*|magic\w*|unlock|one-?time|token|auth|sso|signin|login|"
    r"unsubscribe|abmelden|attachments?|anhang|anhaenge|downloads?|share|shared|file|files|datei|dateien|document|dokument|d|s|"
    r"inline)(?:[_-][\w-]{0,32})?(?=[/?#=])",
    re.IGNORECASE,
)
_SHARES = re.compile(
    r"://(?:[\w-]+\.)*(?:we\.tl/|1drv\.ms/|wetransfer\.com/downloads|dropbox\.com/(?:s|scl|t)/|drive\.google\.com/(?:file/d/|open|"
    r"drive/folders/)|docs\.google\.com/\w+/d/|sharepoint\.com/:|onedrive\.live\.com/|mega\.nz/|icloud\.com/iclouddrive/|"
    r"downloads\.intercomcdn\.com/|hooks\.slack\.com/services/|attachments?\.(?:freshdesk|zdassets)\.com/|"
    r"files\.slack\.com/|discord(?:app)?\.com/api/webhooks/)\S{4}"
    r"|/attachments?/(?:[\w-]{1,24}/){0,3}(?=[\w-]*[0-9])[\w-]{6,}"  # of help desks, with and without their `token`
)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
RANDOM = 12  # characters of a random piece, at least
SCORE = 1.0


class LinkRecognizer(SpanRecognizer):
    """Links that let in whoever has them."""

    KIND = "URL_CREDENTIALS"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields such links, whole."""
        for match in _LINK.finditer(text):
            link = match.group()
            link = link if link.count("(") == link.count(")") > 0 else _AFTER.sub("", link)
            if _lets_in(link):
                yield match.start(), match.start() + len(link), SCORE


def _lets_in(link: str) -> bool:
    if _PASSWORD.search(link) or _SHARES.search(link):
        return True
    address, *fields = re.split(r"[?&;#]", link)
    if any(_is_secret(*field.partition("=")[::2]) for field in fields):
        return True
    path = _PATH.search(address, address.find("://") + 3)
    return path is not None and any(_is_random(piece) for piece in re.split(r"[/=.]", link[path.end() :]))


def _is_secret(name: str, value: str) -> bool:
    """Whether a field of a query holds a secret."""
    name = name.casefold().removeprefix("x-amz-").removeprefix("amp;")
    if len(value) < 4 or PLACEHOLDER.match(value):
        return False
    if name == "key" and value.isalpha():
        return False  # `key=size`
    return name in _ALWAYS or (_SECRET_FIELD.fullmatch(name) is not None and _is_random(value))


def _is_random(piece: str) -> bool:
    """Whether a piece of a link is of characters by chance: letters and digits mixed, of no words with hyphens."""
    if _UUID.fullmatch(piece):
        return True
    longest = max(re.split(r"[-_~%]", piece), key=len)
    if len(longest) < RANDOM and not (len(piece) >= 20 and re.search(r"[a-z]", piece) and re.search(r"[A-Z]", piece)):
        return False
    return bool(
        re.search(r"[0-9]", piece) and re.search(r"[A-Za-z]", piece) and len(re.findall(r"[a-z]{7,}", piece)) < 2
    )
