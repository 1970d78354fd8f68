"""The chat templates of the presets, by their published text, on tokenizers of their kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.models import template
from pipeline.models.load import Base
from pipeline.train.data import pack

FOLDER = Path(__file__).parent / "templates"
SENTENCEPIECE = ("<unk>", "<s>", "</s>")
TURNS = ("<|im_start|>", "<|im_end|>")
LLAMA = ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|finetune_right_pad_id|>")
PHI = (
    "<|endoftext|>",
    "<|assistant|>",
    "<|system|>",
    "<|user|>",
    "<|end|>",
    "<|tool|>",
    "<|/tool|>",
    "<|endofprompt|>",
)
CORPUS = ["my card is lost please close it\n\n### User:\n", "what is the fee\nassistant user the fee 12"]


def sentencepiece(more: tuple[str, ...] = (), pad: str | None = None) -> Any:
    """A tokenizer like Llama 2's and Mistral's: words begin with a visible blank, BOS added by tokenisation itself."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(steps)
    special = [*SENTENCEPIECE, *more]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special + byte_tokens, show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    rules = json.loads(core.to_str())
    rules["added_tokens"] = [token for token in rules["added_tokens"] if token["content"] not in byte_tokens]
    core = Tokenizer.from_str(json.dumps(rules))  # bytes are ordinary vocabulary, as published ones have them
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token=pad
    )
    made.add_special_tokens({"additional_special_tokens": list(more)})
    return made


