"""Data-Juicer's operators for what curation does: `python data_juicer_whole.py ROWS.jsonl FOLDER WORKERS`.

Runs in Data-Juicer's environment; imports nothing of this project. Output contract: `FOLDER/seconds.json`, seconds and
CPU seconds of all processes from the rows on disk to the kept rows, and how many those are; and `FOLDER/out.jsonl`. It
has no operator for toxicity that runs locally and none for names. DATA_JUICER_EXTERNAL_MODELS_HOME: the folder with
`lid.176.bin`.
"""

import json
import os
import sys
import time
from pathlib import Path

import yaml
from data_juicer.config import init_configs
from data_juicer.core import DefaultExecutor

MINHASH = {
    "tokenization": "space",
    "window_size": 3,
    "num_permutations": 256,
    "jaccard_threshold": 0.8,
    "lowercase": True,
}
OPERATORS = [
    {"language_id_score_filter": {"lang": ["en", "de"], "min_score": 0.8}},
    {"text_length_filter": {"min_len": 10, "max_len": 100_000}},
    {"pii_redaction_mapper": {}},
    {"character_repetition_filter": {}},
    {"special_characters_filter": {}},
    {"document_minhash_deduplicator": MINHASH},
]


def main(source: str, target: str, workers: int) -> None:
    """Writes what the output contract says."""
    folder = Path(target)
    recipe = {
        "project_name": "bench",
        "dataset_path": source,
        "export_path": str(folder / "out.jsonl"),
        "np": workers,
        "process": OPERATORS,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    config = init_configs(["--config", str(folder / "recipe.yaml")])
    start, before = time.perf_counter(), sum(os.times()[:4])
    DefaultExecutor(config).run()
    found = {"seconds": time.perf_counter() - start, "cpu_seconds": sum(os.times()[:4]) - before}
    with (folder / "out.jsonl").open(encoding="utf-8") as stream:
        found["kept"] = sum(1 for _ in stream)
    (folder / "seconds.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
