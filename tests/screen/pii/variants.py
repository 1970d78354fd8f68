"""Made-up tickets with personal values in the typography of real exports, secrets, and a reader that shares no code.

`tickets(count, seed)` plants an e-mail address, an IBAN, a card or a phone number in a sentence, written with no-break,
thin or zero-width spaces, soft hyphens, full-width digits, entities, escapes; `secrets(count, seed)` plants passwords,
PINs, keys, tokens and links. `survives(value, text)` is the second reader: it reduces both to bare letters and digits.
Every value is invented; checksums are right.
"""

from __future__ import annotations

import html
import re
import string
import unicodedata
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

SPACES = "\u00a0\u202f\u2009\u2007\u2003\u2002"
NOTHING = "\u200b\u00ad\u2060\ufeff\u200d"
HYPHENS = "\u2011\u2010\u2013\u2212"
FULL_WIDTH = str.maketrans({char: chr(ord(char) + 0xFEE0) for char in string.digits})
FIRST = ["anna", "jonas", "mehmet", "lena", "petra", "wiebke", "omar", "julia", "tarek", "nina"]
LAST = [
    "vogelsang",
    "brandtner",
    "oezkan",
    "lindqvist",
    "hartwig",
    "sommerfeldt",
    "kowalik",
    "reinhold",
    "abdi",
    "maurer",
]
DOMAINS = ["beispiel.de", "example.org", "firma.local", "mail.example.com", "corp.intern", "example.co.uk", "post.lan"]
AROUND = {
    "de": (
        "Guten Tag, meine {what} ist {value}, bitte prüfen Sie das.",
        "Bitte {what} {value} hinterlegen. Danke!",
        "Es geht um {what}: {value}\nViele Grüße",
        "Die alte {what} stimmt nicht, neu ist {value} (seit Mai).",
    ),
    "en": (
        "Hello, my {what} is {value}, please check it.",
        "Please use {what} {value} from now on. Thanks!",
        "It is about {what}: {value}\nKind regards",
        "The old {what} is wrong, the new one is {value} (since May).",
    ),
}
WHAT = {
    "EMAIL_ADDRESS": {"de": "E-Mail-Adresse", "en": "e-mail address"},
    "IBAN_CODE": {"de": "IBAN", "en": "IBAN"},
    "CREDIT_CARD": {"de": "Kreditkarte", "en": "credit card"},
    "PHONE_NUMBER": {"de": "Telefonnummer", "en": "phone number"},
}


@dataclass(frozen=True)
class Planted:
    """A ticket with one value: its type, the value in plain letters and the text that holds it."""

    kind: str
    value: str
    text: str
    lang: str


