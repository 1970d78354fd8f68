"""Addresses of machines: IP addresses that are no version, and hardware addresses.

Output contract: Presidio's recognisers, whose findings after a word for a version or a chapter (`firmware 10.0.3.1`)
are none; a hardware address is six pairs with one separator.
"""

from __future__ import annotations

import re
from typing import Any

from presidio_analyzer.predefined_recognizers import IpRecognizer, MacAddressRecognizer

_VERSION = re.compile(
    r"\b(?:version(?:en|s|snummer)?|vers?\.|ver|v\.?|firmware|release|build|rev(?:ision)?|update|upgrade|patch|treiber|"
    r"driver|sdk|bios|uefi|kernel|software|app|kapitel|chapter|section|abschnitt|ziffer|artikel|punkt)"
    r"[^\w\n]{0,3}(?:(?:nr|no|number|nummer|is|ist|auf|to|von|from|and|und|oder|or|bis)[ .:]{1,2}){0,2}"
    r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){1,3}(?: (?:auf|to|and|und|oder|or|bis|-|,) ?|, ?))?$",
    re.IGNORECASE,
)
_LOOKED_BACK = 64  # characters
IP_PREFILTER = r"::|(?:[0-9A-Fa-f]{1,4}:){6}|[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"  # RE2
MAC_PREFILTER = "(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"  # RE2


class MachineAddressRecognizer(IpRecognizer):  # type: ignore[misc]
    """IP addresses."""

    def analyze(self, text: str, *args: Any, **named: Any) -> list[Any]:
        """Returns Presidio's results but for those after a word for a version."""
        results = super().analyze(text, *args, **named)
        return [each for each in results if not _is_nobodys(text, each.start, each.end)]


def _is_nobodys(text: str, start: int, end: int) -> bool:
    """Whether an address is a version, a network or the machine itself."""
    before, address = text[max(0, start - _LOOKED_BACK) : start], text[start:end]
    own = address in ("127.0.0.1", "0.0.0.0", "::1", "::")
    return own or address.endswith(".0") or re.search(r"\w-$", before) is not None or bool(_VERSION.search(before))


def mac_recogniser(language: str) -> MacAddressRecognizer:
    """Returns Presidio's recogniser without Cisco's notation, which is that of grouped numbers as well."""
    return MacAddressRecognizer(supported_language=language, patterns=MacAddressRecognizer.PATTERNS[:1])
