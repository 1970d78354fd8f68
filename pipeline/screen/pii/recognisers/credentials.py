"""Secrets: passwords and PINs after their word, keys and tokens by their shape, private keys.

Output contract: a finding of PASSWORD, PIN or a labelled API_KEY is the value alone, without its word; an API_KEY of a
known provider, a bearer token or a JWT is found anywhere; a PRIVATE_KEY reaches from its first line to its last, or to
the end of its letters where the last line is missing. A placeholder (`<token>`, `YOUR_API_KEY`, `xxxx`) is no secret,
and neither is an ordinary word after `password is`.
This module does not look into links: `links` does.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

from pipeline.screen.pii.recognisers.span_recogniser import Span, SpanRecognizer, words

SCORE = 0.9
_PASSWORD_WORD = (
    r"(?:(?:\w{1,20}-?)?(?:passw(?:or[dt]e?s?|d)|kennwort(?:es)?|passphrase)|"
    r"passcode|pwd|pw|wlan-?schlüssel|wi-?fi key|pass)"
)
_OPEN, _VALUE = r"[\"'`„“”»«*]{0,3}", r"[^\s\"'`„“”»«<>]{3,64}"
_VERB = r"(?:is|ist|lautet|lautete|war|was|heißt|heisst|to|auf|in|als|as|=)"
_WORDS = r"(?:[ \t]+[\w.-]{1,24}){0,5}?"
_PASSWORD = re.compile(
    rf"(?<![\w/.@-]){_PASSWORD_WORD}(?:[ \t]?\([^()\n]{{1,24}}\))?(?:"
    rf"(?P<colon>[\"'`*_]{{0,3}}[ \t]?(?:[:=|>]|->|-(?=[ \t]))[\"'`*_]{{0,3}}\s{{0,3}})|"
    rf"(?P<words>{_WORDS}[ \t]?(?:[:=]|[ \t]{_VERB}\b:?)\s{{1,2}})|"
    rf"(?P<next>[ \t]{{1,2}}))"
    rf"{_OPEN}(?P<value>{_VALUE})",
    re.IGNORECASE,
)
PASSWORD_PREFILTER = r"(?i:passw|kennwort|phrase|passcode|\bpwd?\b|schlüssel|fi key|\bpass\b)"  # RE2
_END = re.compile(r"[.,;:)\]}…*]+$")
_COUNTED = re.compile(  # `8-stellig`, `24/7`, `3x`, `12.05.2026`, `50%`
    r"[\d./:%-]*(?:-?(?:stellig\w*|zeichen|mal|fach\w*|x|digits?|char\w*|min\w*|stunden?|std|tagen?|days?|hours?|h|times|st|nd|rd|"
    r"th|te[nrs]?|ste[nrs]?|bits?|months?|monaten?|jahren?|years?|weeks?|wochen?))?\W*",
    re.IGNORECASE,
)
_NO_VALUE = re.compile(
    r"(?i:https?:|.*\]\(|www\.|[^@]+@[^@]+\.[a-z]{2,}$|.*\.(?:pdf|txt|docx?|xlsx?|png|jpe?g|html?|php|aspx?|exe|csv|com|de|net|org)$)"
)
PLACEHOLDER = re.compile(
    r"[\[{(<$%*…._#-]|(?i:x{3,}|\*{2,}|(?:your|ihr|dein|my|mein|the|some|new|old)[_-]|example|beispiel|placeholder|"
    r"redacted|hidden|changeme$|\w*_here\b)|(.)\1{5,}"
)
_FILLED = re.compile(r"([^=])\1{7,}")  # a key of one character is none
_STATES = words(  # words that stand after `Password:` and are none
    "vergessen vergesse falsch ungültig gültig abgelaufen erforderlich unbekannt leer gesperrt geändert ändern neu "
    "alt keine keins keines kein nein pflicht optional siehe wie bitte mindestens maximal zurücksetzen required "
    "invalid incorrect wrong forgotten forgot expired unknown empty none null blank change changed reset locked "
    "missing must should minimum maximum enter your yours please see same true false hidden protected yes this that "
    "these with when what where which only there click choose create update provide confirm type the use ihr ihre "
    "dein deine mein meine das der die den ein eine hier geben wählen klicken sofern falls wenn benutzername username "
    "user login email e-mail string password passwort kennwort strong weak stark schwach sicher secure default "
    "standard richtig korrekt correct okay also aber und and not nicht"
)


class PasswordRecognizer(SpanRecognizer):
    """What stands after a word for a password: a mix of letters and digits or signs, or one word after a colon."""

    KIND = "PASSWORD"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields passwords."""
        position = 0
        while match := _PASSWORD.search(text, position):
            value = _END.sub("", match["value"])
            start = match.start("value")
            position = start if match["next"] else match.end("value")
            if _is_password(value, match, text):
                yield start, start + len(value), SCORE


