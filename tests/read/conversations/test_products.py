"""Every product's export but Zendesk's: made up, with notes, bots, HTML, several agents, times out of order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest


def test_freshdesk(read_export: Any) -> None:
    def reply(incoming: bool, private: bool, body: str, hour: int, **more: Any) -> dict[str, Any]:
        texts = {"body": f"<div>{body}</div>", "body_text": body}
        return {**texts, "incoming": incoming, "private": private, "created_at": f"2026-01-02T{hour:02}:00:00Z", **more}

    ticket = {
        "id": 20,
        "subject": "Refund",
        "description": "<div>Where is my <b>refund</b>?</div>",
        "description_text": "Where is my refund?",
        "status": 5,
        "type": "Billing",
        "created_at": "2026-01-02T07:00:00Z",
        "requester_id": 1,
        "responder_id": 2,
        "requester": {"id": 1, "name": "Anna Schmidt", "email": "anna@example.org", "mobile": "0171 2345678"},
        "conversations": [
            reply(False, False, "It was paid yesterday.", 10, source=0, user_id=2, from_email="desk@example.com"),
            reply(False, True, "fraud? ask Carla", 8, source=2, user_id=2),
            reply(False, False, "FWD: to the bank, VIP", 8, source=8, user_id=2),
            reply(True, False, "I am still waiting.", 9, source=0, user_id=1),
            reply(True, False, "Thanks! And the fee?", 11, source=0),
            reply(False, False, "There was no fee.", 12, source=2, user_id=3),
            reply(True, False, "VIP 5 stars", 13, source=6),
        ],
    }
    (row,) = read_export("freshdesk conversation", [ticket], conversations="turns")
    assert row.prompt == "Refund\n\nWhere is my refund?\n\nI am still waiting."
    assert row.response == "It was paid yesterday."
    assert row.later == ("Thanks! And the fee?", "There was no fee.")
    assert (row.source_id, row.label, row.resolved) == ("20", "Billing", True)
    assert {("NAME", "Anna Schmidt"), ("EMAIL", "anna@example.org"), ("PHONE", "0171 2345678")} <= set(row.entities)
    outbound = {**ticket, "source": 10, "description": "Your refund is late."}
    (row,) = read_export("freshdesk conversation", [outbound])
    assert row.prompt == "I am still waiting."


def test_freshdesk_account_export(read_export: Any) -> None:
    notes = [
        {"body": "VIP", "private": True, "incoming": False, "created_at": "2026-01-02T08:00:00Z"},
        {"body": "Here is the code.", "private": False, "incoming": False, "created_at": "2026-01-02T09:00:00Z"},
        {"body": "geheim", "private": False, "incoming": False, "deleted": True, "created_at": "2026-01-02T08:30:00Z"},
    ]
    ticket = {"display_id": 7, "subject": "Code", "description": "Please send a code.", "status_name": "Closed"}
    (row,) = read_export("freshdesk export", [{"helpdesk_ticket": {**ticket, "notes": notes}}])
    assert (row.prompt, row.response) == ("Code\n\nPlease send a code.", "Here is the code.")
    assert (row.source_id, row.resolved) == ("7", True)


def test_freshdesk_tickets_and_replies_apart(read_export: Any) -> None:
    ticket = {"id": 7, "subject": "Code", "description": "Please send a code.", "requester_id": 1, "responder_id": 2}
    replies = "ticket_id,incoming,private,body_text\n7,false,true,VIP\n7,false,false,Here is the code.\n"
    (row,) = read_export(["freshdesk tickets", "freshdesk replies"], [{**ticket, "due_by": ""}], replies)
    assert (row.prompt, row.response) == ("Code\n\nPlease send a code.", "Here is the code.")


def intercom(*parts: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    made = [
        {"part_type": kind, "body": body, "created_at": 1767340000 + at, "author": {"type": who, "name": f"{who} {at}"}}
        for at, (kind, who, body) in enumerate(parts)
    ]
    author = {"type": "user", "id": "u1", "name": "Anna Schmidt", "email": "anna@example.org"}
    source = {"type": "conversation", "subject": "", "body": "<p>How do I export my data?</p>", "author": author}
    return {
        "type": "conversation",
        "id": "9001",
        "created_at": 1767339000,
        "state": "closed",
        "title": "Export",
        "source": source,
        "conversation_parts": {"type": "conversation_part.list", "conversation_parts": made},
        **more,
    }


def test_intercom(read_export: Any) -> None:
    document = intercom(
        ("comment", "bot", "VIP: I am a bot, choose a topic"),
        ("assignment", "admin", "VIP goes to Carla"),
        ("note", "admin", "<p>VIP, do not offer the discount</p>"),
        ("comment", "user", "All of it."),
        ("comment", "admin", "<p>Hi Anna,</p><p>go to Settings and choose Export.</p>"),
        ("note_and_reopen", "admin", "VIP again"),
        ("open", "user", "The file is empty."),
        ("comment", "admin", ""),
        ("close", "admin", "It is fixed now."),
        ("comment", "lead", "Thanks!"),
    )
    (row,) = read_export("intercom conversation", [document], conversations="turns")
    assert row.prompt == "Export\n\nHow do I export my data?\n\nAll of it."
    assert row.response == "Hi Anna,\n\ngo to Settings and choose Export."
    assert row.later == ("The file is empty.", "It is fixed now.")
    assert row.created_at == datetime.fromtimestamp(1767339000, UTC)
    assert (row.source_id, row.resolved) == ("9001", True)
    assert {("NAME", "Anna Schmidt"), ("EMAIL", "anna@example.org"), ("NAME", "admin 4")} <= set(row.entities)


def test_intercom_machines(read_export: Any) -> None:
    document = intercom(("comment", "admin", "VIP answer of the AI"), ("comment", "admin", "Use Export."))
    parts = document["conversation_parts"]["conversation_parts"]
    parts[0]["author"]["from_ai_agent"] = True
    (row,) = read_export("intercom conversation", [document])
    assert row.response == "Use Export."
    campaign = intercom(("comment", "user", "What does it cost?"), ("comment", "admin", "Nothing."))
    campaign["source"] = {"delivered_as": "automated", "body": "VIP offer!", "author": {"type": "admin"}}
    (row,) = read_export("intercom conversation", [campaign])
    assert (row.prompt, row.response) == ("Export\n\nWhat does it cost?", "Nothing.")


def test_intercom_ticket(read_export: Any) -> None:
    document = intercom(("note", "admin", "VIP"), ("comment", "admin", "Done."))
    document["ticket_parts"] = {"ticket_parts": document.pop("conversation_parts")["conversation_parts"]}
    document["ticket_attributes"] = {"_default_title_": "Login", "_default_description_": "I cannot log in."}
    (row,) = read_export("intercom ticket", [{**document, "source": None, "title": None}])
    assert (row.prompt, row.response) == ("Login\n\nI cannot log in.", "Done.")


def test_an_intercom_ticket_inside_the_company_is_no_row(read_export: Any) -> None:
    document = intercom(("comment", "admin", "VIP"))
    document["ticket_parts"] = {"ticket_parts": document.pop("conversation_parts")["conversation_parts"]}
    document["ticket_attributes"] = {"_default_title_": "Login", "_default_description_": "geheim"}
    (row,) = read_export("intercom ticket", [{**document, "source": None, "title": None, "category": "Back-office"}])
    assert row.response == ""


def front(incoming: bool, body: str, at: float, **more: Any) -> dict[str, Any]:
    who = {"role": "from", "handle": "anna@example.org" if incoming else "desk@example.com", "name": "Anna Schmidt"}
    return {
        "id": f"msg_{at}",
        "type": "email",
        "is_inbound": incoming,
        "body": body,
        "created_at": at,
        "recipients": [who],
        **more,
    }


FRONT = [
    front(False, "<p>It is in the menu.</p>", 1767340002.5, author={"first_name": "Ben", "last_name": "Roth"}),
    front(True, "<p>Where is the invoice?</p>", 1767340001.0),
    front(False, "VIP draft", 1767340001.5, is_draft=True),
    front(False, "VIP draft", 1767340001.6, draft_mode="private"),
    front(False, "VIP bounced", 1767340001.7, error_type="bounced"),
    front(True, "And for May?", 1767340003.0),
    front(False, "There, too.", 1767340004.0),
]  # fmt: skip


def test_front(read_export: Any) -> None:
    document = {
        "id": "cnv_1",
        "subject": "Invoice",
        "status": "archived",
        "recipient": {"handle": "anna@example.org", "name": "Anna Schmidt"},
        "tags": [{"name": "Billing"}],
        "comments": [{"author": {"first_name": "Ben"}, "body": "VIP", "posted_at": 1767340001.2}],
        "messages": {"_results": FRONT},
        "created_at": 1767340000.0,
        "is_private": False,
    }
    (row,) = read_export("front conversation", [document], conversations="turns")
    assert (row.prompt, row.response) == ("Invoice\n\nWhere is the invoice?", "It is in the menu.")
    assert row.later == ("And for May?", "There, too.")
    assert (row.source_id, row.label, row.resolved) == ("cnv_1", "Billing", True)
    assert {("NAME", "Anna Schmidt"), ("NAME", "Ben Roth"), ("EMAIL", "anna@example.org")} <= set(row.entities)


@pytest.mark.parametrize("inside", [{"type": "internal"}, {"type": "comment"}, {"is_internal": True}])
def test_front_messages_inside_the_company_are_no_answers(read_export: Any, inside: dict[str, Any]) -> None:
    link = {"related": {"conversation": "https://acme.api.frontapp.com/conversations/cnv_1"}}
    messages = [FRONT[1], {**FRONT[0], "body": "VIP", **inside}]
    (row,) = read_export("front messages", [{**message, "_links": link, "subject": "Invoice"} for message in messages])
    assert row.response == ""


def test_front_messages_alone(read_export: Any) -> None:
    link = {"related": {"conversation": "https://acme.api.frontapp.com/conversations/cnv_1"}}
    (row,) = read_export("front messages", [{**message, "_links": link, "subject": "Invoice"} for message in FRONT])
    assert (row.prompt, row.response) == ("Invoice\n\nWhere is the invoice?", "It is in the menu.")


def test_help_scout(read_export: Any) -> None:
    def thread(kind: str, who: str, body: str, hour: int, **more: Any) -> dict[str, Any]:
        writer = {"type": who, "first": who.title(), "last": "Roth", "email": f"{who}@example.org"}
        made = {"type": kind, "state": "published", "body": body, "createdBy": writer}
        return {**made, "createdAt": f"2026-01-02T{hour:02}:00:00Z", **more}

    document = {
        "id": 1,
        "number": 12,
        "threads": 8,
        "subject": "Password",
        "status": "closed",
        "primaryCustomer": {"first": "Anna", "last": "Schmidt", "email": "anna@example.org"},
        "_embedded": {
            "threads": [  # newest first, as the API gives them
                thread("customer", "customer", "Thank you.", 18),
                thread("message", "user", "It is in the mail.", 17),
                thread("customer", "customer", "No mail came.", 16),
                thread("message", "user", "<p>I sent you a <b>link</b>.</p>", 15),
                thread("message", "user", "VIP workflow", 14, action={"type": "workflow"}),
                thread("forwardparent", "user", "VIP forwarded", 13),
                thread("message", "user", "VIP draft", 12, state="draft"),
                thread("lineitem", "user", "VIP assigned", 11),
                thread("note", "user", "VIP note", 10),
                thread("customer", "customer", "I lost my password.", 9),
            ]
        },
    }
    (row,) = read_export("help scout conversation", [document], conversations="turns")
    assert (row.prompt, row.response) == ("Password\n\nI lost my password.", "I sent you a link.")
    assert row.later == ("No mail came.", "It is in the mail.")
    assert (row.source_id, row.resolved) == ("12", True)
    assert {("NAME", "Anna Schmidt"), ("NAME", "User Roth"), ("EMAIL", "customer@example.org")} <= set(row.entities)


def test_help_scout_chat(read_export: Any) -> None:
    threads = [
        {"type": "beaconchat", "state": "published", "body": "hi", "createdBy": {"type": "customer"}},
        {"type": "beaconchat", "state": "published", "body": "VIP menu", "createdBy": {"type": "bot"}},
        {"type": "beaconchat", "state": "published", "body": "Which plan do you have?", "createdBy": {"type": "user"}},
    ]
    (row,) = read_export("help scout conversation", [{"id": 1, "mailboxId": 2, "threads": threads}])
    assert (row.prompt, row.response) == ("hi", "Which plan do you have?")


JIRA = (
    "Summary,Issue key,Issue id,Issue Type,Status,Project type,Reporter,Assignee,Created,Description,"
    "Comment,Comment,Comment,Comment\n"
)


def test_jira_csv(read_export: Any) -> None:
    table = JIRA + (
        "VPN,HELP-1,1,Task,Done,software,anna,ben.roth,02/Jan/26 7:33 AM,The VPN drops.,"
        '02/Jan/26 9:00 AM;ben.roth;Please update; then restart.,"02/Jan/26 8:00 AM;anna;Since 9;30.",'
        "02/Jan/26 8:30 AM;ben.roth;[Internal] VIP,02/Jan/26 10:00 AM;carla;Version 5 fixes it.\n"
        "Empty,HELP-2,2,Task,Open,software,anna,ben.roth,02/Jan/26 7:33 AM,Hello?,,,,\n"
    )
    row, empty = read_export("jira issues", table)
    assert row.prompt == "VPN\n\nThe VPN drops.\n\nSince 9;30."
    assert row.response == "Please update; then restart."
    assert (row.source_id, row.label, row.resolved) == ("HELP-1", "Task", True)
    assert row.created_at == datetime(2026, 1, 2, 7, 33, tzinfo=UTC)
    assert {("NAME", "anna"), ("NAME", "carla")} <= set(row.entities)
    assert (empty.prompt, empty.response, empty.refused) == ("Empty\n\nHello?", "", "")


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("ben;geheim without a mark", ""),
        ("ben;internal;geheim", ""),
        ("ben;geheim;internal", ""),
        ('ben;geheim;[{"key":"sd.public.comment","value":{"internal":true}}]', ""),
        ("ben;Internal note: geheim", ""),
        ("ben;Interner Kommentar: geheim", ""),
        ("ben;public;Restart it.", "Restart it."),
        ("ben;Restart it.;public", "Restart it."),
        ('ben;Restart it.;[{"key":"sd.public.comment","value":{"internal":false}}]', "Restart it."),
        ("ben;Restart it.;jsdPublic=true", "Restart it."),
    ],
)
def test_jira_service_project(read_export: Any, cell: str, answer: str) -> None:
    """Jira's CSV of a service project has no sign of internal notes: an agent's comment needs one."""
    escaped = cell.replace('"', '""')
    table = JIRA + (
        f'VPN,SD-1,1,Request,Done,service_desk,anna,ben,02/Jan/26 7:33 AM,It drops.,"02/Jan/26 9:00 AM;{escaped}",,,\n'
    )
    (row,) = read_export("jira issues", table)
    assert (row.response, row.refused) == (answer, "unmarked" if "without" in cell else "")


def test_jira_service_project_whose_comments_are_all_public(read_export: Any) -> None:
    table = JIRA + (
        "VPN,SD-1,1,Request,Done,service_desk,anna,ben,02/Jan/26 7:33 AM,It drops.,"
        "02/Jan/26 9:00 AM;ben;Restart it.,02/Jan/26 9:01 AM;ben;geheim;internal,,\n"
    )
    (row,) = read_export("jira issues", table, unmarked="public")
    assert row.response == "Restart it."


def test_jira_columns_of_their_own(read_export: Any) -> None:
    table = (
        "Issue key,Summary,Reporter,Request Type,Internal comment,Comment\n"
        "SD-1,It drops,anna,IT,02/Jan/26 8:00 AM;ben;geheim,02/Jan/26 9:00 AM;ben;Restart it.\n"
    )
    (row,) = read_export("jira issues", table)
    assert (row.prompt, row.response) == ("It drops", "Restart it.")


def test_jira_accounts_without_names(read_export: Any) -> None:
    """Comments carry account ids; with nothing but the reporter's name nobody can tell who is the customer."""
    ids = "5b10a2844c20165700ede21g".replace("g", "0"), "5b10a2844c20165700ede211"
    comments = f"02/Jan/26 8:00 AM;{ids[0]};still,02/Jan/26 9:00 AM;{ids[1]};Restart it."
    table = f"Issue key,Summary,Reporter,Comment,Comment\nA-1,It drops,Anna Schmidt,{comments}\n"
    (row,) = read_export("jira issues", table)
    assert (row.response, row.refused) == ("", "unmarked")
    known = (
        "Issue key,Summary,Project type,Reporter,Reporter Id,Comment,Comment\n"
        f"A-1,It drops,software,Anna Schmidt,{ids[0]},{comments}\n"
    )
    (row,) = read_export("jira issues", known)
    assert (row.prompt, row.response) == ("It drops\n\nstill", "Restart it.")
    assert row.entities == (("NAME", "Anna Schmidt"),)


