"""Jira and Jira Service Management: issues with their comments, as CSV and as JSON.

Output contract: `LAYOUTS`. The CSV has a column `Comment` per comment, each `date;author;text`; the JSON is what the
REST API's search returns. Which comments of a service project are internal notes, JSON says (`jsdPublic`,
`sd.public.comment`); Jira's own CSV does not. There a comment of somebody other than the reporter counts as unmarked,
unless the cell or the column's name says which it is, or the project's type that it knows no internal notes.
Format: Atlassian's "Export issues" and "Importing data from CSV", REST API v2 and v3, Atlassian document format.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.read.conversations.conversation import BY_AUTHOR, Conversation, Layout, has
from pipeline.read.conversations.document import Document, at, entries, first, flag, several, text, words

COMMENTS = ("comment", "comments", "kommentar", "kommentare")
PUBLIC = ("publiccomment", "publiccomments", "commentpublic", "customercomment", "replytocustomer")
INTERNAL = (
    "internalcomment", "internalcomments", "commentinternal", "internalnote", "internalnotes", "internerkommentar",
)  # fmt: skip
KEY = ("issuekey", "vorgangsschlüssel", "workitemkey")
SUMMARY = ("summary", "zusammenfassung")
SERVICE = (  # columns that only projects of Jira Service Management have
    "customfieldrequesttype", "customfieldcustomerrequesttype", "requesttype", "customerrequesttype", "organizations",
    "customfieldorganizations", "customfieldrequestparticipants", "requestparticipants", "customfieldsatisfaction",
    "customfieldtimetofirstresponse", "customfieldtimetoresolution", "satisfactionrating",
)  # fmt: skip
CELL = re.compile(r"\s*([^;\n]{0,40}\d[^;\n]{0,40})?;([^;\n]{0,200});(.*)", re.DOTALL)
MARK = re.compile(
    r"""(?:;\s*(?:(?P<word>internal|public)|jsdPublic\s*[=:]\s*(?P<jsd>true|false)|
    [\[{][^\n]{0,200}"internal"\s*:\s*"?(?P<json>true|false)"?[\s}\]]*))\s*$""",
    re.IGNORECASE | re.VERBOSE,
)
FIRST_WORD = re.compile(r"\s*(internal|public)\s*;", re.IGNORECASE)
SAID_INTERNAL = re.compile(
    r"\W{0,4}(?:internal(?: (?:note|comment|only))?|(?:nur )?intern(?:e notiz|er kommentar)?|private note)"
    r"\s?(?:[\])}]|:|[-–] )|(?:internal|interner) (?:note|comment|kommentar)\b",
    re.IGNORECASE,
)
ACCOUNT = re.compile(r"(?:\d+:[0-9a-f-]{36}|[0-9a-f]{24}|qm:\S+|ug:\S+)", re.IGNORECASE)  # ids of Jira Cloud
BLOCKS = frozenset({"paragraph", "heading", "listItem", "codeBlock", "blockquote", "tableRow", "panel", "rule"})


def _marked(body: str) -> tuple[str, bool | None]:
    """Returns a comment's text without the mark of its visibility, and whether it is public; None: no mark."""
    if found := FIRST_WORD.match(body):
        return body[found.end() :], found[1].lower() == "public"
    if found := MARK.search(body[-400:]):
        public = {"public": True, "internal": False}.get((found["word"] or "").lower())
        if public is None:
            public = found["jsd"].lower() == "true" if found["jsd"] else found["json"].lower() == "false"
        return body[: len(body) - len(found[0])], public
    return body, False if SAID_INTERNAL.match(body) else None


def _cells(document: Document, names: tuple[str, ...]) -> list[str]:
    return [cell for name in names for cell in several([document.get(name)]) if cell]