def _digits(rng: Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def email(rng: Random) -> str:
    joint = rng.choice([".", "_", "-", ""])
    return f"{rng.choice(FIRST)}{joint}{rng.choice(LAST)}{rng.choice(['', _digits(rng, 2)])}@{rng.choice(DOMAINS)}"


def iban(rng: Random) -> str:
    country, length = rng.choice([("DE", 18), ("DE", 18), ("AT", 16), ("ES", 20), ("PL", 24)])
    account = _digits(rng, length)
    check = 98 - int("".join(str(int(char, 36)) for char in account + country + "00")) % 97
    return f"{country}{check:02d}{account}"


def card(rng: Random) -> str:
    start = rng.choice(["4", "51", "55", "37"])
    digits = start + _digits(rng, (15 if start == "37" else 16) - 1 - len(start))
    total = sum(sum(divmod(int(char) * (2 - place % 2), 10)) for place, char in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def phone(rng: Random) -> str:
    return (
        rng.choice(["+4930", "030", "0171", "+49171", "0049171", "+4420"])
        + rng.choice(["23125", "39200"])
        + "12"
        + _digits(rng, 1)
    )


def _grouped(value: str, rng: Random, separator: str) -> str:
    """Puts a separator into a number where people put one."""
    if value[0] in "+0":
        head = next(len(p) for p in ("0049171", "+49171", "+4930", "+4420", "0171", "030") if value.startswith(p))
        country = 3 if value[0] == "+" else 4 if value.startswith("00") else 0
        parts = [value[:country], value[country:head], value[head:]]
        return separator.join(part for part in parts if part)
    return separator.join(value[at : at + 4] for at in range(0, len(value), 4))


def _sprinkled(value: str, rng: Random, char: str) -> str:
    """Puts an invisible character into a value, at up to four places."""
    for at in sorted(rng.sample(range(1, len(value)), min(4, len(value) - 1)), reverse=True):
        value = value[:at] + char + value[at:]
    return value


Variant = Callable[[str, Random], str]
NUMBER_VARIANTS: tuple[Variant, ...] = (
    lambda value, rng: _grouped(value, rng, rng.choice(SPACES)),
    lambda value, rng: _grouped(value, rng, rng.choice(HYPHENS)),
    lambda value, rng: _grouped(value, rng, "."),
    lambda value, rng: _sprinkled(value, rng, rng.choice(NOTHING)),
    lambda value, rng: _grouped(value, rng, rng.choice(NOTHING)),
    lambda value, rng: _grouped(value, rng, " ").translate(FULL_WIDTH),
    lambda value, rng: _grouped(value, rng, rng.choice(["&nbsp;", "&#160;", "&thinsp;", "&#8209;"])),
    lambda value, rng: _grouped(value, rng, " ").replace("+", "&#43;"),
    lambda value, rng: "".join(f"&#{ord(char)};" for char in value),
)
MAIL_VARIANTS: tuple[Variant, ...] = (
    lambda value, rng: value.replace(
        "@", rng.choice(["&#64;", "&#x40;", "&commat;", "&amp;#64;", "%40", "%2540", "\uff20"])
    ),
    lambda value, rng: _sprinkled(value, rng, rng.choice(NOTHING)),
    lambda value, rng: value.replace("@", "@" + rng.choice(NOTHING)),
    lambda value, rng: re.sub(r"([_.@-])", r"\\\1", value),
    lambda value, rng: value.replace("-", "\u2011").replace(".", "&period;"),
    lambda value, rng: f"https://shop.example.com/u?email={urllib.parse.quote(value, safe='')}&id=88",
    lambda value, rng: value.replace("@", rng.choice(["[at]", " (at) ", " [at] "])).replace(
        ".", rng.choice([".", "[dot]"])
    ),
    lambda value, rng: value.upper(),
    lambda value, rng: value.replace("@", "\\u0040"),
)
VALUES: dict[str, tuple[Callable[[Random], str], tuple[Variant, ...]]] = {
    "EMAIL_ADDRESS": (email, MAIL_VARIANTS),
    "IBAN_CODE": (iban, (*NUMBER_VARIANTS, lambda value, rng: _grouped(value.lower(), rng, rng.choice(SPACES + ".")))),
    "CREDIT_CARD": (card, NUMBER_VARIANTS),
    "PHONE_NUMBER": (phone, NUMBER_VARIANTS),
}


def tickets(count: int, seed: int) -> list[Planted]:
    """Returns tickets, each with one value in one typography; the types and typographies take turns."""
    rng, planted = Random(seed), []
    for number in range(count):
        kind = tuple(VALUES)[number % len(VALUES)]
        make, variants = VALUES[kind]
        value = make(rng)
        if "." in value and kind == "EMAIL_ADDRESS" and "[at]" in variants[6]("@", Random(0)) and number % 9 == 6:
            value = value.replace("firma.local", "beispiel.de").replace("corp.intern", "example.org")
        lang = rng.choice(["de", "en"])
        written = variants[number // len(VALUES) % len(variants)](value, rng)
        text = rng.choice(AROUND[lang]).format(what=WHAT[kind][lang], value=written)
        planted.append(Planted(kind, value, text, lang))
    return planted


def _random(rng: Random, count: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(rng.choice(letters) for _ in range(count - 3)) + "k7Q"


def _password(rng: Random) -> str:
    word = rng.choice(["Sommer", "Hamster", "geheim", "Blaubeer", "trompete", "Winter"])
    return rng.choice(
        [f"{word}{_digits(rng, 4)}!", f"{word}#{_digits(rng, 2)}", f"{_random(rng, 10)}", f"{word}{_digits(rng, 3)}"]
    )


def _secret(rng: Random) -> tuple[str, str, str]:
    """Returns (type, secret, sentence)."""
    password, pin, token = _password(rng), _digits(rng, rng.choice([4, 5, 6])), _random(rng, 32)
    low = string.ascii_lowercase + string.digits
    jwt = f"eyJhbGciOiJI{_random(rng, 12)}.eyJ{_random(rng, 24)}.{_random(rng, 40)}"
    lines = "\n".join(_random(rng, 64) for _ in range(3))
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\n-----END RSA PRIVATE KEY-----"
    keys = [
        f"sk-{token}",
        f"sk-proj-{token}",
        "AKIA" + _random(rng, 16, string.ascii_uppercase + string.digits)[:13] + "K7Q",
        f"ghp_{_random(rng, 36)}",
        "xoxb-" + _digits(rng, 12) + "-" + _random(rng, 24),
        "AIza" + _random(rng, 35),
        "sk_live_" + _random(rng, 24),
        "rk_test_" + _random(rng, 24),
        "glpat-" + _random(rng, 20),
        "SG." + _random(rng, 22) + "." + _random(rng, 43),
    ]
    key = rng.choice(keys)
    every = [
        ("PASSWORD", password, f"Mein Passwort ist {password} und es geht nicht."),
        ("PASSWORD", password, f"Benutzer: kunde17\nPasswort: {password}\nBitte prüfen."),
        ("PASSWORD", password, f"my password is {password}, please reset it"),
        ("PASSWORD", password, f"Login with user kunde17 and password: {password}"),
        ("PASSWORD", password, f'The password for the portal is "{password}".'),
        ("PASSWORD", password, f"Kennwort lautet {password} seit gestern"),
        ("PASSWORD", password, f"Ich habe das Passwort auf {password} geändert."),
        ("PIN", pin, f"Die PIN {pin} wird nicht angenommen."),
        ("PIN", pin, f"my PIN is {pin} and the card stays blocked"),
        ("PIN", pin[:3], f"Karte gültig bis 12/27, CVV {pin[:3]}."),
        ("PIN", pin, f"Sicherheitscode: {pin}"),
        ("PIN", pin, f"the verification code {pin} does not work"),
        ("API_KEY", key, f"This key does not work: {key}"),
        ("API_KEY", key, f"Unser API-Schlüssel {key} ist abgelaufen."),
        ("API_KEY", token, f"api_key={token}"),
        ("API_KEY", token, f"Authorization: Bearer {token}"),
        ("API_KEY", jwt, f"Der Token {jwt} ist ungültig."),
        ("PRIVATE_KEY", lines, f"Hier der Schlüssel:\n{pem}\nDanke"),
        ("URL_CREDENTIALS", token, f"The link https://app.example.com/reset/{token} is expired."),
        ("URL_CREDENTIALS", token, f"https://konto.example.com/passwort-zuruecksetzen?token={token} geht nicht"),
        ("URL_CREDENTIALS", token, f"Siehe https://firma.zendesk.com/attachments/token/{token}/?name=rechnung.pdf"),
        ("URL_CREDENTIALS", token[:20], f"https://files.example.com/d/x.pdf?X-Amz-Signature={token[:20]}"),
        ("URL_CREDENTIALS", password, f"https://kunde:{urllib.parse.quote(password)}@files.example.com/daily"),
        ("PASSWORD", password, f"pw: {password} / user: {_random(rng, 8, low)}"),
    ]
    return rng.choice(every)


def secrets(count: int, seed: int) -> list[Planted]:
    """Returns tickets with one secret each."""
    rng = Random(seed)
    made = (_secret(rng) for _ in range(count))
    return [Planted(kind, value, f"Hallo,\n{text}\nGruß", "de") for kind, value, text in made]


def bare(text: str) -> str:
    """Returns a text's letters and digits alone: decoded, in one width and one letter case."""
    for _ in range(3):
        text = urllib.parse.unquote(html.unescape(text.replace("\\u0040", "@")))
    text = (
        unicodedata.normalize("NFKC", text).casefold().replace("[at]", "@").replace("(at)", "@").replace("[dot]", ".")
    )
    return "".join(char for char in text if char.isalnum())


def survives(value: str, text: str) -> bool:
    """Whether a value can still be read in a text."""
    return bare(value) in bare(text)
