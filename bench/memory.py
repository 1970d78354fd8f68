"""What the processes of a job hold: `python -m bench.memory [--json] [--every S] -- python -m jobs.curate ...`.

Runs a command, a job with a Ray of its own, and looks at it and at everything it starts every half second. Output
contract: the peak, over time, of the proportional set size (PSS: a page that n processes share counts 1/n in each)
summed over all processes, without shared memory, in which Ray's object store lies; what each kind of process held at
that moment; the peak of the shared memory; seconds of wall and CPU time. Exit code: the command's.
Linux only (`/proc/PID/smaps_rollup`). This module does not know what the command does.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

MIB = 1024  # KiB


def pss(pid: int) -> tuple[int, int] | None:
    """Returns KiB of PSS (without shared memory, shared memory) of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return None
    found = {name: int(size) for name, size in re.findall(r"^(Pss|Pss_Shmem): +(\d+) kB$", text, re.M)}
    return (found["Pss"] - found["Pss_Shmem"], found["Pss_Shmem"]) if len(found) == 2 else None


def kind(process: psutil.Process) -> str:
    """Returns what a process of a Ray is, as one sees it in `ps`: `ray::IDLE`, `raylet`, the name of a script."""
    words = process.cmdline()
    if not words:
        return process.name()
    if words[0].startswith("ray::"):
        return words[0].split("(")[0]
    scripts = [Path(word).name for word in words[:6] if word.endswith(".py")]
    if "-m" in words:
        return words[words.index("-m") + 1]
    return scripts[0] if scripts else Path(words[0]).name


class Sampler:
    """Follows a process and its descendants."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._cpu: dict[int, float] = {}
        self.peak, self.shared, self.samples = 0, 0, 0
        self.at_peak: Counter[str] = Counter()
        self.count_at_peak: Counter[str] = Counter()

    def look(self) -> None:
        own = shared = 0
        held: Counter[str] = Counter()
        count: Counter[str] = Counter()
        for process in [self._root, *self._root.children(recursive=True)]:
            try:
                name, times = kind(process), process.cpu_times()
            except psutil.Error:
                continue
            found = pss(process.pid)
            if found is None:
                continue
            self._cpu[process.pid] = times.user + times.system
            own, shared = own + found[0], shared + found[1]
            held[name] += found[0]
            count[name] += 1
        self.samples += 1
        self.shared = max(self.shared, shared)
        if own > self.peak:
            self.peak, self.at_peak, self.count_at_peak = own, held, count

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all processes that were seen, up to when each was last seen."""
        return sum(self._cpu.values())


def measure(command: list[str], every: float) -> tuple[int, dict[str, Any]]:
    """Runs a command; returns its exit code and what was measured (MiB, seconds)."""
    started = time.monotonic()
    process = subprocess.Popen(command)
    sampler = Sampler(psutil.Process(process.pid))
    while process.poll() is None:
        try:
            sampler.look()
        except psutil.NoSuchProcess:
            break
        time.sleep(every)
    code = process.wait()
    kinds = {
        name: {"processes": sampler.count_at_peak[name], "mib": round(size / MIB)}
        for name, size in sampler.at_peak.most_common()
    }
    return code, {
        "peak_mib": round(sampler.peak / MIB),
        "shared_peak_mib": round(sampler.shared / MIB),
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(sampler.cpu_seconds, 1),
        "samples": sampler.samples,
        "at_peak": kinds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="What the processes of a job hold.")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two looks")
    parser.add_argument("--json", action="store_true", help="print one JSON object after the command's own output")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("give a command after --")
    code, found = measure(command, args.every)
    if args.json:
        print(json.dumps(found))
        return code
    print(
        f"peak {found['peak_mib']:,} MiB beyond shared memory ({found['shared_peak_mib']:,} MiB at most), then held by"
    )
    for name, part in found["at_peak"].items():
        print(f"  {part['mib']:>7,} MiB  {part['processes']:>3} x {name}")
    print(f"{found['seconds']:,.0f} s, {found['cpu_seconds']:,.0f} s of CPU, {found['samples']} looks")
    return code


if __name__ == "__main__":
    sys.exit(main())
