"""Near-duplicate removal next to datatrove's MinHash pipeline, and signatures next to daft and rensa.

    python benchmarks/near_duplicates.py [--quick] [--only-signatures] [--work FOLDER]

Both read the same JSONL files, find near duplicates with 5-word shingles and 112 hashes, and write what stays as JSONL;
each in one process with one thread. CPU seconds are those of the whole process, start and imports included.

The truth is the exact Jaccard similarity of the shingle sets of planted pairs. Recall at s: of the pairs that similar,
the share of which no more than one text stays. Precision at s: of the texts that went, the share that is that similar
to a text that stayed. Texts from about .7 on are meant to go, so the precision that counts is that at .6 to .75;
further up it falls for whoever removes what should be removed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

HERE = Path(__file__).resolve().parent
VENVS = HERE.parent / ".venv-peers"
SIGNATURE_PEERS = ("daft", "rensa")
LEVELS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
VARIANTS = {
    "ours: 16 x 7, verified at .68": (16, 7, 0.68),
    "ours, 14 x 8, verified at .65": (14, 8, 0.65),
    "ours, 14 x 8, bands alone": (14, 8, 0.0),
}
MAIN = "ours: 16 x 7, verified at .68"
"""The default settings; the others have the same bands as the peer, verified and not."""


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def remove_duplicates(documents: Path, out: Path, bands: int, rows: int, threshold: float) -> None:
    """The child process: JSONL in, JSONL and a table of clusters out, a file a partition; prints its own cost."""
    from curation_pipeline.annotate.corpus_duplicates import IndexedPart, corpus_duplicates, write_index
    from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
    from curation_pipeline.annotate.minhash import minhash_signatures

    settings = DuplicatesSettings(bands=bands, rows=rows, threshold=threshold)
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(documents.glob("*.jsonl"))
    steps, last = {"imports": cpu()}, cpu()
    sizes = []
    for file in files:
        frame = pl.read_ndjson(file)
        minhash_signatures(frame, settings).write_parquet(out / f"{file.stem}.signatures.parquet", compression="lz4")
        sizes.append(frame["text"].str.len_bytes().cast(pl.Int64))
    steps["signatures"], last = cpu() - last, cpu()
    parts = []
    for file, n_bytes in zip(files, sizes, strict=True):
        part = IndexedPart(file.stem, out / f"{file.stem}.signatures.parquet", out / f"{file.stem}.index")
        part.index.mkdir()
        write_index(n_bytes, part.signatures, settings, part.index)
        parts.append(part)
    clusters = pl.concat(corpus_duplicates(parts, settings, out / "scratch").frames)
    clusters.write_parquet(out / "clusters.parquet")
    steps["clusters"], last = cpu() - last, cpu()
    gone = clusters.filter(~pl.col("kept")).select("doc_id", "partition")
    for file in files:
        own = gone.filter(partition=file.stem)
        pl.read_ndjson(file).join(own, on="doc_id", how="anti").write_ndjson(out / f"{file.stem}.kept.jsonl")
    steps["filter"] = cpu() - last
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_seconds": cpu(), "steps": steps, "peak_mib": peak, "removed": gone.height}))


def run(command: list[str]) -> dict[str, Any]:
    """A child on one thread; its last line of output as JSON."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    done = subprocess.run(command, env={**os.environ, **one}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def ours(documents: Path, out: Path, variant: str) -> dict[str, Any]:
    return run([sys.executable, __file__, "--child", str(documents), str(out), *map(str, VARIANTS[variant])])


def make(n: int, folder: Path, pool: list[str], truth: bool) -> pl.DataFrame:
    """Write the corpus as JSONL files and give its rows back where they are needed for the truth."""
    from peers.planted_duplicates import SCHEMA, planted

    folder.mkdir(parents=True)
    frames = [pl.DataFrame(schema=SCHEMA)]
    for number, frame in enumerate(planted(n, pool)):
        frame.drop("family", "edit").write_ndjson(folder / f"{number:05d}.jsonl")
        if truth:
            frames.append(frame)
    return pl.concat(frames)