def test_jira_without_a_word_on_its_project_tells_no_note_from_an_answer(read_export: Any) -> None:
    comments = "05/Jan/26 10:00 AM;ben;for us,05/Jan/26 11:00 AM;ben;Restart it."
    for columns in (
        "Issue key,Summary,Reporter,Comment,Comment",
        "Vorgangsschlüssel,Zusammenfassung,Autor,Kommentar,Kommentar",
    ):
        (row,) = read_export("jira issues", f"{columns}\nA-1,It drops,anna,{comments}\n")
        assert (row.response, row.refused) == ("", "unmarked")


def test_jira_json(read_export: Any) -> None:
    anna = {"accountId": "a", "displayName": "Anna Schmidt", "emailAddress": "anna@example.org"}
    ben = {"accountId": "b", "displayName": "Ben Roth"}

    def paragraph(text: str) -> dict[str, Any]:
        return {"type": "paragraph", "content": [{"type": "text", "text": text}]}

    fields = {
        "summary": "VPN",
        "description": {"type": "doc", "content": [paragraph("It drops."), paragraph("Daily.")]},
        "reporter": anna,
        "status": {"name": "Gelöst", "statusCategory": {"key": "done"}},
        "comment": {
            "comments": [
                {"author": ben, "body": "geheim", "jsdPublic": False, "created": "2026-01-02T08:00:00.000+0100"},
                {"author": ben, "body": "geheim", "jsdPublic": True, "visibility": {"type": "role"}},
                {"author": {"accountType": "app", "accountId": "x"}, "body": "VIP", "jsdPublic": True},
                {"author": ben, "body": paragraph("Restart it."), "jsdPublic": True},
            ]
        },
    }
    (row,) = read_export("jira search", [{"id": "1", "key": "SD-1", "fields": fields}])
    assert (row.prompt, row.response) == ("VPN\n\nIt drops.\nDaily.", "Restart it.")
    assert (row.source_id, row.resolved) == ("SD-1", True)
    assert ("NAME", "Ben Roth") in row.entities


