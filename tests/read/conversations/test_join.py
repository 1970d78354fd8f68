"""Documents of one conversation from everywhere in the files, in little memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.read.conversations import join
from pipeline.read.conversations.conversation import Conversation
from pipeline.read.conversations.join import Place, joined


def piece(key: str, text: str, subject: str = "") -> Conversation:
    found = Conversation(key=key, subject=subject)
    found.say(text, "agent", True, None)
    return found


def test_in_the_order_of_their_first_documents() -> None:
    places = [(("b.csv", at), piece(key, f"{key}{at}")) for at, key in enumerate(["2", "1", "2", "3", "1"])]
    places.insert(3, (("b.csv", 9), None))  # type: ignore[arg-type]
    found = list(joined([*places, (("a.csv", 7), piece("1", "", "Subject"))]))
    assert found[0] == (("b.csv", 9), None)
    texts = [(place, [m.text for m in c.messages], c.subject) for place, c in found[1:] if c]
    assert texts == [
        (("b.csv", 0), ["20", "22"], ""),
        (("b.csv", 1), ["11", "14"], "Subject"),
        (("b.csv", 3), ["33"], ""),
    ]


def test_a_key_that_gathers_everything_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "MOST", 2_000)
    documents = [(("a", at), piece("0", "x" * 100)) for at in range(100)]
    assert next(joined([*documents, (("a", 100), piece("1", "y"))])) == (("a", 0), None)


def stream(count: int) -> Iterator[tuple[Place, Conversation | None]]:
    for at in range(count):
        yield ("a", at), piece(str(at * 7919 % (count // 4)), f"{at} " + "x" * 16_000)


def test_memory() -> None:
    """32 MB of messages of 500 conversations, in any order, take a third of that."""
    code = (
        "import resource, runpy, sys\n"
        f"probe = runpy.run_path({__file__!r})\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sum(len(c.messages) for _, c in probe['joined'](probe['stream'](2_000))) == 2_000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 12 << 10, done.stdout  # KiB
