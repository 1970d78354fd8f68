"""The load of `bench.serving.public`: what vLLM's client is asked for, and what is read of its result."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from bench.serving import public
from bench.serving.load import Target
from pipeline.config import ASSETS

CLIENT = """
import json, os, sys
given = dict(zip(sys.argv[3::2], sys.argv[4::2]))
prompts = json.load(open(given["--dataset-path"]))
assert len(prompts) == int(given["--num-prompts"]) and os.environ["OPENAI_API_KEY"] == "sk-x"
assert not {"--ignore-eos", "random"} & set(sys.argv)
if "--request-rate" in given:
    sys.exit("no such server")
result = {"output_throughput": 9.5, "p50_ttft_ms": 1.5, "p95_ttft_ms": 2.5, "failed": 1, "completed": 3}
json.dump(result, open(os.path.join(given["--result-dir"], given["--result-filename"]), "w"))
"""


def test_a_load_gives_its_numbers_or_the_client_s_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    monkeypatch.setattr(public.servers, "VLLM", [sys.executable, str(script)])
    target, model = Target("http://127.0.0.1:1/v1", "bench", "sk-x"), ASSETS / "tiny-base"
    found = public.measure(target, model, {"requests": 4, "at_once": 2}, tmp_path)
    assert found == {"tokens_per_second": 9.5, "ttft_p50_ms": 1.5, "ttft_p95_ms": 2.5, "failed": 1}
    with pytest.raises(RuntimeError, match="no such server"):
        public.measure(target, model, {"requests": 4, "rate": 2.0}, tmp_path)
    assert "OPENAI_API_KEY" not in os.environ


def test_prompts_are_of_random_tokens_and_others_with_another_seed(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    texts = []
    for seed in (1, 1, 2):
        public.write_prompts(ASSETS / "tiny-base", 3, seed, tmp_path / "prompts.json")
        texts.append([one["conversations"][0]["value"] for one in json.loads((tmp_path / "prompts.json").read_text())])
    assert texts[0] == texts[1]
    assert not set(texts[0]) & set(texts[2])
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "tiny-base")
    assert all(100 < len(tokenizer(text).input_ids) < 160 for text in texts[0])


def test_where_there_is_no_vllm_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public.importlib.util, "find_spec", lambda name: None)
    assert public.compare(tmp_path, tmp_path) is None
