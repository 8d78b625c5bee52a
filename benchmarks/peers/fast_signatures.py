"""MinHash signatures of daft or rensa over JSONL files; run by the python of their environment.

    python fast_signatures.py daft|rensa DOCUMENTS OUT.npy

112 hashes over runs of five words in lower case without punctuation. Prints CPU seconds from texts to signatures as
JSON, and writes the signatures in the order of the files' rows. rensa gets shingles as a flat array of hashes, its
fastest door, made with polars and numpy. Its sketch ``rho`` is no faster here, and its equal minima do not estimate the
Jaccard similarity (an error of .27), so it is not among the contestants.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

HASHES, WORDS = 112, 5


def with_daft(texts: pl.Series) -> Callable[[], np.ndarray]:
    import daft
    from daft.functions import minhash, normalize

    column = normalize(daft.col("text"), remove_punct=True, lowercase=True, white_space=True)
    found = minhash(column, num_hashes=HASHES, ngram_size=WORDS, seed=1, hash_function="xxhash3_64")
    table = daft.from_arrow(pl.DataFrame({"text": texts}).to_arrow()).select(found.alias("signature")).to_arrow()
    return lambda: np.vstack([np.asarray(part.flatten()).reshape(-1, HASHES) for part in table["signature"].chunks])


def with_rensa(texts: pl.Series) -> Callable[[], np.ndarray]:
    from rensa import RMinHash

    split = texts.str.to_lowercase().str.extract_all(r"\w+")
    counts = split.list.len().to_numpy().astype(np.int64)
    words = split.explode(empty_as_null=False).hash().to_numpy()
    shingles = np.zeros(max(words.size - WORDS + 1, 0), dtype=np.uint64)
    for place in range(WORDS):
        shingles = shingles * np.uint64(0x9E3779B97F4A7C15) + words[place : place + shingles.size]
    ends = np.cumsum(counts)
    # Shingles that begin in the last words of a text would reach into the next.
    inside = np.ones(words.size, dtype=bool)
    for back in range(1, WORDS):
        inside[np.maximum(ends - back, 0)] = False
    flat = shingles[inside[: shingles.size]]
    rows = np.concatenate([[0], np.cumsum(np.maximum(counts - WORDS + 1, 0))]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.ascontiguousarray(flat), rows, HASHES, 1)
    return lambda: np.asarray(matrix.to_rows(), dtype=np.uint32)


def main(name: str, documents: Path, out: Path) -> None:
    make = {"daft": with_daft, "rensa": with_rensa}[name]
    texts = pl.concat([pl.read_ndjson(file)["text"] for file in sorted(documents.glob("*.jsonl"))])
    make(texts.head(200))
    start = time.process_time()
    rows = make(texts)
    seconds = time.process_time() - start
    np.save(out, rows())  # as an array only after the clock: rensa has it in Python's lists
    print(json.dumps({"cpu_seconds": seconds, "version": version(name)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
