"""Machine mail in both languages, and what people write that looks like it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.screen.quality import boilerplate

BOUNCES = [
    "Undelivered Mail Returned to Sender\n\nThis is the mail system at host mail.example.org.",
    "Delivery Status Notification (Failure)\n\nAddress not found",
    "Mail delivery failed: returning message to sender\n\nThis message was created automatically",
    "Undeliverable: Your invoice\n\nDelivery has failed to these recipients or groups:",
    "Unzustellbar: Ihre Rechnung\n\nFehler bei der Nachrichtenzustellung an folgende Empfänger",
    "Re-send\n\nYour message to anna@example.org couldn't be delivered to the recipient.",
    "failure notice\n\nHi. This is the qmail-send program at example.org.",
]
AUTO_REPLIES = [
    "Automatic reply: Your invoice\n\nI am out of the office.",
    "Automatische Antwort: Ihre Rechnung\n\nGuten Tag",
    "Abwesenheitsnotiz: Ihre Rechnung\n\nGuten Tag",
    "Out of Office: Your invoice",
    "AW: Rechnung\n\nGuten Tag,\n\nich bin bis zum 14.8. nicht im Büro. In dringenden Fällen hilft Frau Meier.",
    "Re: Invoice\n\nThank you for your mail. I am currently on annual leave with limited access to my email.",
    "This is an automated message, please do not reply.",
    "Hallo,\n\ndies ist eine automatisch generierte E-Mail.",
    "Diese Nachricht wurde automatisch erstellt. Bitte antworten Sie nicht.",
]
SYSTEM = [
    'Request #4711 "Card" was closed and merged into this request.',
    "This ticket has been merged with ticket #12.",
    "Das Ticket #12 wurde mit dem Ticket #13 zusammengeführt.",
    "Hello Anna,\n\nWe'd love to hear what you think of our customer service.",
    "How would you rate the support you received?\n\nGood, I'm satisfied",
    "Wie bewerten Sie unseren Kundenservice?\n\nGut\nSchlecht",
    "This ticket has been automatically closed due to inactivity.",
]
RECEIPTS = [
    "Your request (4711) has been received and is being reviewed by our support staff.",
    "Thank you! We have received your message and will get back to you as soon as possible.",
    "We've received your ticket. Someone will be in touch within 24 hours.",
    "Vielen Dank. Wir haben Ihre Anfrage erhalten und melden uns in Kürze.",
    "Ihre Nachricht ist bei uns eingegangen und wird schnellstmöglich bearbeitet.",
    "Ihr Ticket mit der Nummer 4711 wurde erstellt. Wir kümmern uns umgehend.",
]
PEOPLE = [
    "Mail bounces\n\nI get “Undelivered Mail Returned to Sender” when I write to my bank. Why?",
    "Fwd: Undelivered Mail Returned to Sender\n\nWhat does this mean?",
    "Undeliverable parcels\n\nWhere do they go?",
    "Abwesenheitsnotiz einrichten\n\nWie schalte ich die Abwesenheitsnotiz in der App ein?",
    "Card blocked\n\nI am on vacation in Spain and my card was declined. Please help, I have no access to my account.",
    "Karte gesperrt\n\nIch bin im Urlaub und meine Karte geht nicht.",
    "Ich bin ab Montag nicht im Büro, können Sie mir in dringenden Fällen die Karte nach Hause schicken?",
    "I got an automated message about my card. Is this an automated reply?",
    "How do I merge two tickets? One was merged into the wrong one.",
    "Please merge ticket 12 into ticket 13.",
    "We have received your documents and unlocked your account; the card will arrive within 5 days.",
    "We received your message. The limit is 500 euros; change it under Settings > Cards.",
    "Wir haben Ihre Unterlagen erhalten. Das Konto ist freigeschaltet.",
    "I have not received your email. Please send it again as soon as possible.",
    "Ihre Anfrage zur Karte: Die PIN ändern Sie unter Einstellungen.",
    "",
]


def receipts(texts: pa.Array) -> list[bool]:
    return list(boilerplate.receipts(texts, ()))


@pytest.mark.parametrize(
    ("find", "texts"),
    [
        (boilerplate.bounces, BOUNCES),
        (boilerplate.auto_replies, AUTO_REPLIES),
        (boilerplate.system_messages, SYSTEM),
        (receipts, RECEIPTS),
    ],
)
def test_finds_its_own_and_nothing_of_people(find: object, texts: list[str]) -> None:
    assert callable(find)
    assert [text for text, hit in zip(texts, find(pa.array(texts)), strict=True) if not hit] == []
    assert [text for text, hit in zip(PEOPLE, find(pa.array(PEOPLE)), strict=True) if hit] == []


def test_a_machine_says_so_at_the_beginning() -> None:
    late = pa.array(["x" * 1_000 + "\n" + text for text in (BOUNCES[0], AUTO_REPLIES[4], SYSTEM[0])])
    for find in (boilerplate.bounces, boilerplate.auto_replies, boilerplate.system_messages):
        assert not find(late).any()


def test_nulls_and_no_rows() -> None:
    for texts in (pa.array([None], pa.string()), pa.array([], pa.string())):
        for find in (boilerplate.bounces, boilerplate.auto_replies, boilerplate.system_messages):
            assert not find(texts).any()
        assert not boilerplate.receipts(texts, ("phrase",)).any()
