"""What every program of the pipeline benchmark tells of itself; the standard library alone, for any environment."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any


class Meter:
    """CPU seconds of this process and its finished children by step: what was used since the last step ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = 0.0
        self.step("imports")

    def step(self, name: str) -> None:
        """End a step."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        now = sum(u.ru_utime + u.ru_stime for u in used)
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 3)
        self._last = now

    def report(self, target: Path, **facts: Any) -> None:
        """Write all to a JSON file: ``seconds`` by step, ``cpu_seconds`` in all, ``peak_kib`` and the given facts."""
        self.step("end")
        # ru_maxrss counts what the process was before it became this program, so the mark of its own memory is read.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        known = {"seconds": self.seconds, "cpu_seconds": round(sum(self.seconds.values()), 3)}
        target.write_text(json.dumps(known | {"peak_kib": max(peak, children)} | facts), encoding="utf-8")


def arguments() -> dict[str, Any]:
    """What the benchmark hands a peer's program: the only argument, as JSON.

    ``documents`` (a folder of JSONL files), ``out`` (an empty folder), ``target`` (the report), ``language_model``
    (fastText's file), ``min_words`` and ``min_sentences`` (thresholds of length).
    """
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given | {name: Path(given[name]) for name in ("documents", "out", "target")}
