"""How long a document is looked for among ten million: `lake.keyed.lookup`, DuckDB on the same Parquet, and Lance.

    python benchmarks/pool_lookup.py [--rows 10000000] [--out benchmarks/pool_lookup.json]

The table has the columns of a candidate pool but for the vectors, which no lookup reads. Ids are uniform, as content
hashes are. Every reader opens the file again for each lookup, and gets the same rows. Lance, where its environment
exists (peers-fast.txt), reads its own copy of the table, with an index of the ids; what that copy takes is stated.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from curation_pipeline.lake.keyed import ROW_GROUP, lookup
from curation_pipeline.lake.lake import Draft

HERE = Path(__file__).resolve().parent
FAST = HERE.parent / ".venv-peers/fast/bin/python"


def make_pool(path: Path, rows: int, seed: int = 0) -> list[str]:
    """A pool of random documents, written a chunk at a time; some of its ids."""
    random = np.random.default_rng(seed)
    high = np.sort(random.integers(0, 2**63, rows, dtype=np.uint64))
    known: list[str] = []
    schema = {
        "doc_id": pl.Utf8(), "source": pl.Utf8(), "snapshot": pl.Utf8(), "domain": pl.Utf8(), "n_tokens": pl.Int32(),
        "topic": pl.Int16(), "toxicity_bin": pl.Int8(), "identity_group": pl.Utf8(), "stratum": pl.Utf8(),
        "alt_profanity": pl.Float32(), "p_harm": pl.Float32(), "alignment": pl.Float32(), "quality": pl.Float32(),
        "n_drawn": pl.Int32(),
    }  # fmt: skip
    draft = Draft(path.parent, path.parent)
    with draft.writer(schema, path.stem) as write:
        for start in range(0, rows, ROW_GROUP):
            part = high[start : start + ROW_GROUP]
            n = len(part)
            low = random.integers(0, 2**63, n, dtype=np.uint64)
            raw = np.column_stack([part, low]).astype(">u8").tobytes()
            ids = pl.Series([raw[i : i + 16] for i in range(0, len(raw), 16)], dtype=pl.Binary).bin.encode("hex")
            score = random.random((4, n), dtype=np.float32)
            topic = random.integers(0, 24, n)
            frame = pl.DataFrame(
                {
                    "doc_id": ids,
                    "source": np.asarray(["reddit", "wiki", "books"])[topic % 3],
                    "snapshot": "2026-10",
                    "domain": "web",
                    "n_tokens": random.integers(5, 2000, n),
                    "topic": topic,
                    "toxicity_bin": topic % 3,
                    "identity_group": "none",
                    "stratum": pl.Series(topic).cast(pl.Utf8),
                    "alt_profanity": score[0],
                    "p_harm": score[1],
                    "alignment": score[2],
                    "quality": score[3],
                    "n_drawn": 0,
                }
            )
            write(frame)
            known.append(str(ids[int(random.integers(n))]))
    return known


def times(look: Callable[[str], pl.DataFrame], ids: list[str]) -> list[float]:
    """Milliseconds of each lookup.

    Raises:
        AssertionError: a lookup did not find its document.
    """
    found = []
    for doc_id in ids:
        began = time.perf_counter()
        rows = look(doc_id)
        found.append(1000 * (time.perf_counter() - began))
        assert rows["doc_id"].to_list() == [doc_id]
    return found


def lance(pool: Path, ids: list[str], columns: list[str]) -> dict[str, float]:
    """The same lookups in a Lance copy of the pool, by peers/lance_lookup.py."""
    request, target = pool.with_name("request.json"), pool.with_name("lance.json")
    request.write_text(json.dumps({"ids": ids, "columns": columns}), encoding="utf-8")
    command = [FAST, HERE / "peers/lance_lookup.py", pool, pool.with_name("pool.lance"), request, target]
    subprocess.run([str(part) for part in command], check=True)
    answer = json.loads(target.read_text(encoding="utf-8"))
    return summary(answer.pop("milliseconds")) | answer


def summary(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and worst, milliseconds."""
    return {
        "median_ms": round(statistics.median(values), 2),
        "p99_ms": round(float(np.quantile(values, 0.99)), 2),
        "max_ms": round(max(values), 2),
        "lookups": len(values),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--lookups", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a smoke test: 200,000 rows")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rows = 200_000 if options.quick else options.rows
    columns = ["source", "n_tokens", "stratum", "p_harm", "quality", "n_drawn"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        began = time.perf_counter()
        ids = make_pool(path, rows)
        print(f"made {rows:,} rows in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 2**20:.0f} MiB")
        ids = [ids[i] for i in np.random.default_rng(1).permutation(len(ids))[: options.lookups]]
        path.read_bytes()  # all readers find the file in the page cache
        sql = f"select doc_id, {', '.join(columns)} from read_parquet('{path}') where doc_id = ?"
        readers: dict[str, tuple[Callable[[str], pl.DataFrame], int]] = {
            "lookup": (lambda doc_id: lookup(path, [doc_id], columns), len(ids)),
            "duckdb": (lambda doc_id: duckdb.connect().sql(sql, params=[doc_id]).pl(), min(len(ids), 40)),
        }
        for look, _ in readers.values():
            look(ids[0])  # imports and first touches are no part of a lookup
        figures = {name: summary(times(look, ids[:count])) for name, (look, count) in readers.items()}
        if FAST.is_file():
            figures["lance"] = lance(path, ids, columns)
    result = {
        "rows": rows,
        "readers": figures,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "cores": os.cpu_count(),
    }
    print(json.dumps(result, indent=1))
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
