"""Quoted mails: cut with evidence, kept without."""

from __future__ import annotations

import time

import pytest

from pipeline.read.text import Side, clean


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


MAIL = "Von: {}\nGesendet: Montag, 5. Januar 2026 10:00\nAn: {}\nBetreff: {}\n\n{}"
LONG = "Meine Karte wurde gestern am Automaten eingezogen, wie bekomme ich eine neue?"


@pytest.mark.parametrize(
    "text",
    [
        "Hello Anna,\n\nplease type:\n\n> ipconfig /flushdns\n> ipconfig /renew\n\nThen restart.",
        "Tap these, one after the other:\n> Menu\n> Settings\n> Cards",
        "Es kam eine Anfrage.\n\nVon: Anna Schmidt\nDatum: 02.01.2026\nBetreff: Karte\n\nNachricht:\n" + LONG,
        "Bitte übernehmen, danke.\n\n" + MAIL.format("Jonas <jonas@example.com>", "Support", "Rechnung", LONG),
        "Ist das echt?\n\n" + MAIL.format("Bank <info@example.com>", "anna@example.org", "Ihr Konto", LONG),
        "Von: Berlin\nAn: Köln\nDatum: 5.1.2026 10:00\nBetreff: Buchung 4711\n" + LONG,
        "Problem one: the card.\n--\nProblem two: I do not receive the TAN on my new phone, what can I do?",
        "Siehe unten\n\nAm 05.01.2026 um 10:00 schrieb Support <support@example.org>:\n" + LONG,
        "The terminal wrote:\n> Error 51\nWhat now?",
        "Am 3. Mai 2026 schrieb mir Ihr Kollege um 10:00:\nDas Konto ist gesperrt. Stimmt das?",
        "Any unauthorised use of your card is covered by us, so please do not worry about it.",
        "Wenn Sie nicht der richtige Ansprechpartner sind, leiten Sie die Mail bitte weiter.",
        "If you have received this letter by mistake please destroy it.",
        "Original-Nachricht",
        "Es klappt nicht.\n\n________________\n"
        + MAIL.format("Ben <ben@example.org>", "Anna", "AW: Karte", "Neu starten."),
        "- From: the first page\n- To: the last page\nNothing is printed.",
    ],
)
@pytest.mark.parametrize("side", ["customer", "agent"])
def test_without_evidence_nothing_is_cut(text: str, side: Side) -> None:
    assert clean(text, side).text == text


def test_what_depends_on_the_side() -> None:
    nothing_left = "Hallo Support,\n\n" + MAIL.format('"Support" <support@example.org>', "Anna", "Ihre Karte", LONG)
    assert clean(nothing_left, "customer").text == nothing_left
    explained = (
        "To see them look for:\n\nFrom: support@x.org\nSent: Monday\nTo: you@x.org\nSubject: x\n\nThen click on it."
    )
    assert clean(explained, "agent").text == explained


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It does not work. On Mon, Jan 5, 2026 at 10:00 AM Support <s@example.org> wrote: > Hi, try again. > Ben", 17),
        ("Das half nicht. Von: Support <s@example.org> Gesendet: Montag An: Anna Betreff: AW: App Guten Tag, ja.", 15),
        ("Das half nicht. Am Mo., 5. Jan. 2026 um 10:00 Uhr schrieb Support <s@example.org>: Guten Tag, ja.", 15),
        ("It does not work. -----Original Message----- From: Support Sent: Monday To: Anna Subject: Re: App Hi, ", 17),
        ("Am Montag um 10:00 Uhr ging es. Am Mo., 5. Jan. 2026 um 10:00 schrieb Support <s@example.org>: Ja.", 31),
    ],
)
def test_threads_in_one_line(text: str, kept: int) -> None:
    cleaned = clean(text, "customer")
    assert cleaned.text == text[:kept]
    assert cleaned.removed["quote"] >= len(text) - kept - 1


@pytest.mark.parametrize(
    "text",
    [
        "Am Montag um 10:00 Uhr ging es noch, und Ihr Kollege schrieb mir, ich solle mich gedulden: warum?",
        "Von: Berlin An: Bonn Datum: 5.1. und dann ging der Zug nicht mehr, also bitte das Geld zurück auf mein Konto.",
        "I read that on Monday at 10:00 the system wrote an error to the log: what does it mean for my account now?",
    ],
)
def test_sentences_in_one_line_stay(text: str) -> None:
    assert clean(text, "customer").text == text