def _is_password(value: str, match: re.Match[str], text: str) -> bool:
    if len(value) < 4 or PLACEHOLDER.match(value) or _NO_VALUE.match(value) or value.casefold() in _STATES:
        return False
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    signs = re.search(r"[!#$%&*+=?@^_~]", value)
    mixed = re.search(r"[a-z][A-Z]", value)
    if match["next"]:  # `mit dem Passwort Sommer2026!`
        if value.isdigit():
            return 5 <= len(value) <= 10
        return letters and len(value) >= 6 and (digits or bool(re.search(r"[!#$%&*+=@^_~]\w", value)))
    if not letters:
        return (digits and not _COUNTED.fullmatch(value)) or value.isdigit()
    if _COUNTED.fullmatch(value):
        return False
    if digits or signs is not None or mixed is not None:
        return not (
            match["words"] and value[:-1].isalpha() and not value[-1].isdigit() and not mixed
        )  # `is wrong!`, `ist falsch?`
    rest = text[match.end("value") : match.end("value") + 4]
    alone = not rest or rest[0] in "\r\n" or not match["value"].isalpha() or re.match(r"\s(?:und|and)\b", rest)
    return match["colon"] is not None and value.isalpha() and alone is not None and bool(alone)


_PIN_WORD = (
    r"(?:(?:\w{1,12}-)?pin|puk[12]?|(?:\w{1,12}-?)?tan|cv[vcn]2?|otp|geheimzahl|(?:karten)?prüf(?:nummer|ziffer)|passcode|"
    r"(?:sicherheits|bestätigungs|verifizierungs|einmal|freigabe|zugangs|entsperr|tür|sms|2fa)-?code|"
    r"(?:security|verification|access|one[- ]time|login|unlock|2fa|sms|authenti\w{2,9}) (?:pass)?code)"
)
_PIN = re.compile(
    rf"(?<![\w-]){_PIN_WORD}(?:[ -]?(?:code|nummer|number|nr\.?|no\.?))?(?:[ \t]\([^()\n]{{1,16}}\))?"
    rf"(?:(?:[ \t]+[^\W\d]{{1,16}}){{0,3}}?[ \t]+(?:is|ist|lautet|war|was|to|auf))?[ \t]?[:=#]?[ \t\n]?{_OPEN}"
    r"(?P<value>[0-9]{3,8}(?:(?<=[0-9]{3})[ -][0-9]{3})?|[0-9](?: [0-9]){3,5})"
    r"(?![0-9])(?![.,:/][0-9])(?!-?\w| ?(?:%|€|EUR|euro|mal\b|"
    r"times|st|z))",
    re.IGNORECASE,
)
PIN_PREFILTER = (  # RE2
    r"(?i:\b(?:pin|tan|puk|cv[vcn]|otp)(?:[^a-zäöüß]|$)|(?:pin|tan)(?:-?(?:code|n)|[^a-zäöüß]|$)|zahl(?:[^a-z]|$)|prüf(?:nummer|ziffer)|passcode|"
    r"[a-zäö]s?-?code\b|(?:security|verification|access|time|login|unlock|2fa|sms|authenti[a-z]+) (?:pass)?code)"
)


