#!/usr/bin/env bash
# A wheel tagged for glibc 2.17 holds libraries that need glibc 2.38.
#
# Version: llama-cpp-py-sync 0.11739 (cpu build, x86-64)
# Seen:    the wheel's tag is py3-none-manylinux2014_x86_64, which promises glibc 2.17 or newer. `libllama.so` inside
#          refers to symbols of version GLIBC_2.38.
# Matters: pip installs it on Debian 12, Ubuntu 22.04 or RHEL 9, whose glibc is older, and loading the library there
#          fails with "version `GLIBC_2.38' not found". The tag alone does not show it; the symbols do.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip download -qq --no-deps --only-binary :all: --platform manylinux2014_x86_64 llama-cpp-py-sync==0.11739

python3 - <<'PYTHON'
import re
import sys
import zipfile
from pathlib import Path

wheel = next(Path().glob("*.whl"))
newest = {}
with zipfile.ZipFile(wheel) as files:
    for name in files.namelist():
        if ".so" in Path(name).name:
            versions = re.findall(rb"\0GLIBC_2\.(\d+)(?=\0)", files.read(name))
            newest[Path(name).name] = max(map(int, versions), default=0)
print(f"{wheel.name}: libllama.so needs glibc 2.{newest['libllama.so']}")
as_described = wheel.name.endswith("-manylinux2014_x86_64.whl") and newest["libllama.so"] == 38
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
