"""What each step costs as a corpus grows: from JSONL to a drawn batch, through the project's own steps.

    python benchmarks/scale.py [--sizes N ...] [--arms NAME ...] [--workers N] [--keep FOLDER] [--out FILE]

A corpus of short documents (28 words: fragments of the packaged texts, put together within a source; one in twenty is a
near copy of another) is written as JSONL in four partitions, and every step up to the batch makes its artefacts of it:
references, annotations, near duplicates, index, profile, gate, pool, probes, policy, batch, and then the batches of
some baselines. Each step runs in a process of its own with one thread, which reports its processor seconds (imports of
the project left out), wall seconds, and its peak resident memory, that of its largest worker apart.

Sizes that FILE holds already and that are not asked for stay in it.

What does not read the whole corpus (base model, probes, policy's training, evaluation) is set to a fraction of the
demo's size: it costs the same at any size. The slope of a step is that of its seconds against the documents, both in
logarithms, between the last two sizes: 1 is linear. Memory at ten million documents is put forth from the last two
sizes in a straight line.
"""

# ruff: noqa: E402 -- numpy and Polars read the number of threads when they are imported
from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np

PARTITIONS, FRAGMENT, FRAGMENTS = 4, 7, 4
COPIES = 0.05
SIZES = (10_000, 100_000)
FAR = 10_000_000
ARMS = ("random", "threshold_within_source", "top_k", "dsir")
BATCHES = "batch of "
GROWS = 0.2
"""A step of a smaller exponent spends most of its time on what does not depend on the corpus."""
LOOP = ("iteration_gate", "candidate_pool", "probes", "selection_policy", "curated_batch")
PROFILE = """name = "scale"

[engine]
workers = {workers}

[loop]
token_budget = {budget}

[training]
base_tokens = 60_000

[training.scratch]
hidden_size = 32
mlp_size = 64

[credit]
n_probes_first = 6
probe_tokens = 5_000

[policy]
cold_start_candidates = 65_536

[evaluation]
samples = 2
max_new_tokens = 8
resamples = 50
toxicity_prompts = {{kept_toxic = 60, kept_neutral = 60, used = 6}}
crows_pairs = {{kept = 40, used = 20}}
bbq = {{kept = 4, used = 6}}
stereoset = {{kept = 40, used = 4}}
preferences = {{kept = 80, used = 12}}
multiple_choice = {{kept = 40, used = 8}}
refusal = {{kept = 24, used = 8}}
challenges.used = 6
red_team.used = 6

[[corpus.sources]]
kind = "folder"
name = "encyclopaedia"
path = "{folder}/encyclopaedia"
url_column = "url"
domain = "encyclopaedia"

[[corpus.sources]]
kind = "folder"
name = "other"
path = "{folder}/other"
url_column = "url"
"""


