"""The chat template: how a question and its answer become tokens, in training, evaluation, synthesis and serving alike.

Output contract: a question and its answer are rendered as [user, assistant], behind the turns before them, if any; the
tokens of the answer and the stop token that ends it are supervised, everything before is not. The token ids that
serving asks with are the first ids of the row, so the model sees in training what it will see when asked: a template
that cannot do that is mended or refused. Control tokens that a message quotes are text. A template with a thinking mode
is rendered without it. The template alone decides about BOS: tokenisation never adds one. A row of kind document is its
plain text between BOS (where the model has one in use) and eos, all of it supervised but the first token.
This module supervises the last answer of a conversation alone (`conversation` all of them), and loads no weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.models import mend_template, pad_token
from pipeline.models.plain_text import Quoted, Rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

IGNORED = -100
"""Label of a token that is not supervised."""

DEFAULT = "default"
"""The value of `chat_template` that stands for our own, for base models that have none."""

_PROBE = "\u2042probe\u2042"  # content that no template of ours or others' looks at
_TURNS = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
_UNSET = {"bos_token": "''", "tools": "tools or []"}  # what a template may take for granted, and what it means without


@dataclass(frozen=True)
class Encoded:
    """One training example. `labels` equals `input_ids` where supervised, `IGNORED` elsewhere; same length."""

    input_ids: list[int]
    labels: list[int]
    truncated: bool  # longer than `max_length`: cut on the right, its end and perhaps its whole answer lost
    dropped: int = 0  # exchanges at the end of its row that are left out, the row being longer than `max_length`


@dataclass(frozen=True)
class Stop:
    """The token that ends an answer. `appended`: the template writes none, so training puts it there."""

    id: int
    text: str
    appended: bool


def _name(tokenizer: Any) -> str:
    return str(tokenizer.name_or_path or type(tokenizer).__name__)


def prepare_tokenizer(tokenizer: Any, chat_template: str | None) -> Any:
    """Gives a tokenizer a template (a Jinja file, `default`, None: its own) and a safe pad token; returns it.

    Raises `ConfigError` when the model has no template and none is named, when the file cannot be read, when the
    tokenizer cannot say which characters a token stands for, or when no token of its vocabulary can be the pad.
    """
    if chat_template is not None:
        bundled = chat_template == DEFAULT
        place = Path(__file__).with_name("default.jinja") if bundled else Path(chat_template)
        try:
            tokenizer.chat_template = place.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"chat_template: cannot read {chat_template}: {error}") from error
    template_text(tokenizer)
    if not tokenizer.is_fast:
        raise ConfigError(f"{_name(tokenizer)} has no `tokenizer.json`: save it as a fast tokenizer first")
    _mend(tokenizer)
    stops = {stop_token(tokenizer).id, tokenizer.eos_token_id}
    pad = pad_token.choose(tokenizer, stops, template_text(tokenizer) + _render(tokenizer, _TURNS))
    if pad is None:
        raise ConfigError(f"{_name(tokenizer)} has no token to pad with besides its stop token: add one to it")
    if pad != tokenizer.pad_token:
        tokenizer.add_special_tokens({"pad_token": pad})
    tokenizer.padding_side = "left"
    return tokenizer


def _mend(tokenizer: Any) -> None:
    """Sets a template that training and serving can share; raises `ConfigError` where there is none."""

    def render(messages: list[dict[str, str]], ask: bool) -> str:
        return _render(tokenizer, messages, ask)

    def ending(text: str) -> int | None:
        controls = _controls(tokenizer).controls
        return min((text.index(token) + len(token) for token in controls if token in text), default=None)

    own = tokenizer.chat_template = mend_template.stopped(template_text(tokenizer))
    missing = [name for name in _UNSET if name in own and not (name == "bos_token" and tokenizer.bos_token)]
    unset = [f"{{%- set {name} = {_UNSET[name]} -%}}" for name in missing]
    try:
        _render(tokenizer, [{"role": "user", "content": _PROBE}], ask=True)
    except ConfigError:
        tokenizer.chat_template = "".join([*unset, own])
    for _ in range(2):  # the second time it must be fine
        try:
            mended = mend_template.mended(render, ending, tokenizer.eos_token)
        except ConfigError as error:
            raise ConfigError(f"the chat template of {_name(tokenizer)} cannot be used: {error}") from error
        if mended is None:
            return
        tokenizer.chat_template = mended
    raise ConfigError(f"the chat template of {_name(tokenizer)} cannot be used: {mend_template.REWRITES}")


def template_text(tokenizer: Any) -> str:
    """Returns the Jinja source; raises `ConfigError` where the model has none."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise ConfigError(
            f"{_name(tokenizer)} has no chat template: name a Jinja file as `chat_template`, or `{DEFAULT}`"
        )
    return str(template)


