"""llama.cpp makes the token ids that the Hugging Face tokenizer makes, for every word splitter that is known."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.export import gguf_template, gguf_vocabulary, llamacpp
from pipeline.models import gguf_tokenizer
from tests.small_model import SPECIAL, TEMPLATE, sentence

TEXTS = [
    *gguf_template.TEXTS,
    "Wie sperre ich meine Karte? Größe 12345, it's 3.50 Euro!  two blanks",
    "hello\n\nworld\n   indented",
    "I'LL you've THEY'RE CamelCaseWords HTTPServer snake_case",
    "<|user|>x<|end|> y</s>z",
]


def corpus() -> list[str]:
    draw = random.Random(5)
    return [sentence(draw, 20) for _ in range(50)] + [text for text in TEXTS if "<|im" not in text] * 5


def steps(kind: tuple[str, ...]) -> list[Any]:
    from tokenizers import Regex, pre_tokenizers

    if kind[-1] == "gpt2":
        digits = [pre_tokenizers.Digits(individual_digits=True)] if len(kind) == 2 else []
        return [*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    return [
        pre_tokenizers.Split(Regex(kind[0]), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


def byte_level(kind: tuple[str, ...], ignore_merges: bool = False) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(steps(kind))
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(corpus(), trainer)
    return core


def sentencepiece(always: bool) -> Any:
    """A BPE with byte fallback, as transformers makes of Llama 2's and Mistral's SentencePiece model."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    blanks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    learner.normalizer = normalizers.Sequence(blanks)
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    learner.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=600, show_progress=False, limit_alphabet=60))
    learned = json.loads(learner.to_str())["model"]
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names = first + [token for token in learned["vocab"] if token not in first]
    merges = [tuple(pair) for pair in learned["merges"]]
    core = Tokenizer(
        models.BPE(
            {token: at for at, token in enumerate(names)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    if always:
        core.normalizer = normalizers.Sequence(blanks)
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>", "</s>")])
    return core


def wrap(core: Any, template: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    return tokenizer


def vocabulary_only(place: Path, tokenizer: Any) -> Path:
    tokenizer.save_pretrained(place)
    gguf_vocabulary.sample(place / "v.gguf", place, tokenizer, len(tokenizer))
    return place / "v.gguf"


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("name", gguf_tokenizer.SPLITTERS)
def test_byte_level_bpe(tmp_path: Path, name: str) -> None:
    tokenizer = wrap(byte_level(*gguf_tokenizer.SPLITTERS[name]), TEMPLATE)
    assert GGUFReader(vocabulary_only(tmp_path, tokenizer)).get_field("tokenizer.ggml.pre").contents() == name
    with llamacpp.Runtime(vocabulary_only(tmp_path, tokenizer), 64) as runtime:
        for number, text in enumerate(TEXTS):
            assert runtime.tokenize(text) == ids(tokenizer, text), number

        @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
        @given(st.text(st.sampled_from("abzÄöß 019'.,!\n\t<>/|sS€😀-_()\u0301\u00a0ई語"), min_size=1, max_size=40))
        def any_text(text: str) -> None:
            assert runtime.tokenize(text) == ids(tokenizer, text)

        any_text()


@pytest.mark.parametrize("always", [True, False], ids=["blank before every part", "blank before the first word"])
def test_sentencepiece_bpe(tmp_path: Path, always: bool) -> None:
    template = "<s>{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
    tokenizer = wrap(sentencepiece(always), template)
    with llamacpp.Runtime(vocabulary_only(tmp_path, tokenizer), 64) as runtime:
        for number, text in enumerate(TEXTS):
            rendered = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
            assert runtime.tokenize(rendered) == ids(tokenizer, rendered), number


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "splits words in a way"),
        ({"normalizer": {"type": "NFKC"}}, "changes texts in a way that llama.cpp does not: NFKC"),
        ({"model": {"type": "WordPiece", "vocab": {}}}, "has a WordPiece tokenizer"),
    ],
)
def test_an_unknown_tokenizer_is_one_sentence(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    tokenizer = wrap(byte_level(("gpt2",)), TEMPLATE)
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    from gguf import GGUFWriter

    with pytest.raises(ConfigError, match=message):
        gguf_vocabulary.write(GGUFWriter(tmp_path / "v.gguf", "llama"), tmp_path, tokenizer, len(tokenizer), "")
