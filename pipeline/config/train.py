"""The sections `synthesize` and `train`: what the model learns from beside the curated rows, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.values import ModelName, PathOrUri, Positive, Settings, Share


class Synthesize(Settings):
    """Self-instruct by rephrasing the question of a training row; the answer stays the parent's."""

    model: ModelName | None = None  # null: the project's base model
    seeds: Positive = 200  # training rows asked for variants, drawn by the project's seed
    variants: Annotated[int, Field(ge=1, le=5)] = 2  # per seed
    min_words: Positive = 4
    max_words: Positive = 60  # longer questions are not asked
    max_new_tokens: Positive = 96
    temperature: Annotated[float, Field(gt=0)] = 0.8
    top_p: Share = 0.95
    rouge_l: Share = 0.7  # a variant this close to any question of the pool, or closer, is rejected
    prompts: dict[str, str] = {
        "en": "Rephrase the question: {question}",
        "de": "Formuliere die Frage um: {question}",
    }


class Lora(Settings):
    r: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # more than 0: slower, more memory (no fused layers)
    targets: Literal["qv", "all-linear"] | tuple[str, ...] = "all-linear"  # or names such as [q_proj, down_proj]
    rslora: bool = False  # scale by alpha / sqrt(r) instead of alpha / r
    dora: bool = False  # learn a weight's magnitude apart from its direction: slower, and more memory than is planned


class General(Settings):
    """General-domain text beside the company's own, so that the model forgets less. Read as `curate` reads, but not
    screened; rows are drawn by the project's seed."""

    path: PathOrUri  # a file, folder or URI; a relative one is seen from the configuration file
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1  # of all supervised tokens


def _depth(value: Any) -> Any:
    """YAML's true and false stand for every layer and none."""
    return {True: "all", False: 0}[value] if isinstance(value, bool) else value


class Reclaim(Settings):
    """Where the machine's owner says that it will be taken away, besides SIGTERM to the job. The training then saves
    a checkpoint after the step it is at and ends with exit code 75.

    Of the clouds: AWS `http://169.254.169.254/latest/meta-data/spot/instance-action`, Google
    `http://metadata.google.internal/computeMetadata/v1/instance/preempted`."""

    file: PathOrUri | None = None  # the notice: this file appears
    url: Annotated[str, Field(pattern=r"^https?://")] | None = None  # or: this address answers 200 with anything but
    # nothing, FALSE or NONE


class Divergence(Settings):
    """When a training has gone wrong: gradients that are not finite in three steps in a row, or a loss that leaps."""

    spike: Annotated[float, Field(gt=0)] | None = 8.0  # robust standard deviations over the running median; null: off


class Train(Settings):
    """`auto` leaves the choice to the planner, for the card that the run finds (see `jobs.plan`)."""

    lora: Lora = Lora()
    general: General | None = None
    max_length: Positive = 2048  # tokens per example; a longer one is cut and counted
    pack_tokens: Literal["auto"] | Positive = "auto"  # tokens per packed row, which is a micro-batch
    rows_per_step: Positive = 4  # packed rows per optimiser step, unless one of the next two says otherwise
    batch_tokens: Positive | None = None  # tokens per optimiser step, rounded to whole packed rows
    batch_examples: Positive | None = None  # examples per optimiser step, on average, rounded to whole packed rows
    epochs: Annotated[float, Field(gt=0)] = 3.0
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # after the warm-up
    warmup_share: Share = 0.03
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    neftune_alpha: Annotated[float, Field(gt=0)] | None = None  # noise on the embeddings; null: none
    recompute: Annotated[Literal["auto", "all"] | Annotated[int, Field(ge=0)], BeforeValidator(_depth)] = (
        "auto"  # layers, from the bottom, that keep no activations: less memory, up to half as much time more
    )
    eval_every: Positive = 50  # steps
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 15.0
    keep: Literal["best", "last"] = "best"  # the adapter of the lowest validation loss, or of the last step
    early_stopping: Positive | None = None  # evaluations in a row without a lower validation loss that end the training
    restarts: Annotated[int, Field(ge=0)] = 3  # how often a worker that died is started again within one job
    reclaim: Reclaim = Reclaim()
    divergence: Divergence = Divergence()
    samples: Annotated[int, Field(ge=0)] = 0  # validation questions answered at every evaluation
    trackers: tuple[Literal["tensorboard", "wandb", "wandb-offline", "mlflow"], ...] = ()  # mirrors of the journal
    quantise: Literal["nf4"] | None = "nf4"

    @model_validator(mode="after")
    def _one_batch_size(self) -> Train:
        if self.batch_tokens is not None and self.batch_examples is not None:
            raise ValueError("give batch_tokens or batch_examples, not both")
        return self
