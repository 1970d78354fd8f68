"""What a mail server adds to a mail: confidentiality notices, virus checks, the imprint of a German company.

Output contract: `cut_footers` takes lines and returns those that stay; a paragraph goes whole or stays whole.
This module knows English and German footers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.read.text.signatures import LEGAL

FOOTER = re.compile(
    r"\W*(?:"
    r"(?:this|the (?:information|contents?) (?:contained )?(?:in|of) this) (?:e-?mail|message|communication)\b.{0,120}?"
    r"(?:confidential|privileged|intended (?:only|solely|for the)|checked for viruses|scanned (?:for|by)|"
    r"originated from outside)|"
    r"confidentiality notice|legal disclaimer|disclaimer\s*:|if you are not the intended recipient|"
    r"if you have received this (?:e-?mail|mail|message|communication|transmission).{0,20}(?:in error|by mistake)|"
    r"virus-free\.|"
    r"any unauthori[sz]ed (?:review|use, |disclosure|distribution|dissemination|copying).{0,80}prohibited|"
    r"(?:external|caution)\b.{0,30}(?:e-?mail|message|sender).{0,60}(?:outside|external)|registered in england|"
    r"please consider the environment|think before you print|"
    r"(?:hinweis\s*: )?(?:diese|der inhalt dieser|die information(?:en)? in dieser) (?:e-?mail|nachricht)\b.{0,120}?"
    r"(?:vertraulich|rechtlich geschützt|ausschließlich für|nur für den|auf viren (?:ge|über)prüft)|"
    r"(?:(?:achtung|vorsicht|extern)\W{1,3})?diese (?:e-?mail|nachricht) (?:kommt|stammt|wurde) von "
    r"(?:einem |außerhalb).{0,20}(?:extern|organisation|unternehmen)|"
    r"(?:wenn|falls|sollten) sie nicht der (?:richtige|beabsichtigte|vorgesehene) (?:adressat|empfänger)|"
    r"(?:wenn|falls|sollten) sie diese (?:e-?mail|nachricht) irrtümlich|"
    r"(?:das|die|jede) (?:unerlaubte|unbefugte|unberechtigte) (?:kopieren|weitergabe|verbreitung|vervielfältigung|"
    r"verwendung|nutzung|offenlegung|kenntnisnahme).{0,80}(?:e-?mail|mail|nachricht|informationen)|"
    r"bitte (?:prüfen|überlegen) sie.{0,60}(?:e-?mail|nachricht).{0,60}(?:druck|papier)|"
    r"bitte denken sie an (?:die|unsere) umwelt|virenfrei\.|haftungsausschluss\s*:|vertraulichkeitshinweis"
    r")",
    re.IGNORECASE | re.DOTALL,
)
FOOTER_SIGNS = (  # one of these, in lower case, is in every text that the cut would change
    "confidential", "privileged", "intended", "disclaimer", "received this", "environment", "print", "virus", "scanned",
    "unauthori", "outside", "extern", "registered in", "vertraulich", "geschützt", "ausschließlich", "nur für", "viren",
    "außerhalb", "nicht der", "umwelt", "irrtümlich", "unerlaubt", "unbefugt", "unberechtigt", "druck", "papier",
    "haftungs", "gericht", "hrb", "hra", "geschäftsführ", "vorstand",
)  # fmt: skip
BANNER = re.compile(r"\W*(?:external|caution|achtung|vorsicht|extern|this e-?mail originated)\b.*[.!]", re.IGNORECASE)


def _without_footer(paragraph: str) -> str | None:
    """Returns what stays of a paragraph: under a banner in one line the text may follow at once."""
    if not FOOTER.match(paragraph):
        return paragraph
    first, _, rest = paragraph.partition("\n")
    return rest if rest and BANNER.fullmatch(first.rstrip()) else None


def _is_imprint(paragraph: str) -> bool:
    """Tells whether a paragraph has at least three of the things that a company's mail must state."""
    return "?" not in paragraph and len({match.lastindex for match in LEGAL.finditer(paragraph)}) >= 3


def cut_footers(lines: Sequence[str]) -> list[str]:
    """Returns the lines without footers, wherever a server put them, and without an imprint at the end."""
    found = map(_without_footer, "\n".join(lines).split("\n\n"))
    paragraphs = [paragraph for paragraph in found if paragraph is not None]
    while paragraphs and _is_imprint(paragraphs[-1]):
        paragraphs.pop()
    return "\n\n".join(paragraphs).split("\n")