def test_what_the_ticket_holds_is_a_quote() -> None:
    asked = "<p>Meine Karte wurde gestern am Automaten eingezogen, wie bekomme ich eine neue?</p>"
    answer = "Wir senden Ihnen eine neue Karte zu."
    for quoted in (
        MAIL.format("Anna <anna@example.org>", "Kundenservice <info@example.org>", "Karte", LONG),
        f"> {LONG}",
        f"---------- Forwarded message ---------\nFrom: Anna <anna@example.org>\n\n{LONG}",
        f"<blockquote>{LONG}</blockquote>",
    ):
        raw = f"<p>{answer}</p>{quoted}" if quoted.startswith("<") else f"{answer}\n\n{quoted}"
        assert clean(raw, "agent", (asked,)).text == answer
        other = clean(raw, "agent", ("Eine ganz andere Frage, die nichts davon enthält, was hier steht.",)).text
        assert LONG in other


def test_an_answer_keeps_its_commands_and_loses_the_quote_below_them() -> None:
    asked = "My laptop cannot open the portal any more.\nThe name cannot be resolved."
    head = "Please type:\n\n> ipconfig /flushdns\n> ipconfig /renew"
    quote = "On 5 Jan 2026, at 10:00, Anna <anna@example.org> wrote:\n\n> My laptop cannot open the portal any more."
    assert clean(f"{head}\n\n{quote}", "agent", (asked,)).text == head
    between = f"{quote}\n\nPlease type:\n> ipconfig /flushdns\n\nThen restart."
    assert clean(between, "agent", (asked,)).text == "Please type:\n> ipconfig /flushdns\n\nThen restart."


def test_known_people_tell_whose_mail_it_is() -> None:
    mail = "Es geht immer noch nicht.\n\n" + MAIL.format("Ben Roth <ben@example.org>", "Anna", "AW: Karte", "Geht es?")
    assert clean(mail, "customer").text == mail
    assert clean(mail, "customer", desk=("Ben Roth",)).text == "Es geht immer noch nicht."
    passed_on = mail.replace("AW: Karte", "WG: Karte")
    assert clean(passed_on, "customer", desk=("Ben Roth",)).text == passed_on
    assert clean(mail, "customer", ("Fwd: Karte",), desk=("Ben Roth",)).text == mail
    answer = "Wir prüfen das gern.\n\n" + MAIL.format("Anna Schmidt <anna@example.org>", "Hilfe", "Karte", "Was nun?")
    assert clean(answer, "agent").text == answer
    assert clean(answer, "agent", customers=("Anna Schmidt",)).text == "Wir prüfen das gern."


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('<p>new words here</p><blockquote type="cite"><p>old</p></blockquote>', "new words here"),
        ("<p>new words here</p><blockquote><p>old</p></blockquote>", "new words here\n\nold"),
        ('<p>new words here</p><div class="gmail_quote">On x<br>old</div>', "new words here"),
        ("<p>new words here</p><div>On Jan 5, 2026 at 10:00 Support wrote:</div><blockquote>old</blockquote>",
         "new words here"),
        ('<p>new words here</p><div class="gmail_quote">---------- Forwarded message ---------<br>From: Bank<br>'
         "Date: Monday<br><br>Confirm it.</div>",
         "new words here\n\n---------- Forwarded message ---------\nFrom: Bank\nDate: Monday\n\nConfirm it."),
        ('<blockquote type="cite">all there is</blockquote>', "all there is"),
        ("<p>Menu:</p><blockquote><p>A &gt; B</p></blockquote><p>and save.</p>", "Menu:\n\nA > B\n\nand save."),
        ('<p>Hi,</p><blockquote type="cite">all it says is quoted</blockquote>', "Hi,\n\nall it says is quoted"),
        ('<div class="gmail_quote">On Jan 5, 2026 at 10:00 Ben wrote:<blockquote class="gmail_quote">which card?'
         '</blockquote>The blue card.<blockquote class="gmail_quote">since when?</blockquote>Since Monday.</div>',
         "The blue card.\n\nSince Monday."),
    ],
)  # fmt: skip
def test_quotations_in_html(raw: str, expected: str) -> None:
    assert clean(raw, "customer").text == expected


@pytest.mark.parametrize(
    "text",
    ["From: support@x.org\nTo: y\n", "> x\n", "On 1.1.2026 10:00 x wrote:\n", "##- x -##\n", "Von: a ", "> x\n\n",
     "-----Original Message-----\n", " On 5 10:00 wrote", "<blockquote>x", "\\n", "Ã¼", "C:\\a b\\", "_x000D_"],
)  # fmt: skip
def test_the_time_grows_with_the_length_not_faster(text: str) -> None:
    raw = text * (200_000 // len(text))
    started = time.process_time()
    clean(raw, "agent", (raw,))
    assert time.process_time() - started < 3