def template_sha256(tokenizer: Any) -> str:
    """Returns 64 hex digits: what the artefact carries and serving compares."""
    return hashlib.sha256(template_text(tokenizer).encode()).hexdigest()


def _render(tokenizer: Any, messages: Sequence[dict[str, str]], ask: bool = False, think: bool = False) -> str:
    """Renders messages. `enable_thinking` is what Qwen3 and its kin call it; other templates do not look at it."""
    options = {} if think else {"enable_thinking": False}
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask, **options))
    except Exception as error:  # a template is a program that comes with the model: it may raise anything
        raise ConfigError(
            f"it fails with {type(error).__name__}: {error}; set `chat_template` to a Jinja file, or to `{DEFAULT}`"
        ) from error


def _controls(tokenizer: Any) -> Quoted:
    return _controls_of(tokenizer, template_text(tokenizer))


@lru_cache(maxsize=8)
def _controls_of(tokenizer: Any, template: str) -> Quoted:
    try:
        frame = _render(tokenizer, _TURNS)
    except ConfigError:  # it takes no conversation that ends with an answer
        frame = _render(tokenizer, _TURNS[:1], ask=True)
    return Quoted(tokenizer, template, mend_template.THINKS.sub("", frame))


def _hidden(controls: Quoted, messages: Sequence[dict[str, str]], held: dict[str, str]) -> list[dict[str, str]]:
    """Returns messages without the control tokens that they quote; an answer keeps its own thinking and tool calls."""
    return [
        {**message, "content": controls.hide(message["content"], held, message["role"] == "assistant")}
        for message in messages
    ]


def messages(turns: Sequence[str]) -> list[dict[str, str]]:
    """Returns the messages of a conversation, whose turns are the user's and the assistant's alternately."""
    return [{"role": ("user", "assistant")[slot % 2], "content": text} for slot, text in enumerate(turns)]


def _rendered(tokenizer: Any, controls: Quoted, turns: Sequence[str]) -> Rendered:
    """Returns the whole text of a conversation and where its last answer begins; an answer that brings its own thinking
    begins before it, with no empty thinking block."""
    held: dict[str, str] = {}
    hidden = _hidden(controls, messages(turns), held)
    whole = _render(tokenizer, hidden)
    for think in (False, True):
        asked = _render(tokenizer, hidden[:-1], ask=True, think=think)
        if whole.startswith(asked):
            return Rendered(whole, held, len(asked))
    raise ConfigError(f"the chat template of {_name(tokenizer)} cannot be used: {mend_template.REWRITES}")


def stop_token(tokenizer: Any) -> Stop:
    """Returns what ends an answer: the first special token the template writes after it, else the tokenizer's eos.

    Raises `ConfigError` where there is neither.
    """
    return _stop_token(tokenizer, template_text(tokenizer))


@lru_cache(maxsize=8)
def _stop_token(tokenizer: Any, _template: str) -> Stop:
    after = _render(tokenizer, _TURNS).rpartition(_PROBE)[2]
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if str(token).strip()}
    ending = added | set(tokenizer.all_special_ids)
    for token in tokenizer(after, add_special_tokens=False).input_ids:
        if token in ending:
            return Stop(token, tokenizer.convert_ids_to_tokens(token), appended=False)
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"{_name(tokenizer)} has no end-of-sequence token, and its template ends an answer with none")
    return Stop(tokenizer.eos_token_id, tokenizer.eos_token, appended=True)


