"""Messages in a help desk that say nothing: bounces, automatic replies, receipts, newsletters, notes of the ticket
system, voicemail notices, closing words, canned receipts.

Output contract: each function takes Arrow strings and returns bool (texts,). The patterns (English and German, RE2,
so a batch takes one pass each) are for whole messages: they hold at the beginning of a text or a line, or together
with a second sign, because customers quote such mails, ask about them, and are on holiday when their card is blocked.
This module marks no row.
"""

from __future__ import annotations

import re
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
    r"automatisch generierte antwort|abwesenheits(?:notiz|meldung|nachricht)|abwesend|"
    r"out of (?:the )?office(?: auto-?reply)?)"
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
    r"when i (?:return|am back)|back in the office|wieder im (?:büro|haus|dienst)|nach meiner rückkehr|(?:not|"
    r"nicht) (?:be )?(?:forwarded|weitergeleitet)|"
    r"(?:werden|wird) nicht (?:weitergeleitet|gelesen)|"
    r"(?:answer|reply to|respond to) your (?:e-?mail|message)|ihre (?:e-?mail|nachricht) (?:dann |danach )?beantworten)"
)
SYSTEM = (
    r"(?i)(?:^|\n)\W*(?:(?:(?:this|your|the) )?(?:ticket|request|case|conversation|issue|incident)(?: \S*\d\S*)?\b"
    r"[^\n]{0,120}? (?:is|was|has been) (?:closed and )?merged (?:in)?(?:to|with) |merged (?:in)?to (?:ticket|"
    r"request|case|#)|"
    r"(?:(?:dieses|das|ihr|die|ihre) )?(?:ticket|anfrage|vorgang|fall)\b[^\n]{0,120}? wurde[^\n]{0,60}? "
    r"(?:zusammengeführt|zusammengelegt|verschmolzen)|(?:(?:dies(?:es ticket)?|"
    r"das ticket) )?ist ein duplikat (?:von|des|der|zu)|"
    r"(?:duplikat (?:von|zu)|(?:(?:closed|closing|marked|flagged)[^\n.]{0,30} as (?:a )?)?duplicate of) "
    r"(?:(?:ticket|request|case|vorgang|anfrage|fall) )?\S*\d\S*\s*(?:\z|\n|[.,;] )|"
    r"(?:closed|closing|marked|flagged)[^\n.]{0,30} as (?:a )?duplicate\W*(?:$|\n)|"
    r"(?:this|the) (?:ticket|request|case|issue)(?: \S*\d\S*)? (?:is a duplicate|duplicates)|"
    r"(?:ticket|request|case|issue)(?: \S*\d\S*)? (?:was|is|has been) (?:closed|marked|resolved) as (?:a )?duplicate|"
    r"(?:wird |wurde )?als duplikat (?:geschlossen|markiert)|"
    r"we(?:'d| would) love to hear what you think of our (?:customer )?(?:service|support)|"
    r"how would you rate the support you received\?|wie (?:würden|bewerten|beurteilen) sie[^\n]{0,40} "
    r"(?:support|kundenservice|kundendienst|hilfe)[^\n]{0,40}(?:bewerten|beurteilen)?\?\s*\n+\W*"
    r"(?:gut|schlecht|\d|http|★|☆)|(?:this|your) (?:ticket|request) (?:was|has been) (?:automatically )?closed "
    r"(?:automatically )?(?:due to|because of) inactivity|##- please type your reply above this line)"
)
READ = (
    r"(?i)(?:\A\W*(?:(?:lesebestätigung|read[ -]receipt|return receipt)\s*(?::|\z)|return receipt \(displayed\))|"
    r"this is a (?:return|read) receipt for|dies ist eine (?:empfangs|lese)bestätigung für|"
    r"(?:^|\n)\W*your message\b[^?]*?\bwas (?:read|opened|deleted without being read) on|"
    r"(?:^|\n)\W*ihre nachricht\b[^?]*?\bwurde (?:am|um) [^?]*?\b(?:gelesen|geöffnet)|"
    r"displayed on the recipient's computer|am computer des empfängers angezeigt)"
)
BROWSER = (
    r"(?i)\b(?:view|read|open|see) (?:this|the|it|our)?\W?(?:e-?mail|message|newsletter|mail)? ?(?:online|"
    r"in (?:your|a|the) "
    r"(?:web ?)?browser)|im (?:web)?browser (?:ansehen|anzeigen|öffnen|lesen|betrachten)|"
    r"(?:web|online|browser)-?(?:version|ansicht) (?:ansehen|anzeigen|öffnen)|wird (?:diese|die) (?:e-?mail|mail|"
    r"nachricht) "
    r"nicht (?:richtig|korrekt) (?:dargestellt|angezeigt)"
)
BECAUSE = (
    r"(?i)\b(?:you(?:['’]re| are)? (?:receiv(?:e|ed|ing)|getting) (?:this|these|our) (?:e-?mails?|newsletters?|"
    r"messages?) "
    r"(?:because|as)|this (?:e-?mail|newsletter|message) was sent to|(?:sie|du) (?:erhalten|erhältst|bekommen|"
    r"bekommst) "
    r"(?:diese[nr]?|unsere[n]?) (?:e-?mails?|mails?|nachricht|newsletter),? (?:weil|da)|"
    r"(?:diese[r]?) (?:e-?mail|newsletter) wurde an \S+ (?:gesendet|verschickt))"
)
UNSUBSCRIBE = (
    r"(?i)\b(?:unsubscribe|opt[ -]out|manage (?:your )?(?:e-?mail )?preferences|abmelden|abbestellen|austragen|"
    r"abmeldelink|einstellungen (?:ändern|verwalten))\b"
)
VOICEMAIL = (
    r"(?i)(?:^|\n)\W*(?:(?:you have (?:a |\d+ )?)?(?:new )?(?:voice ?mail|voice message)s? (?:message )?(?:from|"
    r"left by|received)\b|"
    r"you have (?:a |\d+ )?(?:new|unheard) (?:voice ?mail|voice message)|(?:missed|abandoned|incoming|inbound|"
    r"outbound) call "
    r"(?:from|to|with)\b|(?:neue[nrs]? )?(?:voice ?mail|sprachnachricht|mailbox-?nachricht) (?:von|erhalten|auf)\b|"
    r"(?:sie haben|es liegt) (?:eine|\d+) neue (?:voice ?mail|sprachnachricht|mailbox-?nachricht|nachricht auf)|"
    r"(?:verpasster|entgangener|verpasste|entgangene|eingehender) anrufe? von\b)"
)
CALL = r"(?i)\d[\d ()/-]{4,}\d|\d:\d\d|\d ?(?:s|sec|seconds?|sekunden|min|minutes?|minuten)\b"  # its number or length
TRANSCRIPT = r"(?i)transcri|transkri|mitschrift|verschriftlich"
CLOSED = (  # a message says one of these, and else `FILLING` and names alone
    r"thanks?|thx|cheers|solved|resolved|fixed|done|closed?|closing|sorted|works?|working|welcome|pleasure|danke(?:schön)?|"
    r"dank|erledigt|gelöst|behoben|geklappt|geschlossen|schließen?|abgeschlossen|funktioniert|läuft|geschehen|ursache"
)
IS_CLOSED = re.compile(CLOSED)
WORDS = """
a about again all already am an and answer anytime as at be been best both can case consider could did everything fast
fine for found from further glad good great happy has have hear help helped i i'm is it it's issue just kind lot many
may me more much my myself needed no now of ok okay on our perfect perfectly please problem quick regards reply request
required response side so solution support team that that's the this ticket to up very was we well wishes with worked
you you're your action matter everyone alles also anfrage antwort auch beantwortet bedanke bereits beste besten bestem
bin bitte damit das deine dem den der die dies diese diesem dieses dir doch erfolgreich es euch eure fall freue freuen
freundliche freundlichen freut für gefunden geht gern gerne gruß grüße grüßen gute guten hab habe haben hat herzliche
herzlichen hiermit hilfe hoffe ich ihr ihre ihren ihrer ist jetzt kann keine klar klasse können lg liebe lieben lösung
mal mein mfg mich mir mit nachricht nochmal nochmals nun perfekt prima rasche rückmeldung schnell schnelle schon schöne
schönen sehr selbst sich sie somit soweit super tag tausend toll top und uns unser unterstützung vg viele vielen
vorgang war werden wieder wir wird wunderbar wurde zu dear hallo hello hey hi lieber liebes moin morgen abend geehrte
geehrter
"""
FILLING = frozenset(WORDS.split())
GREETED = """
dear hallo hello hey hi liebe lieber moin geehrte geehrter thanks thank thx you welcome regards danke dank geschehen
grüße gruß lg vg mfg
"""
NAMED = frozenset(GREETED.split())  # after these, and at the start of a line, names may stand
NAMES = 3  # words in capital letters that may be one name: Frau Dr. Meier
TOKEN = re.compile(r"\n|\d+|[^\W\d_]+(?:'[^\W\d_]+)?")
LONGEST_CLOSING = 300  # characters
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


