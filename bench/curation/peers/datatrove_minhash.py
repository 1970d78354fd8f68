"""datatrove's MinHash deduplication as its example has it, on JSON lines of {id, text}; run where it is installed.

Run: `PYTHON datatrove_minhash.py INPUT OUTPUT WORKERS`. Output contract: OUTPUT/kept.txt holds the ids that are kept,
OUTPUT/seconds.json the time: the four stages from the first text to the last, imports excluded.
3-grams instead of its default 5, its own normalisation and English tokeniser, its default 14 buckets of 8 hashes (which
it documents for a similarity of about 0.75; it has no threshold and verifies nothing).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter


def main(source: str, target: str, workers: int) -> None:
    config = MinhashConfig(n_grams=3)
    shards = len(list(Path(source).glob("*.jsonl")))
    folder = {name: f"{target}/{name}" for name in ("signatures", "buckets", "removed", "kept", "logs")}

    def run(tasks: int, name: str, *steps: object) -> None:
        LocalPipelineExecutor(
            list(steps), tasks=tasks, workers=min(workers, tasks), logging_dir=f"{folder['logs']}/{name}"
        ).run()

    start = time.perf_counter()
    run(
        shards,
        "signatures",
        JsonlReader(source),
        MinhashDedupSignature(output_folder=folder["signatures"], config=config, language="eng"),
    )
    run(
        config.num_buckets,
        "buckets",
        MinhashDedupBuckets(input_folder=folder["signatures"], output_folder=folder["buckets"], config=config),
    )
    run(
        1,
        "cluster",
        MinhashDedupCluster(input_folder=folder["buckets"], output_folder=folder["removed"], config=config),
    )
    run(
        shards,
        "filter",
        JsonlReader(source),
        MinhashDedupFilter(input_folder=folder["removed"]),
        JsonlWriter(output_folder=folder["kept"], compression=None),
    )
    seconds = time.perf_counter() - start
    files = sorted(Path(folder["kept"]).glob("*.jsonl"))
    ids = [json.loads(line)["id"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    Path(target, "kept.txt").write_text("\n".join(ids), encoding="utf-8")
    Path(target, "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
