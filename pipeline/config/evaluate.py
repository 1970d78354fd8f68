"""The sections `recommend`, `evaluate` and `export`: what is measured, and which gates a model must pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.values import ModelName, PathOrUri, Positive, Settings, Share


class Recommend(Settings):
    """Which of several models to start from: the smallest that is good enough before any training (`jobs.plan
    --recommend`). Perplexity is no metric here: it compares only models with one and the same tokenizer."""

    candidates: tuple[ModelName, ...] = Field((), description="Models to choose from.")
    metric: Literal["rouge_l", "bits_per_byte"] = Field(
        "rouge_l",
        description="Metric of the golden answers: ROUGE-L, the higher the better, or bits per byte, the lower.",
    )
    target: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Value of the metric that the tuned model shall reach; `--recommend` needs one."
    )
    share: float = Field(0.7, gt=0, le=1, description="Share of the target that is good enough before training.")
    rows: Positive = Field(50, description="Golden rows that a model is measured on.")


class Evaluate(Settings):
    """The base model and the tuned one, measured on the golden rows."""

    rows: Positive = Field(200, description="Golden rows that are answered; perplexity always uses all of them.")
    samples: Positive = Field(10, description="Answers shown in the report, of base and tuned model side by side.")
    max_new_tokens: Positive = Field(256, description="Most tokens of an answer.")
    bootstrap: Positive = Field(1_000, description="Resamples behind each 95 % interval.")
    exact_match_words: Positive = Field(
        5, description="Most words of a reference that is compared for exact match, such as a label."
    )
    bertscore: ModelName | None = Field(
        None, description="Encoder for BERTScore, such as `microsoft/deberta-xlarge-mnli`; null: no BERTScore."
    )
    bertscore_layer: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Layer of the encoder whose output is compared; null: the last."
    )
    general: PathOrUri | None = Field(
        None,
        description="File or folder of general text (.md, .txt, .jsonl, .parquet) that shows what tuning made the "
        "model forget; null: not measured.",
    )
    general_rows: Positive = Field(
        64, description="Pieces of the general text that are scored, of at most `train.max_length` tokens each."
    )
    forgetting_gate: Share = Field(
        0.1, description="Largest relative rise of the general text's perplexity that is not flagged."
    )
    lm_eval: tuple[str, ...] = Field(
        (), description="Tasks of the LM Evaluation Harness; needs `pip install 'solotune[harness]'`."
    )
    lm_eval_limit: Positive | None = Field(None, description="Documents of each task; null: all.")


class GgufGates(Settings):
    """Largest relative difference, either way, between a file's perplexity and the merged model's; a file beyond its
    gate is not published."""

    f16: Share = Field(0.005, description="Gate of the 16-bit file.")
    q8_0: Share = Field(0.01, description="Gate of the 8-bit file.")
    q4_k_m: Share = Field(0.03, description="Gate of the 4-bit file.")


class Export(Settings):
    """The adapter merged into the base model, and files for llama.cpp."""

    dtype: Literal["base", "float32"] = Field(
        "base", description="Type of the merged weights; rounding to a bf16 base's type costs accuracy."
    )
    rows: Positive = Field(64, description="Golden rows that the merged model and the files are measured on.")
    perplexity_gate: Share = Field(
        0.005,
        description="Largest relative difference, either way, of the merged model's perplexity from the adapter's.",
    )
    top1_gate: Share = Field(
        0.99, description="Least share of tokens where merged model and adapter have the same first choice."
    )
    gguf: tuple[Literal["f16", "q8_0", "q4_k_m"], ...] = Field(
        (), description="Files for llama.cpp; needs `pip install 'solotune[gguf]'`."
    )
    gguf_gates: GgufGates = GgufGates()
