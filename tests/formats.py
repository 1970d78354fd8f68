"""The fixture `formats.json`: each stage's number and what it writes for a small fixed input.

`python -m tests.formats` writes it anew, but not where a stage writes something else under its old number. A digest
stands for what is exact on every machine, numbers for what a model computes: those compare with a tolerance. What the
stages write is made in `tests.format_runs`.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

FIXTURE = Path(__file__).with_name("formats.json")
RENEW = "`python -m tests.formats`"
BEFORE = {  # stage -> the one whose key is in its own
    "screen": "read",
    "toxicity": "screen",
    "dedup": "toxicity",
    "curate": "dedup",
    "synthesize": "curate",
    "pack": "curate",
    "train": "pack",
    "evaluate": "train",
    "export": "train",
    "gguf": "export",
}
PASSING = {
    *("version", "packages", "formats", "runtime"),  # of this release
    *("seconds", "tokens_per_second", "peak_memory_gib", "device", "bytes", "plan"),  # of this machine
    *("model", "models"),  # of this checkout: paths
    "sentence",  # of figures that are there
}
"""Columns and keys of metrics that do not tell what a stage writes."""

Writes = Mapping[str, Any]


# -- summaries --------------------------------------------------------------------------------------------------------


def digest(value: Any) -> str:
    """Returns 16 hex digits of anything JSON can write."""
    text = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def table(rows: pa.Table, by: Sequence[str] = ("source", "source_id", "path", "line", "id")) -> dict[str, Any]:
    """Returns the number of rows, a digest of each column in the order of `by`, and quantiles of those of floats."""
    keys = [(name, "ascending") for name in by if name in rows.column_names]
    rows = rows.sort_by(keys) if keys else rows
    columns: dict[str, Any] = {}
    for name in (name for name in rows.column_names if name not in PASSING):
        column = rows[name]
        if pa.types.is_floating(column.type):
            found = column.drop_null().cast(pa.float64())
            quantiles = pc.quantile(found, q=[0, 0.1, 0.5, 0.9, 1]).to_pylist() if len(found) else []
            columns[name] = [len(found), *quantiles]
        else:
            columns[name] = digest(column.to_pylist())
    return {"rows": rows.num_rows, "columns": columns}


def facts(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns, for each key of a metrics file, a digest of what is exact in it and its floats."""
    found: dict[str, Any] = {}
    for key, part in value.items():
        if key not in PASSING:
            floats: list[float] = []
            exact = digest(_without_floats(part, floats))
            found[key] = {"exact": exact, "floats": floats} if floats else exact
    return found


def _without_floats(value: Any, floats: list[float]) -> Any:
    if isinstance(value, float):
        floats.append(value)
        return None
    if isinstance(value, Mapping):
        return {key: _without_floats(part, floats) for key, part in value.items() if key not in PASSING}
    return [_without_floats(part, floats) for part in value] if isinstance(value, list) else value


def sketch(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Returns names and shapes of float tensors, and for each its norm and its share along a fixed direction."""
    import torch

    numbers = {}
    for name, tensor in sorted(tensors.items()):
        flat = tensor.double().flatten()
        wave = torch.cos(torch.arange(len(flat), dtype=torch.float64) ** 2)
        norm = float(flat.norm())
        numbers[name] = [norm, float(flat @ wave) / max(norm, 1e-12)]
    return {"shapes": digest({name: list(tensor.shape) for name, tensor in tensors.items()}), "numbers": numbers}


# -- comparing --------------------------------------------------------------------------------------------------------


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Returns where two summaries differ: floats by more than 1 % and 0.002, anything else at all."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = sorted(old.keys() | new.keys())
        return [at for name in names for at in differences(old.get(name), new.get(name), f"{place}.{name}".strip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return sorted({at for a, b in zip(old, new, strict=True) for at in differences(a, b, place)})
    if isinstance(old, float) and isinstance(new, float):
        return [] if math.isclose(old, new, rel_tol=1e-2, abs_tol=2e-3) else [place]
    return [] if old == new else [place]


def problem(stage: str, fixture: Writes, now: Writes) -> str | None:
    """Returns what is wrong with a stage's number or fixture, in a sentence. `now`: as the fixture is, of this code.

    A stage is not to blame for what it writes when one before it has changed: its key changes with that one's.
    """
    old, new = fixture.get(stage, {"format": None}), now[stage]
    if old["format"] != new["format"]:
        return f"FORMATS['{stage}'] is {new['format']}, the fixture is of {old['format']}: write it anew with {RENEW}"
    changed = differences(old["writes"], new["writes"])
    if not changed or _changed_before(stage, fixture, now):
        return None
    return (
        f"`{stage}` writes something else than before under the same number ({', '.join(changed[:5])}): "
        f"raise FORMATS['{stage}'] in pipeline/formats.py, then write the fixture anew with {RENEW}"
    )


def _changed_before(stage: str, fixture: Writes, now: Writes) -> bool:
    before = BEFORE.get(stage)
    if before is None:
        return False
    return bool(differences(fixture.get(before), now[before])) or _changed_before(before, fixture, now)


def rounded(value: Any) -> Any:
    """Returns a summary as the fixture keeps it: floats with six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


def main() -> int:
    """Writes the fixture, or tells which numbers must be raised first."""
    from tests.format_runs import written

    fixture = json.loads(FIXTURE.read_text()) if FIXTURE.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        now = written(Path(place))
    told = [said for stage in fixture if (said := problem(stage, fixture, now)) and "raise" in said]
    if told:
        print("\n".join(told))
        return 1
    FIXTURE.write_text(json.dumps(rounded(now), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
