"""A chat template that training and serving cannot share, made into one that they can, where the right thing is clear.

Output contract: `mended` returns the Jinja text to use instead of a model's own, None where its own will do. It learns
from renderings what the template writes around messages, and writes the same but for the fault: a blank at the end of
the generation prompt; a generation prompt that is not written, or that opens a thinking block which no earlier turn
has (an empty one is written before the last answer too); an end marker that is no token; a refusal of conversations
that end with an answer. Any other template in which an answered question reads differently is a `ConfigError`.
`stopped` is a template to which every day is the same.
This module knows no tokenizer.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.errors import ConfigError

Render = Callable[[list[dict[str, str]], bool], str]
"""Renders messages, with the generation prompt where the second argument is true; raises `ConfigError`."""

Ending = Callable[[str], int | None]
"""Returns where in a text its first control token ends, None where there is none."""

REWRITES = (
    "it renders a question differently once it is answered: set `chat_template` to a Jinja file in which each message "
    "only adds text"
)
_SYSTEM, _ASKED, _ANSWER, _NEXT = ("\u2042system\u2042", "\u2042asked\u2042", "\u2042answer\u2042", "\u2042next\u2042")
THINKS = re.compile(r"\s*[<\[]\|?/?\w*(think|reason)\w*\|?[>\]]\s*", re.IGNORECASE)
"""Opens or closes a thinking block."""
_BLOCK = re.compile(r"\s*[<\[][^<>\[\]\s]+[>\]]\s*(?:thought)?\s*[<\[][^<>\[\]\s]+[>\]]\s*")
"""Opens a block and closes it: a thinking block where a word of it says so."""
_DAY = {"%-d": "26", "%d": "26", "%m": "07", "%Y": "2024", "%y": "24", "%B": "July", "%b": "Jul", "%A": "Friday"}
_DAY |= {"%a": "Fri", "%H": "12", "%I": "12", "%M": "00", "%S": "00", "%p": "PM"}
_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{code}', '{value}')" for code, value in _DAY.items())
    + " }}{%- endmacro -%}"
)
"""The clock of templates, stopped on the day that Llama's names where there is none."""


@dataclass(frozen=True)
class Frame:
    """What a template writes around the messages of a conversation."""

    head: str  # before the first question
    user: str  # before a question
    asked: str  # after it
    prompt: str  # what asks for an answer
    block: str  # an empty thinking block behind that, of the last answer
    lead: str  # between that and the answer: blanks
    answered: str  # after an answer
    system: tuple[str, ...] | None  # from the start to a system message, and from there to the question; one part: the
    # message is left out; None: it is refused
    trims: bool  # blanks around a message


def stopped(template: str) -> str:
    """Returns a template that writes the same date every day: training, evaluation and serving happen on different
    ones."""
    runs = "strftime_now" in template and not template.startswith(_CLOCK)
    return _CLOCK + template if runs else template


def mended(render: Render, ending: Ending, eos: str | None) -> str | None:
    """Returns the template to use instead, None where the model's own will do; `eos` is the tokenizer's.

    Raises `ConfigError`, the end of a sentence that begins with the template's name, where it can be neither.
    """
    question, answer = _message("user", _ASKED), _message("assistant", _ANSWER)
    asked = _split(render([question], True), _ASKED)
    try:
        whole = _split(render([question, answer], False), _ASKED, _ANSWER)
    except ConfigError:  # it takes no conversation that ends with an answer
        whole = None
    if whole is not None and _fine(asked[1], whole[1], whole[2], ending):
        return None
    frame = _learn(render, ending, asked, whole)
    if frame.answered.strip() and ending(frame.answered) is None:
        if eos is None:
            raise ConfigError("it ends an answer with a text that is no token, and the tokenizer has no eos token")
        frame = replace(frame, answered=eos + frame.answered[len(frame.answered.rstrip()) :])
    return _written(frame)