def generate(folder: Path, documents: int) -> int:
    """Write the corpus, a JSONL file in a subfolder for each partition; bytes of text."""
    from annotators import corpus

    texts = corpus()
    encyclopaedic = texts["domain"] == "encyclopaedia"
    rng = np.random.default_rng(7)
    total = 0
    for number, (source, own) in enumerate({"encyclopaedia": encyclopaedic, "other": ~encyclopaedic}.items()):
        pools: list[list[str]] = []
        for name in texts.filter(own)["source"].unique().sort().to_list():
            words = " ".join(texts.filter(texts["source"] == name)["text"].to_list()).split()
            pools.append([" ".join(words[at : at + FRAGMENT]) for at in range(0, len(words) - FRAGMENT, FRAGMENT)])
        for snapshot in range(PARTITIONS // 2):
            path = folder / source / f"2026-0{snapshot + 1}"
            path.mkdir(parents=True)
            last = ""
            with (path / "part.jsonl").open("w", encoding="utf-8") as stream:
                for place in range(number * PARTITIONS // 2 + snapshot, documents, PARTITIONS):
                    pool = pools[place // PARTITIONS % len(pools)]
                    if last and rng.random() < COPIES:
                        text = f"{last} again"
                    else:
                        text = " ".join(pool[at] for at in rng.integers(len(pool), size=FRAGMENTS))
                    last = text
                    total += len(text.encode())
                    stream.write(json.dumps({"text": text, "url": f"https://texts.example/{place}"}) + "\n")
    return total


def cpu_seconds() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _peak_mib() -> float:
    """Peak resident memory of this process since it began to run its program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def make(name: str, profile: Path, state: Path) -> dict[str, float]:
    """Make the artefacts of a step in this process, or the batch of a baseline."""
    from curation_pipeline.stages.context import open_context
    from curation_pipeline.stages.declared import partition_sources
    from curation_pipeline.stages.state import MAIN
    from curation_pipeline.steps.experiment.baseline_batch import draw_baseline_batch
    from curation_pipeline.steps.registry import step_of
    from curation_pipeline.steps.step import Partitioning, Place, of_corpus, of_iteration

    ctx = open_context(str(profile), state)
    cpu, started = cpu_seconds(), time.monotonic()
    if name.startswith(BATCHES):
        draw_baseline_batch(ctx, of_iteration(MAIN, 1), name.removeprefix(BATCHES))
    elif (step := step_of(name)).partitioning is Partitioning.CORPUS:
        for key in sorted(partition_sources(ctx)):
            step.make(ctx, of_corpus(key))
    else:
        step.make(ctx, of_iteration(MAIN, 1) if step.partitioning is Partitioning.ITERATION else Place())
    return cost(cpu, started)


def cost(cpu: float, started: float) -> dict[str, float]:
    """What this process has cost since it had used so many processor seconds at this monotonic time."""
    return {
        "cpu_seconds": round(cpu_seconds() - cpu, 2),
        "wall_seconds": round(time.monotonic() - started, 2),
        "peak_mib": round(_peak_mib()),
        "peak_mib_of_a_worker": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


def machine() -> dict[str, Any]:
    """Where a benchmark ran."""
    return {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}


def planned(arms: tuple[str, ...]) -> list[str]:
    """The steps in the order in which they are made, and the batches of some baselines."""
    from curation_pipeline.steps.registry import phases, steps
    from curation_pipeline.steps.step import Partitioning

    prepared = (Partitioning.WHOLE, Partitioning.CORPUS)
    chosen = [step for step in steps().values() if step.partitioning in prepared and step.group != "experiment"]
    return [*(step.name for phase in phases(chosen) for step in phase), *LOOP, *(f"{BATCHES}{arm}" for arm in arms)]


def run(documents: int, names: list[str], workers: int, folder: Path) -> dict[str, Any]:
    """Every step on a corpus of a size, each in a process of its own.

    Args:
        documents: of the corpus.
        names: steps in order.
        workers: of the profile.
        folder: of the corpus and of all state.
    """
    corpus, state, profile = folder / "corpus", folder / "state", folder / "scale.toml"
    if not corpus.exists():
        generate(corpus, documents)
    budget = max(6 * documents, 12_000)
    profile.write_text(PROFILE.format(workers=workers, budget=budget, folder=corpus.absolute()))
    found: dict[str, dict[str, float]] = {}
    for name in names:
        command = [sys.executable, __file__, "--child", name, str(profile), str(state)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name} of {documents} documents failed:\n{done.stderr[-3000:]}")
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{documents:>9} {name:<34} {found[name]}", flush=True)
    return {
        "documents": documents,
        "megabytes": round(sum(path.stat().st_size for path in corpus.glob("*/*/part.jsonl")) / 1e6, 1),
        "workers": workers,
        "cpu_seconds": round(sum(figures["cpu_seconds"] for figures in found.values()), 1),
        "peak_mib": max(figures["peak_mib"] for figures in found.values()),
        "steps": found,
    }


def slopes(small: dict[str, Any], large: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each step: the exponent of its seconds, and MiB at ten million documents in a straight line."""
    apart = large["documents"] - small["documents"]
    found = {}
    for name, figures in large["steps"].items():
        before = small["steps"].get(name)
        if before is None:
            continue
        ratio = max(figures["cpu_seconds"], 0.01) / max(before["cpu_seconds"], 0.01)
        rise = max(figures["peak_mib"] - before["peak_mib"], 0) / apart
        found[name] = {
            "exponent": round(math.log(ratio) / math.log(large["documents"] / small["documents"]), 2),
            "mib_at_ten_million": round(figures["peak_mib"] + rise * (FAR - large["documents"])),
        }
    return found


def markdown(result: dict[str, Any]) -> str:
    """The table of the results: steps whose cost follows the corpus, and the others together."""
    runs, grown = result["runs"], {name for name, found in result["slopes"].items() if found["exponent"] >= GROWS}
    rows = [
        ["step", *(f"{found['documents']:,}" for found in runs), "power", *(f"{f['documents']:,}" for f in runs)],
        ["---"] * (2 + 2 * len(runs)),
    ]
    rows += [
        [
            name.replace("_", " "),
            *(f"{found['steps'][name]['cpu_seconds']:.3g}" for found in runs),
            f"{result['slopes'][name]['exponent']:.2f}",
            *(f"{found['steps'][name]['peak_mib'] / 1024:.2f}" for found in runs),
        ]
        for name in result["slopes"]
        if name in grown
    ]
    others = [[steps[name] for name in steps if name not in grown] for steps in (found["steps"] for found in runs)]
    seconds = (f"{sum(step['cpu_seconds'] for step in steps):.3g}" for steps in others)
    peaks = (f"{max(step['peak_mib'] for step in steps) / 1024:.2f}" for steps in others)
    rows.append([f"the other {len(others[-1])} steps", *seconds, "", *peaks])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--arms", nargs="*", default=list(ARMS), help="baselines whose batches are drawn")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder that keeps corpora and states; a temporary one if absent")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--child", nargs=3, metavar=("STEP", "PROFILE", "STATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, profile, state = options.child
        print(json.dumps(make(name, Path(profile), Path(state))))
        return
    names = planned(tuple(options.arms))
    with tempfile.TemporaryDirectory(prefix="curation-scale-") as temporary:
        folder = options.keep or Path(temporary)
        earlier = json.loads(options.out.read_text())["runs"] if options.out.exists() else []
        kept = [found for found in earlier if found["documents"] not in options.sizes]
        runs = [*kept, *(run(n, names, options.workers, folder / str(n)) for n in sorted(options.sizes))]
        runs.sort(key=lambda found: found["documents"])
    result = {
        "machine": machine(),
        "words": FRAGMENT * FRAGMENTS,
        "runs": runs,
        "slopes": slopes(*runs[-2:]) if len(runs) > 1 else {},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    main()
