"""The configuration that each finished stage of a run was made with, compared with the present one.

Output contract: `keep` writes `stages/STAGE/config.yaml`, which `Run.begin` deletes with the rest of the stage. `check`
writes nothing. A path counts by its last part, because runs and models may be moved. A setting that only one of the two
configurations has does not count, and a stage without a record passes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from pipeline.config import Project
from pipeline.errors import ConfigError
from pipeline.plan.resolve_auto import HARMLESS
from pipeline.run import Run

RECORD = "stages/{}/config.yaml"
DEPENDS = {  # stage, in order -> the settings that its output depends on, besides the stages before it
    "curate": ("name", "seed", "curate"),
    "synthesize": ("base_model", "seed", "synthesize"),
    "train": ("base_model", "chat_template", "seed", "train"),
    "evaluate": ("seed", "evaluate"),
    "export": ("name", "export"),
}
STAGES = tuple(DEPENDS)
WORKS_ON = {stage: STAGES[:number] for number, stage in enumerate(STAGES)}  # verb -> stages it reads the output of
WORKS_ON |= {"serve": ("curate", "synthesize", "train", "export"), "report": STAGES}
LABELS = ("name", "curate.licences")  # only printed: a later stage may go on with others
FREE = ("export.gguf", "export.gguf_gates", *(f"train.{name}" for name in HARMLESS))  # change no output
SHOWN = 3  # settings that a message names
LETTERS = 40  # characters of a value that a message shows

Change = tuple[str, Any, Any]  # a setting's dotted name, its value in the record, its present value


def check(project: Project, run: Run, verb: str) -> str | None:
    """Returns a line about the settings that make the job do its own finished stage again, None where there are none.

    Raises `ConfigError` where another finished stage would have to be done again first.
    """
    for stage in WORKS_ON.get(verb, ()):
        if changes := [change for change in _changes(project, run, stage) if not _within(change[0], LABELS)]:
            raise ConfigError(
                f"`{stage}` in {run.uri} was made with other settings: {_listing(changes)}; run `jobs.{stage}` again "
                "first, or set them back"
            )
    changes = _changes(project, run, verb)
    return f"`{verb}` was made with other settings and is done again: {_listing(changes)}" if changes else None


def keep(project: Project, run: Run, verb: str) -> None:
    """Records what the job's stage was made with; a job without a stage has nothing to record."""
    if verb in DEPENDS:
        run.write_bytes(RECORD.format(verb), text(project))


def text(project: Project) -> bytes:
    """Returns the configuration as YAML, every setting stated and every path absolute."""
    return yaml.safe_dump(project.model_dump(mode="json"), sort_keys=False).encode()


def _changes(project: Project, run: Run, stage: str) -> list[Change]:
    """Returns the changed settings that a finished stage depends on, sorted by name."""
    path = RECORD.format(stage)
    if stage not in DEPENDS or run.manifest(stage) is None or not run.exists(path):
        return []
    changes = _compared(project, project.model_dump(mode="json"), yaml.safe_load(run.read_bytes(path)))
    return sorted(change for change in changes if _within(change[0], DEPENDS[stage]) and not _within(change[0], FREE))


def _within(name: str, settings: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{setting}.") for setting in settings)


def _compared(section: BaseModel, present: Any, record: Any, prefix: str = "") -> Iterator[Change]:
    """Yields the settings of a section that its present values and its record both have, and that differ."""
    for name in present.keys() & record.keys():
        old, new = _portable(record[name]), _portable(present[name])
        if isinstance(subsection := getattr(section, name), BaseModel) and isinstance(old, dict):
            yield from _compared(subsection, new, old, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new


def _portable(value: Any) -> Any:
    """Returns a value with every absolute path cut to its last part."""
    if isinstance(value, dict):
        return {key: _portable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _listing(changes: list[Change]) -> str:
    shown = [f"{name} was {_short(old)}, is {_short(new)}" for name, old, new in changes[:SHOWN]]
    return ", ".join(shown) + (f" and {len(changes) - SHOWN} more" if changes[SHOWN:] else "")


def _short(value: Any) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return written if len(written) <= LETTERS else f"{written[:LETTERS]}..."