def _record(document: Document) -> Conversation:
    """An issue of the CSV."""
    reporter = several([document.get(name) for name in ("reporter", "reporterid", "autor", "autorid")])
    assignee = several([document.get(name) for name in ("assignee", "assigneeid", "bearbeiter", "bearbeiterid")])
    found = Conversation(
        id=words(document, *KEY),
        subject=words(document, *SUMMARY),
        label=words(document, "customfieldrequesttype", "requesttype", "components", "issuetype", "vorgangstyp"),
        status=words(document, "statuscategory", "status"),
        created=first(document, "created", "erstellt"),
        opening=words(document, "description", "beschreibung", *SUMMARY),
        customers=reporter,
        agents=assignee,
        names=[name for name in reporter + assignee if not ACCOUNT.fullmatch(name)],
    )
    service = has(frozenset(document), SERVICE)
    open_to_all = words(document, "projecttype", "projekttyp").casefold() in ("software", "business") and not service
    separate = has(frozenset(document), INTERNAL)  # then what is not in that column is public
    cells = [(cell, True if separate or open_to_all else None) for cell in _cells(document, COMMENTS)]
    cells += [(cell, True) for cell in _cells(document, PUBLIC)]
    authors: dict[str, None] = {}
    for cell, public in cells:
        parts = CELL.fullmatch(cell)
        time, author, body = (parts[1], parts[2].strip(), parts[3]) if parts else (None, "", cell)
        body, mark = _marked(body)
        authors[author] = None
        own = author in reporter and author not in assignee and mark is None  # customers write no internal notes
        found.say(body, BY_AUTHOR, True if own else public if mark is None else mark, time, author)
    found.names += [name for name in authors if name and not ACCOUNT.fullmatch(name)]
    # Ids of accounts against a reporter's name: who is who cannot be told.
    told = any(author in reporter for author in authors) or any(ACCOUNT.fullmatch(name) for name in reporter)
    found.others = "agent" if told or not any(ACCOUNT.fullmatch(author) for author in authors) else None
    return found


def _prose(node: Any) -> str:
    """Returns a text of the Atlassian document format, or a plain one, as text."""
    if not isinstance(node, dict):
        return text(node)
    if node.get("type") == "hardBreak":
        return "\n"
    inner = "".join(_prose(child) for child in entries(node.get("content")))
    own = words(node, "text") or words(node, "attrs.text", "attrs.shortName", "attrs.url")
    mark = "- " if node.get("type") == "listItem" else ""
    return mark + own + inner + ("\n" if node.get("type") in BLOCKS else "")


def _issue(document: Document) -> Conversation:
    """An issue of the REST API."""
    fields = document.get("fields")
    reporter, assignee = at(fields, "reporter"), at(fields, "assignee")
    found = Conversation(
        id=words(document, "key"),
        subject=words(fields, "summary"),
        label=words(fields, "issuetype.name"),
        status=words(fields, "status.statusCategory.key", "status.name"),
        created=first(fields, "created"),
        opening=_prose(at(fields, "description")).strip() or words(fields, "summary"),
        customers=_ids(reporter),
        agents=_ids(assignee),
        others="agent",
    )
    people = [reporter, assignee]
    for comment in entries(at(fields, "comment"), "comments"):
        author = comment.get("author")
        people.append(author)
        properties = entries(comment.get("properties"))
        internal = next((at(p, "value.internal") for p in properties if p.get("key") == "sd.public.comment"), None)
        public = flag(comment.get("jsdPublic")) if internal is None else flag(internal) is False
        app = words(author, "accountType") == "app"
        restricted = first(comment, "visibility") is not None  # to a role or group
        who = next(iter(_ids(author)), "")
        found.say(
            _prose(comment.get("body")).strip(),
            None if app else BY_AUTHOR,
            False if restricted else public,
            first(comment, "created"),
            who,
        )
    for person in people:
        found.names += several([at(person, "displayName")])
        found.emails += several([at(person, "emailAddress")])
    return found


def _ids(person: Any) -> list[str]:
    return several([first(person, "accountId", "name", "key", "emailAddress")])


LAYOUTS = (
    Layout(
        "jira issues",
        lambda names: 7 if has(names, KEY, SUMMARY, (*COMMENTS, *PUBLIC)) else 0,
        _record,
    ),
    Layout("jira search", lambda names: 7 if has(names, "key", "fields") else 0, _issue),
)
