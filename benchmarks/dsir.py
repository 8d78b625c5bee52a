"""DSIR beside the package data-selection on the same texts: rank correlation of the importance weights, and speed.

    python benchmarks/dsir.py [--quick] [--out FILE]

Pool: packaged text of several registers and damaged copies of it (peers/quality_documents.py). Target: entries of an
encyclopaedia (BOLD) that are not in the pool. Both count words, marks and pairs of them in hashed buckets, by different
hashes: with the 10,000 buckets of the paper other n-grams share a bucket here than there, with a million hardly any do,
and the weights must agree. The peer's virtual environment is made as peers-dsir.txt says.
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
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from curation_pipeline.config import cache_folder
from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.selection.baselines.dsir import text_log_weights
from curation_pipeline.selection.settings import BaselineSettings

HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-peers/dsir/bin/python"
TARGET_DOCUMENTS, BUDGET = 2000, 0.2
LEAST_CORRELATION = {10_000: 0.95, 1_000_000: 0.999}
"""Floors of the rank correlation by number of buckets."""


def target_texts(count: int) -> list[str]:
    """Entries of the encyclopaedia."""
    dataset = next(dataset for dataset in PACKAGED if dataset.name == "bold")
    archive = fetch(dataset.archive, cache_folder())
    texts = [text for snapshot in dataset.snapshots for text in dataset.read(archive, snapshot)["text"]]
    picks = np.random.default_rng(5).permutation(len(texts))[:count]
    return [texts[pick] for pick in picks]


def ours(texts: pl.Series, target: pl.Series, settings: BaselineSettings) -> tuple[np.ndarray, float]:
    """Log weights and CPU seconds, after a warm-up that compiles the kernel."""
    ids = pl.Series([f"{i:032x}" for i in range(len(texts))])

    def reader(wanted: pl.Series) -> pl.Series:
        first = int(wanted[0], 16)
        return texts[first : first + len(wanted)]

    text_log_weights(ids[:20], reader, [target[:20]], settings)
    start = time.process_time()
    weights = text_log_weights(ids, reader, [target], settings)
    return weights, time.process_time() - start


def theirs(texts: pl.Series, target: pl.Series, settings: BaselineSettings) -> dict[str, Any]:
    """What the package says of the same texts, in a process of its own with one thread."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        pl.DataFrame({"text": texts}).write_ndjson(place / "pool.jsonl")
        pl.DataFrame({"text": target}).write_ndjson(place / "target.jsonl")
        command = [PEER, HERE / "peers/dsir_weights.py", place / "pool.jsonl", place / "target.jsonl"]
        numbers = [settings.dsir_ngrams, settings.dsir_buckets]
        subprocess.run(
            [str(part) for part in (*command, place / "out.json", *numbers)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        found: dict[str, Any] = json.loads((place / "out.json").read_text())
    return found


def overlap(a: np.ndarray, b: np.ndarray, share: float) -> float:
    """Share of the highest documents of one that are among the highest of the other."""
    k = max(1, int(share * len(a)))
    return len(set(np.argsort(-a)[:k]) & set(np.argsort(-b)[:k])) / k


def compared(mine: np.ndarray, other: np.ndarray, words: np.ndarray, register: np.ndarray) -> dict[str, Any]:
    """Rank correlations over all documents, per word, and within registers; and the share of common choices."""

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return round(float(spearmanr(a, b).statistic), 4)

    return {
        "rank_correlation": correlation(mine, other),
        "rank_correlation_per_word": correlation(mine / np.maximum(words, 1), other / np.maximum(words, 1)),
        "rank_correlation_by_register": {
            str(name): correlation(mine[register == name], other[register == name]) for name in np.unique(register)
        },
        "same_among_best_fifth": round(overlap(mine, other, BUDGET), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the documents")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if not PEER.exists():
        sys.exit(f"{PEER} is not there: make it as {HERE / 'peers-dsir.txt'} says")
    sys.path.insert(0, str(HERE / "peers"))
    from quality_documents import documents

    table = documents(cache_folder(), share=0.05 if options.quick else 1.0)
    target = pl.Series(target_texts(100 if options.quick else TARGET_DOCUMENTS))
    words = table["text"].str.count_matches(r"\w+").to_numpy()
    register = table["register"].str.replace(":.*", "").to_numpy()
    agreement = {}
    result: dict[str, Any] = {"documents": table.height, "words": int(words.sum()), "target_documents": len(target)}
    for buckets in LEAST_CORRELATION:
        settings = BaselineSettings(dsir_buckets=buckets)
        mine, seconds = ours(table["text"], target, settings)
        peer = theirs(table["text"], target, settings)
        agreement[buckets] = compared(mine, np.array(peer["log_weights"]), words, register)
        if buckets == min(LEAST_CORRELATION):
            # Only here: the peer's dense counts of a million buckets would be measured otherwise.
            result["peer"] = f"data-selection {peer['version']}"
            speed = {"ours": table.height / seconds, "peer": table.height / peer["seconds"]}
            result["documents_per_cpu_second"] = {who: round(value) for who, value in speed.items()}
            result["ratio"] = round(speed["ours"] / speed["peer"], 1)
    result |= {
        "agreement_by_buckets": agreement,
        "floors": LEAST_CORRELATION,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    low = [buckets for buckets, least in LEAST_CORRELATION.items() if agreement[buckets]["rank_correlation"] < least]
    if low and not options.quick:
        sys.exit(f"the rank correlation is below its floor with {', '.join(map(str, low))} buckets")


if __name__ == "__main__":
    main()
