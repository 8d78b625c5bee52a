"""Duplicates of 10 thousand to 10 million documents: CPU seconds, memory and bytes read, from nothing and by delivery.

    python benchmarks/duplicates_scale.py [--sizes 10000 100000 1000000] [--work FOLDER] [--out FILE]

The step `duplicates` of a real lake, each time in a process of its own with one thread, on documents of 20 words in
20 partitions (so few words that texts and signatures of ten million fit on a disk; the step reads no text). Of the
documents 20% are copies of another with one or two words changed and 2% are exact copies, many of them of another
partition; 5% share ten words with a hundredth of all such. One more partition with 1% of the documents is the delivery.
The table after it has to be, byte by byte, that of a search from nothing, which makes the index again too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

HERE = Path(__file__).resolve().parent
PARTITIONS, WORDS, VOCABULARY, TEMPLATES = 20, 20, 50_000, 100
BLOCK = 50_000
KEY = "crawl|{:02d}"


def block(number: int, size: int) -> np.ndarray:
    """Words of the first documents of a block, int64 (size, WORDS): nothing is planted in them."""
    return np.random.default_rng((7, number)).integers(0, VOCABULARY, (BLOCK, WORDS))[:size]


def texts(number: int, size: int) -> pl.Series:
    """Texts of a block; the copies in it are of itself and of the block before it."""
    random = np.random.default_rng((8, number))
    words = block(number, size)
    before = block(number - 1, size) if number else words
    kind = random.random(size)
    other = random.integers(0, size, size)
    templates = np.random.default_rng(9).integers(0, VOCABULARY, (TEMPLATES, WORDS // 2))
    shared = kind < 0.05
    words[shared, : WORDS // 2] = templates[random.integers(0, TEMPLATES, shared.sum())]
    near, exact = (kind >= 0.05) & (kind < 0.25), (kind >= 0.25) & (kind < 0.27)
    copied = np.where((random.random(size) < 0.5)[:, None], before[other], words[other])
    words[near] = copied[near]
    words[near, -1] = random.integers(0, VOCABULARY, near.sum())
    twice = near & (random.random(size) < 0.5)
    words[twice, 0] = random.integers(0, VOCABULARY, twice.sum())
    words[exact] = before[other][exact]
    letters = np.array(list("abcdefghijklmnop"))
    spelled = pl.Series(["".join(letters[[i >> 12 & 15, i >> 8 & 15, i >> 4 & 15, i & 15]]) for i in range(VOCABULARY)])
    columns = [spelled.gather(words[:, column]).alias(str(column)) for column in range(WORDS)]
    return pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=" ").alias("text"))["text"]


def context(state: Path) -> Any:
    from curation_pipeline.config import validate_profile
    from curation_pipeline.lake.lake import Lake
    from curation_pipeline.stages.context import Context

    source = {"kind": "folder", "name": "crawl", "path": str(state)}
    profile = {"name": "scale", "engine": {"workers": 1}, "corpus": {"sources": [source]}}
    return Context(Lake.open(state / "lake"), validate_profile(profile, "scale"), state)


def prepare(state: Path, documents: int) -> dict[str, Any]:
    """Documents, which the ingest would have made, and their signatures by the step `minhash`."""
    from curation_pipeline.corpus.digests import DigestSet
    from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA
    from curation_pipeline.lake.draft import Draft
    from curation_pipeline.lake.manifest import Recipe
    from curation_pipeline.steps.annotations.minhash import STEP as MINHASH
    from curation_pipeline.steps.step import of_corpus

    ctx = context(state)
    delivery = documents // 100
    sizes = [*np.diff(np.linspace(0, documents - delivery, PARTITIONS + 1).astype(int)), delivery]
    number, spent = 0, 0.0
    for index, size in enumerate(sizes):
        place = of_corpus(KEY.format(index))

        def write(draft: Draft, place: Any = place, size: int = int(size)) -> None:
            nonlocal number
            seen = DigestSet()
            with draft.writer(DOCUMENTS_SCHEMA) as append:
                for start in range(0, size, BLOCK):
                    text = texts(number, min(BLOCK, size - start))
                    number += 1
                    ids = [hashlib.blake2b(one.encode(), digest_size=16).hexdigest() for one in text]
                    frame = pl.DataFrame({"doc_id": ids, "text": text}).with_columns(
                        seen.add(pl.Series(ids)),
                        n_bytes=pl.col("text").str.len_bytes(),
                        position=pl.int_range(start, start + len(ids)),
                        **{name: pl.lit(value) for name, value in place.partition.items()},
                    )
                    missing = [name for name in DOCUMENTS_SCHEMA if name not in frame.columns]
                    append(frame.with_columns(pl.lit(None).alias(name) for name in missing))

        ctx.lake.build(Recipe("documents", place.partition), write)
        start_seconds = cpu()
        MINHASH.make(ctx, place)
        spent += cpu() - start_seconds
    return {"signatures_cpu_seconds": spent}


def search(state: Path, first: int) -> dict[str, Any]:
    """The step `duplicates` on the first partitions."""
    from curation_pipeline.steps.corpus_wide.duplicates import STEP as DUPLICATES
    from curation_pipeline.steps.step import Place

    ctx = context(state)
    documents = ctx.lake.heads("documents")[:first]
    start, read = cpu(), characters_read()
    made = DUPLICATES.make(ctx, Place(documents=documents))
    return {
        "documents": made.summary["documents"],
        "cpu_seconds": cpu() - start,
        "wall_seconds": made.seconds,
        "gib_read": (characters_read() - read) / 2**30,
        "compared": made.summary["compared"],
        "clusters": made.summary["clusters"],
        "largest_cluster": made.summary["largest_cluster"],
        "dropped_by_kind": made.summary["dropped_by_kind"],
        "content": made.content_hash,
        "id": made.id,
    }


def characters_read() -> int:
    """Bytes that this process has asked files for, from the disk or its cache."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def child(what: str, state: Path, number: int) -> dict[str, Any]:
    """What a process of one thread found, with its peak of memory."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--child", what, str(state), str(number)]
    done = subprocess.run(command, env={**os.environ, **one}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def forget(state: Path, identity: str) -> None:
    """Let a result and the index be unknown, so that the next search begins with nothing."""
    for manifest in [state / f"lake/manifests/{identity}.json", *state.glob("lake/manifests/duplicate_index-*.json")]:
        manifest.unlink()
    shutil.rmtree(state / "lake/heads/duplicates")


def measure(documents: int, work: Path) -> dict[str, Any]:
    """One size: prepared, searched from nothing without the delivery, with it, and from nothing with it."""
    state = work / str(documents)
    prepared = child("prepare", state, documents)
    found = {"documents": documents, **prepared}
    before = child("search", state, PARTITIONS)
    delivery = child("search", state, PARTITIONS + 1)
    forget(state, delivery["id"])
    whole = child("search", state, PARTITIONS + 1)
    shutil.rmtree(state)
    same = whole["content"] == delivery["content"]
    if not same:
        raise SystemExit(f"{documents} documents: the rows after the delivery are not those of a search from nothing")
    for entry in (before, delivery, whole):
        del entry["content"], entry["id"]
    return {**found, "before_the_delivery": before, "delivery": delivery, "from_nothing": whole}


def slopes(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The exponent of cost in size between one size and the next: 1 is linear."""
    return [
        {
            "from": small["documents"],
            "to": large["documents"],
            **{
                what: math.log(large["from_nothing"][what] / small["from_nothing"][what])
                / math.log(large["documents"] / small["documents"])
                for what in ("cpu_seconds", "peak_mib")
            },
        }
        for small, large in pairwise(rows)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--work", type=Path, help="folder for the lakes; a temporary one if absent")
    parser.add_argument("--out", type=Path, default=HERE / "duplicates_scale.json")
    parser.add_argument("--quick", action="store_true", help="a smoke test on 2,000 documents")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, state, number = given.child
        found = {"prepare": prepare, "search": search}[what](Path(state), int(number))
        found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    sizes = [2_000] if given.quick else sorted(given.sizes)
    rows = []
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        measure(2_000, Path(folder, "warm"))  # compiles the kernels once for this machine
        for documents in sizes:
            rows.append(measure(documents, Path(folder)))
            whole, delivery = rows[-1]["from_nothing"], rows[-1]["delivery"]
            share = delivery["gib_read"] / whole["gib_read"]
            print(f"{documents} documents: {whole['cpu_seconds']:.1f} CPU s, {whole['peak_mib']:.0f} MiB", flush=True)
            print(f"  a delivery of 1%: {delivery['cpu_seconds']:.1f} CPU s, {share:.0%} of the bytes read", flush=True)
            report = {
                "sizes": rows,
                "slopes": slopes(rows),
                "runs": 1,
                "machine": {"python": platform.python_version(), "processor": platform.machine()},
                "versions": {name: version(name) for name in ("polars", "numpy", "numba", "pyarrow")},
            }
            given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
