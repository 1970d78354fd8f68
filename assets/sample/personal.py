"""Made-up people and personal values that pass the real checksums.

Contract: every function takes the caller's `random.Random` and returns text only. IBANs satisfy mod 97, cards Luhn,
the German tax ID and VAT ID their check digit. E-mail and IP addresses come from ranges reserved for documentation,
phone numbers from the ranges that regulators keep free for fiction. Not here: where a value is planted.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

AGENTS = (
    "Jonas Lindnersen",
    "Miriam Brandstetter",
    "Aylin Kayaoglu",
    "Sophie Hartwigsen",
    "Kilian Reinholz",
    "Nadia Ferreira",
    "Clara Vossberg",
    "Henrik Solberg",
)
_ASCII = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ö": "oe", "ß": "ss", "'": ""})


@dataclass(frozen=True)
class Person:
    """One customer: first and last name, e-mail, phone."""

    first: str
    last: str
    email: str
    phone: str

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


@cache
def _names() -> dict[str, list[str]]:
    text = (Path(__file__).parent / "content" / "names.txt").read_text(encoding="utf-8")
    pairs = (line.split(": ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: values.split() for name, values in pairs}


def person(rng: Random, lang: str) -> Person:
    """A customer with a name that fits `lang` ("en", anything else gets a German one)."""
    names = _names()
    which = "en" if lang == "en" else "de"
    first, last = rng.choice(names[f"first_{which}"]), rng.choice(names[f"last_{which}"])
    return Person(first, last, email(rng, first, last), phone(rng))


def email(rng: Random, first: str, last: str) -> str:
    """An address at a domain reserved by RFC 2606."""
    local = rng.choice(["{f}.{l}", "{f}{n}", "{l}.{f}", "{f[0]}.{l}{n}"])
    filled = local.format(f=first.translate(_ASCII).lower(), l=last.translate(_ASCII).lower(), n=rng.randint(10, 99))
    return f"{filled}@{rng.choice(['example.com', 'example.org', 'example.net', 'mail.example.com'])}"


def phone(rng: Random) -> str:
    """A number from the ranges that the German and British regulators keep for films, in a common notation."""
    three = rng.randint(100, 999)
    two = rng.randint(10, 99)
    return rng.choice(
        [
            f"030 23125 {three}",
            f"+49 30 23125{three}",
            f"069 90009{three}",
            f"+49 69 90009 {three}",
            f"040 66969 {three}",
            f"0171 39200{two}",
            f"+49 171 39200{two}",
            f"0049 171 39200{two}",
            f"+44 (0)20 7946 0{three}",
            f"+44 20 7946 0{three}",
        ]
    )


def iban(rng: Random) -> str:
    """A valid IBAN, German in most cases, with or without spaces."""
    country, shape = rng.choice([("DE", "18"), ("DE", "18"), ("DE", "18"), ("AT", "16"), ("ES", "20"), ("PL", "24")])
    bban = "".join(rng.choice(string.digits) for _ in range(int(shape)))
    check = 98 - int("".join(str(int(char, 36)) for char in f"{bban}{country}00")) % 97
    compact = f"{country}{check:02d}{bban}"
    if rng.random() < 0.5:
        return compact
    return " ".join(compact[start : start + 4] for start in range(0, len(compact), 4))


def card(rng: Random) -> str:
    """A 16-digit number that passes Luhn, in the test range of a payment scheme, with or without spaces."""
    digits = rng.choice(["411111", "555555", "400000"]) + "".join(rng.choice(string.digits) for _ in range(9))
    total = 0
    for place, char in enumerate(reversed(digits)):
        doubled = int(char) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    number = digits + str(-total % 10)
    return number if rng.random() < 0.5 else " ".join(number[start : start + 4] for start in range(0, 16, 4))


def ip_address(rng: Random) -> str:
    """An IPv4 address of RFC 5737, sometimes an IPv6 address of RFC 3849."""
    if rng.random() < 0.2:
        return f"2001:db8:{rng.randint(1, 0xFFFF):x}::{rng.randint(1, 0xFF):x}"
    return f"{rng.choice(['192.0.2', '198.51.100', '203.0.113'])}.{rng.randint(1, 254)}"


def _iso7064(digits: str) -> int:
    """Check digit of ISO/IEC 7064, MOD 11,10."""
    product = 10
    for char in digits:
        total = (int(char) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10


def tax_id(rng: Random) -> str:
    """A German Steuer-ID: among the first ten digits exactly one occurs twice, and one is missing."""
    digits = rng.sample(string.digits, 10)
    digits[rng.randint(5, 9)] = digits[rng.randint(1, 3)]
    if digits[0] == "0":
        digits[0], digits[4] = digits[4], digits[0]
    body = "".join(digits)
    number = f"{body}{_iso7064(body)}"
    return number if rng.random() < 0.5 else f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"


def vat_id(rng: Random) -> str:
    """A German USt-IdNr. with a valid check digit."""
    body = str(rng.randint(10_000_000, 99_999_999))
    return f"DE{body}{_iso7064(body)}"


def url(rng: Random) -> str:
    """A URL that carries a user name and a password."""
    user = rng.choice(["export", "admin", "buchhaltung", "sync"])
    secret = "".join(rng.choice(string.ascii_letters + string.digits) for _ in range(10))
    host, path = rng.choice(["files", "reports", "data"]), rng.choice(["bookings", "daily", "q3"])
    return f"https://{user}:{secret}@{host}.example.com/{path}"
