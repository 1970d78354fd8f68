"""What the finished stages of a run were made with, against the configuration at hand.

Output contract: a job that ends well leaves its configuration as `stages/STAGE/config.yaml`, which `Run.begin` deletes
with the rest of the stage. `check` raises `ConfigError` where a finished stage that a job works on was made with other
settings, and returns a line where the job's own stage was: that one is done again. It writes nothing.
Of a path the last part counts, because a run and its models may be moved. A setting that only one of two versions of
this program knows does not count, and neither does a stage without a record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from pipeline.config import Project
from pipeline.errors import ConfigError
from pipeline.plan.resolve_auto import HARMLESS
from pipeline.run import Run

DEPENDS = {  # what a stage's output depends on, besides the stages before it
    "curate": ("name", "seed", "curate"),
    "synthesize": ("base_model", "seed", "synthesize"),
    "train": ("base_model", "chat_template", "seed", "train"),
    "evaluate": ("seed", "evaluate"),
    "export": ("name", "export"),
}
WORKS_ON = {
    "synthesize": ("curate",),
    "train": ("curate", "synthesize"),
    "evaluate": ("curate", "synthesize", "train"),
    "export": ("curate", "synthesize", "train", "evaluate"),
    "serve": ("curate", "synthesize", "train", "export"),
    "report": tuple(DEPENDS),
}
LABELS = {"name", "curate.licences"}  # written on cards: a stage made with others is as good
FREE = {"export.gguf", "export.gguf_gates", *(f"train.{name}" for name in HARMLESS)}  # change nothing of it
SHOWN = 3  # settings that a message names
LETTERS = 40  # of a setting's value that a message shows


def _path(stage: str) -> str:
    return f"stages/{stage}/config.yaml"


def check(project: Project, run: Run, verb: str) -> str | None:
    """Returns a line about settings that make the job do its own finished stage again, None where there are none.

    Raises `ConfigError` where another finished stage would have to be done again first.
    """
    for stage in WORKS_ON.get(verb, ()):
        if changed := {name: values for name, values in _changes(project, run, stage).items() if name not in LABELS}:
            raise ConfigError(
                f"`{stage}` in {run.uri} was made with other settings: {_told(changed)}; run `jobs.{stage}` again "
                "first, or set them back"
            )
    changed = _changes(project, run, verb) if verb in DEPENDS else {}
    return f"`{verb}` was made with other settings and is done again: {_told(changed)}" if changed else None


def keep(project: Project, run: Run, verb: str) -> None:
    """Records what the job's stage was made with; a job without a stage has nothing to record."""
    if verb in DEPENDS:
        run.write_bytes(_path(verb), text(project))


def text(project: Project) -> bytes:
    """Returns the configuration as YAML, every setting stated and every path absolute."""
    return yaml.safe_dump(project.model_dump(mode="json"), sort_keys=False).encode()


def _changes(project: Project, run: Run, stage: str) -> dict[str, tuple[Any, Any]]:
    """Returns the settings a finished stage depends on that differ from its record: name -> (then, now)."""
    if run.manifest(stage) is None or not run.exists(_path(stage)):
        return {}
    then, now = (dict(_flat(Project, values)) for values in (_record(run, stage), project.model_dump(mode="json")))
    return {
        name: (then[name], now[name])
        for name in then.keys() & now.keys()
        if then[name] != now[name] and _counts(name, DEPENDS[stage])
    }


def _record(run: Run, stage: str) -> Mapping[str, Any]:
    return dict(yaml.safe_load(run.read_bytes(_path(stage))))


def _counts(name: str, depends: tuple[str, ...]) -> bool:
    def inside(parts: Iterable[str]) -> bool:
        return any(name == part or name.startswith(f"{part}.") for part in parts)

    return inside(depends) and not inside(FREE)


def _flat(section: type[BaseModel], values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted name and the value of every setting that both a section and `values` know."""
    for name, field in section.model_fields.items():
        if name not in values:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _flat(field.annotation, values[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _moved(values[name])


def _moved(value: Any) -> Any:
    """Returns a value with every absolute path cut to its last part."""
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    if isinstance(value, Mapping):
        return {key: _moved(inner) for key, inner in value.items()}
    return [_moved(inner) for inner in value] if isinstance(value, list) else value


def _told(changed: Mapping[str, tuple[Any, Any]]) -> str:
    shown = [f"{name} was {_short(then)}, is {_short(now)}" for name, (then, now) in sorted(changed.items())[:SHOWN]]
    more = len(changed) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _short(value: Any) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return written if len(written) <= LETTERS else f"{written[:LETTERS]}..."