def _fine(asked: str, middle: str, end: str, ending: Ending) -> bool:
    """Tells whether training and serving can share a template: `asked` follows a question that is to be answered,
    `middle` one that is, `end` its answer."""
    prefixed = middle.startswith(asked) and not middle[len(asked) :].strip() and not asked.endswith(" ")
    return prefixed and (not end.strip() or ending(end) is not None)


def _learn(render: Render, ending: Ending, asked: list[str], whole: list[str] | None) -> Frame:
    question, answer = _message("user", _ASKED), _message("assistant", _ANSWER)
    turn = _split(render([question, answer, _message("user", _NEXT)], True), _ASKED, _ANSWER, _NEXT)[2]
    start, tail = asked
    _, middle, end = whole or ["", tail, turn.removesuffix(turn[ending(turn) or 0 :].lstrip())]
    opens = tail[len(middle) :]
    block = opens if _BLOCK.fullmatch(opens) and re.search("think|thought|reason", opens, re.IGNORECASE) else ""
    if not middle.startswith(tail) and not (tail.startswith(middle) and (block or THINKS.fullmatch(opens))):
        raise ConfigError(REWRITES)
    user = turn[sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(end, turn, strict=False))) :]
    if not start.endswith(user):
        raise ConfigError(REWRITES)
    before, after = middle.rstrip(" "), _split(render([question], False), _ASKED)[1].rstrip(" ")
    after = after if before.startswith(after) and after != before else ""
    return Frame(
        head=start.removesuffix(user),
        user=user,
        asked=after,
        prompt=before.removeprefix(after),
        block=block,
        lead=middle.removeprefix(before),
        answered=end,
        system=_system(render),
        trims=f" {_ASKED}" not in render([_message("user", f"\n {_ASKED}")], True),
    )


def _system(render: Render) -> tuple[str, ...] | None:
    try:
        text = render([_message("system", _SYSTEM), _message("user", _ASKED)], True)
    except ConfigError:
        return None
    return tuple(text.partition(_ASKED)[0].split(_SYSTEM))


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _split(text: str, *contents: str) -> list[str]:
    """Returns what stands before, between and after the contents of messages, in their order."""
    parts = []
    for content in contents:
        part, found, text = text.partition(content)
        if not found:
            raise ConfigError("it does not write what the messages say, or not in their order")
        parts.append(part)
    return [*parts, text]


def _written(frame: Frame) -> str:
    """Returns a template with this frame."""
    content = "message['content'] | trim" if frame.trims else "message['content']"
    refusal = "raise_exception('no system message can be given')"
    match frame.system:
        case None:
            system = refusal
        case (around,):
            system = _literal(around)
        case (before, after, *_):
            system = f"{_literal(before)} + messages[0]['content'] + {_literal(after)}"
    return (
        "{%- set opens = messages[0]['role'] == 'system' -%}"
        f"{{%- if opens -%}}{{{{ {system} }}}}{{%- else -%}}{{{{ {_literal(frame.head)} }}}}{{%- endif -%}}"
        "{%- for message in messages -%}"
        "{%- if message['role'] == 'user' -%}"
        f"{{{{ '' if opens and loop.index0 == 1 else {_literal(frame.user)} }}}}"
        f"{{{{ {content} }}}}{{{{ {_literal(frame.asked)} }}}}"
        "{%- elif message['role'] == 'assistant' -%}"
        f"{{{{ {_literal(frame.prompt)} }}}}{{{{ {_literal(frame.block)} if loop.last else '' }}}}"
        f"{{{{ {_literal(frame.lead)} }}}}{{{{ {content} }}}}{{{{ {_literal(frame.answered)} }}}}"
        f"{{%- elif not loop.first -%}}{{{{ {refusal} }}}}"
        "{%- endif -%}{%- endfor -%}"
        f"{{%- if add_generation_prompt -%}}{{{{ {_literal(frame.prompt + frame.block)} }}}}{{%- endif -%}}"
    )


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