JOURNAL = (
    "2026-01-02 11:00:00 - Anna Schmidt (Additional comments)\nIt works, thanks.\n\n"
    "2026-01-02 10:00:00 - Ben Roth (Additional comments)\nPlease restart\nthe client.\n\n"
    "2026-01-02 09:30:00 - Ben Roth (Work notes)\nVIP, check the fraud list\n\n"
    "2026-01-02 09:15:00 - System (Additional comments)\nVIP: assigned\n\n"
    "2026-01-02 09:00:00 - Anna Schmidt (Additional comments)\nSince Monday.\n\n"
)


@pytest.mark.parametrize("column", ["comments", "Additional comments", "comments_and_work_notes"])
def test_servicenow(read_export: Any, column: str) -> None:
    head = f"number,short_description,description,caller_id,assigned_to,state,category,{column},work_notes\n"
    table = head + (
        f'INC1,VPN,The VPN drops.,Anna Schmidt,Ben Roth,7,network,"{JOURNAL}",'
        '"2026-01-02 09:30:00 - Ben Roth (Work notes)\nVIP geheim"\n'
        'INC2,Mail,No mail.,Anna Schmidt,Ben Roth,1,mail,,"2026-01-02 09:30:00 - Ben Roth (Work notes)\nVIP geheim"\n'
    )
    row, unanswered = read_export("servicenow records", table, conversations="turns")
    assert row.prompt == "VPN\n\nThe VPN drops.\n\nSince Monday."
    assert (row.response, row.later) == ("Please restart\nthe client.", ())
    assert (row.source_id, row.label, row.resolved) == ("INC1", "network", True)
    assert {("NAME", "Anna Schmidt"), ("NAME", "Ben Roth")} <= set(row.entities)
    assert (unanswered.prompt, unanswered.response, unanswered.refused) == ("Mail\n\nNo mail.", "", "")


