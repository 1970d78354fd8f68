"""The demo, scaled down but for the curation: what a newcomer types, and what EXPECTED.md promises.

One run of `jobs/demo.sh` serves every test here: it is the slowest thing in the suite.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets" / "sample"
SMALLER: dict[str, dict[str, Any]] = {
    "synthesize": {"seeds": 32, "variants": 1},
    "train": {"epochs": 0.1, "eval_every": 100},
    "evaluate": {"rows": 4, "samples": 4, "max_new_tokens": 32},
}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Returns the run folder and everything the demo printed."""
    folder = tmp_path_factory.mktemp("demo")
    project = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text())
    for section, changes in SMALLER.items():
        project[section] |= changes
    project["base_model"] = str(ROOT / "assets" / "tiny-base")
    project["curate"]["toxicity"]["model"] = str(ROOT / "assets" / "toxicity-small")
    config = folder / "demo.yaml"
    config.write_text(yaml.safe_dump(project))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = ["bash", str(ROOT / "jobs" / "demo.sh"), str(folder / "run"), str(config)]
    done = subprocess.run(
        script,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return folder / "run", done.stdout


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    found = re.search(r"```json\n(.*?)```", (SAMPLE / "EXPECTED.md").read_text(encoding="utf-8"), re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def metrics(run: Path, job: str) -> dict[str, Any]:
    return dict(json.loads((run / "metrics" / f"{job}.json").read_text()))


def test_counts_are_those_of_the_card(demo: tuple[Path, str], expected: dict[str, Any]) -> None:
    sources = metrics(demo[0], "curate")["sources"]
    wanted = {
        name: {**source, "rejected": {reason: n for reason, n in source["rejected"].items() if n}}
        for name, source in expected["sources"].items()
    }
    assert sources == wanted


def test_every_row_is_in_one_place(demo: tuple[Path, str]) -> None:
    run, sources = demo[0], metrics(demo[0], "curate")["sources"]
    splits = {name: pq.read_table(run / "data" / name) for name in ("train", "val", "golden")}
    rejects = pq.read_table(run / "rejects" / "part-00000.parquet")
    assert sum(table.num_rows for table in splits.values()) == sum(source["kept"] for source in sources.values())
    assert rejects.num_rows == sum(source["read"] - source["kept"] for source in sources.values())
    groups = [set(table["group"].to_pylist()) for table in splits.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert not {"prompt", "response", "text"} & set(rejects.column_names)
    assert not (run / "stages" / "read").exists()


def test_no_planted_personal_value_survives(demo: tuple[Path, str]) -> None:
    rows = [json.loads(line) for line in (SAMPLE / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    planted = [(row["source"], row["id"], item) for row in rows if row["reason"] == "kept" for item in row["pii"]]
    kept = {}
    for split in ("train", "val", "golden"):
        for row in pq.read_table(demo[0] / "data" / split).to_pylist():
            kept[row["source"], row["source_id"]] = row["prompt"] + "\n" + row["response"]
    left = [(source, number, item["type"]) for source, number, item in planted if item["value"] in kept[source, number]]
    assert left == []
    assert len(planted) > 300


def test_synthetic_rows_name_a_training_parent(demo: tuple[Path, str]) -> None:
    table = pq.read_table(demo[0] / "data" / "synthetic")
    assert table.num_rows == metrics(demo[0], "synthesize")["kept"] > 0
    parents = pq.read_table(demo[0] / "data" / "train")["id"]
    assert pc.all(pc.is_in(table["parent_id"], value_set=parents.combine_chunks())).as_py()


def test_the_model_got_better(demo: tuple[Path, str]) -> None:
    train, evaluate = metrics(demo[0], "train"), metrics(demo[0], "evaluate")
    assert train["steps"][-1]["loss"] < train["steps"][0]["loss"]
    assert evaluate["tuned"]["perplexity"] < 0.8 * evaluate["base"]["perplexity"]
    assert {base["passed"] for base in metrics(demo[0], "export")["bases"].values()} == {True}


def test_the_merged_model_loads_in_plain_transformers(demo: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = demo[0] / "model" / "merged"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert getattr(model.config, "quantization_config", None) is None
    assert tokenizer.chat_template
    assert (folder / "README.md").read_text().startswith("---")


def test_both_clients_were_answered_and_nothing_is_left_running(demo: tuple[Path, str]) -> None:
    run, output = demo
    answers = output.split("7  ask")[1].split("8  report")[0]
    assert len(answers.split()) > 20
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(run) not in processes
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
