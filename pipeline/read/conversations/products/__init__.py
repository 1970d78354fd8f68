"""Every layout of conversations that is known without configuration.

`recognise` returns the likeliest for the names of a file's documents or columns, None where none fits.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.read.conversations.conversation import Layout
from pipeline.read.conversations.document import fold
from pipeline.read.conversations.products import (
    freshdesk,
    front,
    helpscout,
    hubspot,
    intercom,
    jira,
    salesforce,
    servicenow,
    zendesk,
)

PRODUCTS = (zendesk, freshdesk, intercom, front, helpscout, jira, servicenow, salesforce, hubspot)
LAYOUTS: dict[str, Layout] = {layout.name: layout for product in PRODUCTS for layout in product.LAYOUTS}


def recognise(names: Iterable[str]) -> Layout | None:
    """Returns the layout that fits the names of a file's columns or of its documents' own keys best."""
    known = frozenset(map(fold, names))
    best = max(LAYOUTS.values(), key=lambda layout: layout.fits(known))
    return best if best.fits(known) else None