def stop_ids(tokenizer: Any, generation: Any) -> list[int]:
    """Returns every token id that ends an answer, sorted: the template's, the tokenizer's and those of the model's
    generation configuration, which may be None."""
    eos = getattr(generation, "eos_token_id", None)
    ids = {
        stop_token(tokenizer).id,
        tokenizer.eos_token_id,
        *(eos if isinstance(eos, list) else [eos]),
    }
    return sorted(token for token in ids if token is not None)


def chat_text(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """Returns a conversation as the template writes it, up to where the assistant's answer begins."""
    return _render(tokenizer, messages, ask=True)


def chat_prompt(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """Returns the token ids of `chat_text`; control tokens that a message quotes are text.

    Raises `ConfigError` where the template refuses the messages.
    """
    controls, held = _controls(tokenizer), dict[str, str]()
    asked = _render(tokenizer, _hidden(controls, messages, held), ask=True)
    return controls.tokens([Rendered(asked, held)])[0][0]


def text_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Returns the token ids of plain texts, all of which is text."""
    controls = _controls(tokenizer)
    return [ids for ids, _ in controls.tokens([_plain(controls, text) for text in texts])]


def _plain(controls: Quoted, text: str) -> Rendered:
    held: dict[str, str] = {}
    return Rendered(controls.hide(text, held), held)


def encode(tokenizer: Any, prompt: str, response: str, max_length: int, kind: str = "qa") -> Encoded:
    """Encodes one row; see `encode_batch`."""
    return encode_batch(tokenizer, [prompt], [response], max_length, [kind])[0]


def encode_batch(
    tokenizer: Any,
    prompts: Sequence[str],
    responses: Sequence[str],
    max_length: int,
    kinds: Sequence[str] | None = None,
    earlier: Sequence[Sequence[str]] | None = None,
) -> list[Encoded]:
    """Encodes rows (all of kind qa unless said); a longer one than `max_length` tokens is cut on the right, which may
    leave no supervised token. `earlier`: the turns before each question, the user's and the assistant's alternately.

    The last supervised token of a row that was not cut is the stop token, of a document eos. Raises `ConfigError` for a
    template that cannot be supervised, or that writes nothing before an answer.
    """
    stop, controls = stop_token(tokenizer), _controls(tokenizer)
    documents = [kind == "document" for kind in kinds or ["qa"] * len(prompts)]
    turns = zip(earlier or [()] * len(documents), prompts, responses, strict=True)
    rows = [
        _plain(controls, "\n\n".join(last).strip()) if document else _rendered(tokenizer, controls, [*before, *last])
        for (before, *last), document in zip(turns, documents, strict=True)
    ]
    frame = _frame(tokenizer) if any(documents) else ([], [])
    return [
        _document(frame[0] + ids + frame[1], max_length) if document else _supervise(ids, first, stop, max_length)
        for (ids, first), document in zip(controls.tokens(rows), documents, strict=True)
    ]


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Returns the tokens before and after a document: BOS where the template or the tokenizer starts with it, eos."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    asked = chat_prompt(tokenizer, [{"role": "user", "content": _PROBE}])
    uses = bos is not None and bos in (asked[0], *tokenizer("x").input_ids[:1])
    return [bos] if uses else [], [stop_token(tokenizer).id if eos is None else eos]


def _document(ids: list[int], max_length: int) -> Encoded:
    """Supervises all but the first token, which nothing predicts."""
    labels = [IGNORED, *ids[1:]]
    return Encoded(ids[:max_length], labels[:max_length], truncated=len(ids) > max_length)


def _supervise(ids: list[int], first: int, stop: Stop, max_length: int) -> Encoded:
    if first == 0:
        raise ConfigError("the chat template writes nothing before an answer: there is nothing to answer to")
    if stop.appended:
        ids = [*ids, stop.id]
    if stop.id not in ids[first:]:
        raise ConfigError(
            f"the tokenizer does not find {stop.text} behind an answer: tokenizer.json must not mark it as `normalized`"
        )
    ids = ids[: ids.index(stop.id, first) + 1]  # what the template writes after the stop token is never generated
    labels = [IGNORED] * first + ids[first:]
    return Encoded(ids[:max_length], labels[:max_length], truncated=len(ids) > max_length)
