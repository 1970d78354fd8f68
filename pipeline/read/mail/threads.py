"""Which mails are one conversation, and which of them ask and answer.

Output contract: `exchanges` gives one `Exchange` per thread: the first mail of a customer, and the first answer of the
company to it that a person wrote. Threads are made of `References` and `In-Reply-To` alone: equal subjects prove
nothing.
This module reads no texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from pipeline.read.mail.messages import Envelope

EVER = datetime.max.replace(tzinfo=UTC)
SURE = 0.8  # of the threads have somebody of the company's domain
ENOUGH = 3  # threads


@dataclass(frozen=True)
class Exchange:
    """Indices of a thread's mails; None where there is none. One of the two is there."""

    question: int | None
    answer: int | None


def _threads(mails: Sequence[Envelope]) -> list[list[int]]:
    """Returns the indices of each thread's mails, in the order of their times, then of the files."""
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while (parent := above.setdefault(name, name)) != name:
            above[name] = name = above[parent]
        return name

    keys = [mail.id or f"{at}" for at, mail in enumerate(mails)]  # an id is in angle brackets
    for key, mail in zip(keys, mails, strict=True):
        for other in mail.answers:
            above[root(other)] = root(key)
    threads: dict[str, list[int]] = {}
    for at, key in enumerate(keys):
        threads.setdefault(root(key), []).append(at)
    return [sorted(thread, key=lambda at: (mails[at].time or EVER, at)) for thread in threads.values()]


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def company_domain(threads: Iterable[Sequence[int]], mails: Sequence[Envelope]) -> str:
    """Returns the domain that takes part in nearly every thread, "" where none does or two do."""
    counts: Counter[str] = Counter()
    total = 0
    for thread in threads:
        total += 1
        counts.update({_domain(address) for at in thread for address in (mails[at].sender, *mails[at].people)})
    (first, most), (_, second) = [*counts.most_common(2), ("", 0), ("", 0)][:2]
    return first if total >= ENOUGH and most >= SURE * total and most > second else ""


def exchanges(mails: Sequence[Envelope], company: Sequence[str]) -> list[Exchange]:
    """Returns what each thread asks and answers, in the order of the threads' first mails in the files."""
    threads = _threads(mails)
    globs = company or [f"*@{domain}" for domain in [company_domain(threads, mails)] if domain]
    return [_exchange(thread, mails, globs) for thread in threads]


def _exchange(thread: Sequence[int], mails: Sequence[Envelope], globs: Sequence[str]) -> Exchange:
    written = [at for at in thread if not mails[at].automatic] or list(thread)
    if globs:
        ours = {at for at in written if any(fnmatchcase(mails[at].sender, glob.lower()) for glob in globs)}
    else:
        ours = {at for at in written if mails[at].sender != mails[written[0]].sender}
    question = next((at for at in written if at not in ours), None)
    if question is None:
        return Exchange(None, written[0])
    later = written[written.index(question) + 1 :]
    return Exchange(question, next((at for at in later if at in ours), None))