@pytest.mark.parametrize(
    "heading",
    [
        "2026-01-02T09:30:00 - Ben Roth (Work notes)",
        "2026-01-02 09:30:00 CET - Ben Roth (Work notes)",
        "02-Jan-2026 09:30:00 – Ben Roth (Work notes)",
        "yesterday, Ben Roth (Work notes)",
        "yesterday, Ben Roth (Arbeitsnotizen)",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "_x000D_\n"])
def test_servicenow_headings_in_other_forms_let_no_note_in(read_export: Any, heading: str, end: str) -> None:
    first = "2026-01-02 10:00:00 - Ben Roth (IT) (Additional comments)"
    lines = [first, "Please restart", "the client.", "", heading, "geheim"]
    document = {"number": "INC1", "short_description": "VPN", "caller_id": "Anna Schmidt", "comments": end.join(lines)}
    (row,) = read_export("servicenow records", [document])
    assert (row.prompt, row.response) == ("VPN", "Please restart\nthe client.")


def test_servicenow_table_api(read_export: Any) -> None:
    def both(shown: str, stored: str) -> dict[str, str]:
        return {"display_value": shown, "value": stored}

    document = {
        "number": both("INC1", "INC1"),
        "short_description": both("VPN", "VPN"),
        "caller_id": both("Anna Schmidt", "5137153cc611227c000bbd1bd8cd2005"),
        "state": both("Closed", "7"),
        "comments": both(JOURNAL, ""),
        "work_notes": both("VIP", ""),
    }
    (row,) = read_export("servicenow records", [document])
    assert (row.prompt, row.response, row.resolved) == ("VPN\n\nSince Monday.", "Please restart\nthe client.", True)


