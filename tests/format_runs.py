"""Every stage run once on the small fixed input of `tests.format_inputs`, and what it wrote.

Everything runs in this process, without Ray. Sampling by the synthesis model is left out: its draws are not the same on
every machine, so it is asked at a temperature where nothing is drawn.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import ray
from rich.console import Console

from pipeline import batch, waiting
from pipeline.config import Project
from pipeline.curation import assemble, data_card, parts
from pipeline.curation.curate import curate
from pipeline.evaluate import evaluate as golden
from pipeline.export import gguf, merge
from pipeline.formats import FORMATS
from pipeline.models import load
from pipeline.plan import resolve_auto
from pipeline.read import discover, rows
from pipeline.run import Run
from pipeline.synthesis import synthesize
from pipeline.train import launch, qlora
from pipeline.train.data import pack
from tests import format_inputs as inputs
from tests.formats import digest, facts, sketch, table

QUIET = Console(quiet=True)
DATA = ("train", "val", "golden")
BASE = inputs.ASSETS / "tiny-base"


def learner(**sections: Any) -> Project:
    """Returns the settings of the stages after curation."""
    train = {"max_length": 192, "pack_tokens": 256, "rows_per_step": 2, "epochs": 1.0, "learning_rate": 1e-3,
             "eval_every": 2, "recompute": 0, "lora": {"r": 4, "alpha": 8}, **sections.pop("train", {})}  # fmt: skip
    given = {
        "curate": {"toxicity": {"model": str(inputs.ASSETS / "toxicity-small")}},
        "synthesize": {"seeds": 4, "variants": 2, "temperature": 1e-4, "max_new_tokens": 24},
        "evaluate": {"rows": 4, "samples": 2, "max_new_tokens": 8, "bootstrap": 50, "general_rows": 4},
        "export": {"dtype": "float32", "rows": 6, "gguf": ["f16", "q8_0"], "top1_gate": 0.9, "perplexity_gate": 0.1},
    }
    return Project.model_validate(
        {"name": "small", "base_model": str(BASE), "seed": 3, "train": train, **given, **sections}
    )


def written(place: Path) -> dict[str, Any]:
    """Returns number and writings of every stage; `place` is a folder to work in."""
    writes = {**curation(place), **learning(place), **measuring(place)}
    return {stage: {"format": number, "writes": writes[stage]} for stage, number in FORMATS.items()}


# -- without Ray -------------------------------------------------------------------------------------------------------


def here(work: launch.Work, settings: dict[str, Any], folder: Path, bundle: Any) -> None:
    """Stands for the Ray Train worker."""
    work({**settings, "threads": 1})


class Here:
    """Stands for a Ray task."""

    def __init__(self, task: Callable[..., Any]) -> None:
        self.remote = task


def spread(make: Callable[[], Callable[[int], Iterator[Any]]], units: int, *_: Any, **__: Any) -> Iterator[Any]:
    """Stands for Ray Data's actors."""
    work = make()
    for number in range(units):
        yield from work(number)


@contextlib.contextmanager
def without_ray() -> Iterator[None]:
    """A context in which the stages run in this process."""
    stand_ins: tuple[tuple[Any, str, Any], ...] = (
        (launch, "_once", here),
        (resolve_auto, "find_card", lambda _: None),
        (waiting, "worker", lambda: {"CPU": 1}),
        (waiting, "wait_for", lambda *_: None),
        (batch, "spread", spread),
        (batch, "stream", lambda work: work()),
        (batch, "gpus", lambda: 0),
        (batch, "cpus", lambda: 1),
        (rows, "PART_ROWS", inputs.PART_ROWS),
        (ray, "put", lambda value: value),
        (ray, "get", lambda value: value),
        (ray, "remote", lambda **_: Here),
    )
    with contextlib.ExitStack() as stack:
        for owner, name, stand_in in stand_ins:
            stack.enter_context(mock.patch.object(owner, name, stand_in))
        yield


# -- curation ---------------------------------------------------------------------------------------------------------


def curation(place: Path) -> dict[str, Any]:
    """Curates the small dump into `place`/curation; returns what each of the five stages wrote."""
    dump, run = place / "dump", Run.open(str(place / "curation"))
    dump.mkdir()
    with without_ray():
        curate(inputs.project(), run, [str(inputs.dump(dump))], QUIET)
    return {
        "read": read(dump, place),
        **{stage: screened(run, stage) for stage in ("screen", "toxicity")},
        "dedup": deduplicated(run),
        "curate": curated_data(run),
    }


def read(dump: Path, place: Path) -> dict[str, Any]:
    """Reads the dump, and a file of every other kind."""
    more = inputs.every_kind(place / "kinds")
    markdown = {"questions": ["Issue"], "answers": ["Solution"]}
    settings = inputs.project(read={**inputs.project().curate.read.model_dump(), "markdown": markdown}).curate.read
    run, tables = Run.open(str(place / "read")), []
    for place in (dump, more):
        for number, unit in enumerate(parts.work_units(discover([str(place)], settings).files)):
            tables += [
                run.read_table(part["path"]) for part in parts.read_unit(run, unit, number, settings, inputs.PART_ROWS)
            ]
    return table(pa.concat_tables(tables))


