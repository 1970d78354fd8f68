"""Zendesk's ticket exports: the CSV of Admin Center and views, Explore's, and flattened API tickets.

Output contract: `LAYOUT`, the names under which Zendesk and its custom fields keep what a record needs. The plain CSV
export has neither descriptions nor comments; those columns come from a custom export, Explore or the API.
"""

from __future__ import annotations

from pipeline.read.helpdesks.layout import Layout

LAYOUT = Layout(
    product="Zendesk",
    signs=frozenset(
        {
            "summation column", "requester", "requester id", "requester external id", "requester domain",
            "submitter", "submitter id", "submitter name", "assignee", "assignee id", "assignee name",
            "satisfaction score", "group stations", "assignee stations", "reopens", "first reply time in minutes",
            "ticket form", "ticket form id", "brand id", "ticket subject", "ticket created timestamp",
            "ticket solved timestamp", "satisfaction rating",
        }
    ),
    roles={
        "id": ("id", "ticket id", "nice id"),
        "subject": ("subject", "ticket subject", "raw subject"),
        "description": (
            "description", "ticket description", "first comment", "first public comment", "body", "comment",
        ),
        "answer": (
            "latest public comment", "last public comment", "latest agent comment", "last agent comment",
            "latest comment", "public reply", "agent reply", "agent response", "answer", "reply", "response",
            "solution", "resolution",
        ),
        "label": (
            "topic", "ticket topic", "category", "ticket category", "issue type", "contact reason", "ticket type",
            "type",
        ),
        "status": ("status", "ticket status"),
        "created": ("created at", "ticket created timestamp", "ticket created date", "created"),
    },
    names=("requester", "requester name", "submitter", "submitter name", "assignee", "assignee name"),
    emails=("requester email", "submitter email", "assignee email"),
    phones=("requester phone", "requester phone number"),
)  # fmt: skip
