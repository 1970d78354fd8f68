"""litellm and LangChain's OpenAI chat model against a running service: `python peers.py BASE_URL KEY`.

Runs in an environment of its own (`pip install litellm langchain-openai`); exits 1 at the first surprise.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch a price list

BASE, KEY = f"{sys.argv[1]}/v1", sys.argv[2]
ASK: list[dict[str, str]] = [{"role": "user", "content": "How do I block my card?"}]


def expect(condition: Any, what: str) -> None:
    if not condition:
        sys.exit(f"surprise: {what}")


def with_litellm() -> None:
    import litellm

    common: dict[str, Any] = {"model": "openai/tiny", "messages": ASK, "api_base": BASE, "api_key": KEY, "seed": 1}
    common |= {"max_retries": 0, "timeout": 20}
    plain = litellm.completion(**common)
    said = plain.choices[0].message.content
    counted = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(**common, **counted))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)  # usage comes alone
    expect(streamed == said, "litellm: stream")
    rebuilt = litellm.stream_chunk_builder(chunks, messages=ASK)
    expect(rebuilt.usage.completion_tokens == plain.usage.completion_tokens, "litellm: usage of a stream")
    text = litellm.text_completion(
        model="text-completion-openai/tiny", prompt="How do I", api_base=BASE, api_key=KEY, max_tokens=20, seed=1
    )
    expect(text.choices[0].text, "litellm: text completion")
    several = litellm.completion(**common, n=2, logprobs=True, top_logprobs=2)
    expect(len(several.choices) == 2 and several.choices[1].logprobs.content, "litellm: choices and logprobs")

    async def together() -> list[Any]:
        return await asyncio.gather(*[litellm.acompletion(**{**common, "seed": seed}) for seed in range(4)])

    expect(all(one.choices[0].message.content for one in asyncio.run(together())), "litellm: async")
    wrong = [
        ({"api_key": "wrong"}, litellm.AuthenticationError),
        ({"model": "openai/gpt-4o"}, litellm.NotFoundError),
        ({"temperature": 3}, litellm.BadRequestError),
        ({"messages": [{"role": "user", "content": "x" * 200}]}, litellm.ContextWindowExceededError),
    ]
    for changes, kind in wrong:
        try:
            litellm.completion(**{**common, **changes})
        except kind:
            continue
        sys.exit(f"surprise: litellm: {changes.keys()} was not {kind.__name__}")
    try:
        litellm.completion(**{**common, "timeout": 0.05})
    except litellm.Timeout:
        return
    sys.exit("surprise: litellm: no timeout")


def with_langchain() -> None:
    import openai
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="tiny", base_url=BASE, api_key=KEY, seed=1, max_retries=0, stream_usage=True, timeout=20)
    plain = model.invoke("How do I block my card?")
    expect(plain.content and plain.usage_metadata["output_tokens"] > 0, "langchain: plain")
    chunks = list(model.stream("How do I block my card?"))
    expect("".join(chunk.content for chunk in chunks) == plain.content, "langchain: stream")
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    expect(whole.usage_metadata == plain.usage_metadata, "langchain: usage of a stream")
    scored = model.bind(logprobs=True, top_logprobs=2).invoke("x")
    expect(scored.response_metadata["logprobs"]["content"], "langchain: logprobs")
    history = [("system", "Be brief."), ("human", "a"), ("ai", "b"), ("human", "c")]
    expect(model.invoke(history).content, "langchain: history")

    async def asynchronous() -> tuple[list[Any], str]:
        streamed = "".join([chunk.content async for chunk in model.astream("How do I block my card?")])
        return await model.abatch(["a", "b", "c"]), streamed

    batch, streamed = asyncio.run(asynchronous())
    expect(len(batch) == 3, "langchain: async batch")
    expect(streamed == plain.content, "langchain: async stream")
    stopped = model.invoke("How do I block my card?", stop=[" "])
    expect(stopped.content == plain.content.split(" ")[0], "langchain: stop")
    wrong: list[Any] = [({"api_key": "wrong"}, openai.AuthenticationError), ({"timeout": 0.05}, openai.APITimeoutError)]
    for changes, kind in wrong:
        try:
            ChatOpenAI(**{"model": "tiny", "base_url": BASE, "api_key": KEY, "max_retries": 0, **changes}).invoke("x")
        except kind:
            continue
        sys.exit(f"surprise: langchain: {changes.keys()} was not {kind.__name__}")


if __name__ == "__main__":
    with_litellm()
    with_langchain()
    print("litellm, langchain-openai: ok")
