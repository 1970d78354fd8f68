"""Zendesk and Freshdesk exports: columns under all their names, and the customer's own words."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Read
from pipeline.read import discover
from pipeline.read.text.markup import plain
from pipeline.read.text.quotes import answer_words, own_words

SAMPLE = Path(__file__).parents[2] / "assets" / "sample"


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_zendesk(tmp_path: Path, read_rows: Any) -> None:
    ticket = {
        "Summation column": "1",
        "Id": "20481",
        "Requester": "Anna Schmidt",
        "Requester email": "anna@example.org",
        "Submitter": "Anna Schmidt",
        "Assignee": "-",
        "Subject": "Lost card",
        "Status": "Solved",
        "Ticket type": "Question",
        "Created at": "2026-01-02 07:33",
        "Topic [list]": "Cards",
        "Description": "My card &amp; PIN are gone.<br>\n<br>\nWhat now?\n\n-- \nAnna Schmidt\nSales",
        "Latest public comment": "<p>Hello,</p><p>lock it in the app.</p>",
    }
    (row,) = read_rows(write(tmp_path / "z.csv", [ticket]))
    assert row["prompt"] == "Lost card\n\nMy card & PIN are gone.\n\nWhat now?"
    assert row["response"] == "Hello,\n\nlock it in the app."
    assert (row["source_id"], row["label"], row["resolved"]) == ("20481", "Cards", True)
    assert row["created_at"] == datetime(2026, 1, 2, 7, 33, tzinfo=UTC)
    assert row["entities"] == [{"type": "NAME", "text": "Anna Schmidt"}, {"type": "EMAIL", "text": "anna@example.org"}]


def test_freshdesk(tmp_path: Path, read_rows: Any) -> None:
    ticket = {
        "Ticket ID": "7",
        "Subject": "Hi",
        "Description": "hi there",
        "Status": "Open",
        "Type": "Cards",
        "Agent": "bob@example.org",
        "Created time": "not a date",
        "Agent interactions": "1",
        "Customer interactions": "1",
        "Agent response": "Yes.",
        "Full name": "Anna",
        "Work phone": "030 1234567",
    }
    (row,) = read_rows(write(tmp_path / "f.csv", [ticket]))
    assert (row["prompt"], row["response"], row["label"]) == ("hi there", "Yes.", "Cards")
    assert (row["resolved"], row["created_at"]) == (False, None)
    assert {(e["type"], e["text"]) for e in row["entities"]} == {
        ("NAME", "Anna"),
        ("EMAIL", "bob@example.org"),
        ("PHONE", "030 1234567"),
    }


@pytest.mark.parametrize(
    ("header", "product"),
    [
        ("ticket_id,requester_id,assignee_id,subject,description,latest_comment", "zendesk"),
        ("TICKET ID,TICKET SUBJECT,TICKET CREATED - TIMESTAMP,REQUESTER NAME,ASSIGNEE NAME,COMMENT,REPLY", "zendesk"),
        ("id,responder_id,fr_escalated,subject,description_text,requester_id,reply", "freshdesk"),
        ("Ticket Id,Subject,Description,Resolution Note,Due by Time,Time Tracked,Requester Name", "freshdesk"),
    ],
)
def test_variants_of_names(tmp_path: Path, header: str, product: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n{','.join('x' * (header.count(',') + 1))}\n")
    (file,) = discover([str(tmp_path)], Read()).files
    assert file.layout == product


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
        "> we have received your request\n>\n> Bob",
        "Sent from my iPhone",
        "Von meinem iPhone gesendet",
        "Gesendet mit der GMX Mail App",
        "-- \nAnna Schmidt\nBeispiel GmbH\n030 1234567",
        "This e-mail and any attachments are confidential and intended solely for the addressee.",
        "Diese E-Mail enthält vertrauliche Informationen. Wenn Sie nicht der richtige Adressat sind, löschen Sie sie.",
    ],
)
def test_what_is_not_the_customers_is_cut(reply: str) -> None:
    assert own_words(f"My card is gone.\n\nWhat now?\n\n{reply}") == "My card is gone.\n\nWhat now?"


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
    assert own_words(text) == text


def test_an_answer_below_a_marked_quote_stays() -> None:
    text = "On 3 May 2026 at 16:04, Support wrote:\n> Which card?\n\nThe blue one.\n> Since when?\nMonday."
    assert answer_words(text) == "The blue one.\nMonday."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b and c > d", "a < b and c > d"),
        ("write to <anna@example.org> &amp; me", "write to <anna@example.org> & me"),
        ("<b>bold</b>\nnext", "bold\nnext"),
        ("AT&T; &copy 5&nbsp;&euro;", "AT&T; &copy 5 €"),
        ("<div>one</div>\n<div>two &lt;b&gt;</div>", "one\n\ntwo <b>"),
        ("<ol><li>a</li><li>b</li></ol><ul><li>c</li></ul>", "1. a\n2. b\n\n- c"),
        ("<style>p {}</style><p>x</p><script>y</script>", "x"),
        ("<p>new</p><blockquote><p>old</p></blockquote>", "new"),
        ('<p>new</p><div class="gmail_quote"><div>On …</div> old</div>', "new"),
        ("<blockquote>all there is</blockquote>", "all there is"),
        ("<p>mail <anna@example.org></p>", "mail <anna@example.org>"),
        ("<pre>a\n  b</pre>", "a\nb"),
        ("<p>one<p>two", "one\n\ntwo"),  # an end tag may be left out
        ("<ul><li>a<ul><li>b</ul><li>c</ul>", "- a\n\n- b\n\n- c"),
        ("<div><blockquote>old</div>new", "new"),
        ("<html><head><meta charset=x><base href=y><title>z</title></head><body>ä</body></html>", "ä"),
        ('<p title="1 > 0 <b>">x</p>if a <b', "x\n\nif a <b"),
        ("<p>a<![if !IE]>b<![endif]>c<!--[if mso]>d<![endif]-->&#13;\ne</p><![", "abc e\n\n<!["),
        ("<p>x<![1]>y</p>", "xy"),
        ("<div>" * 600 + "a &lt; b" + "</div>" * 600, "a < b"),
        ("x\r\ny  \r\n\r\n\r\n\r\nz", "x\ny\n\nz"),
        ("", ""),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    "text",
    ["<p><!--", "<p><a ", '<p><a b="', "<p><?", "<div>", "<ul></ol>", "<p>&", "<p>x", "<p><x", "<table>"],
)
def test_the_time_of_plain_text_grows_with_the_length_not_faster(text: str) -> None:
    """Each of them again and again; and first all starts, then all ends."""
    count = 100_000 // len(text)
    start, mark, end = text.partition("</")
    started = time.process_time()
    plain(text * count)
    plain(start * count + (mark + end) * count)
    assert time.process_time() - started < 2


def test_the_bundled_sample_is_read_as_planned(read_rows: Any) -> None:
    """Every row of the sample comes out once, and for the reason its manifest states."""
    manifest = [json.loads(line) for line in (SAMPLE / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    early = {"unreadable", "empty_prompt", "empty_response"}
    planned = Counter((row["source"], row["reason"] if row["reason"] in early else None) for row in manifest)
    rows = read_rows(SAMPLE / "dump", most=250)
    found = Counter((row["source"], row["reason"]) for row in rows)
    pages = found.pop(("pages", None))
    assert found == planned
    expected = json.loads((SAMPLE / "EXPECTED.md").read_text(encoding="utf-8").split("```json")[1].split("```")[0])
    assert pages == expected["sources"]["pages"]["read"]
    parsed = {row["source_id"] for row in rows if row["reason"] is None}
    assert parsed >= {row["id"] for row in manifest if row["reason"] == "kept" and row["source"] != "pages"}