def test_servicenow_journal(read_export: Any) -> None:
    records = (
        "sys_id,number,short_description,caller_id,caller_id.user_name\n"
        "x1,INC1,VPN drops,Anna Schmidt,anna.schmidt\nx2,INC2,Mail,Jo Lee,\n"
    )
    journal = (
        "sys_created_on,element_id,element,value,sys_created_by\n"
        "2026-01-02 10:00:00,x1,comments,Restart it.,ben.roth\n"
        "2026-01-02 09:30:00,x1,work_notes,VIP,ben.roth\n"
        "2026-01-02 09:00:00,x1,comments,Every day.,anna.schmidt\n"
        "2026-01-02 09:10:00,x1,comments,VIP,system\n"
        "2026-01-02 09:00:00,x2,comments,geheim,somebody\n"
    )
    row, unknown = read_export(["servicenow tickets", "servicenow journal"], records, journal)
    assert (row.prompt, row.response, row.source_id) == ("VPN drops\n\nEvery day.", "Restart it.", "INC1")
    assert (unknown.response, unknown.refused) == ("", "unmarked")


CASES = (
    "Id,CaseNumber,Subject,Description,Status,IsClosed,SuppliedName,SuppliedEmail,CreatedDate,Reason\n"
    "5001000000AbCdEAAV,00001001,Printer,The printer is on fire.,Closed,true,Anna Schmidt,anna@example.org,"
    "2026-01-02T07:00:00.000+0000,Hardware\n"
    "5001000000AbCdFAAV,00001002,Mouse,No mouse.,New,false,Jo Lee,jo@example.org,2026-01-02T07:00:00.000+0000,\n"
)
EMAILS = (
    "Id,ParentId,FromAddress,FromName,Incoming,Status,MessageDate,TextBody,HtmlBody\n"
    "1,5001000000AbCdEAAV,desk@example.com,Ben Roth,false,3,2026-01-02T10:00:00.000+0000,"
    "x,<p>Use the <b>extinguisher</b>.</p>\n"
    "2,5001000000AbCdEAAV,anna@example.org,Anna Schmidt,true,2,2026-01-02T07:00:00.000+0000,The printer is on fire.,\n"
    "3,5001000000AbCdEAAV,desk@example.com,Ben Roth,false,5,2026-01-02T08:00:00.000+0000,VIP draft,\n"
    "4,5001000000AbCdEAAV,desk@example.com,Ben Roth,false,4,2026-01-02T08:00:00.000+0000,VIP forwarded,\n"
    "5,5001000000AbCdEAAV,anna@example.org,Anna Schmidt,true,1,2026-01-02T11:00:00.000+0000,It is out.,\n"
    "6,,anna@example.org,Anna Schmidt,true,1,2026-01-02T11:00:00.000+0000,VIP,\n"
)  # fmt: skip


