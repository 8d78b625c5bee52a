"""What preparing a corpus costs: `curate run --only-prepare` on 300,000 documents of 65 words in three partitions.

    python benchmarks/prepare.py [--documents N] [--runs N] [--corpus FOLDER] [--workers N] [--out FILE]

The documents are sentences of the packaged texts, put together within a source, in JSONL files of a folder source; the
profile has the default detectors. Every run starts from an empty state folder. Processor seconds are those of the
command and of everything that it started; those by step come from its log and leave out what the runner itself does
(importing, recording, drawing). Memory is the proportional set size of the process tree, as in `demo.py`.
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
from pathlib import Path
from typing import Any

import numpy as np
from annotators import corpus
from demo import watch

WORDS, PARTITIONS = 65, 3
PROFILE = """name = "prepare"

[loop]
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


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--corpus", type=Path, help="where the corpus is, or is to be; a temporary folder if absent")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("prepare.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="curation-prepare-corpus-") as temporary:
        folder = options.corpus or Path(temporary) / "corpus"
        if not folder.exists():
            generate(folder, options.documents)
        files = sorted(folder.glob("*/part.jsonl"))
        texts = [json.loads(line)["text"] for file in files for line in file.open(encoding="utf-8")]
        documents, size = len(texts), sum(len(text.encode()) for text in texts)
        del texts
        profile = Path(temporary) / "prepare.toml"
        profile.write_text(PROFILE.format(folder=folder.absolute(), workers=options.workers))
        runs = [run(profile) for _ in range(options.runs)]
    cpu = statistics.median(found["cpu_seconds"] for found in runs)
    result = {
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
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
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
