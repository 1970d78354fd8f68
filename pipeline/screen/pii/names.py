"""Words of people's names: folding, inflection, and lists of everyday words, teams and companies.

Output contract: `name_words` returns a person's name as folded words, first name first, from any written form
(`Schmidt, Anna`; `Dr. Anna SCHMIDT`); `forms` the possible base forms of a word in a text. Folding maps letter case,
umlauts (`ü` = `ue`) and apostrophes to one spelling.
This module knows German and English; it searches no text.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MAX_WORDS = 5
WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")


def words(text: str) -> frozenset[str]:
    """Returns the words of a text."""
    return frozenset(text.split())


FOLD = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "’": "'"})
TITLES = words("herr herrn frau familie mr mrs ms miss dr prof dipl ing sir madam")
PARTICLES = words("von van de der den del della di da du la le zu zur zum vom und and und bin ibn al el")
GENERIC = words(  # words that no person is called: a sender with one of them is a team, a company or a machine
    "support team service services kundenservice kundendienst kundenbetreuung customer customers client care help desk "
    "helpdesk hotline info admin administrator system bot automation noreply no-reply reply office sales vertrieb "
    "verkauf marketing buchhaltung accounting billing finance einkauf purchasing hr personal it technik technical "
    "contact kontakt mail mailer daemon postmaster webmaster newsletter shop store gmbh ag kg ohg ug se ev gbr inc ltd "
    "llc corp company firma group gruppe bank unknown unbekannt anonymous anonym guest gast user test agent agents "
    "unassigned none null account management department abteilung verwaltung zentrale international"
)
COMMON = words(  # everyday words that are also first or last names
    "abend alt amber april art bach bank baum berg bergen berlin best bill bishop black blank brand braun breit "
    "brook bunt case cash chance chase church cook court cross dank day ende ernst essen falter fink ford forest "
    "frei freitag fritz glass gold good grant gray green grey gross groß grün guide gut hand hart haus heart heil "
    "herbst herz hof hoffnung holz hope house jacket jan joy july june jung kaiser kalt kann karte king klar "
    "klein klug koch kraft krone kurz könig land lane lang lange law lee licht lieb liebe lind mai major march "
    "mark marks markt may meister morgen neu nord north oster page park patience pfennig pink pole post power "
    "price quick ray read recht reich rein rich richter ring rise rose rosen rot roth rust sand sauer schade "
    "schatz schnell schreiber schwarz schön see sharp short small smart sommer sonne sonntag south spring stadt "
    "star stark stein stern still stock stone storm strauß street summer tag voll warm wasser weg weiss weiß welt "
    "west white wild will winter wise wohl wort wright wunder young zeit"
)

CALENDAR = words(  # months, days, seasons, colours: some are first names, and mostly they are not meant so
    "januar jänner jaenner februar märz maerz april mai juni juli august september oktober november dezember january "
    "february march may june july october december montag dienstag mittwoch donnerstag freitag samstag sonntag monday "
    "tuesday wednesday thursday friday saturday sunday sommer winter herbst frühling fruehling summer autumn spring "
    "rosa rot blau grün gruen gelb schwarz weiß weiss grau braun lila violett orange türkis tuerkis silber gold beige "
    "pink red blue green yellow black white grey gray brown purple violet amber scarlet olive indigo ruby jade coral "
    "silver bronze navy ivory crimson bank"
)
COMPANY = words(  # last words of companies, products and places
    "tours travel bikes country motors airlines airways lines logistics capital markets market holding holdings "
    "partners solutions systems technologies technology labs media networks network software energy foods food "
    "islands island bridge airport hotel hotels resort university college school hospital club bank insurance "
    "investments consulting studio studios games electronics pharma pharmacy bakery coffee cafe restaurant grill "
    "pizza fitness gym music books fashion jewelry cosmetics klinik praxis apotheke versicherung verlag werke reisen "
    "touren mobile wireless broadband stadtwerke"
)
SMALL_WORDS = words(  # last names that are words of English or of careless German when they have no capital
    "long hang then when have been your been some many most much more less than that this what were with from into "
    "over under only also very just here there come came made make take give find need want work case list date time "
    "page baker walker hunter mason carter parker miller taylor archer carpenter potter turner fisher shepherd "
    "gardener farmer knight prince bird wolf bell hall wood woods rivers lake field fields banks wells mills stone "
    "brooks dawn faith grace ivy lily violet jade ruby pearl amber crystal destiny frank peter earl duke baron dean "
    "chip dale glen cliff heath sunny rocky stormy golden weber bauer müller mueller schneider fischer jäger jaeger "
    "vogel fuchs winkler wagner schuster maurer zimmermann schmied beck förster foerster töpfer toepfer eine einer "
    "alle auch aber noch nach dann wenn sein sehr mehr wird kein ihre hier doch sich nicht habe kann muss soll wann "
    "warum immer heute super danke bitte gern gerne"
)
SUPPORT_WORDS = words(  # words of support that a model's list may lack
    "ship shipped shipping deliver delivered refunded refund pending unused used jailbreak root notiz häufig haeufig "
    "hinweis betreff anhang status gesendet zugestellt versendet erledigt storniert offen geschlossen closed open "
    "resolved solved processing processed canceled cancelled confirmed declined approved rejected active inactive "
    "premium basic standard"
)
PRODUCTS = words("siri cortana salesforce python java chatgpt gemini copilot bixby")


def fold(word: str) -> str:
    """Folds case, umlauts (`ü` = `ue`) and apostrophes: the spellings of one name become equal."""
    return word.casefold().translate(FOLD)


EVERYDAY = frozenset(fold(word) for word in COMMON)


@lru_cache(maxsize=100_000)
def name_words(name: str) -> tuple[str, ...]:
    """Returns a person's name as folded words, first name first; nothing for a team, a company or an address."""
    name = unicodedata.normalize("NFC", name)
    if "@" in name or any(char.isdigit() for char in name):
        return ()
    last, comma, first = name.partition(",")
    words = [fold(word) for word in WORD.findall(f"{first} {last}" if comma else name)]
    if any(part in GENERIC for word in words for part in (word, *word.split("-"))):
        return ()
    return tuple(word for word in words if word not in TITLES)


@lru_cache(maxsize=100_000)
def forms(word: str) -> tuple[str, ...]:
    """Returns the possible base forms of a word, folded: itself, and itself without a genitive ending."""
    folded = fold(word)
    if folded.endswith("'s"):
        return folded, folded[:-2]
    return (folded, folded[:-1]) if folded.endswith("s") and len(folded) > 3 else (folded,)