def read_receipts(texts: pa.Array) -> np.ndarray:
    """Notes that a message was displayed or read."""
    return _has(_head(texts), READ)


def newsletters(texts: pa.Array) -> np.ndarray:
    """Mails to many: a way to leave the list, and a link to the browser or a reason, but no question above them."""
    mass = _has(texts, UNSUBSCRIBE)
    if mass.any():
        few = texts.filter(pa.array(mass))
        head = _head(few)
        mass[mass] &= (_has(head, BROWSER) | _has(few, BECAUSE)) & ~_has(head, r"\?")
    return mass


def voicemails(texts: pa.Array) -> np.ndarray:
    """Notices of a call or a recording, without what was said."""
    notices = _has(_head(texts), VOICEMAIL)
    if notices.any():
        notices[notices] &= ~_has(texts.filter(pa.array(notices)), rf"{TRANSCRIPT}|\?")
        notices[notices] &= _has(texts.filter(pa.array(notices)), rf"{CALL}|\A.{{0,40}}\z")
    return notices


def closings(texts: pa.Array) -> np.ndarray:
    """Thanks, "solved", "you are welcome", and nothing else but a greeting and a name."""
    short = np.asarray(pc.less_equal(pc.fill_null(pc.utf8_length(texts), 0), LONGEST_CLOSING))
    if short.any():
        short[short] &= _has(texts.filter(pa.array(short)), rf"(?i)\A[^?]*(?:{CLOSED})[^?]*\z")
        left = texts.filter(pa.array(short)).to_pylist()
        short[short] = np.array([_says_nothing(text) for text in left], dtype=bool)
    return short


def _says_nothing(text: str) -> bool:
    """Tells whether a text has closing words and beside them names and `FILLING` alone."""
    said, names = False, 0
    for token in TOKEN.findall(text.replace("’", "'")):
        word = token.lower()
        if token == "\n":
            names = NAMES
        elif IS_CLOSED.fullmatch(word) or word in FILLING:
            said = said or word not in FILLING
            names = NAMES if word in NAMED else 0
        elif names and token[0].isupper():
            names -= 1
        else:
            return False
    return said


def receipts(answers: pa.Array, phrases: Sequence[str]) -> np.ndarray:
    """Answers that confirm a receipt and promise an answer, or contain one of `phrases` in any case."""
    receipt = _has(answers, RECEIPT)
    if receipt.any():
        receipt[receipt] &= _has(answers.filter(pa.array(receipt)), PROMISE)
    for phrase in phrases:
        receipt |= np.asarray(pc.fill_null(pc.match_substring(answers, phrase, ignore_case=True), False))
    return receipt
