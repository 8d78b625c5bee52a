"""datatrove's MinHash pipeline, all four steps, over JSONL files; run by the python of its own environment.

python datatrove_minhash.py DOCUMENTS OUT

Reads ``DOCUMENTS/*.jsonl`` (doc_id, text), writes what stays and what goes, with cluster ids, under OUT, and prints
CPU seconds as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


def cpu() -> float:
    """CPU seconds of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main(documents: Path, out: Path) -> None:
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    reader = JsonlReader(str(documents), text_key="text", id_key="doc_id")
    steps = {
        "signatures": ([reader, MinhashDedupSignature(str(out / "signatures"), config)], 1),
        "buckets": ([MinhashDedupBuckets(str(out / "signatures"), str(out / "buckets"), config=config)], 14),
        "clusters": ([MinhashDedupCluster(str(out / "buckets"), str(out / "remove"), config, save_cluster_id=True)], 1),
        "filter": (
            [
                reader,
                MinhashDedupFilter(
                    str(out / "remove"),
                    exclusion_writer=JsonlWriter(str(out / "removed"), compression=None),
                    load_cluster_ids=True,
                ),
                JsonlWriter(str(out / "kept"), compression=None),
            ],
            1,
        ),
    }
    imports = cpu()
    seconds, last = {}, imports
    for name, (pipeline, tasks) in steps.items():
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(out / "logs" / name)).run()
        now = cpu()
        seconds[name], last = now - last, now
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps({"cpu_seconds": last, "imports": imports, "steps": seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
