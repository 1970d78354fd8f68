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
    "This ticket was merged into #123",
    "This ticket is closed and merged into ticket 25.",
    "Ihre Anfrage wurde mit Ticket #4712 zusammengelegt.",
    "Duplicate of #4711.",
    "Closing this one as duplicate.",
    "Issue SUP-12 was closed as a duplicate of SUP-7",
    "Dieses Ticket ist ein Duplikat von #88.",
    "Wird als Duplikat geschlossen.",
]
READ_RECEIPTS = [
    "Read: Your invoice\n\nYour message\n\n   To: Support\n   Subject: Invoice\n   Sent: 4 May\n\nwas read on 5 May.",
    "Gelesen: Rechnung\n\nIhre Nachricht\n\nAn: Support\nBetreff: Rechnung\n\nwurde am Montag, 4. Mai 2026 gelesen.",
    "This is a Return Receipt for the mail that you sent to help@example.org.",
    "Dies ist eine Empfangsbestätigung für die Nachricht, die Sie an help@example.org gesendet haben.",
    "Lesebestätigung: Ihre Rechnung",
    "Return Receipt (displayed) - Invoice",
]
NEWSLETTERS = [
    "News in May\n\nView this email in your browser\n\nNew cards are here.\n\nUnsubscribe | Manage preferences",
    "Unsere Angebote im Mai\n\nNeue Karten.\n\nSie erhalten diesen Newsletter, weil Sie Kunde sind. Abmelden",
    "Im Browser ansehen\n\nSommerangebote\n\nNewsletter abbestellen",
    "Our webinar\n\nJoin us.\n\nYou are receiving this email because you are a customer. Click here to unsubscribe.",
]
VOICEMAILS = [
    "Voicemail from Caller +49 30 555\n\nDuration: 0:35",
    "You have a new voicemail\n\nFrom: +1 555 0100, length 12 seconds",
    "Neue Sprachnachricht von +49 170 555\n\nDauer: 00:21",
    "Verpasster Anruf von +49 170 555",
    "Sie haben 2 neue Voicemails",
]
CLOSINGS = [
    "Solved, thanks",
    "Thanks a lot for your quick help!\n\nBest regards\nAnna Smith",
    "Hi Ben,\n\nit works now, thank you so much!",
    "You're welcome, Anna!",
    "Issue resolved. Closing this ticket.",
    "Please close the ticket.",
    "Danke, hat sich erledigt.",
    "Hallo Frau Meier,\n\nvielen Dank für die schnelle Hilfe, jetzt geht alles.\n\nViele Grüße\nAnna Schmidt",
    "Gern geschehen!",
    "Problem gelöst, Ticket kann geschlossen werden. MfG",
    "Keine Ursache :-)",
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
    "Duplicate of 2 charges on my card",
    "Duplikat von 4711 bestellt, bitte stornieren",
    "Lesebestätigung\nWie aktiviere ich sie",
    "Read receipt - how to turn off in Outlook",
    "Missed call from your number yesterday, my order 123 is late and I want a refund.",
    "Voicemail from my provider does not work after the update.",
    "Neue Sprachnachricht von WhatsApp wird nicht abgespielt, was tun",
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
    "Thanks, but it still does not work.",
    "Thanks for the quick answer. Where do I find the receipt?",
    "Thank you. The refund takes five days and goes to your card.",
    "Danke, aber die Karte geht immer noch nicht.",
    "Bitte schließen Sie mein Konto.",
    "Please close my account.",
    "Done. The new address is saved and the card is on its way.",
    "Erledigt, die Karte ist gesperrt.",
    "The issue is fixed in version 2.4, please update.",
    "Please unsubscribe me from your newsletter.",
    "Wie kann ich den Newsletter abbestellen?",
    "I cannot view this email in my browser\n\nThe link in your newsletter is broken.",
    "How do I set up voicemail?",
    "I have a missed call from your number. Was it important?",
    "Voicemail from +49 30 555\n\nTranscript: My card is blocked, please call me back.",
    "Where is the read receipt of my mail?",
    "I have two tickets, one is a duplicate. Please answer the other.",
    "I was charged twice, is the second one a duplicate of the first?",
    "Your message was not clear to me, please explain.",
    "Ihre Anfrage zur Karte: Die PIN ändern Sie unter Einstellungen.",
    "",
]


FINDERS = (
    boilerplate.bounces,
    boilerplate.auto_replies,
    boilerplate.system_messages,
    boilerplate.read_receipts,
    boilerplate.newsletters,
    boilerplate.voicemails,
    boilerplate.closings,
)


def receipts(texts: pa.Array) -> list[bool]:
    return list(boilerplate.receipts(texts, ()))


@pytest.mark.parametrize(
    ("find", "texts"),
    [
        (boilerplate.bounces, BOUNCES),
        (boilerplate.auto_replies, AUTO_REPLIES),
        (boilerplate.system_messages, SYSTEM),
        (boilerplate.read_receipts, READ_RECEIPTS),
        (boilerplate.newsletters, NEWSLETTERS),
        (boilerplate.voicemails, VOICEMAILS),
        (boilerplate.closings, CLOSINGS),
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
        for find in FINDERS:
            assert not find(texts).any()
        assert not boilerplate.receipts(texts, ("phrase",)).any()