class PinRecognizer(SpanRecognizer):
    """Digits after a word for a PIN, a TAN, a card's security code or a code that is sent."""

    KIND = "PIN"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields PINs."""
        yield from ((*match.span("value"), SCORE) for match in _PIN.finditer(text))


_SHAPES = (
    r"sk-(?:[a-z0-9]{2,12}-){0,2}(?=[A-Za-z_-]{0,80}[0-9])[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic
    r"(?:[sp]k|rk)_(?:live|test)_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9]{12,}",  # Stripe
    r"(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA)[A-Z0-9]{16}(?![A-Za-z0-9])",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}",
    r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}",  # Slack
    r"AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{16,}|GOCSPX-[A-Za-z0-9_-]{16,}",  # Google
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|key-[0-9a-f]{32}",  # SendGrid, Mailgun
    r"(?:SK|AC)[0-9a-f]{32}(?![0-9A-Za-z])",  # Twilio
    r"(?:npm_|hf_|pypi-|dop_v1_|dapi|shp(?:at|ss|ca|pa)_|ATATT3|sq0[a-z]{3}-|lin_api_|EAAC)[A-Za-z0-9_-]{20,}",
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}",  # Telegram
    r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*",  # JWT
)
_SHAPED = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_SHAPES)})")
_KEY_WORD = (
    r"(?:api[ _-]?(?:key|token|secret|schlüssel)|(?:access|auth|refresh|secret|private|session|client|account|master|"
    r"personal access|deploy|webhook|encryption|signing)[ _-]?(?:key|token|secret)(?:[ _-]?id)?|"
    r"secret[ _-]?access[ _-]?key|"
    r"secret|token|(?:zugriffs|zugangs|geheim)(?:schlüssel|token))"
)
_LABELLED = re.compile(
    rf"(?<![A-Za-z]){_KEY_WORD}[\"']?(?:[ \t]+(?:is|ist|lautet|war|was))?[ \t]?[:=]?\s{{0,2}}{_OPEN}"
    r"(?P<value>[A-Za-z0-9+/_-][A-Za-z0-9+/_.=~-]{15,511})",
    re.IGNORECASE,
)
_BEARER = re.compile(
    r"(?:(?<![A-Za-z])bearer[: \t]{1,2}|authorization: ?(?:basic|token|digest)? ?)[\"']?"
    r"(?P<value>[A-Za-z0-9+/_-][A-Za-z0-9+/_.=~-]{11,8191})",
    re.IGNORECASE,
)
KEY_PREFILTER = (  # RE2
    r"(?i:bearer|authorization|secret|token|key|schlüssel)[^A-Za-z0-9]|(?:sk-|[kx]_|gh[pousr]_|_pat_|glpat-|xox|xapp-|AIza|"
    r"ya29|GOCSPX|SG\.|key-|npm_|hf_|pypi-|dop_v1|dapi|shp|ATATT3|sq0|lin_api|EAAC|:AA|eyJ|whsec_|(?:[sp]k|rk)_(?:live|test)_"
    r"|A[A-Z]{3}[A-Z0-9]{16}|(?:SK|AC)[0-9a-f]{32})"
)


class ApiKeyRecognizer(SpanRecognizer):
    """Keys and tokens of programs."""

    KIND = "API_KEY"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields keys of known shapes, bearer tokens and what stands after a word for a key."""
        shaped = (match for match in _SHAPED.finditer(text) if not _FILLED.search(match.group()))
        yield from ((*match.span(), 1.0) for match in shaped)
        for pattern, is_key in ((_BEARER, _is_token), (_LABELLED, _is_random)):
            for match in pattern.finditer(text):
                value = match["value"].rstrip(".~-")
                if is_key(value) and not PLACEHOLDER.match(value):
                    yield match.start("value"), match.start("value") + len(value), SCORE


def _is_token(value: str) -> bool:
    """Whether a value after `Bearer` is a token and not a word."""
    return any(map(str.isdigit, value)) or bool(re.search(r"[a-z][A-Z].*[A-Z]", value)) or len(value) >= 40


def _is_random(value: str) -> bool:
    """Whether a value is of characters by chance and not a name made of words (`token_endpoint_auth_method_2`)."""
    digits = sum(map(str.isdigit, value))
    lower, upper = any(map(str.islower, value)), any(map(str.isupper, value))
    pieces = re.split(r"[-_./]", value)
    longest = max(pieces, key=len)
    together = any(map(str.isdigit, longest)) and any(map(str.isalpha, longest)) and len(longest) >= 8
    long = len(value) >= 32 and digits >= 1
    return (lower and upper and long) or (digits >= 2 and together and ((lower and upper) or digits >= 4))


_BEGIN, _FINISH = (
    re.compile(rf"-{{4,5}} ?{word} [A-Z0-9 ]{{0,24}}PRIVATE KEY(?: BLOCK)? ?-{{4,5}}") for word in ("BEGIN", "END")
)
_BODY = re.compile(r"(?:\s*[A-Za-z0-9+/=:-]{16,})*")
PRIVATE_KEY_PREFILTER = "PRIVATE KEY"  # RE2


class PrivateKeyRecognizer(SpanRecognizer):
    """Private keys in PEM and OpenPGP armour."""

    KIND = "PRIVATE_KEY"

    def spans(self, text: str) -> Iterator[Span]:
        """Yields private keys: to the end before the next one begins, or to the end of the letters."""
        begins = [match.span() for match in _BEGIN.finditer(text)]
        ends = [match.end() for match in _FINISH.finditer(text)] if begins else []
        nexts = [*(start for start, _ in begins[1:]), len(text) + 1]
        for (start, body), following in zip(begins, nexts, strict=False):
            at = bisect.bisect_right(ends, body)
            if at < len(ends) and ends[at] <= following:
                yield start, ends[at], 1.0
            else:
                letters = _BODY.match(text, body)
                yield start, letters.end() if letters else body, 1.0
