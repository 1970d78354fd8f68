"""The ray_llm engine on a real Ray Serve: two deployments, one door. vLLM is a stand-in (`tests.serve_app`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from bench.exported import exported
from bench.serving import servers
from pipeline.config import ASSETS

pytestmark = pytest.mark.cluster
MESSAGES = [{"role": "user", "content": "How do I block my card?"}]
SETTINGS = {"engine": "ray_llm", "max_new_tokens": 3000, "max_input_tokens": 500, "concurrency": 1, "queue": 1}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("ray_llm")
    (folder / "path" / "vllm").mkdir(parents=True)
    installs = "from tests.serve_app import vllm_stand_in\n\nvllm_stand_in.install()\n"
    (folder / "path" / "vllm" / "__init__.py").write_text(installs)
    run = exported(folder / "run", ASSETS / "tiny-base").local()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "path"))
        patch.setenv("RAYLLM_VLLM_ENGINE_CLS", "tests.serve_app.vllm_stand_in.StandIn")
        with servers.ours(run, SETTINGS, folder / "log") as target:
            headers = {"Authorization": f"Bearer {target.key}"}
            base = target.url.removesuffix("/v1")
            with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as client:
                yield client


def ask(http: httpx.Client, **settings: object) -> httpx.Response:
    body = {"model": "bench", "messages": MESSAGES, "max_tokens": 20, "temperature": 0, **settings}
    return http.post("/v1/chat/completions", json=body)


def test_it_gives_what_the_hf_engine_gives(http: httpx.Client) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipeline.models.template import chat_prompt

    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "tiny-base")
    ids = chat_prompt(tokenizer, MESSAGES)
    model = AutoModelForCausalLM.from_pretrained(ASSETS / "tiny-base", dtype=torch.float32).eval()
    with torch.inference_mode():
        out = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0, len(ids) :].tolist()
    expected = tokenizer.decode(out, skip_special_tokens=True)

    whole = ask(http).json()
    assert whole["choices"][0]["message"]["content"] == expected
    assert whole["usage"]["prompt_tokens"] == len(ids)
    events = [json.loads(line[6:]) for line in ask(http, stream=True).text.splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events) == expected


def test_nothing_answers_without_a_key(http: httpx.Client) -> None:
    for path in ("/v1/completions", "/v1/models", "/Model", "/Model/v1/completions"):
        assert httpx.post(f"{http.base_url}{path}", json={}, trust_env=False).status_code == 401
    assert http.get("/ready").status_code == 200


def test_a_client_that_hangs_up_frees_its_place(http: httpx.Client) -> None:
    body = {"model": "bench", "messages": MESSAGES, "max_tokens": 60, "temperature": 1.9, "stream": True}
    for seed in range(4):  # more than there are places
        with http.stream("POST", "/v1/chat/completions", json={**body, "seed": seed}) as response:
            assert response.status_code == 200
            next(response.iter_lines())
    started = time.monotonic()
    while (response := ask(http)).is_error:
        assert response.status_code == 429
        assert time.monotonic() < started + 10
        time.sleep(0.1)
