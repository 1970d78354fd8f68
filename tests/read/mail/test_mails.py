"""Mails: threads over files, who asks and who answers, headers and bodies as they come, hostile messages."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Mail, Read
from pipeline.read import discover
from pipeline.read.mail.messages import Envelope, content, split

SUPPORT = "Support <support@acme.example>"


def mail(
    sender: str,
    to: str,
    text: str,
    number: str,
    answers: str = "",
    hour: int = 9,
    subject: str = "Card",
    **headers: str,
) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Message-ID"] = f"<{number}@mail.example>"
    message["Date"] = f"Mon, 05 Jan 2026 {hour:02}:00:00 +0100"
    if answers:
        message["In-Reply-To"] = f"<{answers}@mail.example>"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


def mbox(*mails: EmailMessage) -> bytes:
    return b"".join(
        b"From x@example.org Mon Jan  5 09:00:00 2026\n" + message.as_bytes().replace(b"\nFrom ", b"\n>From ") + b"\n"
        for message in mails
    )


def asked(number: int, **more: Any) -> EmailMessage:
    return mail(
        f"Anna Schmidt <anna@c{number}.example>", SUPPORT, f"How do I block card {number}?", f"q{number}", **more
    )


def answered(number: int, **more: Any) -> EmailMessage:
    text = f"In the app, as number {number}.\n\nOn Mon, 5 Jan 2026 at 09:00, Anna wrote:\n> How do I block it?\n"
    return mail(SUPPORT, f"anna@c{number}.example", text, f"a{number}", f"q{number}", 10, "Re: Card", **more)


def pairs(rows: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return [(row["prompt"], row["response"], row["reason"]) for row in rows]


def test_a_question_and_its_answer(tmp_path: Path, read_rows: Any) -> None:
    (tmp_path / "in.mbox").write_bytes(mbox(asked(1), asked(2)))
    (tmp_path / "sent.mbox").write_bytes(mbox(answered(2), answered(1)))
    rows = read_rows(tmp_path)
    assert pairs(rows) == [
        ("Card\n\nHow do I block card 2?", "In the app, as number 2.", None),
        ("Card\n\nHow do I block card 1?", "In the app, as number 1.", None),
    ]
    assert [(row["path"], row["line"], row["source_id"]) for row in rows] == [
        ("in.mbox", 2, "q2@mail.example"),
        ("in.mbox", 1, "q1@mail.example"),
    ]
    assert rows[0]["created_at"] == datetime(2026, 1, 5, 8, tzinfo=UTC)
    assert {(one["type"], one["text"]) for one in rows[1]["entities"]} == {
        ("NAME", "Anna Schmidt"),
        ("NAME", "Support"),
        ("EMAIL", "anna@c1.example"),
        ("EMAIL", "support@acme.example"),
    }


def test_single_mails_in_folders_and_archives(tmp_path: Path, read_rows: Any) -> None:
    (tmp_path / "mails" / "sent").mkdir(parents=True)
    (tmp_path / "mails" / "1.eml").write_bytes(asked(1).as_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "mails" / "sent" / "2.eml").write_bytes(answered(1).as_bytes())
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("a.eml", asked(3).as_bytes())
        archive.writestr("b.eml", answered(3).as_bytes())
    rows = read_rows(tmp_path)
    assert [(row["source"], row["path"], row["response"]) for row in rows] == [
        ("mails", "mails/1.eml", "In the app, as number 1."),
        ("more", "more.zip/a.eml", "In the app, as number 3."),
    ]
    (first, _) = discover([str(tmp_path)], Read()).files
    assert [part.path for part in first.partners] == ["mails/1.eml", "mails/sent/2.eml"]


def test_a_mail_alone_is_a_reject_that_says_so(tmp_path: Path, read_rows: Any) -> None:
    (tmp_path / "in.mbox").write_bytes(mbox(asked(1), asked(2), answered(2), asked(3), answered(3), answered(9)))
    assert pairs(read_rows(tmp_path)) == [
        ("Card\n\nHow do I block card 1?", "", "empty_response"),
        ("Card\n\nHow do I block card 2?", "In the app, as number 2.", None),
        ("Card\n\nHow do I block card 3?", "In the app, as number 3.", None),
        ("", "In the app, as number 9.", "empty_prompt"),
    ]


def test_receipts_are_no_answers_and_chains_are_one_thread(tmp_path: Path, read_rows: Any) -> None:
    receipt = mail(SUPPORT, "anna@c1.example", "We have got your mail.", "r", "q1", 9, Auto_Submitted="auto-replied")
    again = mail(
        "anna@c1.example", SUPPORT, "Thanks!", "q1b", hour=11, References="<q1@mail.example> <a1@mail.example>"
    )
    (tmp_path / "in.mbox").write_bytes(mbox(again, receipt, answered(1), asked(1)))
    assert pairs(read_rows(tmp_path)) == [("Card\n\nHow do I block card 1?", "In the app, as number 1.", None)]


def test_the_company_is_known_by_its_domain_or_by_the_setting(tmp_path: Path, read_rows: Any) -> None:
    news = mail(SUPPORT, "anna4@example.net", "Our new app is here.", "n", hour=8)
    reply = mail("anna4@example.net", SUPPORT, "Does it run on a tablet?", "q4", "n", 9)
    last = mail("Ben <ben@acme.example>", "anna4@example.net", "It does.", "a4", "q4", 10)
    three = [asked(1), answered(1), asked(2), answered(2)]
    (tmp_path / "a.mbox").write_bytes(mbox(*three, news, reply, last))
    assert pairs(read_rows(tmp_path))[-1] == ("Card\n\nDoes it run on a tablet?", "It does.", None)
    (tmp_path / "a.mbox").write_bytes(mbox(news, reply, last))
    assert pairs(read_rows(tmp_path))[-1][:2] == ("Card\n\nOur new app is here.", "Does it run on a tablet?")
    company = Read(mail=Mail(company=("*@acme.example",)))
    assert pairs(read_rows(tmp_path, company)) == [("Card\n\nDoes it run on a tablet?", "It does.", None)]


def test_bodies_and_headers_as_they_come(tmp_path: Path) -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = "AW: Re: Größe", "Jürgen Müller <j@example.org>"
    message.set_content("Übergröße", charset="iso-8859-15")
    message.add_alternative("<p>Über<b>größe</b></p>", subtype="html")
    message.add_attachment(b"x" * 100, maintype="image", subtype="png", filename="a.png")
    message.add_attachment("not this", filename="a.txt")
    found = content(message.as_bytes())
    assert (found.subject, found.text.strip(), found.is_html) == ("Größe", "Übergröße", False)
    assert found.names == ("Jürgen Müller",)
    html = b"Content-Type: text/html\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\n\n<p>A &amp; B</p>"
    assert (content(html).subject, content(html).text, content(html).is_html) == ("Größe", "<p>A &amp; B</p>", True)
    unknown = b"Content-Type: text/plain; charset=x-nonsense\n\n" + "Grüße aus Köln".encode("cp1252")
    assert content(unknown).text == "Grüße aus Köln"
    assert content("Subject: x\n\nGrüße".encode()).text == "Grüße"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\n", b"\xff\xfe\x00", b"From: \xff\nDate: never\nMessage-ID: <>\n\n\x80", b"Subject: =?x?y?z?=\n\n",
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\n--a\n--a--", b"Content-Type: multipart/mixed\n\nx",
        b"Content-Type: text/plain; charset=rot13\n\nx", b"Content-Transfer-Encoding: base64\n\n!!!",
        b"Content-Type: message/rfc822\n\nSubject: y\n\nz", b"Date: Mon, 99 Jan 99999 99:99:99 +9999\n\n",
        b"From: " + b"a@b," * 5000 + b"\n\n", b"Content-Type: text/plain; charset*=utf-8''%ff\n\nx",
        b"From: =?utf-8?b?4pyT?= <a@b.example>\nTo: undisclosed:;\n\nx",
        b"Content-Type: " + b"multipart/mixed; boundary=a\n\n--a\nContent-Type: " * 300 + b"text/plain\n\nx",
    ],
)  # fmt: skip
def test_whatever_a_message_holds_nothing_is_raised(raw: bytes, tmp_path: Path, read_rows: Any) -> None:
    Envelope.of(raw)
    content(raw)
    (tmp_path / "a.eml").write_bytes(raw)
    (tmp_path / "b.md").write_text("# A\n\nb")
    assert len(read_rows(tmp_path)) >= 1


def test_an_mbox_file_is_split_where_mails_begin() -> None:
    lines = [
        b"From a Mon Jan 5 09:00 2026\n",
        b"Subject: x\n",
        b"\n",
        b"From what I see, no.\n",
        b"\n",
        b">From Anna\n",
        b"\n",
    ]
    assert list(split([*lines, *lines], mbox=True)) == [
        b"Subject: x\n\nFrom what I see, no.\n\nFrom Anna\n\n",
        b"Subject: x\n\nFrom what I see, no.\n\nFrom Anna\n\n",
    ]
    assert list(split([], mbox=True)) == []
    assert list(split([b"Subject: x\n"], mbox=True)) == [b"Subject: x\n"]
