"""Zendesk's conversations: tickets with comments, tickets and comments apart, ticket events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

TICKET: dict[str, Any] = {
    "id": 501,
    "subject": "Card blocked",
    "description": "My card is blocked since Monday, what can I do?",
    "status": "closed",
    "type": "problem",
    "created_at": "2026-01-02T07:33:00Z",
    "requester_id": 77,
    "assignee_id": 88,
    "requester": {"id": 77, "name": "Anna Schmidt", "email": "anna@example.org", "phone": "+49 30 1234567"},
    "assignee": {"id": 88, "name": "Ben Roth"},
}


def comment(author: int | None, public: Any, body: str, minute: int, **more: Any) -> dict[str, Any]:
    time = f"2026-01-02T08:{minute:02}:00Z"
    return {"id": minute, "author_id": author, "public": public, "body": body, "created_at": time, **more}


HTML = "<p>Hello Anna,</p><p>I have unblocked it. Please try again.</p>"
COMMENTS = [  # out of order
    comment(88, True, "Hello Anna,\n\nI have unblocked it. Please try again.", 10, html_body=HTML),
    comment(77, True, "My card is blocked since Monday, what can I do?", 0),
    comment(-1, True, "Your request was updated.", 2),
    comment(99, True, "Your request (501) has been received and is being reviewed by our support staff.", 3),
    comment(88, False, "Customer is on the fraud list, check with Carla Nowak.", 5),
    comment(77, True, "It still says card refused.", 20),
    comment(99, True, "Carla here. The limit was reached, I raised it.", 30),
    comment(88, True, "Please restart the app, too.", 31),
    comment(77, True, "   ", 35),
    comment(77, True, "Thank you, it works!", 40),
]  # fmt: skip


def test_the_first_question_and_the_first_public_answer(read_export: Any) -> None:
    (row,) = read_export("zendesk conversation", [{**TICKET, "comments": COMMENTS}])
    assert row.prompt == "Card blocked\n\nMy card is blocked since Monday, what can I do?"
    assert row.response == "Hello Anna,\n\nI have unblocked it. Please try again."
    assert row.later == ()
    assert (row.line, row.source_id, row.label, row.resolved) == (1, "501", "problem", True)
    assert row.created_at == datetime(2026, 1, 2, 7, 33, tzinfo=UTC)
    assert set(row.entities) == {
        ("NAME", "Anna Schmidt"),
        ("NAME", "Ben Roth"),
        ("EMAIL", "anna@example.org"),
        ("PHONE", "+49 30 1234567"),
    }


def test_all_turns(read_export: Any) -> None:
    (row,) = read_export("zendesk conversation", [{**TICKET, "comments": COMMENTS}], conversations="turns")
    assert row.response == "Hello Anna,\n\nI have unblocked it. Please try again."
    assert row.later == (
        "It still says card refused.",
        "Carla here. The limit was reached, I raised it.\n\nPlease restart the app, too.",
    )


@pytest.mark.parametrize(
    ("comments", "refused"),
    [
        ([], ""),
        (None, ""),
        ([comment(77, True, "Help", 0)], ""),
        ([comment(77, True, "Help", 0), comment(88, False, "geheim", 1)], ""),
        ([comment(77, True, "Help", 0), comment(88, None, "geheim", 1)], "unmarked"),
        ([comment(77, True, "Help", 0), comment(88, "perhaps", "geheim", 1)], "unmarked"),
        ([comment(77, True, "Help", 0), comment(None, True, "geheim", 1)], "unmarked"),
        ({"comments": [{"body": "geheim"}]}, "unmarked"),
        ([comment(77, True, "Help", 0), comment(88, True, "geheim", 1, via={"channel": "rule"})], ""),
    ],
)
def test_without_a_public_answer(read_export: Any, comments: Any, refused: str) -> None:
    (row,) = read_export("zendesk conversation", [{**TICKET, "comments": comments}])
    assert (row.response, row.refused, row.readable) == ("", refused, True)


@pytest.mark.parametrize(
    "comments", ["a text", [1], {"comments": 5}, [{"body": ["a"], "author_id": 1, "public": True}]]
)
def test_damaged(read_export: Any, comments: Any) -> None:
    (row,) = read_export("zendesk conversation", [{**TICKET, "comments": comments}])
    assert not row.readable


def test_a_private_first_comment_is_no_question(read_export: Any) -> None:
    """Zendesk puts the first comment into the description, an internal one, too."""
    comments = [comment(88, False, "fraud case, call her", 0), comment(88, True, "Dear Anna, please call us.", 1)]
    (row,) = read_export(
        "zendesk conversation", [{**TICKET, "description": "fraud case, call her", "comments": comments}]
    )
    assert row.prompt == ""


def test_an_agent_who_writes_first(read_export: Any) -> None:
    comments = [
        comment(88, True, "Dear Anna, your new card is on its way.", 0),
        comment(77, True, "When will it be here?", 1),
        comment(88, True, "Tomorrow.", 2),
    ]
    ticket = {**TICKET, "description": "Dear Anna, your new card is on its way.", "comments": comments}
    (row,) = read_export("zendesk conversation", [ticket])
    assert (row.prompt, row.response) == ("When will it be here?", "Tomorrow.")


def test_tickets_and_comments_apart(read_export: Any) -> None:
    other = {
        **TICKET,
        "id": 502,
        "subject": "Fee",
        "description": "x",
        "requester": {"id": 78, "name": "Jo Lee"},
        "requester_id": 78,
    }
    comments = [{**one, "ticket_id": 501} for one in COMMENTS]
    comments.append({**comment(78, True, "What is the fee?", 0), "ticket_id": 502})
    comments.append({**comment(88, True, "None.", 1), "ticket_id": 502})
    comments.append({**comment(88, True, "geheim", 1), "ticket_id": 999})  # whose ticket is not in the export
    rows = read_export(["zendesk tickets", "zendesk comments"], [TICKET, other], comments)
    assert [(row.prompt, row.response, row.source_id) for row in rows] == [
        (
            "Card blocked\n\nMy card is blocked since Monday, what can I do?",
            "Hello Anna,\n\nI have unblocked it. Please try again.",
            "501",
        ),
        ("Fee\n\nWhat is the fee?", "None.", "502"),
        ("", "", "999"),
    ]


def test_comments_as_csv(read_export: Any) -> None:
    tickets = "Id,Subject,Requester Id,Requester,Assignee Id,Status\n7,Login,77,Anna Schmidt,88,Solved\n"
    comments = (
        "ticket_id,comment_id,author_id,author_name,public,plain_body,created_at\n"
        "7,2,88,Ben Roth,true,Please reset it.,2026-01-02 08:10\n"
        "7,1,77,Anna Schmidt,TRUE,I forgot my password.,2026-01-02 08:00\n"
        "7,3,88,Ben Roth,false,VIP,2026-01-02 08:20\n"
        ",4,88,Ben Roth,true,VIP,2026-01-02 08:20\n"
    )
    damaged, row = read_export(["zendesk tickets", "zendesk comments"], tickets, comments)
    assert not damaged.readable
    assert (row.prompt, row.response, row.line) == ("Login\n\nI forgot my password.", "Please reset it.", 2)
    assert ("NAME", "Ben Roth") in row.entities


def test_ticket_events(read_export: Any) -> None:
    children = [[{**COMMENTS[at], "event_type": "Comment"}] for at in (1, 4, 0)]
    children[0].insert(0, {"event_type": "Create", "subject": "geheim"})
    authors = zip((77, 88, 88), children, strict=True)
    events = [{"ticket_id": 501, "updater_id": author, "child_events": child} for author, child in authors]
    (row,) = read_export(["zendesk tickets", "zendesk events"], [TICKET], events)
    assert row.response == "Hello Anna,\n\nI have unblocked it. Please try again."


def test_comments_as_json_in_a_cell(read_export: Any) -> None:
    cell = json.dumps(COMMENTS).replace('"', '""')
    table = f'id,subject,requester_id,comments\n501,Card blocked,77,"{cell}"\n502,Card,77,"[{{"\n'
    row, damaged = read_export("zendesk conversation", table)
    assert row.response == "Hello Anna,\n\nI have unblocked it. Please try again."
    assert not damaged.readable


def test_a_private_first_comment_written_otherwise_is_no_question(read_export: Any) -> None:
    secret = "geheim: der Kunde droht mit **Anwalt**"
    html = "<div><p>geheim: der Kunde droht mit Anwalt</p></div>"
    answer = comment(88, True, "I have unblocked it.", 10)
    asked = comment(77, True, "My card is blocked.", 5)
    for first in (comment(88, False, secret, 0), comment(88, False, "", 0, html_body=html)):
        ticket = {**TICKET, "description": secret, "comments": [first, asked, answer]}
        (row,) = read_export("zendesk conversation", [ticket])
        assert (row.prompt, row.response) == ("Card blocked\n\nMy card is blocked.", "I have unblocked it.")


def test_numbers_that_a_table_made_floats_are_the_same_people(read_export: Any) -> None:
    tickets = "id,subject,requester_id,assignee_id,submitter_id,status,description\n1,Card,10.0,20.0,10.0,solved,\n"
    comments = (
        "id,ticket_id,author_id,public,plain_body\n"
        "1,1.0,10,1.0,My card is blocked.\n2,1.0,20,0.0,geheim\n3,1.0,20,1.0,I have unblocked it.\n"
    )
    (row,) = read_export(["zendesk tickets", "zendesk comments"], tickets, comments)
    assert (row.prompt, row.response) == ("Card\n\nMy card is blocked.", "I have unblocked it.")