def test_salesforce_case_and_email_message(read_export: Any) -> None:
    comments = (
        "Id,ParentId,CommentBody,IsPublished,CreatedDate,CreatedBy.Name\n"
        "c1,5001000000AbCdF,VIP,false,2026-01-02T08:00:00.000+0000,Ben Roth\n"
        "c2,5001000000AbCdF,Which one?,true,2026-01-02T09:00:00.000+0000,Ben Roth\n"
    )
    files = ["salesforce cases", "salesforce e-mails", "salesforce comments"]
    damaged, row, mouse = read_export(files, CASES, EMAILS, comments)
    assert not damaged.readable
    assert (row.prompt, row.response) == ("Printer\n\nThe printer is on fire.", "Use the extinguisher.")
    assert (row.source_id, row.label, row.resolved, row.line) == ("00001001", "Hardware", True, 2)
    assert {("NAME", "Anna Schmidt"), ("NAME", "Ben Roth"), ("EMAIL", "anna@example.org")} <= set(row.entities)
    assert (mouse.prompt, mouse.response, mouse.refused) == ("Mouse\n\nNo mouse.", "", "unmarked")  # who is Ben?


def test_salesforce_report(read_export: Any) -> None:
    """One record per e-mail, with the case's fields in each."""
    table = (
        "Case Number,Subject,Description,Contact Name,Is Incoming,Message Date,Text Body,Email Status\n"
        "1001,Printer,On fire.,Anna Schmidt,1,2026-01-02 08:00,Still on fire.,Read\n"
        "1002,Mouse,No mouse.,Jo Lee,0,2026-01-02 08:00,It is on its way.,Sent\n"
        "1001,Printer,On fire.,Anna Schmidt,0,2026-01-02 08:30,VIP,Draft\n"
        "1001,Printer,On fire.,Anna Schmidt,0,2026-01-02 09:00,Call 112.,Sent\n"
    )
    rows = read_export("salesforce e-mails", table)
    assert [(row.prompt, row.response, row.source_id) for row in rows] == [
        ("Printer\n\nOn fire.\n\nStill on fire.", "Call 112.", "1001"),
        ("Mouse\n\nNo mouse.", "It is on its way.", "1002"),
    ]


