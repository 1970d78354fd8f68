"""ServiceNow: incidents, cases and requests with their journal fields, and the journal's own table.

Output contract: `LAYOUTS`. A journal field is a text of entries, newest first, each under a line `time - name (label)`.
`comments` and the entries labelled as comments in `comments_and_work_notes` count. Work notes never do: their field is
not read, and an entry under any label that is not known to be that of comments is left out. In `sys_journal_field` (one
row per entry, joined with the records by `element_id`) the element must be `comments`.
Format: ServiceNow's documentation, "Journal field type"; the table API with `sysparm_display_value`.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.read.conversations.conversation import BY_AUTHOR, Conversation, Layout, has, part_of
from pipeline.read.conversations.document import Document, first, fold, several, text

ENTRY = re.compile(
    r"^[ \t]*(\d{1,4}[-./](?:\d{1,2}|[A-Za-z]{3})[-./]\d{1,4}(?:,? |T)\d{1,2}:\d{2}(?::\d{2})?(?: ?[AP]M)?"
    r"(?: [A-Z]{2,5})?)\s[-–]\s(.{1,120}?) \(([^()\n]{1,60}(?:\([^()\n]{0,60}\))?)\)[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
NOTE = re.compile(  # the heading of a work note, in whatever form
    r"^.*\((?:work ?notes?|arbeitsnotiz(?:en)?|notes de travail|notas de trabajo)[^()\n]*\)[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
COMMENTS = (
    "comments",
    "additionalcomments",
    "additionalcommentscustomervisible",
    "zusätzlichekommentare",
    "kommentare",
)
MIXED = ("commentsandworknotes", "commentsworknotes", "kommentareundarbeitsnotizen")
NOTES = ("worknotes", "arbeitsnotizen")
TITLE = ("shortdescription", "kurzbeschreibung")
LABELS = frozenset(
    {
        *COMMENTS, "zusätzlicheanmerkungen", "commentairessupplémentaires", "comentariosadicionales",
        "commentiaggiuntivi", "aanvullendeopmerkingen", "customervisible", "dodatkowekomentarze",
    }
)  # fmt: skip
CALLER = ("callerid", "caller", "openedfor", "requestedfor", "contact", "consumer", "anrufer")
USER_NAME = (
    "calleridusername",
    "callerusername",
    "contactusername",
    "calleridemail",
    "calleremail",
    "openedforusername",
)
MACHINES = frozenset({"system", "system administrator", "guest", "virtual agent", "admin"})
STATES = {"6": "resolved", "7": "closed", "3": "closed"}  # of an incident: resolved, closed; 3 of a request


def _shown(value: Any) -> list[str]:
    """Returns a field as what is shown and what is stored: the table API can give both."""
    if isinstance(value, dict):
        return several([value.get("display_value"), value.get("value")])
    return several([value])


def _field(document: Document, *names: str) -> str:
    return next((shown[0] for name in names if (shown := _shown(document.get(name)))), "")


def _head(document: Document) -> Conversation:
    """Returns what a record tells without its journal."""
    callers = [shown for name in (*CALLER, *USER_NAME) for shown in _shown(document.get(name))]
    openers, creators = _shown(document.get("openedby")), _shown(document.get("syscreatedby"))
    state = _field(document, "state", "incidentstate", "status")
    found = Conversation(
        key=_field(document, "sysid") or _field(document, "number"),
        id=_field(document, "number", "sysid"),
        subject=_field(document, *TITLE),
        label=_field(document, "category", "subcategory", "kategorie"),
        status=STATES.get(state, state),
        created=_field(document, "openedat", "opened", "syscreatedon", "created"),
        opening=_field(document, "description", "beschreibung", *TITLE),
        # Who opened the record for himself is the caller under his user name.
        customers=callers + (creators if openers and not set(openers).isdisjoint(callers) else []),
    )
    assigned = [shown for name in ("assignedto", "resolvedby") for shown in _shown(document.get(name))]
    found.agents = [name for name in assigned if name not in found.customers]
    named = [_field(document, name) for name in (*CALLER, "openedby", "assignedto", "resolvedby", *USER_NAME)]
    found.emails = [name for name in named if "@" in name]
    found.names = [name for name in named if name and "@" not in name and not re.fullmatch(r"[0-9a-f]{32}", name)]
    return found


def _entries(journal: str) -> list[tuple[str, str, str, str]]:
    """Returns (time, name, label, text) of each entry of a journal field, oldest first; all empty but the text for what
    stands under no heading."""
    journal = journal.replace("_x000D_", "").replace("\r\n", "\n").replace("\r", "\n")
    if "\n" not in journal:
        journal = journal.replace("\\r\\n", "\n").replace("\\n", "\n")
    heads = list(ENTRY.finditer(journal))
    if not heads:
        return [("", "", "", journal)]
    ends = [head.start() for head in heads[1:]] + [len(journal)]
    found = [(h[1], h[2], h[3], _to_note(journal[h.end() : end])) for h, end in zip(heads, ends, strict=True)]
    return found[::-1]


def _to_note(body: str) -> str:
    """Returns an entry up to a line that heads a work note in a form that is not known."""
    note = NOTE.search(body)
    return body[: note.start() if note else len(body)].strip()


def _record(document: Document) -> Conversation:
    found = _head(document)
    found.key = ""
    found.others = "agent"
    journal = next((name for name in COMMENTS if _shown(document.get(name))), None)
    for name in (journal,) if journal else MIXED:
        for time, author, label, body in _entries(_field(document, name)):
            public = fold(label) in LABELS if label else name in COMMENTS
            machine = author.casefold() in MACHINES
            found.say(body, None if machine else BY_AUTHOR, public, time, author)
            found.names += several([author])
    return found


def _entry(document: Document) -> Conversation:
    """A row of `sys_journal_field`."""
    found = part_of(_field(document, "elementid"), "a journal entry without its record")
    author = _field(document, "syscreatedby", "createdby")
    found.say(
        text(document.get("value")),
        None if author.casefold() in MACHINES else BY_AUTHOR,
        fold(_field(document, "element")) in LABELS,
        first(document, "syscreatedon", "created"),
        author,
    )
    return found


def _joined(document: Document) -> Conversation:
    """A record for the join: its journal's authors are user names, so one of the caller must be known."""
    found = _head(document)
    known = any(_shown(document.get(name)) for name in USER_NAME) or len(set(found.customers)) > len(
        {shown for name in CALLER for shown in _shown(document.get(name))}
    )
    found.others = "agent" if known else None
    return found


LAYOUTS = (
    Layout(
        "servicenow records",
        lambda names: 6 if has(names, "number", TITLE, (*COMMENTS, *MIXED, *NOTES)) else 0,
        _record,
    ),
    Layout(
        "servicenow journal",
        lambda names: 8 if has(names, "elementid", "element", "value") else 0,
        _entry,
        joined="servicenow",
        needs_tickets=True,
    ),
    Layout(
        "servicenow tickets",
        lambda names: 4 if has(names, "number", "sysid", TITLE) and not has(names, (*COMMENTS, *MIXED)) else 0,
        _joined,
        joined="servicenow",
        messages=False,
    ),
)
