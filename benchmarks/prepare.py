"""What preparing a corpus costs: `curate run --only-prepare` on 300,000 documents of 65 words in three partitions.

    python benchmarks/prepare.py [--documents N] [--runs N] [--corpus FOLDER] [--workers N] [--out FILE]
    python benchmarks/prepare.py --engines [--documents N] [--corpus FOLDER]

The documents are sentences of the packaged texts, put together within a source, in JSONL files of a folder source; the
profile has the default detectors. Every run starts from an empty state folder. Processor seconds are those of the
command and of everything that it started; those by step come from its log and leave out what the runner itself does
(importing, recording, drawing). Memory is the proportional set size of the process tree, as in `demo.py`.

With `--engines` each of one and two processes of this machine, and Ray clusters of one and two nodes with a CPU each,
prepares the corpus once, by default 100,000 documents of it; processor seconds on Ray are those of the command alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from annotators import corpus
from demo import watch

WORDS, PARTITIONS = 65, 3
PROFILE = """name = "prepare"

[engine]
kind = "{kind}"
workers = {workers}

[[corpus.sources]]
kind = "folder"
name = "texts"
path = "{folder}"
"""


def generate(folder: Path, documents: int) -> int:
    """Write the corpus, a JSONL file of a subfolder for each partition; bytes of text."""
    texts = corpus()
    rng = np.random.default_rng(7)
    pools = []
    for name in texts["source"].unique().sort().to_list():
        own = texts.filter(texts["source"] == name)["text"].str.replace_all(r"\s+", " ")
        sentences = [part.strip() for text in own for part in re.split(r"(?<=[.!?]) ", text)]
        pools.append([(part, part.count(" ") + 1) for part in dict.fromkeys(sentences) if part])
    total = 0
    for partition in range(PARTITIONS):
        path = folder / f"2026-0{partition + 1}"
        path.mkdir(parents=True)
        with (path / "part.jsonl").open("w", encoding="utf-8") as stream:
            for place in range(partition, documents, PARTITIONS):
                pool = pools[place // PARTITIONS % len(pools)]
                parts, words = [], 0
                while words < WORDS:
                    part, n = pool[int(rng.integers(len(pool)))]
                    parts.append(part)
                    words += n
                text = " ".join(" ".join(parts).split(" ")[:WORDS])
                total += len(text.encode())
                stream.write(json.dumps({"text": text, "url": f"https://texts.example/{place}"}) + "\n")
    return total


def steps(log: str) -> dict[str, float]:
    """Processor seconds by step, over all partitions."""
    seconds: dict[str, float] = defaultdict(float)
    for name, value in re.findall(r"^made (\w+).* in ([0-9.]+) CPU seconds$", log, re.MULTILINE):
        seconds[name] += float(value)
    return {name: round(value, 1) for name, value in sorted(seconds.items(), key=lambda item: -item[1])}


def run(profile: Path) -> dict[str, Any]:
    """One run in a fresh state folder."""
    with tempfile.TemporaryDirectory(prefix="curation-prepare-") as state:
        command = [str(Path(sys.executable).with_name("curate")), "run", "--only-prepare"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall, peak = watch([*command, "--profile", str(profile), "--state", state], dict(os.environ))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        log = (Path(state) / "logs/run.log").read_text()
        return {
            "wall_seconds": round(wall, 1),
            "cpu_seconds": round(cpu, 1),
            "peak_memory_gib": round(peak / 2**30, 2),
            "cpu_seconds_by_step": steps(log),
        }


@contextmanager
def nodes(number: int) -> Iterator[None]:
    """A Ray cluster of so many nodes with one CPU each, which `curate` finds by the environment; none for 0."""
    if not number:
        yield
        return
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(number - 1):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        os.environ["RAY_ADDRESS"] = cluster.address
        yield
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        cluster.shutdown()


def engines(folder: Path, temporary: Path) -> list[dict[str, Any]]:
    """The corpus prepared once by each engine, with one and two workers."""
    found = []
    for kind, workers in (("local", 1), ("local", 2), ("ray", 1), ("ray", 2)):
        profile = temporary / f"{kind}-{workers}.toml"
        profile.write_text(PROFILE.format(folder=folder.absolute(), kind=kind, workers=workers))
        with nodes(workers if kind == "ray" else 0):
            found.append({"engine": kind, "workers": workers, **run(profile)})
        print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int)
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--corpus", type=Path, help="where the corpus is, or is to be; a temporary folder if absent")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.out or Path(__file__).with_name("engines.json" if options.engines else "prepare.json")
    with tempfile.TemporaryDirectory(prefix="curation-prepare-corpus-") as temporary:
        folder = options.corpus or Path(temporary) / "corpus"
        if not folder.exists():
            generate(folder, options.documents or (100_000 if options.engines else 300_000))
        files = sorted(folder.glob("*/part.jsonl"))
        texts = [json.loads(line)["text"] for file in files for line in file.open(encoding="utf-8")]
        documents, size = len(texts), sum(len(text.encode()) for text in texts)
        del texts
        machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
        if options.engines:
            found = engines(folder, Path(temporary))
            result = {"machine": machine, "documents": documents, "megabytes": round(size / 1e6, 1), "runs": found}
            out.write_text(json.dumps(result, indent=1) + "\n")
            return
        profile = Path(temporary) / "prepare.toml"
        profile.write_text(PROFILE.format(folder=folder.absolute(), kind="local", workers=options.workers))
        runs = [run(profile) for _ in range(options.runs)]
    cpu = statistics.median(found["cpu_seconds"] for found in runs)
    result = {
        "machine": machine,
        "documents": documents,
        "partitions": len(files),
        "megabytes": round(size / 1e6, 1),
        "workers": options.workers,
        "documents_per_cpu_second": round(documents / cpu),
        "megabytes_per_cpu_second": round(size / 1e6 / cpu, 2),
        "median_wall_seconds": statistics.median(found["wall_seconds"] for found in runs),
        "median_cpu_seconds": cpu,
        "runs": runs,
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
