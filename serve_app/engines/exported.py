"""A run's exported model as an engine needs it: the folder, the tokenizer, the tokens that end an answer.

Output contract: the chat template, of the folder or of the configuration, has the SHA-256 of the export: it is the one
the model was trained with.
This module loads no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Project
from pipeline.errors import IntegrityError, MissingModelError
from pipeline.run import Run


@dataclass(frozen=True)
class Exported:
    folder: Path
    tokenizer: Any  # of transformers, fast
    embeddings: int  # tokens that the model has one for
    stop_ids: frozenset[int]
    max_context: int  # tokens of prompt and answer together: the model's, or what the configuration allows
    created: int  # seconds since 1970


def find(project: Project, run: Run) -> Exported:
    """Returns the run's merged model.

    Raises `MissingStageError` before `export`, `MissingModelError` when its folder is gone, and `IntegrityError` when
    the chat template is not the one that was exported.
    """
    from transformers import GenerationConfig

    from pipeline.export import merge
    from pipeline.models import load, template

    run.require(merge.STAGE)
    folder = run.local(merge.MERGED)
    if not folder.is_dir():
        raise MissingModelError(f"{folder} is gone: run `jobs.export` again")
    merged = load.Base.of(project, str(folder))
    tokenizer = merged.tokenizer()
    template.text_ids(tokenizer, [template.stop_token(tokenizer).text])  # readies what quoted tokens need: seconds
    served = template.template_sha256(tokenizer)
    if served != run.read_json(merge.METRICS)["template_sha256"]:
        raise IntegrityError(
            f"the chat template of {folder} is not the one the model was trained with (SHA-256 {served[:16]}...): "
            "restore `chat_template` or run `jobs.export` again"
        )
    own = GenerationConfig.from_pretrained(folder) if (folder / "generation_config.json").is_file() else None
    settings = project.serve
    return Exported(
        folder=folder,
        tokenizer=tokenizer,
        embeddings=load.embeddings(folder),
        stop_ids=frozenset(template.stop_ids(tokenizer, own)),
        max_context=min(merged.positions, settings.max_input_tokens + settings.max_new_tokens),
        created=int(folder.stat().st_mtime),
    )
