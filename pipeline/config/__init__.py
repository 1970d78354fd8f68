"""Every setting of a model project: one YAML file becomes one frozen `Project`.

Output contract: `load()` returns a fully validated `Project` or raises `ConfigError` naming the file, the key and what
was expected. Unknown keys are refused. The environment is not read; places (`--input`, `--run`) are not settings.
Each module holds the sections of a job or two; whoever uses settings imports them from here. This package does not
touch the run folder and imports no model library.
"""

from pipeline.config.curate import Curate, Dedup, Language, Pii, Quality, Split, Toxicity
from pipeline.config.evaluate import Evaluate, Export, GgufGates, Recommend
from pipeline.config.project import Project, load
from pipeline.config.read import Columns, Mail, Markdown, Messages, Read, TableSource
from pipeline.config.serve import Fake, Gguf, Guard, RequestLog, Serve, Upstream, Vllm
from pipeline.config.train import Divergence, General, Lora, Preemption, Synthesize, Train
from pipeline.config.values import (
    ASSETS,
    Expression,
    ModelName,
    PathOrUri,
    Positive,
    Settings,
    Share,
    TypeName,
    model_path,
)

__all__ = [
    "ASSETS",
    "Columns",
    "Curate",
    "Dedup",
    "Divergence",
    "Evaluate",
    "Export",
    "Expression",
    "Fake",
    "General",
    "Gguf",
    "GgufGates",
    "Guard",
    "Language",
    "Lora",
    "Mail",
    "Markdown",
    "Messages",
    "ModelName",
    "PathOrUri",
    "Pii",
    "Positive",
    "Preemption",
    "Project",
    "Quality",
    "Read",
    "Recommend",
    "RequestLog",
    "Serve",
    "Settings",
    "Share",
    "Split",
    "Synthesize",
    "TableSource",
    "Toxicity",
    "Train",
    "TypeName",
    "Upstream",
    "Vllm",
    "load",
    "model_path",
]  # fmt: skip
