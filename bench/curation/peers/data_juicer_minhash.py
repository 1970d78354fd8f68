"""Data-Juicer's `document_minhash_deduplicator` on JSON lines of {id, text}; run by an interpreter that has it.

Run: `PYTHON data_juicer_minhash.py INPUT OUTPUT WORKERS`. Output contract: OUTPUT/kept.txt holds the ids that are kept,
OUTPUT/seconds.json the time: the executor's run from file to file, imports excluded.
Words cut at white space after punctuation is removed, lower case, 3-grams, its default 256 permutations, threshold 0.8,
for which it chooses bands and rows itself; it verifies nothing.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import yaml
from data_juicer.config import init_configs
from data_juicer.core import DefaultExecutor

OPERATOR = {
    "tokenization": "space",
    "window_size": 3,
    "lowercase": True,
    "ignore_pattern": r"\p{P}",
    "num_permutations": 256,
    "jaccard_threshold": 0.8,
}


def main(source: str, target: str, workers: int) -> None:
    recipe = Path(target, "recipe.yaml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "project_name": "near",
        "dataset_path": source,
        "export_path": f"{target}/kept.jsonl",
        "work_dir": target,
        "np": workers,
        "open_tracer": False,
        "use_cache": False,
        "text_keys": "text",
        "process": [{"document_minhash_deduplicator": OPERATOR}],
    }
    recipe.write_text(yaml.safe_dump(settings), encoding="utf-8")
    executor = DefaultExecutor(init_configs(["--config", str(recipe)]))
    start = time.perf_counter()
    executor.run()
    seconds = time.perf_counter() - start
    lines = Path(target, "kept.jsonl").read_text(encoding="utf-8").splitlines()
    Path(target, "kept.txt").write_text("\n".join(json.loads(line)["id"] for line in lines), encoding="utf-8")
    Path(target, "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
