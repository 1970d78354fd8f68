"""Mails put together of pieces whose fate is known."""

from __future__ import annotations

from random import Random

PIECES = {
    "kept": (
        "My card is gone since Monday.", "Wo ist meine Bestellung?\nSie sollte gestern kommen.",
        "Please type these commands:\n> ipconfig /flushdns\n> ipconfig /renew",
        "Von: Berlin\nAn: Bonn\nDatum: 5.1.2026",
        "One thing is the card.\n--\nThe other thing is the code, what do I do with it?",
    ),
    "quote": (
        "On Mon, Jan 5, 2026 at 10:00 AM Support <support@example.org> wrote:\n\n> Which card is it?\n>\n> Ben",
        "-----Original-Nachricht-----\nVon: Support\nGesendet: Montag\n\nWelche Karte ist es?",
        "Am 05.01.2026 um 10:00 hat Support <support@example.org> geschrieben:\n\nWelche Karte?",
        "##- Please type your reply above this line -##\n\nHello Anna,\nwhich card is it?",
        "Von: Support <support@example.org>\nGesendet: 5. Januar 2026 10:00\nAn: Anna\nBetreff: AW\n\nWelche?",
    ),
    "signature": ("-- \nAnna Schmidt\nBeispiel GmbH", "Von meinem iPhone gesendet", "Gesendet mit der GMX Mail App"),
    "footer": (
        "This e-mail is confidential and intended solely for the addressee.",
        "Bitte denken Sie an die Umwelt, bevor Sie diese E-Mail ausdrucken.",
    ),
}  # fmt: skip
HEADS = ("Hello,", "", "> x", "--", "wrote:", "From: a@example.org", "To: b@example.org", "_____", "Danke", "a > b")
TEXTS = (
    *(text for piece in PIECES.values() for text in piece), *HEADS, "<p>Hello</p>", "<br>\n",
    "<blockquote>x</blockquote>",
    '<blockquote type="cite">On Monday</blockquote>', "&lt;", "&nbsp;", "\r\n", "\\n\\n", "_x000D_\n",
    "GebÃ¼hr", "o\u0308",
    "\u00a0", "\u200b", "<script>x", "<title>", "</head>", "\ufdd0", "\u0958", "<ol><li>a<li>b</ol>",
    " \n\n\n ", "<div>",
    "<!-- x", "<style>p</style>", "&nGt;", "C:\\new", "\x85", "\x1c",
)  # fmt: skip


def mail(dice: Random) -> tuple[str, str, dict[str, int]]:
    """Returns a mail, what is kept of it, and how many characters of each kind are lost, white space between the pieces
    aside."""
    kept = dice.choice(PIECES["kept"])
    order = [kind for kind in ("signature", "footer", "quote") if dice.random() < 0.5]
    ends = [(kind, dice.choice(PIECES[kind])) for kind in order]
    return "\n\n".join([kept, *(text for _, text in ends)]), kept, {kind: len(text) for kind, text in ends}
