"""Machine-written messages in a help desk: bounces, automatic replies, notes of the ticket system, canned receipts.

Output contract: each function takes Arrow strings and returns bool (texts,). The patterns (English and German, RE2,
so a batch takes one pass each) are for whole messages: they hold at the beginning of a text or a line, or together
with a second sign, because customers quote such mails, ask about them, and are on holiday when their card is blocked.
This module marks no row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HEAD = 400  # characters at the beginning of a message in which it says what it is

BOUNCE_SUBJECT = (
    r"(?i)^\W*(?:undelivered mail returned to sender|mail delivery (?:failed|failure|system|subsystem)\s*(?::|\n|$)|"
    r"delivery status notification\s*\(|returned mail:|failure notice\s*(?:\n|$)|undeliverable:|unzustellbar:|"
    r"nicht zustellbar:|message undeliverable:|warning: could not send message|delayed mail \(still being retried\)|"
    r"delivery (?:has )?failed:|zustellung fehlgeschlagen:|fehler bei der (?:e-?mail-?)?zustellung:)"
)
BOUNCE_BODY = (
    r"(?im)^\W*(?:this message was created automatically by mail delivery software|this is the mail system at host|"
    r"i'm sorry to have to inform you that your message|hi\. this is the qmail-send program|reporting-mta:|"
    r"this is an automatically generated delivery status notification|"
    r"delivery to the following recipients? (?:has |have )?failed|delivery has failed to these recipients|"
    r"your message (?:to \S+ )?(?:wasn't|couldn't be|could not be) delivered to|"
    r"diese nachricht wurde automatisch vo[nm] (?:der )?mail-?(?:server|software)|"
    r"fehler bei der nachrichtenzustellung an folgende|"
    r"die nachricht konnte an (?:die folgenden empfänger|folgende[nr]? empfänger) nicht zugestellt)"
)
REPLY_SUBJECT = (
    r"(?i)^\W*(?:automatic reply|auto-?reply|auto-?response|automatische (?:antwort|abwesenheitsnotiz)|autoreply|"
    r"automatisch generierte antwort|abwesenheits(?:notiz|meldung|nachricht)|out of (?:the )?office(?: auto-?reply)?)"
    r"\s*(?::|:? re:|:? aw:)"
)
REPLY_START = (
    r"(?i)^\W*(?:(?:hello|hi|hallo|guten tag)[^\n]{0,40}\n+)?\W*(?:this is an? (?:automated|automatic|auto-?generated|"
    r"automatically generated) (?:reply|response|message|e-?mail|notification)|dies(?:e e-?mail)? ist eine automatisch"
    r"(?:e| erstellte| generierte| erzeugte)? (?:antwort|nachricht|e-?mail|benachrichtigung)|"
    r"diese (?:nachricht|e-?mail) wurde automatisch (?:erstellt|generiert|erzeugt))"
)
ABSENT = (
    r"(?im)(?:^|[.!,] )\W*(?:i am|i'm|i will be|ich bin|bin ich)\b[^\n]{0,50}?\b(?:out of (?:the )?office|"
    r"on (?:\w+ )?leave|on (?:vacation|holiday)|away from (?:the office|my desk)|"
    r"nicht im (?:büro|haus)|abwesend|außer haus|im urlaub|"
    r"in elternzeit)"
)
MEANWHILE = (
    r"(?i)\b(?:(?:no|limited|without) access to (?:my )?e-?mails?|keinen zugriff auf (?:meine )?e-?mails|"
    r"(?:in|for) urgent (?:cases|matters)|in dringenden (?:fällen|angelegenheiten)|(?:upon|after) my return|"
    r"when i (?:return|am back)|nach meiner rückkehr|(?:not|nicht) (?:be )?(?:forwarded|weitergeleitet)|"
    r"(?:answer|reply to|respond to) your (?:e-?mail|message)|ihre (?:e-?mail|nachricht) (?:dann |danach )?beantworten)"
)
SYSTEM = (
    r"(?i)(?:^|\n)\W*(?:(?:this )?(?:ticket|request)(?: #?\d+)?\b[^\n]{0,120}? (?:was|has been) (?:closed and )?merged "
    r"(?:into|with) |(?:dieses |das )?(?:ticket|anfrage)\b[^\n]{0,120}? wurde[^\n]{0,60}? zusammengeführt|"
    r"we(?:'d| would) love to hear what you think of our (?:customer )?(?:service|support)|"
    r"how would you rate the support you received\?|wie (?:würden|bewerten|beurteilen) sie[^\n]{0,40} "
    r"(?:support|kundenservice|kundendienst|hilfe)[^\n]{0,40}(?:bewerten|beurteilen)?\?\s*\n+\W*"
    r"(?:gut|schlecht|\d|http|★|☆)|(?:this|your) (?:ticket|request) (?:was|has been) (?:automatically )?closed "
    r"(?:automatically )?(?:due to|because of) inactivity|##- please type your reply above this line)"
)
RECEIPT = (
    r"(?i)\b(?:(?:we|i)(?: have|['’]ve)? (?:received|got|registered) your (?:ticket|request|e-?mail|message|enquiry|"
    r"inquiry)|your (?:ticket|request|e-?mail|message|enquiry|inquiry)\b[^\n.]{0,40}? (?:has been|was) (?:received|"
    r"registered|created|logged)|(?:a|your) (?:new )?(?:support )?ticket (?:has been|was) (?:created|opened)|"
    r"(?:wir haben|ich habe) (?:ihre|deine) (?:anfrage|nachricht|e-?mail|mail|mitteilung)\b[^\n.]{0,40}? erhalten|"
    r"(?:ihre|deine) (?:anfrage|nachricht|e-?mail|mail|mitteilung)\b[^\n.]{0,40}? (?:ist|wurde)\b[^\n.]{0,60}? "
    r"(?:eingegangen|erfasst|registriert|empfangen)|(?:ein|ihr|dein) (?:neues )?ticket\b[^\n.]{0,40}? wurde "
    r"(?:erstellt|eröffnet|angelegt))"
)
PROMISE = (
    r"(?i)\b(?:(?:will|shall|'ll) (?:\w+ )?(?:get back|be in touch|respond|reply|answer|contact|review|look into|"
    r"be reviewed|be processed|be answered)|is being reviewed|as soon as possible|shortly|within (?:the next )?\S+ "
    r"(?:business |working )?(?:hours?|days?)|melden uns|meldet sich|so (?:schnell|bald) wie möglich|schnellstmöglich|"
    r"umgehend|in kürze|innerhalb (?:von )?\S+ (?:stunden|tagen|werktagen)|bearbeit(?:en|et)|kümmern uns|beantworten)"
)


def _has(texts: pa.Array, pattern: str) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.match_substring_regex(texts, pattern), False))


def _head(texts: pa.Array) -> pa.Array:
    return pc.utf8_slice_codeunits(texts, 0, HEAD)


def bounces(texts: pa.Array) -> np.ndarray:
    """Delivery failures, as mail servers report them."""
    head = _head(texts)
    return np.asarray(_has(head, BOUNCE_SUBJECT) | _has(head, BOUNCE_BODY))


def auto_replies(texts: pa.Array) -> np.ndarray:
    """Out-of-office notes without a question, and mails that begin with a statement that they are automatic."""
    head = _head(texts)
    automatic = _has(head, REPLY_SUBJECT) | _has(head, REPLY_START)
    absent = _has(head, ABSENT)
    if absent.any():
        absent[absent] &= ~_has(texts.filter(pa.array(absent)), r"\?")
        absent[absent] &= _has(texts.filter(pa.array(absent)), MEANWHILE)
    return np.asarray(automatic | absent)


def system_messages(texts: pa.Array) -> np.ndarray:
    """Messages of the ticket system: merges, closed for inactivity, satisfaction surveys."""
    return _has(_head(texts), SYSTEM)


def receipts(answers: pa.Array, phrases: Sequence[str]) -> np.ndarray:
    """Answers that confirm a receipt and promise an answer, or contain one of `phrases` in any case."""
    receipt = _has(answers, RECEIPT)
    if receipt.any():
        receipt[receipt] &= _has(answers.filter(pa.array(receipt)), PROMISE)
    for phrase in phrases:
        receipt |= np.asarray(pc.fill_null(pc.match_substring(answers, phrase, ignore_case=True), False))
    return receipt
