"""The stage `gguf`: the merged model as files for llama.cpp, each proven before it counts.

Output contract: `model/gguf/NAME-KIND.gguf` for every kind of `export.gguf` that passed, and `metrics/gguf.json` about
all of them. A file passes when llama.cpp loads it, renders conversations as training does and gives them the same token
ids (a token that a message quotes is text), and reaches the merged model's perplexity on the same golden rows within
the kind's gate, from llama.cpp's own logits. One that fails is deleted and told, each time the job is run: nothing is
published that was not measured.
This module does not merge, and does not serve.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError, IntegrityError
from pipeline.evaluate import heldout
from pipeline.evaluate.perplexity import perplexity
from pipeline.export import gguf_architectures, gguf_convert, gguf_template, gguf_vocabulary, llamacpp, merge
from pipeline.formats import FORMATS
from pipeline.models import template
from pipeline.models.load import Base
from pipeline.run import fingerprint
from pipeline.storage import lent, storage_errors
from pipeline.train.loop import checkpoint

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.models.template import Encoded
    from pipeline.run import Run

STAGE = "gguf"
FOLDER = "model/gguf"
METRICS = "metrics/gguf.json"
BLANK = dict.fromkeys(("perplexity", "change", "rendered", "unlike", "gate", "problem"))


def export(project: Project, run: Run, console: Console) -> dict[str, Any]:
    """Converts, quantises, measures and publishes, or finds it done; returns `metrics/gguf.json`.

    Raises `MissingStageError` before the merge, `MissingModelError` without the packages, `ConfigError` for a model
    that cannot be converted. A file that misses its gate raises nothing here: see `problems`.
    """
    merged = run.require("export")
    llamacpp.require()
    settings = project.export.model_dump(include={"gguf", "gguf_gates", "rows"})
    key = fingerprint(merged["key"], settings, llamacpp.version(), FORMATS[STAGE])
    if run.manifest(STAGE, key) is not None:
        console.print("gguf: finished before")
        return dict(run.read_json(METRICS))
    place, temporary = run.local(FOLDER), run.local(FOLDER).with_name(".gguf.tmp")
    with storage_errors(str(place)), lent(temporary):
        facts = _make(project, run, temporary, console)
        stage = run.begin(STAGE, key)  # only now: what was finished before stays where this one fails
        checkpoint.publish(temporary, place)
    run.add(stage, [f"{FOLDER}/{path.name}" for path in checkpoint.files_of(place)])
    run.put_json(stage, METRICS, facts)
    run.commit(stage, {"export": merged["key"]}, {"files": len(checkpoint.files_of(place))})
    return facts


def problems(facts: dict[str, Any]) -> str | None:
    """Returns one sentence about the files that were not published, None where all were."""
    failed = [f"{file['kind']}: {file['problem']}" for file in facts["files"] if file["problem"]]
    return f"not published: {'; '.join(failed)}" if failed else None


def _make(project: Project, run: Run, folder: Path, console: Console) -> dict[str, Any]:
    """Fills the folder with the files that pass; returns the facts about all."""
    source = run.local(merge.MERGED)
    tokenizer = Base.at(source).tokenizer()
    golden = heldout.golden_rows(project, run)[: project.export.rows]
    examples = heldout.encode(project, tokenizer, golden).examples
    exported = run.read_json(merge.METRICS)
    reference = exported["bases"][exported["chosen"]]["perplexity"]
    before, chat_template, _ = _prove(source, tokenizer)
    paths = {kind: folder / f"{project.name}-{kind}.gguf" for kind in ("f16", *project.export.gguf)}
    gguf_convert.convert(source, paths["f16"], tokenizer, project.name, chat_template)
    files: list[dict[str, Any]] = []
    for kind in project.export.gguf:
        started, gate = time.monotonic(), getattr(project.export.gguf_gates, kind)
        report: dict[str, Any] = {"kind": kind, "bytes": None, "types": None, **BLANK, "gate": gate}
        try:
            if kind != "f16":
                llamacpp.quantise(paths["f16"], paths[kind], kind)
            report |= {"bytes": paths[kind].stat().st_size, "types": types(paths[kind])}
            report |= measure(paths[kind], tokenizer, golden, examples, reference, gate)
        except IntegrityError as error:
            report["problem"] = str(error)
        report["seconds"] = round(time.monotonic() - started, 1)
        console.print(f"gguf: {kind}: {report['problem'] or _praise(report)}", markup=False)
        files.append(report)
    for kind in paths.keys() - {file["kind"] for file in files if not file["problem"]}:
        paths[kind].unlink(missing_ok=True)
    return {
        "merged_perplexity": reference,
        "rows": len(golden),
        "template": {"before": before, "conversations": len(gguf_template.conversations())},
        "runtime": llamacpp.version(),
        "files": files,
    }


def check(project: Project, base: Base) -> None:
    """Raises `ConfigError`, before anything is trained, for a base of which no GGUF file could be published: by its
    architecture, widths, tokenizer or template. Needs its configuration and tokenizer, no weights."""
    if not project.export.gguf:
        return
    llamacpp.require()
    gguf_architectures.check(gguf_convert.text_config(base.folder), project.export.gguf)
    _, _, fault = _prove(base.folder, base.tokenizer())
    if fault:
        raise ConfigError(f"export.gguf: {fault}")


def _prove(source: Path, tokenizer: Any) -> tuple[list[str], str, str | None]:
    """Returns what stands before the template, the template, and why no file with a folder's vocabulary and this
    template could be published, None where one could; reads no weights."""
    with tempfile.TemporaryDirectory() as place:
        sample = Path(place, "sample.gguf")
        gguf_vocabulary.sample(sample, source, tokenizer, gguf_convert.text_config(source).vocab_size)
        before, chat_template, otherwise = gguf_template.choose(sample, tokenizer)
        fault = gguf_template.fault(otherwise)
        if not fault:
            with llamacpp.Runtime(sample, llamacpp.BATCH) as runtime:
                fault = _fault(_unlike(runtime, tokenizer, []))
    return before, chat_template, fault


def _fault(unlike: list[str]) -> str | None:
    if not unlike:
        return None
    return f"{len(unlike)} texts have other token ids in llama.cpp than in training, such as {unlike[0]}"


def types(path: Path) -> dict[str, int]:
    """Returns how many tensors of a GGUF file are of which type: fallbacks from a k-quant show here."""
    from gguf import GGUFReader

    return dict(Counter(tensor.tensor_type.name for tensor in GGUFReader(path).tensors).most_common())


def _praise(report: dict[str, Any]) -> str:
    return f"perplexity {report['perplexity']:.4g} ({report['change']:+.2%}), same token ids, same template"


def measure(
    path: Path, tokenizer: Any, golden: list[dict[str, Any]], examples: list[Encoded], reference: float, gate: float
) -> dict[str, Any]:
    """Returns a file's `perplexity`, its `change` against `reference`, how many conversations are `rendered` and how
    many texts cut into token ids (`unlike`) otherwise than in training, and the `problem` for which it must not be
    published; None for what was not reached, and without a problem. Raises `IntegrityError` for a file that llama.cpp
    does not load."""
    facts = dict(BLANK, gate=gate)
    otherwise = gguf_template.differing(path, tokenizer)
    facts |= {"rendered": len(otherwise), "problem": gguf_template.fault(otherwise)}
    if otherwise:
        return facts
    with llamacpp.Runtime(path, max(len(row.input_ids) for row in examples)) as runtime:
        unlike = _unlike(runtime, tokenizer, golden)
        facts |= {"unlike": len(unlike), "problem": _fault(unlike)}
        if unlike:
            return facts
        ppl = _perplexity(runtime, examples)
    change = ppl / reference - 1
    fault = f"perplexity {ppl:.4g} is {change:+.2%} off the merged model's {reference:.4g}, and {gate:.1%} is allowed"
    passed = math.isfinite(ppl) and abs(change) <= gate
    return {**facts, "perplexity": ppl, "change": change, "problem": None if passed else fault}


def _perplexity(runtime: llamacpp.Runtime, examples: list[Encoded]) -> float:
    nats, tokens = 0.0, 0
    for row in examples:
        scored = np.flatnonzero(np.array(row.labels) != template.IGNORED)
        if len(scored):
            losses = runtime.losses(row.input_ids, int(scored[0]))[scored - scored[0]]
            nats, tokens = nats + float(losses.sum()), tokens + len(losses)
    return perplexity(nats, tokens)


def _unlike(runtime: llamacpp.Runtime, tokenizer: Any, golden: list[dict[str, Any]]) -> list[str]:
    """Returns which conversations llama.cpp cuts into other tokens: ids of rows, numbers of probes; never text."""
    texts = {f"row {row['id']}": f"{row['prompt']}\n{row['response']}" for row in golden}
    asked = {name: [{"role": "user", "content": text}] for name, text in texts.items()}
    asked |= {f"conversation {number}": messages for number, messages in enumerate(gguf_template.conversations())}
    asked = {name: gguf_template.comparable(tokenizer, messages) for name, messages in asked.items()}
    return [
        name
        for name, messages in asked.items()
        if gguf_template.rendered(tokenizer, messages) is not None
        and gguf_template.token_ids(runtime, tokenizer, messages) != template.chat_prompt(tokenizer, messages)
    ]
