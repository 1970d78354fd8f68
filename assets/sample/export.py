"""Writes tickets the way the CSV exports of Zendesk and Freshdesk look.

Contract: `zendesk_csv` and `freshdesk_csv` return the file as bytes and change no ticket. Columns are those of the
products' own exports, plus the texts that a plain export lacks (see README.md). Rows whose `defect` names a raw
breakage are broken here. Not here: what the tickets say.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from tickets import Ticket

START = datetime(2026, 1, 2, 7, 0)
Row = dict[str, str]


class Clock:
    """When a ticket was created (rises with its position), first answered and solved."""

    def __init__(self, ticket: Ticket, position: int, rng: Random) -> None:
        self.created = START + timedelta(minutes=position * 330 + rng.randint(0, 300))
        self.first = rng.randint(4, 600)
        self.full = self.first + rng.randint(0, 2000)
        self.open = not ticket.answer.strip()

    def at(self, minutes: int, seconds: bool = False) -> str:
        """Creation time plus `minutes`, as both products print it."""
        return (self.created + timedelta(minutes=minutes)).strftime(
            "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
        )

    def hours(self, minutes: int) -> str:
        """A duration as HH:MM:SS."""
        return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def _group(ticket: Ticket) -> str:
    return "Business" if ticket.label in ("Business", "API") else "Private customers"


def _zendesk(ticket: Ticket, clock: Clock, rng: Random) -> Row:
    who = ticket.requester
    return {
        "Summation column": "1",
        "Id": str(ticket.row_id),
        "Requester": who.name,
        "Requester id": str(903_100_000 + rng.randint(0, 99_999)),
        "Requester external id": "",
        "Requester email": who.email,
        "Requester domain": who.email.split("@")[1],
        "Submitter": who.name,
        "Assignee": ticket.agent,
        "Group": _group(ticket),
        "Subject": ticket.subject,
        "Tags": f"{ticket.intent} {ticket.lang}",
        "Status": "Open" if clock.open else rng.choice(["Closed", "Closed", "Solved"]),
        "Priority": rng.choice(["Low", "Normal", "Normal", "High", "Urgent"]),
        "Via": rng.choice(["Mail", "Mail", "Web Form", "Chat"]),
        "Ticket type": rng.choice(["Question", "Question", "Incident", "Problem"]),
        **_zendesk_times(clock, rng),
        "Topic [list]": ticket.label,
        "Description": ticket.body,
        "Latest public comment": ticket.answer,
    }


def _zendesk_times(clock: Clock, rng: Random) -> Row:
    business = [str(minutes // 3) for minutes in (clock.first, clock.full)]
    return {
        "Created at": clock.at(0),
        "Updated at": clock.at(clock.full),
        "Assigned at": clock.at(2),
        "Organization": "",
        "Due date": "",
        "Initially assigned at": clock.at(2),
        "Solved at": "" if clock.open else clock.at(clock.full),
        "Resolution time": "" if clock.open else str(clock.full // 60),
        "Satisfaction Score": rng.choice(["Not Offered", "Offered", "Good", "Good", "Bad"]),
        "Group stations": "1",
        "Assignee stations": str(rng.randint(1, 3)),
        "Reopens": rng.choice(["0", "0", "0", "1"]),
        "Replies": "0" if clock.open else str(rng.randint(1, 4)),
        "First reply time in minutes": str(clock.first),
        "First reply time in minutes within business hours": business[0],
        "First resolution time in minutes": str(clock.full),
        "First resolution time in minutes within business hours": business[1],
        "Full resolution time in minutes": str(clock.full),
        "Full resolution time in minutes within business hours": business[1],
    }


def _freshdesk(ticket: Ticket, clock: Clock, rng: Random) -> Row:
    who = ticket.requester
    return {
        "Ticket ID": str(ticket.row_id),
        "Subject": ticket.subject,
        "Description": ticket.body,
        "Status": "Open" if clock.open else rng.choice(["Closed", "Closed", "Resolved"]),
        "Priority": rng.choice(["Low", "Low", "Medium", "High", "Urgent"]),
        "Source": rng.choice(["Email", "Email", "Portal", "Chat"]),
        "Type": ticket.label,
        "Agent": ticket.agent,
        "Group": _group(ticket),
        **_freshdesk_times(clock, rng),
        "Tags": f"{ticket.intent},{ticket.lang}",
        "Survey results": "",
        "Product": "Pfennigo",
        "Agent response": ticket.answer,
        "Full name": who.name,
        "Title": "",
        "Email": who.email,
        "Work phone": who.phone,
        "Mobile phone": "",
        "Twitter ID": "",
        "Time zone": "Berlin",
        "Language": ticket.lang,
        "Contact ID": str(70_000_000_000 + rng.randint(0, 9_999_999)),
    }


def _freshdesk_times(clock: Clock, rng: Random) -> Row:
    return {
        "Created time": clock.at(0, seconds=True),
        "Due by Time": clock.at(2880, seconds=True),
        "Resolved time": "" if clock.open else clock.at(clock.full, seconds=True),
        "Closed time": "" if clock.open else clock.at(clock.full + 2880, seconds=True),
        "Last update time": clock.at(clock.full, seconds=True),
        "Initial response time": "" if clock.open else clock.at(clock.first, seconds=True),
        "Time tracked": "00:00",
        "First response time (in hrs)": clock.hours(clock.first),
        "Resolution time (in hrs)": clock.hours(clock.full),
        "Agent interactions": "0" if clock.open else str(rng.randint(1, 4)),
        "Customer interactions": str(rng.randint(1, 3)),
        "Resolution status": "Within SLA" if clock.full < 2000 else "SLA Violated",
        "First response status": "Within SLA",
    }


def _line(cells: list[str], newline: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator=newline).writerow(cells)
    return buffer.getvalue()


def _write(tickets: list[Ticket], to_row: Callable[[Ticket, Clock, Random], Row], newline: str) -> bytes:
    rng = Random(to_row.__name__)
    output: list[str] = []
    for position, ticket in enumerate(tickets):
        row = to_row(ticket, Clock(ticket, position, rng), rng)
        output = output or [",".join(row) + newline]
        cells = list(row.values())
        if ticket.defect == "too few fields":
            cells = cells[:-6]
        elif ticket.defect == "too many fields":
            cells = [*cells, "", "imported"]
        line = _line(cells, newline)
        if ticket.defect == "truncated":
            line = line[: line.index(ticket.body) + len(ticket.body) // 2]
        output.append(line)
    return "".join(output).encode("utf-8")


def zendesk_csv(tickets: list[Ticket]) -> bytes:
    """UTF-8, every field quoted, lines end with \\n."""
    return _write(tickets, _zendesk, "\n")


def freshdesk_csv(tickets: list[Ticket]) -> bytes:
    """UTF-8, every field quoted, lines end with \\r\\n; the last row breaks off inside its description."""
    return _write(tickets, _freshdesk, "\r\n")
