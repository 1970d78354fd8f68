"""Salesforce: cases with their e-mails and comments.

Output contract: `LAYOUTS`. E-mails and comments lie in the case (SOQL subqueries), beside it in a record (a report or
 a query of EmailMessage with its parent), or in files of their own (Data Export: Case.csv, EmailMessage.csv,
CaseComment.csv), which are joined by the case's id. An e-mail counts if it came in, or was sent and not by a machine:
drafts and forwarded e-mails are left out. A comment counts if `IsPublished` is true and its writer is known.
Format: Salesforce's object reference, "Case", "EmailMessage" and "CaseComment".
"""

from __future__ import annotations

from typing import Any

from pipeline.read.conversations.conversation import BY_AUTHOR, Conversation, Layout, Side, has, part_of
from pipeline.read.conversations.document import Document, ShapeError, at, entries, first, flag, folded, several, words
from pipeline.read.text.numbers import number

NOT_SENT = frozenset({"4", "5", "forwarded", "draft", "weitergeleitet", "entwurf"})  # `Status` of an e-mail
INCOMING = ("incoming", "isincoming", "eingehend")
TEXTS = ("textbody", "htmlbody", "text", "texthauptteil")
PORTAL = ("portal", "customersuccess", "guest", "powerpartner")  # in `UserType` of a customer


def _key(document: Document, *names: str) -> str:
    """Returns a record's id; the last three of 18 characters are a check sum of the first fifteen."""
    found = words(document, *names)
    return found[:15] if len(found) == 18 and found.isalnum() else found


def _case(document: Document) -> Conversation:
    """A case; e-mails and comments may lie in it."""
    found = Conversation(
        key=_key(document, "id", "caseid", "casenumber"),
        id=words(document, "casenumber", "id"),
        subject=words(document, "subject"),
        label=words(document, "topicc", "reason", "casereason", "type", "casetype"),
        status="closed" if flag(document.get("isclosed")) else words(document, "status"),
        created=first(document, "createddate", "datetimeopened", "opened"),
        opening=words(document, "description", "subject"),
        customers=several(
            [at(document.get("contact"), "Name"), document.get("contactname"), document.get("suppliedname")]
        ),
        agents=several([document.get("ownerid"), document.get("caseowner"), at(document.get("owner"), "Name")]),
    )
    found.names = [*found.customers, *several([document.get("caseowner"), at(document.get("owner"), "Name")])]
    found.emails = several(
        [document.get("suppliedemail"), document.get("contactemail"), at(document.get("contact"), "Email")]
    )
    found.phones = several(
        [document.get("suppliedphone"), document.get("contactphone"), at(document.get("contact"), "Phone")]
    )
    for email in entries(document.get("emailmessages"), "records"):
        _email(found, folded(email))
    for comment in entries(document.get("casecomments"), "records"):
        _comment(found, folded(comment))
    return found


def _email(conversation: Conversation, email: Document) -> None:
    incoming = flag(first(email, *INCOMING))
    side: Side | None = None if incoming is None else "customer" if incoming else "agent"
    status = words(email, "emailstatus", "status").casefold()
    if number(status) in NOT_SENT or flag(email.get("isdeleted")) or flag(email.get("isbounced")):
        side = None
    if side == "agent" and first(email, "automationtype"):
        side = None  # an auto-response rule, a flow
    conversation.say(
        words(email, "htmlbody", "textbody", "text", "texthauptteil"),
        side,
        flag(email.get("isexternallyvisible")) is not False,
        first(email, "messagedate", "createddate"),
    )
    conversation.names += several([email.get("fromname")])
    conversation.emails += [address for address in several([email.get("fromaddress")]) if "@" in address]


def _comment(conversation: Conversation, comment: Document) -> None:
    writer: Any = comment.get("createdby")
    kind = words(writer, "UserType").casefold()
    name = words(writer, "Name") or words(comment, "createdbyname") or (writer if isinstance(writer, str) else "")
    side: Side | Any = BY_AUTHOR
    if kind:
        side = "customer" if any(word in kind for word in PORTAL) else "agent" if kind == "standard" else None
    conversation.say(
        words(comment, "commentbody", "commentbodyrichtext"),
        side,
        flag(comment.get("ispublished")),
        first(comment, "createddate"),
        name or words(comment, "createdbyid"),
    )
    conversation.names += several([name])


def _parent(document: Document) -> str:
    return _key(document, "parentid", "parentcaseid", "caseid", "parentcasenumber", "casenumber")


def _email_row(document: Document) -> Conversation:
    """An e-mail in a record of its own, with the case's fields beside it or not."""
    key = _parent(document)
    if not key:
        raise ShapeError("an e-mail without its case")
    parent = document.get("parent")
    found = _case(folded(parent)) if isinstance(parent, dict) else Conversation()
    found.subject = found.subject or words(document, "parentsubject", "casesubject", "subject")
    found.opening = found.opening or words(document, "parentdescription", "casedescription", "description")
    found.id = found.id or words(document, "parentcasenumber", "casenumber") or key
    found.status = found.status or words(document, "parentstatus", "casestatus")
    found.created = found.created or first(document, "parentcreateddate", "casecreateddate", "datetimeopened")
    found.label = found.label or words(document, "parenttype", "casetype", "casereason", "parentreason")
    found.names += several([document.get("contactname"), document.get("parentcontactname"), document.get("caseowner")])
    found.emails += several([document.get("contactemail"), document.get("parentcontactemail")])
    found.key = key
    _email(found, document)
    return found


def _comment_row(document: Document) -> Conversation:
    found = part_of(_parent(document), "a comment without its case")
    _comment(found, document)
    return found


LAYOUTS = (
    Layout(
        "salesforce cases with messages",
        lambda names: 8 if has(names, ("emailmessages", "casecomments")) else 0,
        _case,
    ),
    Layout(
        "salesforce e-mails",
        lambda names: (
            8
            if has(names, INCOMING, TEXTS, ("parentid", "parentcaseid", "caseid", "parentcasenumber", "casenumber"))
            else 0
        ),
        _email_row,
        joined="salesforce",
    ),
    Layout(
        "salesforce comments",
        lambda names: 8 if has(names, "commentbody", "ispublished", ("parentid", "caseid", "casenumber")) else 0,
        _comment_row,
        joined="salesforce",
    ),
    Layout(
        "salesforce cases",
        lambda names: (
            5
            if has(
                names,
                "casenumber",
                ("subject", "description"),
                ("id", "caseid", "contactid", "ownerid", "suppliedname"),
            )
            else 0
        ),
        _case,
        joined="salesforce",
        messages=False,
    ),
)