def byte_level(special: tuple[str, ...], eos: str, bos: str | None = None, pad: str | None = None) -> Any:
    """A tokenizer like Llama 3's and Qwen's."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    core.add_tokens([AddedToken("<think>"), AddedToken("</think>")])  # in Qwen3 no special tokens: decoding shows them
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos, bos_token=bos, pad_token=pad)


PRESETS: dict[str, tuple[Callable[[], Any], str, str, str, int]] = {
    # name: tokenizer, template, what is asked, what is supervised, how many BOS
    "Mistral": (
        lambda: sentencepiece(("[INST]", "[/INST]")),
        "mistral",
        "<s>[INST] lost card[/INST]",
        " close it</s>",
        1,
    ),
    "Zephyr": (
        lambda: sentencepiece(pad="</s>"),
        "zephyr",
        "<|user|>\nlost card</s>\n<|assistant|>\n",
        "close it</s>",
        0,
    ),
    "CodeLlama-Python": (
        sentencepiece,
        template.DEFAULT,
        "<s>### User:\nlost card\n\n### Assistant:\n",
        "close it</s>",
        1,
    ),
    "SOLAR-Instruct": (
        sentencepiece,
        "solar",
        "### User:\nlost card\n\n### Assistant:\n",
        "close it</s>",
        0,
    ),
    "Llama-3.1": (
        lambda: byte_level(LLAMA, eos="<|eot_id|>", bos="<|begin_of_text|>"),
        "llama31",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nlost card<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "close it<|eot_id|>",
        1,
    ),
    "Qwen3": (
        lambda: byte_level(("<|endoftext|>", *TURNS), eos="<|im_end|>", pad="<|endoftext|>"),
        "qwen3",
        "<|im_start|>user\nlost card<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "close it<|im_end|>",
        0,
    ),
    "SmolLM2": (
        lambda: byte_level(("<|endoftext|>", *TURNS), eos="<|im_end|>", bos="<|im_start|>", pad="<|im_end|>"),
        "smollm2",
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nlost card<|im_end|>\n<|im_start|>assistant\n",
        "close it<|im_end|>",
        3,  # what it calls BOS begins every turn
    ),
    "Phi-4-mini": (  # its eos ends a conversation, `<|end|>` an answer
        lambda: byte_level(PHI, eos="<|endoftext|>", bos="<|endoftext|>", pad="<|endoftext|>"),
        "phi4mini",
        "<|user|>lost card<|end|><|assistant|>",
        "close it<|end|>",
        0,
    ),
}


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest, make_project: Any) -> tuple[Any, str, str, int]:
    make, name, asked, supervised, bos = PRESETS[request.param]
    tokenizer = make()
    place = name if name == template.DEFAULT else str(FOLDER / f"{name}.jinja")
    return (
        template.prepare_tokenizer(tokenizer, make_project(chat_template=place).chat_template),
        asked,
        supervised,
        bos,
    )


def text(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).removeprefix(" ")


def test_a_question_is_rendered_as_published_and_the_answer_alone_supervised(preset: Any) -> None:
    tokenizer, asked, supervised, _ = preset
    assert template._render(tokenizer, [{"role": "user", "content": "lost card"}], ask=True) == asked
    row = template.encode(tokenizer, "lost card", "close it", 200)
    assert not row.truncated
    answer = [label for label in row.labels if label != template.IGNORED]
    assert answer == row.input_ids[-len(answer) :]
    assert text(tokenizer, answer).strip() == supervised.strip()


def test_the_prompt_of_serving_is_a_prefix_of_the_training_row(preset: Any) -> None:
    tokenizer, _, _, _ = preset
    row = template.encode(tokenizer, "lost card", "close it", 200)
    asked = template.chat_prompt(tokenizer, [{"role": "user", "content": "lost card"}])
    assert row.input_ids[: len(asked)] == asked
    assert row.labels[: len(asked)] == [template.IGNORED] * len(asked)
    assert row.labels[len(asked)] == row.input_ids[len(asked)]


def test_the_last_supervised_token_stops_and_no_padding_does(preset: Any) -> None:
    tokenizer, _, supervised, _ = preset
    row = template.encode(tokenizer, "lost card", "close it", 200)
    stop = template.stop_token(tokenizer)
    assert row.labels[-1] == stop.id
    assert (stop.id == tokenizer.eos_token_id) == (stop.text != "<|end|>")
    assert supervised.endswith(stop.text)
    assert row.labels.count(stop.id) == 1
    assert tokenizer.pad_token_id not in {stop.id, tokenizer.eos_token_id}
    assert tokenizer.pad_token_id not in row.input_ids


def test_bos_is_there_once_or_not_at_all(preset: Any) -> None:
    tokenizer, _, _, bos = preset
    for ids in (
        template.encode(tokenizer, "lost card", "close it", 200).input_ids,
        template.chat_prompt(tokenizer, [{"role": "user", "content": "lost card"}]),
    ):
        assert (0 if tokenizer.bos_token_id is None else ids.count(tokenizer.bos_token_id)) == bos
        assert ids[: min(bos, 1)] == [tokenizer.bos_token_id][:bos]


def test_a_document_is_its_text_supervised_to_the_end(preset: Any) -> None:
    tokenizer, _, _, _ = preset
    row = template.encode(tokenizer, "Fees > Cards", "The fee is 12.", 200, "document")
    begins = tokenizer.bos_token not in (None, tokenizer.eos_token)
    body = row.input_ids[1:-1] if begins else row.input_ids[:-1]
    assert text(tokenizer, body) == "Fees > Cards\n\nThe fee is 12."
    assert row.input_ids[-1] == tokenizer.eos_token_id
    assert row.labels == [template.IGNORED, *row.input_ids[1:]]
    assert row.input_ids[:-1].count(tokenizer.bos_token_id) == (1 if begins else 0)
    cut = template.encode(tokenizer, "Fees > Cards", "The fee is 12.", 9, "document")
    assert (cut.truncated, cut.input_ids) == (True, row.input_ids[:9])


def test_kinds_may_be_mixed_in_a_batch(preset: Any) -> None:
    tokenizer, _, _, _ = preset
    kinds = ["qa", "document", "qa"]
    rows = template.encode_batch(tokenizer, ["a", "b", ""], ["c", "d", "e"], 200, kinds)
    assert rows == [
        template.encode(tokenizer, prompt, response, 200, kind)
        for prompt, response, kind in zip(["a", "b", ""], ["c", "d", "e"], kinds, strict=True)
    ]
    assert all(row.labels[0] == template.IGNORED for row in rows)


def test_qwen_supervises_thinking_only_where_the_answer_brings_its_own() -> None:
    tokenizer = PRESETS["Qwen3"][0]()
    tokenizer.chat_template = (FOLDER / "qwen3.jinja").read_text()
    row = template.encode(tokenizer, "lost card", "<think>\nfee\n</think>\n\nclose it", 200)
    answer = text(tokenizer, [label for label in row.labels if label != template.IGNORED])
    assert answer == "<think>\nfee\n</think>\n\nclose it<|im_end|>"


def test_a_conversation_whose_earlier_thinking_is_stripped_can_still_be_asked() -> None:
    tokenizer = PRESETS["Qwen3"][0]()
    tokenizer.chat_template = (FOLDER / "qwen3.jinja").read_text()
    turns = [("user", "lost card"), ("assistant", "<think>\nfee\n</think>\n\nclose it"), ("user", "what fee")]
    asked = template.chat_prompt(tokenizer, [{"role": role, "content": content} for role, content in turns])
    assert text(tokenizer, asked) == (
        "<|im_start|>user\nlost card<|im_end|>\n<|im_start|>assistant\nclose it<|im_end|>\n"
        "<|im_start|>user\nwhat fee<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_documents_reach_the_packed_rows_as_text(tiny: Path, make_project: Any) -> None:
    import pyarrow as pa

    tokenise = pack.Tokenise(Base.of(make_project()), make_project().train.max_length)
    columns = {"id": ["1", "2"], "kind": ["document", "qa"], "prompt": ["fee", "fee"], "response": ["card", "card"]}
    later = pa.array([[], []], pa.list_(pa.string()))
    table = tokenise(pa.table({**columns, "later": later, "path": ["x/data/train/0", "x/data/val/0"]}))
    decoded = [tokenise.tokenizer.decode(ids) for ids in table["input_ids"].to_pylist()]
    assert decoded == ["fee\n\ncard</s>", "<|user|>\nfee<|end|>\n<|assistant|>\ncard<|end|>"]
