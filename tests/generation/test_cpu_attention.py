"""Attention of packed requests on a CPU: as `sdpa` with a mask, as `model.generate`; none reads another's keys."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from pipeline.generation import cpu_attention

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}


def packed(lengths: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns random queries, keys and values of (queries, keys) per request, and transformers' kind of mask."""
    generator = torch.Generator().manual_seed(0)
    asked, read = (sum(length[at] for length in lengths) for at in (0, 1))
    query = torch.randn(1, 4, asked, 8, generator=generator)
    key, value = (torch.randn(1, 2, read, 8, generator=generator) for _ in range(2))
    mask = torch.zeros(asked, read, dtype=torch.bool)
    row = column = 0
    for queries, keys in lengths:
        mask[row : row + queries, column : column + keys] = torch.ones(queries, keys).tril(keys - queries).bool()
        row, column = row + queries, column + keys
    return query, key, value, mask


def expected(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    made = scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True, scale=0.3)
    return made.transpose(1, 2)


def ends(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])


@pytest.mark.parametrize(
    ("lengths", "pages"),
    [
        ([(1, 5), (1, 1), (1, 17), (1, 16)], [4, 2, 3, 5]),  # one query each, side by side
        ([(1, 5), (7, 7), (1, 12), (4, 9), (1, 1)], [3, 2, 6, 5, 4]),  # with prompts, whole and in part
        ([(1, 5), (1, 20)], [9, 2]),  # far apart: by themselves
    ],
)
def test_requests_read_their_own_pages(lengths: list[tuple[int, int]], pages: list[int]) -> None:
    query, key, value, mask = packed(lengths)
    cache = torch.full((2, 10, 24, 2, 8), float("nan"))  # of nobody
    for index, (page, (_, count)) in enumerate(zip(pages, lengths, strict=True)):
        first = sum(length[1] for length in lengths[:index])
        for kind, each in enumerate((key, value)):
            cache[kind, page, :count] = each[0, :, first : first + count].transpose(0, 1)
    cache = cache.nan_to_num(7.0)
    both = tuple(ends([length[at] for length in lengths]).int() for at in (0, 1))
    owners = [page for page, (count, _) in zip(pages, lengths, strict=True) for _ in range(count)]
    step = cpu_attention.Step(both, torch.tensor(owners))
    got = cpu_attention.by_page(query, cache[0], cache[1], step, 0.3)
    torch.testing.assert_close(got, expected(query, key, value, mask))


@pytest.mark.parametrize("window", [None, 6])
def test_prompts_and_single_tokens_one_after_the_other(window: int | None) -> None:
    lengths = [(7, 7), (1, 12), (4, 9), (1, 1)]
    query, key, value, mask = packed(lengths)
    if window is not None:
        mask &= torch.cat([near(queries, keys, lengths, window) for queries, keys in lengths])
    each = [ends([length[at] for length in lengths]) for at in (0, 1)]
    got = cpu_attention.one_by_one(query, key, value, *each, window, 0.3)
    torch.testing.assert_close(got, expected(query, key, value, mask))


def near(queries: int, keys: int, lengths: list[tuple[int, int]], window: int) -> torch.Tensor:
    """Returns for one request's queries which columns of all keys are at most `window` tokens back."""
    first = sum(length[1] for length in lengths[: lengths.index((queries, keys))])
    position = first + keys - queries + torch.arange(queries)
    return torch.arange(sum(length[1] for length in lengths)) > position[:, None] - window


@pytest.mark.parametrize(("window", "page"), [(None, 256), (None, 16), (8, 256), (200, 256)])
def test_continuous_batching_answers_as_generate(window: int | None, page: int) -> None:
    """Prompts longer than a step, joined by others, longer than the sliding window, and longer than a page."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
    from transformers.generation import ContinuousBatchingConfig

    torch.manual_seed(0)
    made: Any = (
        LlamaForCausalLM(LlamaConfig(**SHAPE))
        if window is None
        else MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=window))
    )
    model = made.eval()
    prompts = [[5, 6, 7], [9] * 50 + [11, 4], list(range(10, 40)), [3]]
    wanted = [
        model.generate(torch.tensor([ids]), max_new_tokens=30, do_sample=False)[0, len(ids) :].tolist()
        for ids in prompts
    ]
    limits = ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=24, max_requests_per_batch=4, page_size=page)
    limits.auto_switch_to_flash = False
    batching = model.init_continuous_batching(GenerationConfig(do_sample=False, pad_token_id=0), limits)
    cpu_attention.install(model)
    assert model.config._attn_implementation == cpu_attention.NAME
    batching.start()
    try:
        names = [batching.add_request(ids, max_new_tokens=30, eos_token_id=-1) for ids in prompts]
        got: dict[str, list[int]] = {}
        while len(got) < len(names):
            answer = batching.get_result(timeout=30)
            assert answer is not None
            assert answer.error is None
            got[answer.request_id] = answer.generated_tokens
    finally:
        batching.stop(block=True, timeout=5, hard_stop=True)
    assert [got[name] for name in names] == wanted


def test_a_model_without_sdpa_stays_as_it_is() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**SHAPE, attn_implementation="eager"))
    cpu_attention.install(model)
    assert model.config._attn_implementation == "eager"
