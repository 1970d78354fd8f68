"""The sections `recommend`, `evaluate` and `export`: what is measured, and which gates a model must pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.values import ModelName, PathOrUri, Positive, Settings, Share


class Recommend(Settings):
    """Which of several models to start from: the smallest that is good enough before any training (`jobs.plan
    --recommend`). Perplexity is no metric here: it compares only models with one and the same tokenizer."""

    candidates: tuple[ModelName, ...] = ()
    metric: Literal["rouge_l", "bits_per_byte"] = "rouge_l"  # of the answers; the higher, the lower the better
    target: Annotated[float, Field(gt=0)] | None = None  # what the tuned model shall reach
    share: Annotated[float, Field(gt=0, le=1)] = 0.7  # of the target that is good enough
    rows: Positive = 50  # golden rows it is measured on


class Evaluate(Settings):
    rows: Positive = 200  # golden rows that are answered; perplexity always uses all of them
    samples: Positive = 10
    max_new_tokens: Positive = 256
    bootstrap: Positive = 1_000  # resamples behind each 95 % interval
    exact_match_words: Positive = 5  # a reference of no more words, a label say, must be met exactly
    bertscore: ModelName | None = None  # encoder for BERTScore, e.g. microsoft/deberta-xlarge-mnli; null: left out
    bertscore_layer: Annotated[int, Field(ge=0)] | None = None  # whose output is compared; null: the last
    general: PathOrUri | None = None  # file or folder of general text (.md, .txt, .jsonl, .parquet): was it forgotten?
    general_rows: Positive = 64  # pieces of it, of at most `train.max_length` tokens
    forgetting_gate: Share = 0.1  # a larger rise of its perplexity is flagged
    lm_eval: tuple[str, ...] = ()  # tasks of the LM Evaluation Harness; needs `pip install 'solotune[harness]'`
    lm_eval_limit: Positive | None = None  # documents of each task; null: all


class GgufGates(Settings):
    """How far a file's perplexity may be from the merged model's, either way; beyond, it is not published."""

    f16: Share = 0.005
    q8_0: Share = 0.01
    q4_k_m: Share = 0.03


class Export(Settings):
    dtype: Literal["base", "float32"] = "base"  # of the merged weights; rounding to a bf16 base's type costs accuracy
    rows: Positive = 64  # golden rows that merged model and files are measured on
    perplexity_gate: Share = 0.005  # merged against adapter: largest relative difference, either way
    top1_gate: Share = 0.99  # merged against adapter: share of tokens where both would choose the same
    gguf: tuple[Literal["f16", "q8_0", "q4_k_m"], ...] = ()  # files for llama.cpp; needs `pip install 'solotune[gguf]'`
    gguf_gates: GgufGates = GgufGates()
