"""What people wrote, out of what a help desk stored: mail and HTML to plain text, with a count of every character cut.

    cleaned = clean(raw, "customer")                    # or "agent"; HTML or plain text
    cleaned.text, cleaned.removed                       # "My card is gone.", {"markup": 24, "quote": 310}

This package reads no files and knows no table.
"""

from __future__ import annotations

from pipeline.read.text.clean import Cleaned, Side, as_it_is, clean, field_text, joined, summed, to_text

__all__ = ["Cleaned", "Side", "as_it_is", "clean", "field_text", "joined", "summed", "to_text"]
