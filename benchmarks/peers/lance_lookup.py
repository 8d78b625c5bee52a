"""Lookups of a row by its id in a Lance data set with a B-tree on the ids; run by the python of its environment.

    python lance_lookup.py POOL.parquet FOLDER REQUEST.json TARGET.json

The request has ``ids`` and ``columns``. Written are the milliseconds of each lookup, the data set opened for each, and
what making the data set cost.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import lance
import pyarrow.parquet as pq


def main(pool: Path, folder: Path, request: Path, target: Path) -> None:
    asked = json.loads(request.read_text(encoding="utf-8"))
    started = time.process_time()
    with pq.ParquetFile(pool) as file:
        lance.write_dataset(file.iter_batches(), str(folder), schema=file.schema_arrow)
    lance.dataset(str(folder)).create_scalar_index("doc_id", "BTREE")
    made = time.process_time() - started

    def look(doc_id: str) -> list[str]:
        found = lance.dataset(str(folder)).to_table(
            columns=["doc_id", *asked["columns"]], filter=f"doc_id = '{doc_id}'"
        )
        return list(found["doc_id"].to_pylist())

    look(asked["ids"][0])
    milliseconds = []
    for doc_id in asked["ids"]:
        began = time.perf_counter()
        found = look(doc_id)
        milliseconds.append(1000 * (time.perf_counter() - began))
        assert found == [doc_id]
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    result = {"milliseconds": milliseconds, "made_in_cpu_seconds": round(made, 1), "mib": round(size / 2**20)}
    target.write_text(json.dumps(result | {"version": version("pylance")}), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
