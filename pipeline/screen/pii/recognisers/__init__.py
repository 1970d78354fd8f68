"""The recognisers of a language, and for each a cheap prefilter that matches wherever it finds anything.

Output contract: `recognisers(language, patterns)` returns new Presidio recognisers, one per type of `PREFILTERS` and
one per configured type; where the RE2 expression `PREFILTERS[type]` does not match a text, that type's recogniser
finds nothing in it (a test checks this). They work without network, model or context words: every pattern carries a
checksum, a label before it, or is specific enough. They read folded texts (`pii.fold`).
Presidio's own are used as they are, with other patterns, or held to a word before them; some are ours because
Presidio's are not right for support text (each module says why).
Digits are those of ASCII: Presidio's checksums raise `ValueError` for digits that are younger than Python's tables.
This package imports Presidio: import it inside the function that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import regex
from presidio_analyzer import Pattern, PatternRecognizer
from presidio_analyzer.predefined_recognizers import DeVatIdRecognizer

from pipeline.screen.pii.recognisers import addresses, bank, credentials, documents, internet, links, mail, telephone
from pipeline.screen.pii.recognisers.span_recogniser import words

PREFILTERS = {  # RE2 syntax: pyarrow runs them over whole columns
    "EMAIL_ADDRESS": mail.PREFILTER,
    "PHONE_NUMBER": telephone.PREFILTER + "|" + telephone.SPELLED_PREFILTER,
    "IP_ADDRESS": internet.IP_PREFILTER,
    "MAC_ADDRESS": internet.MAC_PREFILTER,
    "URL_CREDENTIALS": links.PREFILTER,
    "PASSWORD": credentials.PASSWORD_PREFILTER,
    "PIN": credentials.PIN_PREFILTER,
    "API_KEY": credentials.KEY_PREFILTER,
    "PRIVATE_KEY": credentials.PRIVATE_KEY_PREFILTER,
    "STREET_ADDRESS": addresses.STREET_PREFILTER,
    "DATE_OF_BIRTH": addresses.BIRTH_PREFILTER,
    "DE_TAX_ID": documents.TAX_PREFILTER,
    "DE_ID_CARD": documents.ID_CARD_PREFILTER,
    "IBAN_CODE": bank.IBAN_PREFILTER,
    "CREDIT_CARD": bank.CARD_PREFILTER,
    "DE_VAT_ID": documents.VAT_PREFILTER,
    **documents.LABELLED_PREFILTERS,
}
GATE = "|".join(  # matches where a recogniser outside `UNGATED` finds anything, and costs no more than one prefilter
    (
        "://|www\\.",
        "[0-9](?:[^0-9]{0,3}[0-9]){6}|[0-9]{6}|[0-9]{2}-[0-9]{2}-[0-9]{2}",
        telephone.SPELLED_PREFILTER,
        PREFILTERS["IP_ADDRESS"],
        PREFILTERS["MAC_ADDRESS"],
        PREFILTERS["IBAN_CODE"],
        PREFILTERS["UK_NINO"],
        documents.LICENCE,
        documents.ANY_ID,
    )
)
UNGATED = words(  # types found by a word: their prefilters read every text
    "EMAIL_ADDRESS PASSWORD PIN API_KEY PRIVATE_KEY STREET_ADDRESS DATE_OF_BIRTH DE_KFZ"
)


def recognisers(language: str, patterns: Mapping[str, Sequence[str]] | None = None) -> list[Any]:
    """Returns new recognisers registered for `language`; their findings do not depend on it.

    `patterns`: type -> regular expressions of the project's own (customer and contract numbers). Context words are
    off: with a model Presidio would raise scores by them that are over the threshold anyway.
    """
    result = [
        mail.MailAddressRecognizer(language),
        telephone.TelephoneRecognizer(language),
        internet.MachineAddressRecognizer(supported_language=language),
        internet.mac_recogniser(language),
        links.LinkRecognizer(language),
        credentials.PasswordRecognizer(language),
        credentials.PinRecognizer(language),
        credentials.ApiKeyRecognizer(language),
        credentials.PrivateKeyRecognizer(language),
        addresses.StreetAddressRecognizer(language),
        addresses.BirthDateRecognizer(language),
        documents.SpacedTaxIdRecognizer(language),
        documents.IdentityCardRecognizer(language),
        bank.IbanRecognizer(language),
        bank.card_recogniser(language),
        DeVatIdRecognizer(supported_language=language, patterns=[documents.VAT_ID], strict_checksum=True),
        *(recogniser(language) for recogniser in documents.LABELLED),
        *(configured(name, expressions, language) for name, expressions in (patterns or {}).items()),
    ]
    for recogniser in result:
        recogniser.context = None
    return result


_AS_PRESIDIO = regex.DOTALL | regex.MULTILINE | regex.IGNORECASE  # its default flags for an allow list


def allowed(words: Sequence[str]) -> list[str]:
    """Returns `curate.pii.allow_list` as Presidio's `allow_list` takes it with `allow_list_match="regex"`.

    A finding is allowed as a whole, in any letter case: `Pfennigo` allows neither `Pfennigo Weber` nor a part of it.
    """
    return [rf"\A(?:{regex.escape(word)})\Z" for word in words]


def is_allowed(words: Sequence[str]) -> Callable[[str], Any]:
    """Returns a search that matches a finding's text where it is allowed, as Presidio's does."""
    if not words:
        return lambda _: None
    search: Callable[[str], Any] = regex.compile("|".join(allowed(words)), _AS_PRESIDIO).search
    return search


def configured(name: str, expressions: Sequence[str], language: str) -> Any:
    """Returns a recogniser for a type of the project's own; a match is certain (score 1.0), letter case is ignored."""
    patterns = [Pattern(f"{name} {number}", text, 1.0) for number, text in enumerate(expressions, 1)]
    return PatternRecognizer(name, name=name, patterns=patterns, supported_language=language)


def expressions(recogniser: Any) -> list[Callable[[str], Any]]:
    """Returns the searches without which a `configured` recogniser finds nothing: its own expressions."""
    return [regex.compile(pattern.regex, recogniser.global_regex_flags).search for pattern in recogniser.patterns]