def test_salesforce_subqueries(read_export: Any) -> None:
    emails = [
        {"Incoming": False, "Status": "3", "TextBody": "VIP", "AutomationType": "AutoResponse"},
        {"Incoming": False, "Status": "3", "TextBody": "VIP", "IsExternallyVisible": False},
    ]
    comments = [
        {"CommentBody": "VIP", "IsPublished": False, "CreatedBy": {"Name": "Ben Roth", "UserType": "Standard"}},
        {"CommentBody": "Call 112.", "IsPublished": True, "CreatedBy": {"Name": "Ben Roth", "UserType": "Standard"}},
        {"CommentBody": "I did.", "IsPublished": True, "CreatedBy": {"Name": "Anna", "UserType": "CspLitePortal"}},
        {"CommentBody": "Well done.", "IsPublished": True, "CreatedBy": {"Name": "Ben", "UserType": "Standard"}},
    ]
    case = {
        "attributes": {"type": "Case"},
        "CaseNumber": "1001",
        "Subject": "Printer",
        "Description": "On fire.",
        "EmailMessages": {"totalSize": 2, "records": emails},
        "CaseComments": {"totalSize": 4, "records": comments},
    }
    (row,) = read_export("salesforce cases with messages", [case], conversations="turns")
    assert (row.prompt, row.response, row.later) == ("Printer\n\nOn fire.", "Call 112.", ("I did.", "Well done."))


