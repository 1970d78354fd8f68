"""The replacement of a finding: its type, a short pseudonym, or a long keyed hash.

- `placeholder`: `<PERSON>`, the default. Nothing tells one person from another.
- `pseudonym`: `<PERSON_kcfmbaepod>`, ten letters (40 bits) of HMAC-SHA256. The same person, number or address has the
  same one in the whole run, and in every run with the same key. A typed token and not a made-up name: a name from a
  list would look like a person left standing, to a privacy officer, to the leak audit and to the trained model.
- `hash`: `<PERSON:…>`, 32 letters (128 bits) of the same HMAC: no two values share one, so whoever holds the key can
  look for a given value in the data. Not a bare SHA-256: all phone numbers of a country are hashed in minutes.
Both are pseudonyms in the sense of the GDPR (Art. 4 No. 5): the data stay personal to whoever holds the key. The tags
are of the letters a to p (one per four bits), because digits would be found again as numbers.

Output contract: `naming` returns the function for `spans.replace`; `key_of` the run's key, made once. A tag
depends on key, type and `canonical` value alone: not on batch, process, node or time.
One person's spellings meet: `Anna Schmidt`, `Schmidt, Anna`, `Dr. ANNA SCHMIDT`; for people of the dump's columns also
the genitive, and in their own ticket the first or last name alone. A genitive without apostrophe of a name that only
an NER model knows is another person here.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.screen.pii.entities import person_identity
from pipeline.screen.pii.fold import fold as fold_text
from pipeline.screen.pii.names import fold, name_words
from pipeline.screen.pii.spans import Finding, Name, placeholder

if TYPE_CHECKING:
    from pipeline.config import Pii
    from pipeline.run import Run

KEY_PATH = "secret/pii.key"  # in the run folder, beside `data/`, never under it
KEY_BYTES = 32
PSEUDONYM_LETTERS, HASH_LETTERS = 10, 32
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


def key_of(settings: Pii, run: Run) -> bytes | None:
    """Returns the key of the configured mode: None for placeholders, the file that `key` names, or the run's own.

    The run's own is made at the first call, on a local disk readable by its owner alone, and stays the same.
    Raises `ConfigError` where the named file is not there or too short.
    """
    if settings.mode == "placeholder":
        return None
    if settings.key is not None:
        return _checked(settings.key)
    if not run.exists(KEY_PATH):
        run.write_bytes(KEY_PATH, secrets.token_bytes(KEY_BYTES), private=True)
    return run.read_bytes(KEY_PATH)


def _checked(path: str) -> bytes:
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"curate.pii.key: cannot read {path}: {error.strerror}") from error
    if len(key) < 16:
        raise ConfigError(f"curate.pii.key: {path} holds {len(key)} bytes, a key has at least 16: openssl rand 32")
    return key


def naming(settings: Pii, key: bytes | None) -> Name:
    """Returns the replacement of findings in the configured mode; raises `ConfigError` where the mode lacks a key."""
    if settings.mode == "placeholder":
        return placeholder
    if key is None:
        raise ConfigError(f"curate.pii.mode {settings.mode} needs a key, and this job has none")
    secret = key
    mark, letters = ("_", PSEUDONYM_LETTERS) if settings.mode == "pseudonym" else (":", HASH_LETTERS)

    def name(value: str, finding: Finding) -> str:
        message = f"{finding.type}\0{finding.identity or canonical(finding.type, fold_text(value).text)}"
        digest = hmac.digest(secret, message.encode("utf-8", "surrogatepass"), "sha256").hex()
        return f"<{finding.type}{mark}{digest[:letters].translate(_LETTERS)}>"

    return name


def canonical(kind: str, value: str) -> str:
    """Returns the one written form of all values with the same meaning."""
    if kind == "PERSON":
        words = [word.removesuffix("'s") for word in name_words(value)]
        return person_identity(words) or fold(value)
    if kind == "PHONE_NUMBER":
        return _phone(value)
    if kind == "IP_ADDRESS":
        try:
            return ipaddress.ip_interface(value).compressed
        except ValueError:
            return value.casefold()
    if kind in {"EMAIL_ADDRESS", "URL_CREDENTIALS"}:
        return value.casefold()
    if kind in {"PASSWORD", "API_KEY", "PRIVATE_KEY"}:
        return value  # a letter's case is part of them
    if kind in {"LOCATION", "ORGANIZATION", "STREET_ADDRESS"}:
        return " ".join(fold(value).split())
    return re.sub(r"[\W_]", "", value).upper()  # numbers: the same with and without spaces, dots and dashes


def _phone(value: str) -> str:
    """Returns the national number: `+49 171 392…` and `0171/392…` are one; without a country that is a guess."""
    import phonenumbers

    written = re.sub(r"^\(?00", "+", value.replace("(0)", ""))
    if written.startswith(("+", "(+")):
        try:
            return str(phonenumbers.parse(written, None).national_number)
        except phonenumbers.NumberParseException:
            pass
    return re.sub(r"\D", "", written).lstrip("0")
