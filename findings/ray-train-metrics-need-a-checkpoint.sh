#!/usr/bin/env bash
# The result of a Ray Train run has no metrics when no checkpoint was reported with them.
#
# Version: ray[train] 2.60.0
# Seen:    `train.report({"loss": 0.5})` and nothing else: `trainer.fit()` returns a result whose `metrics` is None. The
#          same report with an empty folder as its checkpoint: `metrics` is {"loss": 0.5}.
# Matters: a training that writes its checkpoints itself, or a search over short trials that needs none, sees its last
#          report accepted and gets nothing back. The numbers have to go by a file, or with a small checkpoint.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . "ray[train]==2.60.0"

cat >training.py <<'PYTHON'
import sys
import tempfile

import ray
from ray import train
from ray.train.v2.api.config import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


def bare():
    train.report({"loss": 0.5})


def with_checkpoint():
    with tempfile.TemporaryDirectory() as folder:
        train.report({"loss": 0.5}, checkpoint=train.Checkpoint.from_directory(folder))


ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
metrics = []
for loop in (bare, with_checkpoint):
    run = RunConfig(name=loop.__name__, storage_path=sys.path[0])
    metrics.append(DataParallelTrainer(loop, scaling_config=ScalingConfig(num_workers=1), run_config=run).fit().metrics)
    print(f"ray {ray.__version__}, {loop.__name__}: metrics {metrics[-1]}")
as_described = metrics == [None, {"loss": 0.5}]
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
PYTHONPATH=$packages python3 training.py