def screened(run: Run, stage: str) -> dict[str, Any]:
    manifest = run.require(stage)
    return {**table(run.read_outputs(manifest, f"stages/{stage}")), "report": facts(manifest["report"])}


def deduplicated(run: Run) -> dict[str, Any]:
    stage = run.require("dedup")
    sketches = {name: table(run.read_outputs(stage, f"stages/dedup/{name}"), ()) for name in ("shingles", "bands")}
    decisions = table(run.read_table(assemble.DECISIONS))
    return {"decisions": decisions, **sketches, "report": facts(stage["report"])}


def curated_data(run: Run) -> dict[str, Any]:
    """Returns the data, the rejects, the counts, and the card without what differs between machines and releases."""
    stage = run.require("curate")
    metrics = run.read_json("metrics/curate.json")
    made = metrics["provenance"]
    still = {name: {} if isinstance(made[name], dict) else "" for name in ("packages", "models", "formats", "version")}
    card = data_card.render("t", {**metrics, "provenance": {**made, **still}})
    tables = {name: table(run.read_outputs(stage, name)) for name in (*(f"data/{split}" for split in DATA), "rejects")}
    return {**tables, "metrics": facts(metrics), "card": digest(card)}


# -- the stages after it ----------------------------------------------------------------------------------------------


def learning(place: Path) -> dict[str, Any]:
    """Trains the small base on fixed rows and general ones in `place`/learnt; returns what `pack` and `train` wrote."""
    run = inputs.curated(place / "learnt")
    run.local("general").mkdir()
    (run.local("general") / "page.md").write_text(inputs.PAGE, encoding="utf-8")
    with without_ray():
        qlora.train(learning_project(place), run, QUIET)
    return {"pack": packed(run), "train": trained(run)}


def learning_project(place: Path) -> Project:
    return learner(train={"general": {"path": str(place / "learnt" / "general"), "share": 0.02}})


def measuring(place: Path) -> dict[str, Any]:
    """Rephrases, then measures, merges and converts a fixed adapter in `place`/measured; returns what each stage
    wrote."""
    run, project = inputs.curated(place / "measured"), measuring_project(place)
    run.write_bytes("general.txt", (inputs.PAGE * 4).encode())
    inputs.put_adapter(run, project)
    with without_ray():
        for work in (synthesize.synthesize, golden.evaluate, merge.export, gguf.export):
            work(project, run, QUIET)
    return {
        "synthesize": synthetic(run),
        "evaluate": facts(run.read_json(golden.METRICS)),
        "export": merged(run),
        "gguf": files(run),
    }


def measuring_project(place: Path) -> Project:
    evaluate = learner().evaluate.model_dump() | {"general": str(place / "measured" / "general.txt")}
    return learner(evaluate=evaluate)


def synthetic(run: Run) -> dict[str, Any]:
    stage = run.require("synthesize")
    tables = {name: table(run.read_outputs(stage, name)) for name in ("data/synthetic", "rejects/synthetic")}
    return {**tables, "metrics": facts(run.read_json("metrics/synthesize.json"))}


def packed(run: Run) -> dict[str, Any]:
    stage = run.require("pack")
    tables = {name: table(run.read_outputs(stage, name), ()) for name in (f"stages/{pack.STAGE}", "data/general")}
    return {**tables, "summary": facts(run.read_json(pack.SUMMARY))}


def trained(run: Run) -> dict[str, Any]:
    from safetensors.torch import load_file

    folder = run.local(load.ADAPTER)
    config = json.loads((folder / "adapter_config.json").read_text())
    kept = {name: config[name] for name in ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias")}
    kept["target_modules"] = sorted(config["target_modules"])
    names = sorted(path.name for path in folder.iterdir())
    adapter = sketch(load_file(folder / "adapter_model.safetensors"))
    return {"metrics": facts(run.read_json(qlora.METRICS)), "files": names, "config": digest(kept), "adapter": adapter}


def merged(run: Run) -> dict[str, Any]:
    from safetensors.torch import load_file

    folder = run.local(merge.MERGED)
    tensors = {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}
    configs = {
        path.name: {key: value for key, value in json.loads(path.read_text()).items() if key != "transformers_version"}
        for path in (folder / "config.json", folder / "generation_config.json")
    }
    cards = [(place / "README.md").read_text(encoding="utf-8") for place in (folder, run.local(load.ADAPTER))]
    return {
        "metrics": facts(run.read_json(merge.METRICS)),
        "tensors": {name: digest(tensor.numpy().tobytes()) for name, tensor in sorted(tensors.items())},
        "configs": digest(configs),
        "cards": digest([re.sub(r"[+-]?\d[\d.,]*", "", card) for card in cards]),
        "files": sorted(path.name for path in folder.iterdir()),
    }


def files(run: Run) -> dict[str, Any]:
    """Returns what is in the F16 file, exactly, and what was measured of all: llama.cpp's own quantisation rounds in
    another way on other CPUs."""
    from gguf import GGUFReader

    reader = GGUFReader(run.local(gguf.FOLDER) / "small-f16.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    tensors = {tensor.name: digest(tensor.data.tobytes()) for tensor in reader.tensors}
    return {
        "fields": {name: digest(value) for name, value in fields.items()},
        "tensors": tensors,
        "metrics": facts(run.read_json(gguf.METRICS)),
    }
