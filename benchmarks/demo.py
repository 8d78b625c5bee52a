"""Wall time by stage and peak memory of the demo, on a fresh state folder.

    python benchmarks/demo.py [--state FOLDER] [--out FILE]

Memory is the proportional set size (shared pages counted once) of the command and all its descendants together, read
from /proc five times a second; so it runs on Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from curation_pipeline.lake.lake import Lake


def descendants(root: int) -> set[int]:
    """The process and everything that it started."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children[int(fields[1])].append(int(entry.name))
    found, waiting = set(), [root]
    while waiting:
        current = waiting.pop()
        found.add(current)
        waiting.extend(children[current])
    return found


def memory_bytes(processes: set[int]) -> int:
    """Proportional set size of processes together."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def watch(command: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """Run a command to its end; wall seconds and peak bytes.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    started, peak = time.monotonic(), 0
    process = subprocess.Popen(command, env=environment)
    while process.poll() is None:
        peak = max(peak, memory_bytes(descendants(process.pid)))
        time.sleep(0.2)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - started, peak


def stages(lake: Lake) -> dict[str, float]:
    """Seconds of work by table, summed over partitions and chains; chains run side by side."""
    seconds: dict[str, float] = defaultdict(float)
    for manifest in lake.manifests():
        chain = manifest.partition.get("chain", "")
        seconds[f"{manifest.table} ({'loop' if chain == 'main' else 'arms'})" if chain else manifest.table] += (
            manifest.seconds
        )
    return {name: round(value, 1) for name, value in sorted(seconds.items(), key=lambda item: -item[1]) if value >= 0.1}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("demo.json"))
    options = parser.parse_args()
    state = options.state or Path(tempfile.mkdtemp(prefix="curation-demo-")) / "state"
    command = [str(Path(sys.executable).with_name("curate")), "run", "--state", str(state)]
    wall, peak = watch(command, dict(os.environ))
    again, _ = watch(command, dict(os.environ))
    result = {
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "runs": 1,
        "wall_seconds": round(wall, 1),
        "wall_seconds_second_call": round(again, 1),
        "peak_memory_gib": round(peak / 2**30, 2),
        "work_seconds_by_stage": stages(Lake.open(state / "lake")),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