def quality(frame: pl.DataFrame, pairs: pl.DataFrame, kept_by: dict[str, str]) -> dict[str, Any]:
    """Recall and precision at each level.

    Args:
        frame: the documents.
        pairs: the true pairs.
        kept_by: for every removed doc_id, the doc_id that its method kept instead.
    """
    from peers.planted_duplicates import jaccard

    text = dict(frame.select("doc_id", "text").iter_rows())
    best: dict[str, float] = dict.fromkeys(kept_by, 0.0)
    resolved: dict[float, list[int]] = {level: [0, 0] for level in LEVELS}
    for one, other, similarity in pairs.iter_rows():
        for level, counts in resolved.items():
            if similarity >= level:
                counts[0] += one in kept_by or other in kept_by
                counts[1] += 1
        for gone, stays in ((one, other), (other, one)):
            if gone in kept_by and stays not in kept_by:
                best[gone] = max(best[gone], similarity)
    for gone, stays in kept_by.items():
        if best[gone] < LEVELS[-1]:
            best[gone] = max(best[gone], jaccard(text[gone], text[stays]))
    return {
        "removed": len(kept_by),
        "recall": {f"{level:g}": done / max(total, 1) for level, (done, total) in resolved.items()},
        "pairs": {f"{level:g}": total for level, (_, total) in resolved.items()},
        "precision": {
            f"{level:g}": sum(value >= level for value in best.values()) / max(len(best), 1) for level in LEVELS
        },
    }


def kept_by_ours(out: Path) -> dict[str, str]:
    clusters = pl.read_parquet(out / "clusters.parquet").filter(~pl.col("kept"))
    return dict(clusters.select("doc_id", "kept_doc_id").iter_rows())


def kept_by_datatrove(out: Path) -> dict[str, str]:
    """Removed documents with the one that stayed of their cluster."""

    def rows(folder: str) -> list[tuple[int, str]]:
        return [
            (document["metadata"]["minhash_cluster_id"], document["id"])
            for file in sorted((out / folder).glob("*.jsonl"))
            for document in map(json.loads, file.open(encoding="utf-8"))
        ]

    stays = {cluster: doc_id for cluster, doc_id in rows("kept") if cluster >= 0}
    return {doc_id: stays[cluster] for cluster, doc_id in rows("removed")}


def measure_signatures(documents: Path, out: Path) -> None:
    """The child process: CPU seconds from texts to signatures, alone and with the figures that the table holds."""
    import time

    import numpy as np

    from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
    from curation_pipeline.annotate.minhash import minhash_signatures, signatures_of

    frame = pl.concat([pl.read_ndjson(file) for file in sorted(documents.glob("*.jsonl"))])
    settings = DuplicatesSettings()
    minhash_signatures(frame.head(200), settings)
    start = time.process_time()
    found = signatures_of(frame["text"], settings)
    alone = time.process_time()
    minhash_signatures(frame, settings)
    np.save(out, found)
    print(json.dumps({"cpu_seconds": alone - start, "with_figures": time.process_time() - alone}))


def signatures(n: int, pool: list[str], work: Path, runs: int) -> dict[str, Any]:
    """Signatures of 112 hashes over runs of five words: speed, and error of the similarity of planted pairs."""
    import numpy as np
    from peers.planted_duplicates import true_pairs

    documents = work / "signatures"
    frame = make(n, documents, pool, truth=True)
    pairs = true_pairs(frame)
    place = {doc_id: row for row, doc_id in enumerate(frame["doc_id"])}
    one, other = (np.array([place[doc_id] for doc_id in pairs[name]]) for name in ("one", "other"))
    peers = SIGNATURE_PEERS if (VENVS / "fast/bin/python").exists() else ()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ("ours", *peers)}
    for _ in range(runs):
        for name, results in found.items():
            script = [str(VENVS / "fast/bin/python"), str(HERE / "peers/fast_signatures.py"), name]
            command = [sys.executable, __file__, "--signatures"] if name == "ours" else script
            results.append(run([*command, str(documents), str(work / f"{name}.npy")]))
    for row in found["ours"]:
        found.setdefault("ours, with the figures of the table", []).append({"cpu_seconds": row["with_figures"]})
    result: dict[str, Any] = {"documents": frame.height, "pairs": pairs.height, "methods": {}}
    for name, results in found.items():
        rates = [frame.height / r["cpu_seconds"] for r in results]
        result["methods"][name] = {
            "documents_per_cpu_second": round(statistics.median(rates)),
            "lowest": round(min(rates)),
            "highest": round(max(rates)),
            "runs": len(rates),
            "version": results[0].get("version"),
        }
        if (file := work / f"{name}.npy").exists():
            rows = np.load(file)
            errors = (rows[one] == rows[other]).mean(axis=1) - pairs["jaccard"].to_numpy()
            result["methods"][name]["error_of_similarity"] = round(float(np.sqrt((errors**2).mean())), 4)
    return result


