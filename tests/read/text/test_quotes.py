"""Quoted mails: cut with evidence, kept without."""

from __future__ import annotations

import pytest

from pipeline.read.text import clean


@pytest.mark.parametrize(
    "reply",
    [
        "On 3 May 2026 at 16:04, Support wrote:\n> Hello,\n> we got it.",
        "Am 3.05.2026 um 16:04 schrieb Pfennigo Support:\n> Guten Tag,\n> wir haben sie.",
        "Am Mo., 5. Jan. 2026 um 10:00 Uhr schrieb Support <\nsupport@example.org>:\nGuten Tag,\nohne Zeichen davor",
        "On Mon, Jan 5, 2026 at 10:00 AM Support <support@example.org>\nwrote:\n\nHello",
        "-----Original Message-----\nFrom: Support\nHello",
        "-----Ursprüngliche Nachricht-----\nVon: Support\nHallo",
        "Von: Support <support@example.org>\nGesendet: Montag\nAn: Anna\nBetreff: Karte\n\nGuten Tag",
        "Sent from my iPhone",
        "Von meinem iPhone gesendet",
        "Gesendet mit der GMX Mail App",
        "-- \nAnna Schmidt\nBeispiel GmbH\n030 1234567",
        "This e-mail and any attachments are confidential and intended solely for the addressee.",
        "Diese E-Mail enthält vertrauliche Informationen. Wenn Sie nicht der richtige Adressat sind, löschen Sie sie.",
    ],
)
def test_what_is_not_the_customers_is_cut(reply: str) -> None:
    assert clean(f"My card is gone.\n\nWhat now?\n\n{reply}", "customer").text == "My card is gone.\n\nWhat now?"


@pytest.mark.parametrize(
    "text",
    [
        "Am 3. Mai schrieb mir Ihr Kollege:\nDas Konto ist gesperrt.",
        "Von meinem Konto wurde Geld gesendet.",
        "Gesendet von Konto eins nach Konto zwei.",
        "Diese E-Mail habe ich bestimmt schon dreimal geschickt.\n\nWas nun?",
        "Bitte prüfen Sie den Ausdruck.\n\nDanke",
        "I tap Settings > Cards -- and nothing happens.\nFrom: here to there it fails",
        "> only a quote",
        "Sent from my iPhone",
    ],
)
def test_what_looks_like_it_but_is_the_customers_stays(text: str) -> None:
    assert clean(text, "customer").text == text


def test_an_answer_below_a_marked_quote_stays() -> None:
    text = "On 3 May 2026 at 16:04, Support wrote:\n> Which card?\n\nThe blue one.\n> Since when?\nMonday."
    assert clean(text, "agent").text == "The blue one.\nMonday."
