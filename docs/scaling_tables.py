"""Tables of the page "What it costs", in the places of `<!-- generated: NAME -->` in docs/explanation/scaling.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TEXT_BYTES = 1_800
"""Bytes of a document in the tables of the capacity model: about 300 words."""
SIZES = {"100 million": 1e8, "1 billion": 1e9, "100 billion": 1e11}
CPUS = 1_000


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are of numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _size(value: float) -> str:
    """Bytes in the largest unit that fits."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{_number(value / unit)} {name}"
    return f"{value:.0f} bytes"


def capacity_source() -> str:
    """Where the figures come from."""
    from curation_pipeline.capacity.figures import figures

    found = figures().measured
    return f"Measured on {found['machine']['cores']} cores ({found['machine']['platform']}): {found['steps']}."


def capacity_steps() -> str:
    """What grows with the corpus, by step: the slope of each figure."""
    from curation_pipeline.capacity.figures import figures
    from curation_pipeline.config import PriceSettings

    known, price = figures(), PriceSettings().cpu_hour / 3600
    tokens = TEXT_BYTES / known.bytes_per_token
    rows, sums = [], [0.0, 0.0]
    for name, step in known.steps.items():
        seconds, written = (
            1e6 * (line.per_document + TEXT_BYTES * line.per_byte) for line in (step.cpu_seconds, step.bytes_written)
        )
        if seconds < 0.1 and written < 1e6:
            continue
        sums = [sums[0] + seconds, sums[1] + written]
        rows.append((name, seconds, written))
    rows = [*sorted(rows, key=lambda row: -row[1]), ("**all**", *sums)]
    head = ["step", "CPU seconds", "bytes", "price", "CPU seconds, 10<sup>9</sup> tokens", "bytes", "price"]
    grown = 1e3 / tokens
    return _table(
        head,
        [
            [name, *(figure for by in (1.0, grown) for figure in (
                _number(seconds * by), _size(written * by), _number(seconds * by * price)
            ))]
            for name, seconds, written in rows
        ],
    )  # fmt: skip


def capacity_totals() -> str:
    """All measured steps at each size."""
    from curation_pipeline.capacity.figures import figures
    from curation_pipeline.config import PriceSettings
    from curation_pipeline.corpus.source import Size

    known, rows = figures(), []
    for name, documents in SIZES.items():
        size = Size(documents, documents * TEXT_BYTES)
        steps = [step for step in known.steps.values() if step.each != "arm"]
        hours = sum(step.cpu_seconds.at(size) for step in steps) / 3600
        rows.append(
            [
                name,
                _number(documents * TEXT_BYTES / known.bytes_per_token / 1e9),
                _number(hours),
                _number(hours / CPUS / 24),
                _number(hours * PriceSettings().cpu_hour),
                _size(documents * TEXT_BYTES),
                _size(sum(step.bytes_written.at(size) for step in steps)),
            ]
        )
    head = ["documents", "10<sup>9</sup> tokens", "CPU hours", f"days, {CPUS:,} CPUs", "price", "text", "lake"]
    return _table(head, rows)


def capacity_transformer() -> str:
    """A transformer that scores every document."""
    from curation_pipeline.capacity.figures import figures
    from curation_pipeline.capacity.plan import SCORING, TRANSFORMERS
    from curation_pipeline.config import PriceSettings

    known, prices, rows = figures(), PriceSettings(), []
    for name, documents in SIZES.items():
        work = SCORING * TRANSFORMERS["detoxify"] * documents * TEXT_BYTES / known.bytes_per_token
        cpu, gpu = work / known.detector_operations_per_cpu_second / 3600, work / known.operations_per_gpu_second / 3600
        figures_of = (cpu, cpu * prices.cpu_hour, gpu, gpu * prices.gpu_hour)
        rows.append([name, *map(_number, figures_of)])
    return _table(["documents", "CPU hours", "price", "GPU hours (assumed speed)", "price"], rows)


def capacity_sketches() -> str:
    """What is held for a whole pool, and the shuffle of the duplicates."""
    from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
    from curation_pipeline.policy.stream_sample import SAMPLE

    draws, settings = _draws(), DuplicatesSettings()
    most = max(draws, key=lambda found: found["documents"])
    constant = {
        "histogram of log-odds (policy)": most["bytes_of_log_odds"],
        "histogram of ranks (draw)": most["bytes_of_ranks"],
        f"sample on which the state is frozen, {SAMPLE:,} documents of 64 dimensions": SAMPLE * 1_000,
    }
    grows = {
        "union-find of near duplicates, memory": 8,
        f"shuffle of near duplicates, disk until the search ends ({settings.bands} bands)": 16 * settings.bands,
        "band index, in the lake": 8 + 8 * settings.bands,
        f"signatures, in the lake ({settings.n_hashes} minima)": 4 * settings.n_hashes,
        "ids seen while one delivery is read, memory (of its documents)": 16,
        "arrays between the two passes of the policy, disk": 130,
        "what the draw keeps, disk": 20,
    }
    rows = [[name, "at most", *[_size(value)] * len(SIZES)] for name, value in constant.items()]
    rows += [[name, f"{each} bytes", *(_size(each * n) for n in SIZES.values())] for name, each in grows.items()]
    return _table(["what", "a document", *SIZES], rows)


def capacity_draw() -> str:
    """The simulated draws, the largest difference of the runs of each size."""
    rows, groups = [], dict[int, list[dict[str, Any]]]()
    for found in _draws():
        groups.setdefault(found["size"], []).append(found)
    for documents, runs in groups.items():
        rows.append(
            [
                f"{documents:,}",
                str(len(runs)),
                f"{max(abs(run['expected_tokens_over_budget'] - 1) for run in runs):.0e}",
                f"{max(run['tokens_short'] for run in runs):,}",
                f"{max(abs(run['rank_threshold'] - 1) for run in runs):.2%}",
                f"{max(run['calibration_error'] for run in runs):.2%}",
                f"{max(run['rows_of_the_last_bin'] for run in runs):,}",
            ]
        )
    head = ["documents", "runs", "expected tokens off the budget", "drawn tokens short of it", "threshold off 1"]
    return _table([*head, "calibration", "rows looked at"], rows)


def _draws() -> list[dict[str, Any]]:
    return list(json.loads((ROOT / "benchmarks" / "draw_at_scale.json").read_text(encoding="utf-8"))["simulated"])


TABLES = {
    "source": capacity_source,
    "steps": capacity_steps,
    "totals": capacity_totals,
    "transformer": capacity_transformer,
    "sketches": capacity_sketches,
    "draw": capacity_draw,
}
"""Name of each table to what makes it."""
