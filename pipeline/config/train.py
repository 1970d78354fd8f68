"""The sections `synthesize` and `train`: what the model learns from beside the curated rows, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.values import LanguageCode, ModelName, PathOrUri, Positive, Settings, Share


class Synthesize(Settings):
    """Self-instruct by rephrasing the question of a training row; the answer stays the parent's. Of a conversation that
    is the first exchange alone."""

    model: ModelName | None = Field(None, description="Model that rephrases; null: the project's base model.")
    seeds: Positive = Field(200, description="Training rows asked for variants, drawn by the project's seed.")
    variants: int = Field(2, ge=1, le=5, description="Variants per training row.")
    min_words: Positive = Field(4, description="Fewest words of a question that is rephrased.")
    max_words: Positive = Field(60, description="Most words of a question that is rephrased.")
    max_new_tokens: Positive = Field(96, description="Most tokens of a variant.")
    temperature: float = Field(0.8, gt=0, description="Sampling temperature.")
    top_p: Share = Field(0.95, description="Probability mass that tokens are sampled from.")
    rouge_l: Share = Field(
        0.7, description="ROUGE-L from which a variant is rejected as too close to a question that is there already."
    )
    prompts: dict[LanguageCode, str] = Field(
        {"en": "Rephrase the question: {question}", "de": "Formuliere die Frage um: {question}"},
        description="Instruction per language; rows in other languages are not rephrased.",
    )


class Lora(Settings):
    """The adapter that is trained while the base model stays frozen."""

    r: Positive = Field(16, description="Rank of the adapter's matrices.")
    alpha: Positive = Field(32, description="Scale of the adapter, divided by `r`.")
    dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="Share of the adapter's inputs dropped; more than 0: slower, more memory."
    )
    targets: Literal["qv", "all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="Layers with an adapter: queries and values, all, or names such as `[q_proj, down_proj]`.",
    )
    rslora: bool = Field(False, description="The scale is alpha / sqrt(r) instead of alpha / r.")
    dora: bool = Field(
        False,
        description="A weight's magnitude is learnt apart from its direction: slower, more memory than is planned.",
    )


class General(Settings):
    """General-domain text beside the company's own, so that the model forgets less. Read as `curate` reads, but not
    screened; rows are drawn by the project's seed."""

    path: PathOrUri = Field(description="File, folder or URI of the text, such as `s3://bucket/text`.")
    share: float = Field(0.1, gt=0.0, lt=1.0, description="Share of this text among all supervised tokens.")


def _depth(value: Any) -> Any:
    """YAML's true and false stand for every layer and none."""
    return {True: "all", False: 0}[value] if isinstance(value, bool) else value


class Preemption(Settings):
    """Where the machine's owner says that it will be taken away, besides SIGTERM to the job. The training then saves
    a checkpoint after the step it is at and ends with exit code 75.

    Addresses of two clouds: AWS `http://169.254.169.254/latest/meta-data/spot/instance-action`, Google
    `http://metadata.google.internal/computeMetadata/v1/instance/preempted`."""

    file: PathOrUri | None = Field(None, description="File that appears as the notice.")
    url: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        None,
        description="Address (http or https) that as the notice answers 200, with anything but nothing, FALSE or NONE.",
    )


class Divergence(Settings):
    """Signs of a training gone wrong: gradients that are not finite in three steps in a row, or a loss that leaps."""

    spike: Annotated[float, Field(gt=0)] | None = Field(
        8.0, description="Robust standard deviations over the running median from which a loss leaps; null: off."
    )


class Train(Settings):
    """`auto` leaves the choice to the planner, for the card that the run finds (see `jobs.plan`)."""

    lora: Lora = Lora()
    general: General | None = Field(None, description="General-domain text to train on as well; null: none.")
    max_length: Positive = Field(
        2048,
        description="Most tokens of an example; longer ones are cut (a conversation after an exchange) and counted.",
    )
    pack_tokens: Literal["auto"] | Positive = Field(
        "auto", description="Tokens per packed row, which is a micro-batch."
    )
    rows_per_step: Positive = Field(
        4, description="Packed rows per optimiser step, unless `batch_tokens` or `batch_examples` is given."
    )
    batch_tokens: Positive | None = Field(
        None, description="Tokens per optimiser step, rounded to whole packed rows; null: `rows_per_step`."
    )
    batch_examples: Positive | None = Field(
        None, description="Examples per optimiser step on average, rounded to whole packed rows; null: `rows_per_step`."
    )
    epochs: float = Field(3.0, gt=0, description="Passes over the training rows.")
    learning_rate: float = Field(2e-4, gt=0, description="Highest learning rate, after the warm-up.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="Course of the learning rate after the warm-up."
    )
    warmup_share: Share = Field(0.03, description="Share of the steps in which the learning rate rises.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="Norm that gradients are clipped to.")
    neftune_alpha: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Noise on the embeddings (NEFTune), such as 5; null: none."
    )
    recompute: Annotated[Literal["auto", "all"] | Annotated[int, Field(ge=0)], BeforeValidator(_depth)] = Field(
        "auto",
        description="Layers, from the bottom, that keep no activations: less memory, up to half as much time more. "
        "`true` and `false` stand for all and 0.",
    )
    eval_every: Positive = Field(50, description="Steps between two evaluations on the validation rows.")
    checkpoint_minutes: float = Field(15.0, gt=0, description="Minutes between two checkpoints.")
    keep: Literal["best", "last"] = Field(
        "best", description="Adapter that is kept: that of the lowest validation loss, or of the last step."
    )
    early_stopping: Positive | None = Field(
        None, description="Evaluations in a row without a lower validation loss that end the training; null: never."
    )
    restarts: int = Field(3, ge=0, description="Times that a worker that died is started again within one job.")
    preemption: Preemption = Preemption()
    divergence: Divergence = Divergence()
    samples: int = Field(0, ge=0, description="Validation questions answered at every evaluation.")
    trackers: tuple[Literal["tensorboard", "wandb", "wandb-offline", "mlflow"], ...] = Field(
        (), description="Experiment trackers that mirror the training's journal."
    )
    quantise: Literal["nf4"] | None = Field(
        "nf4", description="Type of the frozen base model's weights in training, 4 bits each; null: unquantised."
    )

    @model_validator(mode="after")
    def _one_batch_size(self) -> Train:
        if self.batch_tokens is not None and self.batch_examples is not None:
            raise ValueError("give batch_tokens or batch_examples, not both")
        return self
