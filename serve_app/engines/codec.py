"""Text to token ids and back: rendering messages, encoding, decoding, the bytes of a single token.

Output contract: `render` is the training's own `chat_prompt`. The joined `piece`s of a text's tokens are the text's
UTF-8 for byte-level BPE; for other tokenizers but for spaces that decoding strips. Code Llama's `<FILL_ME>` is text.
This module loads no tokenizer and keeps no state of a request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Codec(Protocol):
    size: int  # ids are below it

    def render(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Returns a conversation's ids up to where the answer begins; raises `ConfigError` where the template refuses
        it."""

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text to be continued."""

    def decode(self, ids: list[int]) -> str:
        """Returns the text without special tokens; U+FFFD for bytes that are no character."""

    def piece(self, token: int) -> bytes:
        """Returns one token's bytes, perhaps half a character."""


class HfCodec:
    """A fast tokenizer of transformers, with the template that the model was trained with; `embeddings` is how many
    tokens the model has one for, which may be fewer than the tokenizer has."""

    def __init__(self, tokenizer: Any, embeddings: int | None = None) -> None:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer  # called directly: the wrapper costs more than its work
        self._backend.no_truncation()
        self._backend.no_padding()
        self.size = min(len(tokenizer), embeddings or len(tokenizer))
        self._added = {token: str(content) for token, content in tokenizer.added_tokens_decoder.items()}
        decoder = json.dumps(json.loads(self._backend.to_str()).get("decoder"))
        self._bytes = {char: byte for byte, char in bytes_to_unicode().items()} if '"ByteLevel"' in decoder else None

    def render(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """See `Codec`."""
        from pipeline.models.template import chat_prompt

        return chat_prompt(self.tokenizer, messages)

    def encode(self, text: str) -> list[int]:
        """See `Codec`."""
        return list(self._backend.encode(text).ids)

    def decode(self, ids: list[int]) -> str:
        """See `Codec`."""
        return str(self._backend.decode(ids, skip_special_tokens=True))

    def piece(self, token: int) -> bytes:
        """See `Codec`."""
        if token in self._added:
            return self._added[token].encode()
        written = str(self.tokenizer.convert_ids_to_tokens(token) or "")
        if self._bytes is not None and all(char in self._bytes for char in written):
            return bytes(self._bytes[char] for char in written)
        if (byte := _BYTE.fullmatch(written)) is not None:
            return bytes([int(byte[1], 16)])
        return written.replace("\u2581", " ").encode()
