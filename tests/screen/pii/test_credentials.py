"""Secrets: what stands after a word for a password, keys by their shape, links that let in; and what only looks so."""

from __future__ import annotations

import pytest

from pipeline.config import Pii
from pipeline.screen.pii.scrub import Scrubber

FOUND = [
    ("Passwort: sonnenblume", "sonnenblume", "PASSWORD"),
    ("Mein Kennwort lautet: Blumen-Topf-77", "Blumen-Topf-77", "PASSWORD"),
    ("PW=Geheim!23", "Geheim!23", "PASSWORD"),
    ("my password is hunter2", "hunter2", "PASSWORD"),
    ('{"username":"kv","password":"Ab12cd"}', "Ab12cd", "PASSWORD"),
    ("<password>Ab12cdEf</password>", "Ab12cdEf", "PASSWORD"),
    ("**Passwort:** Winter24", "Winter24", "PASSWORD"),
    ("| Passwort | Winter24 |", "Winter24", "PASSWORD"),
    ("Passwort -> Winter24", "Winter24", "PASSWORD"),
    ("user / pass: Hund3Katze", "Hund3Katze", "PASSWORD"),
    ('password "correct-horse-7"', "correct-horse-7", "PASSWORD"),
    ("das WLAN-Passwort ist meinwlan2024", "meinwlan2024", "PASSWORD"),
    ("Initialpasswort: Start123!", "Start123!", "PASSWORD"),
    ("Einmalpasswort 834221", "834221", "PASSWORD"),
    ("The password I used was Qwerty12!", "Qwerty12!", "PASSWORD"),
    ("meine Pin lautet 4711", "4711", "PIN"),
    ("Pin: 1 2 3 4", "1 2 3 4", "PIN"),
    ("CVV/CVC: 123", "123", "PIN"),
    ("Security code on the back is 123", "123", "PIN"),
    ("TAN 482913", "482913", "PIN"),
    ("x-api-key: 9f8c2d7ab31e44f0a1b2c3d4", "9f8c2d7ab31e44f0a1b2c3d4", "API_KEY"),
    ("Authorization: Basic YW5uYTpnZWhlaW0xMjM=", "YW5uYTpnZWhlaW0xMjM=", "API_KEY"),
    ("client_secret=ab12CD34ef56GH78ij90", "ab12CD34ef56GH78ij90", "API_KEY"),
    ("here hf_abcdefghijklmnopqrstuvwxyzABCD", "hf_abcdefghijklmnopqrstuvwxyzABCD", "API_KEY"),
    ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIGk0b1f2a\nno end", "MHcCAQEEIIGk0b1f2a", "PRIVATE_KEY"),
    ("https://example.com/account/password/reset?code=ab12CD34ef56", "ab12CD34ef56", "URL_CREDENTIALS"),
    ("https://login.example.com/magic-link/ab12CD34ef56GH78", "ab12CD34ef56GH78", "URL_CREDENTIALS"),
    ("https://example.freshdesk.com/helpdesk/attachments/43001234567", "43001234567", "URL_CREDENTIALS"),
    ("www.example.com/reset-password/9f8c2d7ab31e44f0", "9f8c2d7ab31e44f0", "URL_CREDENTIALS"),
    ("https://www.dropbox.com/s/ab12cd34ef/rechnung.pdf?dl=0", "ab12cd34ef", "URL_CREDENTIALS"),
]
LEFT = [
    "Das Passwort ist falsch. Passwort vergessen? Bitte klicken Sie hier. Passwort: siehe Brief",
    "Password reset is not working on 2 devices, my password is not working!",
    "password must be 8-12 characters, Ihr Passwort muss mindestens 8 Zeichen haben",
    "PIN vergessen, 3 Versuche. Die TAN kommt nicht an, seit 2 Tagen. PIN 4-stellig",
    "token expired after 3600 seconds, the API key is invalid, error code 401, token_endpoint_auth_method_2",
    "Authorization: Bearer <token>, api_key=YOUR_API_KEY_HERE, ghp_xxxxxxxxxxxxxxxxxxxxxxxx, password: ********",
    "See https://help.example.com/hc/de/articles/360012345678-Passwort-zuruecksetzen",
    "https://docs.example.com/reset-password-for-user-2024 https://shop.example.com/p/1234567890?color=red&key=size",
    "the key to success is a secret, public key, ssh-rsa, monkey-12 sk-loading-spinner-container",
]


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber(Pii(ner={}), ("de", "en"))


@pytest.mark.parametrize(("text", "secret", "kind"), FOUND)
def test_finds_the_secret_and_leaves_its_word(scrubber: Scrubber, text: str, secret: str, kind: str) -> None:
    scrubbed, kinds = scrubber.scrub(text, "de")
    assert kinds == [kind], scrubbed
    assert secret not in scrubbed
    if kind in ("PASSWORD", "PIN", "API_KEY"):
        assert scrubbed == text.replace(secret, f"<{kind}>")


@pytest.mark.parametrize("text", LEFT)
def test_leaves(scrubber: Scrubber, text: str) -> None:
    assert scrubber.scrub(text, "en") == (text, [])


def test_a_letter_case_is_part_of_a_secret() -> None:
    scrubber = Scrubber(Pii(ner={}, mode="pseudonym"), ("de",), b"0" * 32)
    tags = {scrubber.scrub(f"Passwort: {word}")[0] for word in ("Sommer2026!", "sommer2026!")}
    assert len(tags) == 2


@pytest.mark.parametrize(
    "piece", ["password ", "PIN ", "secret ", "https://a/reset/", "-----BEGIN PRIVATE KEY-----\n", "a@", "1 "]
)
def test_a_hostile_text_costs_no_more_than_its_length(scrubber: Scrubber, piece: str) -> None:
    assert scrubber.scrub(piece * 5_000, "en")[0]
