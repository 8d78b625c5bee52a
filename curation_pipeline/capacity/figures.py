"""What each step was measured to cost; `benchmarks/capacity.py` writes the file from the benchmarks' results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from curation_pipeline.corpus.source import Size

FILE = Path(__file__).with_name("figures.json")


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity that grows with documents and with bytes of text."""

    fixed: float
    per_document: float = 0.0
    per_byte: float = 0.0

    def at(self, size: Size) -> float:
        """Its value for a corpus."""
        return self.fixed + self.per_document * size.documents + self.per_byte * size.text_bytes


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What a step takes for one corpus, or in one iteration.

    Attributes:
        table: of the lake.
        each: what it is made once for: ``whole``, ``corpus``, ``iteration``, or ``arm`` (an iteration of an arm).
        cpu_seconds: of all its processes.
        peak_bytes: most memory of one process.
        bytes_written: to the lake.
    """

    table: str
    each: str
    cpu_seconds: Line
    peak_bytes: Line
    bytes_written: Line


@dataclass(frozen=True, slots=True)
class Figures:
    """All that the capacity model rests on.

    Attributes:
        steps: by name.
        bytes_per_token: of the tokenizer.
        operations_per_cpu_second: floating-point operations of a fit on one thread, those of 6 P a token counted.
        operations_per_gpu_second: the same of a GPU; assumed, not measured.
        detector_operations_per_cpu_second: of a transformer that scores texts, those of 2 P a token counted.
        evaluation_cpu_seconds: of one evaluation of a model of ``evaluation_parameters``, ``evaluation_samples``
            continuations of each prompt.
        measured: where each figure comes from.
    """

    steps: Mapping[str, StepFigures]
    bytes_per_token: float
    operations_per_cpu_second: float
    operations_per_gpu_second: float
    detector_operations_per_cpu_second: float
    evaluation_cpu_seconds: float
    evaluation_parameters: float
    evaluation_samples: int
    measured: Mapping[str, Any]


@cache
def figures() -> Figures:
    """The figures that this package carries."""
    raw = json.loads(FILE.read_bytes())
    lines = ("cpu_seconds", "peak_bytes", "bytes_written")
    steps = {
        name: StepFigures(step["table"], step["each"], *(Line(*step[line]) for line in lines))
        for name, step in raw.pop("steps").items()
    }
    return Figures(steps=steps, **raw)
