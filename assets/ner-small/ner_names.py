"""Made-up people, organisations and places from the word lists, and names that only look like names.

Output contract: every method returns the text of one entity in a spelling that occurs in tickets; the caller labels it.
All randomness comes from the `Random` given, so the same seed gives the same names. `held_out=True` draws from the
names after the bar of each list, which training never sees, and from no others. Not done here: sentences, labels.
"""

import re
from collections import defaultdict
from pathlib import Path
from random import Random

from pipeline.screen.pii.person_filter import read_lists

FOLDER = Path(__file__).parent
INVENTED = 0.4  # share of names drawn from a Markov chain over an origin's list, so that names are not learned by heart
ORIGIN_WEIGHTS = {
    "german": 6,
    "english": 6,
    "turkish": 2,
    "polish": 2,
    "spanish": 2,
    "nordic": 2,
    "arabic": 2,
    "indian": 2,
}


class Markov:
    """An order-2 character chain over a list of names; draws strings that look like its members."""

    def __init__(self, names: list[str]) -> None:
        self._next: dict[str, list[str]] = defaultdict(list)
        for name in names:
            padded = f"^^{name}$"
            for at in range(2, len(padded)):
                self._next[padded[at - 2 : at]].append(padded[at])

    def draw(self, rng: Random) -> str:
        """Returns a string of 3 to 14 characters that starts with an upper-case letter and ends with a letter."""
        while True:
            text = "^^"
            while not text.endswith("$") and len(text) < 17:
                text += rng.choice(self._next[text[-2:]])
            name = text[2:-1]
            if text.endswith("$") and 3 <= len(name) <= 14 and name[0].isupper() and name[-1].isalpha():
                return name


