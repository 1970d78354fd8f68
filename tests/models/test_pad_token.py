"""The pad token, for tokenizers shaped like those of pretrained models: one the model has an embedding for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.perplexity import score_all
from pipeline.models import load, template
from pipeline.models.generate import complete
from serve_app.engines.codec import HfCodec
from tests.models.test_template_presets import byte_level, sentencepiece
from tests.small_model import make_model

SMOLLM2 = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>", "<empty_output>")
LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_special_token_{number}|>" for number in range(3)))
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_MARKS = (
    "{% for m in messages %}{{ m['content'] }}\n{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


def with_unk(tokenizer: Any, unk: str) -> Any:
    tokenizer.unk_token = unk
    return tokenizer


SHAPES: dict[str, tuple[Callable[[], Any], str, str]] = {  # tokenizer, template, the pad token it gets
    "Llama 2, SOLAR: no pad, unk": (sentencepiece, NO_MARKS, "<unk>"),
    "Mistral: no pad, unk, marks of turns": (lambda: sentencepiece(("[INST]", "[/INST]")), NO_MARKS, "<unk>"),
    "CodeLlama: no pad, unk, fill-in marks": (lambda: sentencepiece(("▁<PRE>", "▁<EOT>")), NO_MARKS, "<unk>"),
    "Zephyr: pad is eos": (lambda: sentencepiece(pad="</s>"), NO_MARKS, "<unk>"),
    "Llama 2 finetune: pad is unk": (lambda: sentencepiece(pad="<unk>"), NO_MARKS, "<unk>"),
    "SmolLM2-Instruct: pad is eos, unk is <|endoftext|>": (
        lambda: with_unk(byte_level(SMOLLM2, "<|im_end|>", "<|im_start|>", "<|im_end|>"), "<|endoftext|>"),
        CHATML,
        "<|endoftext|>",
    ),
    "SmolLM2: no pad, one token for bos, eos and unk": (
        lambda: with_unk(byte_level(SMOLLM2, "<|endoftext|>", "<|endoftext|>"), "<|endoftext|>"),
        CHATML,
        "<empty_output>",
    ),
    "Llama 3: no pad, no unk": (
        lambda: byte_level(LLAMA3, "<|end_of_text|>", "<|begin_of_text|>"),
        NO_MARKS,
        "<|reserved_special_token_2|>",
    ),
    "Llama 3.1": (
        lambda: byte_level((*LLAMA3, "<|finetune_right_pad_id|>"), "<|end_of_text|>", "<|begin_of_text|>"),
        NO_MARKS,
        "<|finetune_right_pad_id|>",
    ),
    "Qwen3: a pad of its own": (
        lambda: byte_level(SMOLLM2, "<|im_end|>", pad="<|endoftext|>"),
        CHATML,
        "<|endoftext|>",
    ),
    "nothing but bos and eos": (lambda: byte_level(("<s>", "</s>"), "</s>", "<s>"), NO_MARKS, "<s>"),
}


def save(tokenizer: Any, text: str, place: Path, beyond: int = 0) -> Path:
    """Writes a tokenizer and the configuration of a model with as many embeddings, less `beyond`."""
    from transformers import LlamaConfig

    tokenizer.chat_template = text
    tokenizer.save_pretrained(place)
    LlamaConfig(vocab_size=len(tokenizer) - beyond).save_pretrained(place)
    return place


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pad_token_has_an_embedding_in_memory_and_on_disk(shape: str, tmp_path: Path, make_project: Any) -> None:
    from transformers import AutoTokenizer

    make, text, expected = SHAPES[shape]
    plain = make()
    base = save(plain, text, tmp_path / "base")
    tokenizer = load.Base.of(make_project(base=base), str(base)).tokenizer()
    assert tokenizer.pad_token == expected
    assert tokenizer.pad_token_id == plain.get_vocab()[expected]
    assert tokenizer.pad_token_id not in {template.stop_token(tokenizer).id, tokenizer.eos_token_id}
    tokenizer.save_pretrained(tmp_path / "adapter")  # as a training does: no configuration of a model beside it
    for again in (
        AutoTokenizer.from_pretrained(tmp_path / "adapter"),
        load.Base.of(make_project(base=base), str(tmp_path / "adapter")).tokenizer(),
    ):
        assert (again.pad_token, again.pad_token_id) == (expected, tokenizer.pad_token_id)
        assert again.get_vocab() == plain.get_vocab()
        for words in ("my card <unk> <pad> fee", "Größe <|endoftext|> <empty_output>"):
            assert again(words).input_ids == tokenizer(words).input_ids


def test_a_pad_token_that_the_vocabulary_lacks_is_replaced(make_project: Any) -> None:
    tokenizer = sentencepiece()
    tokenizer.chat_template = NO_MARKS
    tokenizer.pad_token = "<pad>"
    assert tokenizer.pad_token_id == tokenizer.unk_token_id  # an id it has, but only in memory
    assert template.prepare_tokenizer(tokenizer, make_project().chat_template).pad_token == "<unk>"


def test_a_tokenizer_of_stop_tokens_alone_is_one_sentence(make_project: Any) -> None:
    tokenizer = byte_level(("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>", "<|endoftext|>")
    tokenizer.chat_template = NO_MARKS
    with pytest.raises(ConfigError, match="no token to pad with besides its stop token"):
        template.prepare_tokenizer(tokenizer, make_project().chat_template)


@pytest.mark.parametrize("pad", ["[PAD]", None])
def test_more_tokens_than_embeddings_are_one_sentence(pad: str | None, tmp_path: Path, make_project: Any) -> None:
    tokenizer = sentencepiece(pad=pad)
    if pad is None:
        tokenizer.add_tokens(["<image>"])
    base = save(tokenizer, NO_MARKS, tmp_path / "base", beyond=1)
    with pytest.raises(ConfigError, match=rf"such as `.+` \(id {len(tokenizer) - 1}, the model has"):
        load.Base.of(make_project(base=base), str(base)).tokenizer()
    (base / "config.json").rename(tmp_path / "config.json")
    (tmp_path / "whole").mkdir()
    shutil.copy(tmp_path / "config.json", tmp_path / "whole")
    with pytest.raises(ConfigError, match="without an embedding"):  # an adapter's tokenizer, its base elsewhere
        load.Base.of(make_project(base=tmp_path / "whole"), str(base)).tokenizer()


def test_a_special_token_that_nothing_writes_needs_no_embedding(tmp_path: Path, make_project: Any) -> None:
    """Gemma 3 1B's tokenizer has one for pictures, behind the embeddings."""
    tokenizer = sentencepiece(pad="<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    base = load.Base.of(make_project(base=save(tokenizer, NO_MARKS, tmp_path / "base", beyond=1)))
    loaded = base.tokenizer()
    assert loaded.convert_tokens_to_ids("<image>") == len(loaded) - 1
    prompt = template.chat_prompt(loaded, [{"role": "user", "content": "a <image> b"}])
    assert max(prompt) < load.embeddings(base.folder) == HfCodec(loaded, load.embeddings(base.folder)).size


def test_answers_and_losses_owe_nothing_to_the_pad_token(tmp_path: Path, make_project: Any) -> None:
    base = make_model(tmp_path / "base", dtype="float32")
    causal, tokenizer = load.Base.of(make_project(base=base), str(base)).load()
    prompts = ["card", "account transfer fee refund limit app login", "fee fee"]
    rows = template.encode_batch(tokenizer, prompts, ["close it", "the bank", "a code"], 100)
    answers, losses = [], []
    for pad in ("<pad>", "<s>", "</s>"):
        tokenizer.pad_token = pad
        answers.append(complete(causal, tokenizer, prompts, 12)[0])
        losses.append([row.losses.tolist() for row in score_all(causal, rows, tokenizer.pad_token_id)])
    assert answers[0] == answers[1] == answers[2]
    assert losses[0] == losses[1] == losses[2]
