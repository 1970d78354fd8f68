"""Planted values and defects: personal data, messy mail bodies, duplicates, abuse, other languages.

Contract: functions change or build `Ticket`s, and every change is written into the ticket itself (`pii`, `messy`,
`reason`, `twin`), so the manifest needs no second source. Not here: how many of each, and the raw bytes of broken rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import personal
from personal import AGENTS
from tickets import Tables, Ticket, lines

ENTITIES = {" and ": " &amp; ", "'": "&#39;", "ä": "&auml;", "ö": "&ouml;", "ü": "&uuml;", "ß": "&szlig;"}
MAIL = {
    "en": {
        "quote": "On {day} May 2026 at {clock}, Pfennigo Support wrote:\n> Hello,\n> we have received your request.\n"
        "> {agent} from Pfennigo",
        "jobs": "Purchasing Sales Office",
        "said": 'The app said "try again later".',
    },
    "de": {
        "quote": "Am {day}.05.2026 um {clock} schrieb Pfennigo Support:\n> Guten Tag,\n"
        "> wir haben Ihre Anfrage erhalten.\n> {agent} von Pfennigo",
        "jobs": "Einkauf Vertrieb Büro",
        "said": 'In der App stand nur "später noch einmal".',
    },
}
SIMPLE: dict[str, Callable[[Random], str]] = {
    "IBAN_CODE": personal.iban,
    "CREDIT_CARD": personal.card,
    "IP_ADDRESS": personal.ip_address,
    "DE_TAX_ID": personal.tax_id,
    "DE_VAT_ID": personal.vat_id,
    "URL": personal.url,
}


def masked(text: str, ticket: Ticket) -> str:
    """`text` with every planted value of the ticket replaced by its type, longest value first."""
    for kind, value, _ in sorted(ticket.pii, key=lambda item: -len(item[1])):
        text = text.replace(value, f"<{kind}>")
    return text


def plant_pii(ticket: Ticket, kind: str, sentences: list[list[str]], rng: Random) -> None:
    """Put one value of `kind` (a Presidio type, or a variant of PERSON) into the question or the answer."""
    text = rng.choice([text for lang, name, text in sentences if (lang, name) == (ticket.lang, kind)])
    who = ticket.requester
    if kind == "EMAIL_ADDRESS":
        value = who.email if rng.random() < 0.5 else personal.email(rng, who.first, who.last)
    elif kind == "PHONE_NUMBER":
        value = who.phone if rng.random() < 0.5 else personal.phone(rng)
    elif kind == "GENITIVE":
        value = f"{who.last}s"
    else:
        value = {"PERSON": who.name, "ANSWER_PERSON": ticket.agent}.get(kind) or SIMPLE[kind](rng)
    sentence = text.replace("{value}", value)
    field = "answer" if kind == "ANSWER_PERSON" else "body"
    name = "PERSON" if kind in ("GENITIVE", "ANSWER_PERSON") else kind
    ticket.pii.append((name, value, field))
    if field == "answer":
        head, _, tail = ticket.answer.rpartition("\n\n")
        ticket.answer = f"{head} {sentence}\n\n{tail}"
    else:
        ticket.core = ticket.body = before_closing(ticket.core, sentence)


def before_closing(body: str, sentence: str) -> str:
    """`body` with one more sentence, in front of the closing line if there is one."""
    head, gap, closing = body.rpartition("\n\n")
    return f"{head} {sentence}{gap}{closing}" if gap else f"{body} {sentence}"


def make_messy(ticket: Ticket, kind: str, rng: Random) -> None:
    """Give the body what real mail has: a quoted reply, a signature, HTML entities, quotation marks."""
    ticket.messy, who, agent = kind, ticket.requester, ticket.agent.split()[0]
    words = MAIL[ticket.lang]
    if kind == "reply":
        clock = f"{rng.randint(8, 19):02d}:{rng.randint(0, 59):02d}"
        quote = words["quote"].format(day=rng.randint(1, 28), clock=clock, agent=agent)
        ticket.body = f"{ticket.core}\n\n{quote}"
    elif kind == "signature":
        job = rng.choice(words["jobs"].split())
        ticket.body = ticket.core + f"\n\n-- \n{who.name}\n{job}, Beispiel GmbH\n{who.phone}\n{who.email}"
    elif kind == "html":
        ticket.body = ticket.core.replace("\n", "<br>\n")
        for old, new in ENTITIES.items():
            ticket.body = ticket.body.replace(old, new)
    else:
        ticket.core = ticket.body = before_closing(ticket.core, words["said"])


def fresh_copy(base: Ticket) -> Ticket:
    """The same ticket again, sent a second time by the same person."""
    copy = Ticket(base.lang, base.intent, base.label, base.subject, base.core, base.answer, base.requester, base.agent)
    copy.twin, copy.source = id(base), base.source
    return copy


def respace(ticket: Ticket, rng: Random) -> None:
    """Change white space only."""
    style = rng.choice(["trailing", "double", "lines"])
    if style == "trailing":
        ticket.body, ticket.answer = f" {ticket.body}\n", f"{ticket.answer} "
    elif style == "double":
        ticket.body = ticket.body.replace(" ", "  ", 1)
    else:
        ticket.body, ticket.answer = ticket.body.replace("\n\n", "\n"), ticket.answer.replace("\n\n", "\n \n")
    ticket.defect = "whitespace"


def reword(ticket: Ticket, rng: Random) -> bool:
    """Replace one or two words of the body by synonyms; False if none of the known words occurs."""
    cells = [line.split(" | ") for line in lines("synonyms.txt")]
    table = {word: other for lang, word, other in cells if lang == ticket.lang}
    found = [word for word in table if re.search(rf"\b{word}\b", ticket.core)]
    for word in rng.sample(found, min(len(found), rng.randint(1, 2))):
        ticket.core = re.sub(rf"\b{word}\b", table[word], ticket.core, count=1)
    ticket.body = ticket.core
    return bool(found)


def written(name: str, tables: dict[str, Tables], rng: Random) -> list[Ticket]:
    """Tickets of toxic.txt (second column: label) or angry.txt (second column: intent), with composed answers."""
    rows = []
    for line in lines(name):
        lang, key, subject, text = line.split(" | ", 3)
        table = tables[lang]
        calm = name == "angry.txt"
        intent = key if calm else rng.choice([intent for intent, label in table.labels.items() if label == key])
        answer = table.reply(intent, rng, sorry=calm)
        who, agent = personal.person(rng, lang), rng.choice(AGENTS)
        row = Ticket(lang, intent, table.labels[intent], subject, text, answer, who, agent)
        row.reason, row.defect = ("kept", "angry") if calm else ("toxicity", "abuse")
        rows.append(row)
    return rows


def foreign(rng: Random) -> list[Ticket]:
    """Tickets of foreign.txt, question and answer in the same other language."""
    table = [line.split(" | ") for line in lines("foreign.txt")]
    rows = []
    for cells in table:
        if cells[1] == "answer":
            continue
        lang, label, subject, text = cells
        answer = rng.choice([cell[2] for cell in table if cell[:2] == [lang, "answer"]])
        who, agent = personal.person(rng, "de"), rng.choice(AGENTS)
        row = Ticket(lang, "other_language", label, subject, text, answer, who, agent)
        row.reason, row.defect = "language", lang
        rows.append(row)
    return rows