def spread(results: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [float(r["cpu_seconds"]) for r in results]
    return {
        "cpu_seconds": statistics.median(seconds),
        "lowest": min(seconds),
        "highest": max(seconds),
        "runs": len(seconds),
        "steps": results[-1].get("steps"),
        "peak_mib": max(float(r["peak_mib"]) for r in results),
    }


def compare(n: int, pool: list[str], work: Path, peer: Path, runs: int, peer_runs: int) -> dict[str, Any]:
    """Cost and quality of both on one corpus."""
    documents = work / f"compare{n}"
    frame = make(n, documents, pool, truth=True)
    from peers.planted_duplicates import true_pairs

    pairs = true_pairs(frame)
    mean_words = float(frame["text"].str.count_matches(r"\S+").mean() or 0.0)  # type: ignore[arg-type]
    result: dict[str, Any] = {"documents": frame.height, "mean_words": mean_words, "methods": {}}
    for number, variant in enumerate(VARIANTS):
        out = work / f"ours{n}_{number}"
        costs = [ours(documents, out, variant) for _ in range(runs)]
        result["methods"][variant] = {**spread(costs), **quality(frame, pairs, kept_by_ours(out))}
    costs = []
    for number in range(peer_runs):
        out = work / f"datatrove{n}_{number}"
        costs.append(run([str(peer), str(HERE / "peers" / "datatrove_minhash.py"), str(documents), str(out)]))
    found = kept_by_datatrove(out)
    result["methods"]["datatrove"] = {**spread(costs), **quality(frame, pairs, found)}
    slow, fast = result["methods"]["datatrove"], result["methods"][MAIN]
    result["times_fewer_cpu_seconds"] = {
        "median": slow["cpu_seconds"] / fast["cpu_seconds"],
        "lowest": slow["lowest"] / fast["highest"],
        "highest": slow["highest"] / fast["lowest"],
    }
    return result


def plot(report: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.4), constrained_layout=True)
    largest = report["comparison"][-1]
    for name, method in largest["methods"].items():
        style = {"marker": "o", "linestyle": "--" if name == "datatrove" else "-"}
        left.plot(LEVELS, [method["recall"][f"{level:g}"] for level in LEVELS], label=name, **style)
        middle.plot(LEVELS, [method["precision"][f"{level:g}"] for level in LEVELS], label=name, **style)
    left.set(xlabel="true Jaccard similarity, at least", ylabel="share of pairs resolved", title="Recall")
    middle.set(
        xlabel="true Jaccard similarity to a kept text, at least", ylabel="share of removed texts", title="Precision"
    )
    for axes in (left, middle):
        axes.grid(alpha=0.3)
        axes.legend()
    sizes = [part["documents"] for part in report["comparison"]]
    for name, marker in ((MAIN, "o-"), ("datatrove", "s--")):
        seconds = [part["methods"][name]["cpu_seconds"] for part in report["comparison"]]
        right.loglog(sizes, seconds, marker, label=name)
    right.set(xlabel="documents", ylabel="CPU seconds, end to end", title="Cost")
    right.grid(alpha=0.3, which="both")
    right.legend()
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test on 2,000 documents")
    parser.add_argument(
        "--peer-python", type=Path, default=HERE.parent / ".venv-peers" / "datatrove" / "bin" / "python"
    )
    parser.add_argument("--work", type=Path, help="folder for the corpora; a temporary one if absent")
    parser.add_argument("--out", type=Path, default=HERE / "near_duplicates.json")
    parser.add_argument("--only-signatures", action="store_true", help="measure these, and keep the rest of --out")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--signatures", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.signatures:
        measure_signatures(*given.signatures)
        return
    if given.child:
        documents, out, bands, rows, threshold = given.child
        remove_duplicates(Path(documents), Path(out), int(bands), int(rows), float(threshold))
        return

    from peers.planted_duplicates import sentences

    from curation_pipeline.config import cache_folder

    pool = sentences(cache_folder())
    small, large, runs = (1_000, 2_000, 1) if given.quick else (10_000, 100_000, 3)
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work = Path(folder)
        ours_first = work / "warm"
        make(200, ours_first, pool, truth=False)
        ours(ours_first, work / "warmed", MAIN)  # compiles the kernels once for this machine
        report: dict[str, Any] = {}
        if given.only_signatures:
            report = json.loads(given.out.read_text(encoding="utf-8"))
        else:
            report["comparison"] = [
                compare(small, pool, work, given.peer_python, runs, runs),
                compare(large, pool, work, given.peer_python, runs, 1),
            ]
        report["signatures"] = signatures(2 * small, pool, work, runs)
        report["machine"] = {"python": platform.python_version(), "processor": platform.machine()}
        report["versions"] = {name: version(name) for name in ("polars", "numpy", "numba")} | {"datatrove": "0.10.1"}
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot(report, given.out.with_suffix(".png"))
    print(json.dumps(report["signatures"], indent=1))
    for part in report["comparison"]:
        print(part["documents"], "documents:", part["times_fewer_cpu_seconds"])


if __name__ == "__main__":
    main()
