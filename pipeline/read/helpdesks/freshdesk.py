"""Freshdesk's (and Freshservice's) ticket exports, and flattened API tickets.

Output contract: `LAYOUT`, the names under which Freshdesk keeps what a record needs. `Type` is the drop-down that
companies fill with their own topics. The plain export has no agent's text; that column comes from a custom export or
the API, whose statuses are numbers (4 resolved, 5 closed).
"""

from __future__ import annotations

from pipeline.read.helpdesks.layout import Layout
from pipeline.read.helpdesks.translations import RESOLVED

LAYOUT = Layout(
    product="Freshdesk",
    signs=frozenset(
        {
            "due by time", "created time", "resolved time", "closed time", "last update time", "last updated time",
            "initial response time", "time tracked", "first response time in hrs", "resolution time in hrs",
            "agent interactions", "customer interactions", "resolution status", "first response status",
            "survey results", "survey result", "responder id", "fr escalated", "fr due by", "description text",
        }
    ),
    roles={
        "id": ("ticket id", "id", "display id"),
        "subject": ("subject",),
        "description": ("description text", "description"),
        "answer": (
            "agent response", "agent reply", "last agent response", "latest public reply", "latest public comment",
            "public reply", "resolution note", "resolution notes", "resolution applied", "reply", "response",
            "answer", "solution", "resolution",
        ),
        "label": ("topic", "type", "category", "ticket type"),
        "status": ("status",),
        "created": ("created time", "created at"),
    },
    names=("full name", "requester name", "contact name", "name", "agent", "agent name", "responder name"),
    emails=("email", "requester email", "contact email", "agent email"),
    phones=("work phone", "mobile phone", "phone", "mobile", "requester phone"),
    resolved=RESOLVED | {"4", "5"},
)  # fmt: skip
