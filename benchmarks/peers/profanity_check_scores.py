"""Seconds and scores of alt-profanity-check's ``predict_prob`` on given documents. Runs with its own Python.

python profanity_check_scores.py DOCUMENTS.json SCORES.json
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path


def peak_mib() -> float:
    """Peak resident memory of this process, MiB; what Linux counts as `ru_maxrss` includes the parent's at the fork."""
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """See the module's docstring."""
    started = time.process_time()
    from profanity_check import predict_prob  # type: ignore[import-not-found]

    texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    predict_prob(texts[:32])
    start = time.process_time()
    cpu, wall = start, time.perf_counter()
    scores = [float(score) for score in predict_prob(texts)]
    report = {
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "start_seconds": start - started,
        "peak_mib": peak_mib(),
        "scores": scores,
        "version": version("alt-profanity-check"),
    }
    Path(sys.argv[2]).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