def hubspot(kind: str, direction: str, actor: str, text: str, minute: int) -> dict[str, Any]:
    sender = {
        "actorId": actor,
        "name": "Anna Schmidt",
        "deliveryIdentifier": {"type": "HS_EMAIL_ADDRESS", "value": "anna@example.org"},
    }
    made = {"type": kind, "direction": direction, "createdBy": actor, "senders": [sender], "text": text}
    return {**made, "createdAt": f"2026-01-02T08:{minute:02}:00Z", "conversationsThreadId": "55"}


HUBSPOT = [
    hubspot("MESSAGE", "OUTGOING", "A-1", "The plan is monthly.", 9),
    hubspot("MESSAGE", "INCOMING", "V-1", "What does the plan cost?", 1),
    hubspot("WELCOME_MESSAGE", "OUTGOING", "S-hubspot", "VIP welcome", 0),
    hubspot("MESSAGE", "OUTGOING", "B-1", "VIP bot", 2),
    hubspot("COMMENT", "OUTGOING", "A-1", "VIP comment", 3),
    hubspot("ASSIGNMENT", "", "S-1", "VIP assignment", 4),
    hubspot("MESSAGE", "INCOMING", "V-1", "And yearly?", 10),
    hubspot("MESSAGE", "OUTGOING", "A-2", "Two months are free.", 11),
]


def test_hubspot(read_export: Any) -> None:
    thread = {"id": "55", "status": "CLOSED", "createdAt": "2026-01-02T08:00:00Z", "associatedContactId": "9"}
    document = {**thread, "messages": {"results": HUBSPOT, "paging": {}}}
    (row,) = read_export("hubspot conversation", [document], conversations="turns")
    assert (row.prompt, row.response) == ("What does the plan cost?", "The plan is monthly.")
    assert row.later == ("And yearly?", "Two months are free.")
    assert (row.source_id, row.resolved) == ("55", True)
    assert {("NAME", "Anna Schmidt"), ("EMAIL", "anna@example.org")} <= set(row.entities)
    (alone,) = read_export("hubspot messages", HUBSPOT)
    assert (alone.prompt, alone.response, alone.source_id) == (row.prompt, row.response, "55")


def test_hubspot_emails(read_export: Any) -> None:
    table = (
        "ticket_id,hs_email_direction,hs_email_subject,hs_email_text,hs_timestamp,hs_email_from_email\n"
        "9,EMAIL,Re: Plan,It is monthly.,2026-01-02T09:00:00Z,ben@example.com\n"
        "9,FORWARDED_EMAIL,Fwd: Plan,VIP,2026-01-02T08:30:00Z,ben@example.com\n"
        "9,INCOMING_EMAIL,Plan,What does it cost?,2026-01-02T08:00:00Z,anna@example.org\n"
    )
    (row,) = read_export("hubspot e-mails", table)
    assert (row.prompt, row.response) == ("Re: Plan\n\nWhat does it cost?", "It is monthly.")
