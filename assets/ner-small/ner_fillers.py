"""Values of the pattern slots that carry no label: dates, amounts, identifiers, e-mail addresses, words of the lists.

Output contract: `Fillers.value(slot)` returns text for any slot of `words_{en,de}.txt` or of this module, KeyError for
others. E-mail addresses and links hold names and stay unlabelled: recognisers by pattern find them.
"""

import re
from random import Random

from ner_names import FOLDER, Names


class Fillers:
    """Draws the values of one language."""

    def __init__(self, lang: str, rng: Random, names: Names) -> None:
        self._lang, self._rng, self._names = lang, rng, names
        lines = (FOLDER / f"words_{lang}.txt").read_text(encoding="utf-8").splitlines()
        pairs = (line.split(": ", 1) for line in lines if not line.startswith("#"))
        self._words = {key: values.split(" | ") for key, values in pairs}
        self._made = {
            "date": self._date,
            "time": self._time,
            "amount": self._amount,
            "id": self._id,
            "phone": self._phone,
            "email": self._email,
            "iban": self._iban,
            "url": self._url,
            "list": self._list,
            "pair": self._pair,
            "number": lambda: str(rng.choice((1, 2, 3, 4, 5, 7, 10, 12, 24, 30, 48, 120, rng.randint(1, 9999)))),
            "year": lambda: str(rng.randint(1930, 2027)),
            "version": lambda: f"{rng.randint(1, 20)}.{rng.randint(0, 12)}{rng.choice(('', '.1', '.3-p2', '-beta'))}",
        }

    def value(self, slot: str) -> str:
        """Returns one value; {Slot} is {slot} with capitals, except for the German {Noun}, any noun or compound."""
        rng = self._rng
        if slot in self._made:
            return self._made[slot]()
        if self._lang == "de" and slot == "Noun":
            if rng.random() < 0.5:
                return rng.choice(self._words["left"]) + rng.choice(self._words["right"])
            return rng.choice(self._words[rng.choice(("noun", "masc", "neut"))])
        if self._lang == "de" and slot == "noun" and rng.random() < 0.4:
            return rng.choice(self._words["left"]) + rng.choice(self._words["noun"]).lower()
        if slot in self._words:
            return rng.choice(self._words[slot])
        return rng.choice(self._words[slot.lower()]).title()

    def _list(self) -> str:
        return "\n".join(f"- {self.value(self._rng.choice(('heading', 'menu', 'product')))}" for _ in range(3))

    def _pair(self) -> str:
        """A noun repeated around a preposition: Schritt für Schritt."""
        noun = self.value("Noun")
        middle = ("für", "um", "an", "zu", "nach", "auf") if self._lang == "de" else ("by", "to", "after", "for")
        return f"{noun} {self._rng.choice(middle)} {noun}"

    def _date(self) -> str:
        rng = self._rng
        day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1950, 2027)
        name = rng.choice(self._words["month"])
        if self._lang == "de":
            return rng.choice(
                (
                    f"{day}.{month}.{year}",
                    f"{day:02d}.{month:02d}.{year}",
                    f"{day}. {name}",
                    f"{day}. {name} {year}",
                    f"{day}.{month}.",
                )
            )
        return rng.choice(
            (
                f"{month}/{day}/{year}",
                f"{name} {day}",
                f"{name} {day}, {year}",
                f"{day} {name} {year}",
                f"{day}th of {name}",
                f"{year}-{month:02d}-{day:02d}",
            )
        )

    def _time(self) -> str:
        hour, minute = self._rng.randint(0, 23), self._rng.randint(0, 59)
        return f"{hour}:{minute:02d}" + self._rng.choice(
            (" Uhr", "") if self._lang == "de" else ("", " am", "pm", " PM")
        )

    def _amount(self) -> str:
        whole, full = self._rng.randint(1, 2500), f"{self._rng.randint(1, 2500)}.{self._rng.randint(0, 99):02d}"
        if self._lang == "de":
            full = full.replace(".", ",")
            return self._rng.choice((f"{whole} Euro", f"{full} €", f"{full} EUR", f"{whole}€"))
        return self._rng.choice(
            (f"${whole}", f"{full} EUR", f"£{full}", f"{whole} dollars", f"€{whole}", f"{whole} euros")
        )

    def _id(self) -> str:
        letters = "".join(self._rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(self._rng.randint(0, 3)))
        return letters + self._rng.choice(("", "-", " ")) * bool(letters) + str(self._rng.randint(1000, 99999999))

    def _iban(self) -> str:
        groups = "".join(f" {self._rng.randint(0, 9999):04d}" for _ in range(4))
        return f"{self._rng.choice(('DE', 'AT', 'GB', 'FR'))}{self._rng.randint(10, 99)}{groups} 12"

    def _phone(self) -> str:
        rng = self._rng
        head = rng.choice(("+49 ", "0049 ", "0", "+44 ", "+1 ", "+43 ", "(0", "001-")) + str(rng.randint(20, 999))
        gap = rng.choice((" ", "/", "-", ""))
        return f"{head}{')' if '(' in head else ''}{gap}{rng.randint(10000, 99999999)}"

    def _email(self) -> str:
        names, rng = self._names, self._rng
        local = rng.choice(
            ("info", "support", f"{names.first()}.{names.last()}", f"{names.first()[0]}{names.last()}", names.first())
        )
        if rng.random() < 0.2:
            return f"{re.sub(r'[^A-Za-z]', '', names.first() + names.last())}@example.com"
        number = rng.choice(("", "", "77", "1984"))
        domain = rng.choice(("example.com", "mail.example", "example.de", "example.org"))
        return f"{re.sub(r'[^a-z.]', '', local.lower())}{number}@{domain}"

    def _url(self) -> str:
        host = re.sub(r"[^a-z]", "", self._names.last().lower())
        start, end = self._rng.choice(("https://", "www.", "http://www.")), self._rng.choice(("de", "com", "org", "io"))
        return f"{start}{host}.{end}"
