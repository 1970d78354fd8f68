#!/usr/bin/env bash
# `from __future__ import annotations` makes Ray Serve hand a typed application builder a plain dict.
#
# Version: ray[serve] 2.60.0, pydantic 2
# Seen:    two files that differ in this one line hold `def build(settings: Settings)`, Settings being a pydantic
#          model. The builder without the line gets a Settings with the number parsed and the default filled in; with
#          it, it gets {"replicas": "3"}: nothing is validated. The function called here is the one behind `serve run`
#          and `serve deploy`.
# Matters: many code bases and linters put that line into every file. The mistake shows as an AttributeError somewhere
#          in the builder, or not at all where a dict will do.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . "ray[serve]==2.60.0"

cat >plain.py <<'PYTHON'
from pydantic import BaseModel
from ray import serve


class Settings(BaseModel):
    replicas: int
    greeting: str = "hello"


@serve.deployment
class Greeter:
    pass


received = []


def build(settings: Settings):
    received.append(settings)
    return Greeter.bind()
PYTHON
{ echo "from __future__ import annotations"; cat plain.py; } >postponed.py

python3 - <<'PYTHON'
import sys

import plain
import postponed
import ray
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as call_builder

for module in (plain, postponed):
    call_builder(module.build, {"replicas": "3"})
    print(f"ray {ray.__version__}, {module.__name__}: the builder gets {module.received[0]!r}")
parsed = plain.Settings(replicas=3, greeting="hello")
as_described = plain.received == [parsed] and postponed.received == [{"replicas": "3"}]
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
