"""Phone numbers as people of ten countries write them, and the numbers of orders, files and devices, which are none."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pipeline.screen.pii.recognisers.telephone import PREFILTER, TelephoneRecognizer

FRAMES = [
    "{}",
    "Tel.: {}",
    "Bitte rufen Sie mich unter {} zurück.",
    "My number is {}, thanks.",
    "Meine Nummer lautet {}.",
    "You can reach me at {} after 5 pm.",
    "Please call {}",
    "Ich bin erreichbar ({}).",
]
INTERNATIONAL = [
    "+4930901820", "+49 (0)30 90 18 20", "+49(0)30/901820", "+49-30-901820", "+49.30.901820", "+49–30–901820",
    "0049 30 901820", "0049/30/901820", "00 49 30 901820", "001-123-456-7890", "+49(0)1234 567890",
    "+43 (1) 588 58 0", "+43 1 58858-0", "0043 664 1234567", "+41 (0) 79 123 45 67", "+44 (0)20 7946 0958",
    "+1 (212) 555-0123", "+1.212.555.0123", "+33 (0)1 42 68 53 00", "+34 612345678", "+39 347 123 4567",
    "+31 (0)20 123 4567", "+48 22 123 45 67",
]  # fmt: skip
NATIONAL = [
    "030/90 18 20", "(030) 901820", "030.901820", "0171/2345678", "0171 – 234 5678", "089/1234-567", "0 30 / 90 18 20",
    "(01234) 567890", "01234 567890", "01/588 58-0", "0664/123 45 67", "044 668 18 00", "079/123 45 67",
    "(020) 7946 0958", "07700 900123", "(212) 555-0123", "212.555.0123", "212/555-0123", "(123) 456-7890",
    "1-800-555-0199", "01.42.68.53.00", "06 12 34 56 78", "912 345 678", "91 234 56 78", "612 34 56 78",
    "06/69821234", "020-1234567", "06-12345678", "(22) 123 45 67", "601-234-567",
]  # fmt: skip
EXTENSIONS = [
    "(212) 555-0123 x45", "+1 212-555-0123, ext. 45", "212-555-0123 extension 45", "030/901820-15",
    "+49 89 1234 567 Durchwahl 12", "089 1234567 App. 12",
]  # fmt: skip
NOT_PHONES = [
    "Bestellnummer 0301234567", "Order 212-555-0123", "Auftrag 0171 2345678", "Rechnungsnummer 030/901820",
    "invoice no. 00491712345678", "Seriennummer 0171234567", "Serial number 0612345678", "serial: 0171 2345678",
    "Aktenzeichen 030/123456", "file number 347 1234567", "Steuernummer 030/123/45678", "part number 212-555-0123",
    "SKU 347 123 4567", "Zählernummer 0171 2345678", "Geräte-ID 0151 12345678", "Zertifikatsnummer 0171 2345678",
    "permit no. 212-555-0123", "Lieferschein 030/901820", "policy number 07700 900123", "error 0800 123 4567 8901",
    "numéro de commande 06 12 34 56 78", "pedido 612 345 678", "zamówienie 601 234 567", "IBAN 0532 0130 00",
    "01.02.2023 - 05.02.2023", "DHL 00340434161094042557", "612 345 678 Datensätze", "2147483647", "35984-2",
    "10.0.12.345", "1.234.567,89 EUR", "sizes 100 200 300 400",
]  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Callable[[str], list[str]]:
    """The phone numbers of a text."""
    recogniser = TelephoneRecognizer("en")
    return lambda text: [text[each.start : each.end] for each in recogniser.analyze(text, ["PHONE_NUMBER"])]


@pytest.mark.parametrize("number", [*INTERNATIONAL, *NATIONAL, *EXTENSIONS])
def test_a_number_is_found_whole_wherever_it_stands(found: Callable[[str], list[str]], number: str) -> None:
    digits = re.sub(r"\D", "", number)
    missed = [
        frame for frame in FRAMES if digits not in [re.sub(r"\D", "", each) for each in found(frame.format(number))]
    ]
    assert missed == []


@pytest.mark.parametrize("text", NOT_PHONES)
def test_other_numbers_are_left(found: Callable[[str], list[str]], text: str) -> None:
    assert found(text) == []
    assert found(f"Hello, {text} is still open.") == []


def test_a_number_of_somebody_or_of_a_phone_is_no_reference(found: Callable[[str], list[str]]) -> None:
    for text in ("our number 0171 2345678", "Servicenummer 030/901820", "meine neue Nr. 0171/2345678"):
        assert len(found(text)) == 1, text


def test_the_cheap_test_before_lets_every_number_through() -> None:
    re2 = pytest.importorskip("pyarrow.compute")
    texts = [frame.format(number) for frame in FRAMES for number in [*INTERNATIONAL, *NATIONAL, *EXTENSIONS]]
    passed = re2.match_substring_regex(texts, PREFILTER).to_pylist()
    assert [text for text, kept in zip(texts, passed, strict=True) if not kept] == []
