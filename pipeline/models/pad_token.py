"""Which token pads: one that the model has an embedding for, and that ends no answer.

Output contract: `choose` is a pure function of the tokenizer, its stop tokens and what its template writes.
This module renders no template and changes no tokenizer.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

_PADS = (  # what pretrained vocabularies reserve for padding or never write in text, best first
    *("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|endofpad|>", "<|vision_pad|>", "<|fim_pad|>"),
    *("<|endoftext|>", "<unk>", "<|unk|>", "[UNK]"),
)


def choose(tokenizer: Any, stops: Set[int | None], written: str) -> str | None:
    """Returns a token of the vocabulary that ends no answer (`stops`, ids), None where there is none: the pad it has,
    else one that text does not hold. `written`: the template and what it renders.

    Any such token will do: attention masks and labels tell padding apart, never its id. A token that the vocabulary
    lacks will not, though it has an id: that of `unk` in memory, and once saved and loaded one behind the embeddings.
    """
    vocabulary = tokenizer.get_vocab()
    special = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    unused = [token for token in reversed(special) if token not in written and token != tokenizer.bos_token]
    for token in (tokenizer.pad_token, *_PADS, tokenizer.unk_token, *unused, tokenizer.bos_token):
        if token in vocabulary and vocabulary[token] not in stops:
            return str(token)
    return None