class Names:
    """Draws the entities of one language, `en` or `de`."""

    def __init__(self, lang: str, rng: Random, held_out: bool = False) -> None:
        self._lang, self._rng, self._held = lang, rng, held_out
        self._names, self._places, self._orgs = (
            read_lists(FOLDER / f"{f}.txt") for f in ("names", "places", "organisations")
        )
        self._origins = sorted({key.split()[0] for key in self._names})
        native = {"en": "english", "de": "german"}[lang]
        self._weights = [ORIGIN_WEIGHTS.get(origin, 1) * (2 if origin == native else 1) for origin in self._origins]
        self._chains = {key: Markov(values) for key, (values, _) in self._names.items()}
        self._chains["city"] = Markov(self._places[f"cities_{lang}"][0] + self._places["cities"][0])
        self._chains["abroad"] = Markov(self._places["cities"][0] + self._places["cities_en"][0])
        self._origin = native

    def new_origin(self) -> None:
        """Chooses the origin that first names and surnames come from until the next call."""
        self._origin = self._rng.choices(self._origins, self._weights)[0]

    def first(self) -> str:
        """Returns a first name of the current origin, now and then a double one."""
        name = self._one_name("first")
        if self._rng.random() < 0.04 and "-" not in name:
            name += self._rng.choice("- ") + self._one_name("first")
        return name

    def last(self) -> str:
        """Returns a surname of the current origin, now and then a double or a noble one."""
        name, chance = self._one_name("last"), self._rng.random()
        if chance < 0.05 and "-" not in name and " " not in name:
            name += "-" + self._one_name("last").split(" ")[-1]
        elif chance < 0.06:
            name = self._rng.choice(("von ", "van ", "de ", "Mc", "O'", "El ", "St. ")) + name.split(" ")[-1]
        return name

    def full(self) -> str:
        """Returns first name and surname, in one of the orders and abbreviations that occur."""
        rng, chance = self._rng, self._rng.random()
        first, last = self.first(), self.last()
        if chance < 0.06:
            return f"{first} {rng.choice('ABCDEFGHJKLMPRSTW')}. {last}"
        if chance < 0.1:
            return f"{first[0]}. {last}"
        if chance < 0.13:
            return f"{first} {self.first()} {last}"
        if chance < 0.15:
            return f"{first} {last.upper()}"
        if chance < 0.16:
            return f"{first} {last} {rng.choice(('Jr.', 'Sr.', 'III', 'jun.'))}"
        return f"{first} {last}"

    def initials(self) -> str:
        """Returns an initial and a surname, or two initials and a surname: A. Müller, J. R. Smith."""
        first = self._rng.choice("ABCDEFGHJKLMNOPRSTUVWZ")
        second = self._rng.choice(("", "", f" {self._rng.choice('ABCDEFHJKLMRST')}.", f"{self._rng.choice('JRMAE')}."))
        return f"{first}.{second} {self.last()}"

    def person(self) -> str:
        """Returns a first name, a full name or, rarely, a surname."""
        chance = self._rng.random()
        return self.full() if chance < 0.6 else self.first() if chance < 0.92 else self.last()

    def genitive(self) -> str:
        """Returns a German genitive: Annas, Müllers, Klaus', Lars Petersens."""
        name = self._rng.choice((self.first, self.last, self.last, self.full))()
        return name + "'" if name[-1] in "sxzß" else name + "s"

    def city(self) -> str:
        """Returns a town: a real one, a compound such as Oberhausen, or a drawn one."""
        rng, lang, chance = self._rng, self._lang, self._rng.random()
        if not self._held and chance < 0.03:
            return f"{rng.choice(self._list('citystart'))} {self._chains['city'].draw(rng)}"
        if not self._held and chance < 0.05:
            return (
                self._chains["abroad"].draw(rng) + rng.choice(self._list("citymiddle")) + self._chains["city"].draw(rng)
            )
        if not self._held and chance < 0.18:
            return (rng.choice(self._list(f"placestart_{lang}")) + rng.choice(self._list(f"placeend_{lang}"))).strip()
        if not self._held and chance < 0.4:
            return self._chains[rng.choice(("city", "abroad"))].draw(rng)
        return rng.choice(self._list("cities" if chance > 0.8 else f"cities_{lang}"))

    def country(self) -> str:
        """Returns a country in the language's own spelling."""
        return self._rng.choice(self._list(f"countries_{self._lang}"))

    def region(self) -> str:
        """Returns a state, region or quarter."""
        return self._rng.choice(self._list(f"regions_{self._lang}"))

    def place(self) -> str:
        """Returns a town, a country or a region."""
        return self._rng.choices((self.city, self.country, self.region), (5, 4, 2))[0]()

    def street(self) -> str:
        """Returns a street, mostly with a house number, in the order of the language or of its country."""
        rng, chance = self._rng, self._rng.random()
        number = str(rng.randint(1, 199 if self._lang == "de" else 9900)) + rng.choice(("", "", "", "", "a", "b", " c"))
        if chance < 0.1:
            return f"{rng.choice(self._list('streets'))} {rng.randint(1, 150)}"
        if chance < 0.15 and not self._held:
            name = rng.choice((self.full(), self._one_name("last"), self._chains["city"].draw(rng)))
            number = rng.choice((f"{rng.randint(1, 999)} ", "")), rng.choice((f" {rng.randint(1, 999)}", ""))
            return f"{number[0]}{rng.choice(self._list('streetstart'))} {name}{number[1]}"
        if chance < 0.2 and not self._held:
            return f"{self._chains['city'].draw(rng)}{rng.choice(self._list('streetend'))} {rng.randint(1, 150)}"
        if self._lang == "de":
            name = rng.choice(self._list("streets_de"))
            if chance < 0.5 and not self._held:
                name = rng.choice(self._list("streetstem_de")) + rng.choice(self._list("streetend_de"))
            return name if chance > 0.9 else f"{name} {number}"
        name = rng.choice(self._list("streets_en"))
        if chance < 0.55 and not self._held:
            stem = rng.choice(
                (self._one_name("last"), self._one_name("first"), self.city(), self._chains["city"].draw(rng))
            )
            end = rng.choice(self._list(rng.choice(("streetend_en", "streetend_en", "streetend_us", "streetend"))))
            name = f"{stem} {end}"
        unit = rng.choice((", ", " ", "\n", "\n ")) + rng.choice(
            ("Apt. ", "Apt ", "Suite ", "Flat ", "Unit ", "# ", "Floor ")
        )
        unit = f"{unit}{rng.randint(1, 900)}" if rng.random() < 0.5 else ""
        return name if chance > 0.9 else f"{number.strip()} {name}{unit}"

    def road(self) -> str:
        """Returns a street as people name it, without a number."""
        rng = self._rng
        if rng.random() < 0.3 or self._held:
            return rng.choice(self._list(rng.choice(("streets", f"streets_{self._lang}"))))
        stem = rng.choice(
            (self._one_name("last"), self._one_name("first"), self.full(), self._chains["city"].draw(rng))
        )
        if rng.random() < 0.2:
            return f"{rng.choice(self._list('streetstart'))} {stem}"
        if self._lang == "de":
            return stem.replace(" ", "-") + rng.choice(("-Straße", "straße", "-Str.", "weg", "-Weg", "platz", "-Allee"))
        end = rng.choice(self._list(rng.choice(("streetend_en", "streetend_us", "streetend_us"))))
        return f"{stem} {end}" + rng.choice(("", "", "", " St.", " Rd"))

    def postal(self) -> str:
        """Returns a town with its postal code, as the language's countries write it."""
        rng, city = self._rng, self.city()
        if self._lang == "de":
            return f"{rng.choice(('', '', '', 'D-', 'A-'))}{rng.randint(10000, 99999)} {city}"
        zip_code = f"{rng.randint(10000, 99999)}"
        district = f"{rng.choice('BEGLMNSW')}{rng.randint(1, 20)}"
        british = f"{district} {rng.randint(1, 9)}{rng.choice('ABDEFGHJ')}{rng.choice('NPQRSTUW')}"
        state = rng.choice(("NY", "CA", "TX", "FL", "OH", "WA", "MA", "IL", "CO", "GA", "PA", "NC", "VA"))
        return rng.choice(
            (f"{city}, {state} {zip_code}", f"{city} {state} {zip_code}", f"{city} {british}", f"{zip_code} {city}")
        )

    def org(self) -> str:
        """Returns an organisation: a known one or one put together by a shape of the list."""
        if self._rng.random() < 0.25:
            return self._rng.choice(self._list("known"))
        self.new_origin()
        return re.sub(
            r"\{(\w+)\}", lambda slot: self._part(slot[1]), self._rng.choice(self._list(f"shape_{self._lang}"))
        )

    def brand(self) -> str:
        """Returns a company's name of one made-up word: a stem, drawn town or surname with the ending of a brand."""
        rng = self._rng
        if self._held or rng.random() < 0.2:
            return self._part("brand")
        self.new_origin()
        start = rng.choice((rng.choice(self._list("stem")), self._chains["city"].draw(rng), self._one_name("last")))
        start = re.split(r"[\s'-]", start)[0]
        return (
            start + rng.choice(self._list("end"))
            if rng.random() < 0.3
            else re.sub(r"[aeiou]*$", "", start) + rng.choice(self._list("brandend"))
        )

    def _part(self, slot: str) -> str:
        """One part of an organisation's name."""
        rng = self._rng
        if slot in ("last", "first"):
            return self._one_name(slot)
        if slot == "full":
            return f"{self._one_name('first')} {self._one_name('last')}"
        if slot == "city":
            return self.city()
        if slot == "brand":
            return rng.choice(self._list("stem")) + rng.choice(self._list("end"))
        if slot == "letters":
            return "".join(rng.choice("ABCDEFGHIKLMNOPRSTUVWX") for _ in range(rng.randint(2, 4)))
        foreign = slot == "form" and rng.random() < 0.15
        return rng.choice(self._list(slot if foreign or slot == "stem" else f"{slot}_{self._lang}"))

    def _one_name(self, kind: str) -> str:
        key = f"{self._origin} {kind}"
        if not self._held and self._rng.random() < INVENTED:
            return self._chains[key].draw(self._rng)
        return self._rng.choice(self._names[key][self._held])

    def _list(self, key: str) -> list[str]:
        """The values of one list; building blocks have no held-out values of their own."""
        kept, held = self._places.get(key) or self._orgs[key]
        return held if self._held and held else kept
