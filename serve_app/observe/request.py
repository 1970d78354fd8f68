"""The record of one HTTP request, for the metrics and the request log.

Output contract: of the client's text it holds at most the ids that the client gave the request.
This module writes nothing.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from serve_app.generation.answer import Job
from serve_app.keys import Key

GONE = 499  # nginx's status for a client that hung up: nobody reads it


def new_id() -> str:
    """Returns the id of a request."""
    return f"req_{uuid.uuid4().hex}"


@dataclass
class RequestRecord:
    """One HTTP request; `job` is None where no answer was generated."""

    method: str
    id: str = field(default_factory=new_id)
    client_ids: list[str] = field(default_factory=list)  # the client's own, each at most 128 harmless characters
    started: float = field(default_factory=time.monotonic)
    route: str = "unknown"  # the route's own pattern: the path is the client's text
    status: int = GONE
    seconds: float = 0.0
    key: Key | None = None
    job: Job | None = None
