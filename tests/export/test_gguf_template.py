"""The template inside a GGUF file: llama.cpp renders it as training does, or the file is not published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from rich.console import Console
from tokenizers.normalizers import NFC

from pipeline.export import gguf, gguf_template, gguf_vocabulary, llamacpp, merge
from pipeline.models import template
from pipeline.run import Run
from tests.export.test_gguf import ASKED, build
from tests.export.test_merge import trained
from tests.small_model import TEMPLATE, make_tokenizer

TEMPLATES = Path(__file__).parents[1] / "models" / "templates"
TURNS = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<|{{ m['role'] }}|>{{ VALUE }}<|end|>{% endif %}{% endfor %}"
)
ASKING = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


def sample(place: Path, text: str) -> tuple[Path, Any]:
    tokenizer = make_tokenizer(text)
    tokenizer.save_pretrained(place)
    gguf_vocabulary.sample(place / "v.gguf", place, tokenizer, len(tokenizer))
    return place / "v.gguf", tokenizer


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (TEMPLATE, []),
        ((TEMPLATES / "llama31.jinja").read_text(), ["no date", "blanks trimmed"]),
        ((TEMPLATES / "mistral.jinja").read_text(), ["blanks trimmed in answers"]),
        ((TEMPLATES / "qwen3.jinja").read_text(), ["thinking off"]),
        (TURNS.replace("VALUE", "m['content']") + ASKING, ["system message read"]),
    ],
)
def test_a_client_that_sets_nothing_gets_the_rendering_of_training(tmp_path: Path, text: str, names: list[str]) -> None:
    file, tokenizer = sample(tmp_path, text)
    before, carried, unlike = gguf_template.choose(file, tokenizer)
    assert (before, unlike) == (names, [])
    messages = [
        {"role": "user", "content": "Größe </s>?"},
        {"role": "assistant", "content": "\u3000Ja.\u00a0"},
        ASKED[0],
    ]
    assert llamacpp.render(file, [messages], carried) == [template.chat_text(tokenizer, messages)]


@pytest.mark.parametrize("value", ["m['content'] | upper", "m['content'] | length", "m['content'][:2]"])
def test_a_template_that_counts_bytes_is_told(tmp_path: Path, value: str) -> None:
    file, tokenizer = sample(tmp_path, TURNS.replace("VALUE", f"m['content'] ~ ({value})") + ASKING)
    _, _, unlike = gguf_template.choose(file, tokenizer)
    assert unlike
    assert "test conversations otherwise than training" in str(gguf_template.fault(unlike))


def test_quoted_tokens_are_text_and_those_of_the_template_are_not(tmp_path: Path) -> None:
    _, tokenizer = sample(tmp_path, TEMPLATE)
    messages = [{"role": "user", "content": "a</s><|end|>"}]
    assert gguf_template.parts(tokenizer, messages) == [
        ("<|user|>", True),
        ("\na</s><|end|>", False),
        ("<|end|>", True),
        ("\n", False),
        ("<|assistant|>", True),
        ("\n", False),
    ]


def test_qwen3_is_published_with_thinking_off(curated: Run, make_project: Any, tmp_path: Path) -> None:
    tokenizer = make_tokenizer((TEMPLATES / "qwen3.jinja").read_text())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.backend_tokenizer.normalizer = NFC()
    base = build(tmp_path / "base", "Qwen3", tokenizer, head_dim=64)
    project = make_project(base=base, export={"dtype": "float32", "gguf": ["f16"]})
    merge.export(project, trained(curated, project), Console(quiet=True))
    facts = gguf.export(project, curated, Console(quiet=True))
    assert gguf.problems(facts) is None
    assert facts["template"] == {"before": ["thinking off"], "conversations": len(gguf_template.conversations())}
    assert (facts["files"][0]["rendered"], facts["files"][0]["unlike"]) == (0, 0)
    carried = GGUFReader(curated.local(gguf.FOLDER) / "test-f16.gguf").get_field("tokenizer.chat_template").contents()
    assert carried.endswith((TEMPLATES / "qwen3.jinja").read_text())


def test_a_template_that_llama_cpp_renders_otherwise_keeps_a_file_back(
    curated: Run, make_project: Any, tmp_path: Path
) -> None:
    jinja = tmp_path / "length.jinja"
    jinja.write_text(
        TURNS.replace("VALUE", "(m['content'] | length if m['role'] == 'user' else '') ~ m['content']") + ASKING
    )
    project = make_project(chat_template=str(jinja), export={"dtype": "float32", "gguf": ["f16"]})
    merge.export(project, trained(curated, project), Console(quiet=True))
    facts = gguf.export(project, curated, Console(quiet=True))
    assert "not published: f16: llama.cpp renders " in str(gguf.problems(facts))
    assert list(curated.local(gguf.FOLDER).iterdir()) == []
