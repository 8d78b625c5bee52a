"""Quality rules: documents per CPU second next to datatrove, dolma and NeMo Curator; agreement with datatrove.

    python benchmarks/quality_rules.py [--quick] [--runs N] [--share F] [--out FILE]

Each program runs in a process of its own with one thread, on the same documents (see peers/quality_documents.py), after
a warm-up; CPU seconds of the process are compared, in turns, `--runs` times. The peers' virtual environments are made
as peers-datatrove.txt and peers-dolma.txt say; a peer that is not there is left out.

dolma's rules are other rules under the same names (words between blanks, medians, shares of all n-grams), so that only
its speed is compared. Its repetition tagger is quadratic on repetitive text and sees every tenth document only.
NeMo Curator's filters of these kinds, 23 of them, have definitions of their own too.
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
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from curation_pipeline.annotate.quality import FAMILIES, RULES, Family, QualitySettings, quality_rules, quality_values
from curation_pipeline.config import cache_folder

HERE = Path(__file__).parent
VENVS = HERE.parent / ".venv-peers"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
DOLMA = {
    "gopher_v1": ("gopher_quality", "gopher_repetition"),
    "c4_v2": ("c4",),
    "repetitions_v1": ("gopher_repetition",),
}
LEAST_SPEED, LEAST_AGREEMENT = 10.0, 0.995


def ours(source: Path) -> dict[str, Any]:
    """CPU seconds of this project's rules, all of them and by family, and the verdicts."""
    documents = pl.read_ndjson(source)
    settings = QualitySettings()
    start = time.process_time()
    quality_rules(documents.head(20), settings)
    found: dict[str, Any] = {"start": time.process_time() - start, "time": {}}
    families: dict[str, tuple[Family, ...]] = {family: (family,) for family in FAMILIES}
    for name, wanted in (families | DOLMA).items():
        start = time.process_time()
        quality_values(documents, settings, wanted)
        found["time"][name] = time.process_time() - start
    start = time.process_time()
    result = quality_rules(documents, settings)
    found["time"]["all"] = time.process_time() - start
    found["passes"] = {
        name.removeprefix("pass_"): result[name].to_list() for name in result.columns if name[:5] == "pass_"
    }
    found["shares"] = {
        name: result[name].to_list() for name in result.columns if name.startswith("c4_") and name[-5:] == "lines"
    }
    chunk = pl.concat([documents] * (20_000 // documents.height + 1)).head(20_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    quality_rules(chunk, settings)
    found["memory"] = {
        "documents": chunk.height,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "peak_before_gib": round(before / 2**20, 2),
    }
    return found


def call(python: Path, *arguments: str | Path) -> dict[str, Any]:
    """Run a script that writes JSON to its last argument."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.json"
        command = [str(python), *map(str, arguments), str(target)]
        subprocess.run(command, check=True, env=os.environ | ONE_THREAD, stderr=subprocess.DEVNULL)
        loaded: dict[str, Any] = json.loads(target.read_text())
        return loaded


def datatrove_verdicts(source: Path) -> dict[str, Any]:
    """Verdicts of datatrove's filters, rule by rule."""
    return call(VENVS / "datatrove/bin/python", HERE / "peers/datatrove_quality.py", "verdicts", source)


def agreement(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Per rule and per family: how often each side rejects, and how often the verdicts agree.

    For C4's line rules, which judge lines, agreement is that of the share of lines (to 4 decimals).
    """
    table: dict[str, dict[str, Any]] = {}
    for name in [*(rule.column for rule in RULES), *FAMILIES]:
        if name in theirs["passes"]:
            a, b = mine["passes"][name], theirs["passes"][name]
            fires, peer_fires = a.count(False) / len(a), b.count(False) / len(b)
            same = [x == y for x, y in zip(a, b, strict=True)]
        else:
            a, b = mine["shares"][name], theirs["shares"][name]
            fires, peer_fires = sum(x > 0 for x in a) / len(a), sum(x > 0 for x in b) / len(b)
            same = [abs(x - y) < 1e-4 for x, y in zip(a, b, strict=True)]
        table[name] = {
            "fires": round(fires, 4),
            "peer_fires": round(peer_fires, 4),
            "agreement": round(sum(same) / len(same), 5),
            "different": [i for i, equal in enumerate(same) if not equal][:20],
        }
    return table


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": round(statistics.median(values), 2), "min": round(min(values), 2), "max": round(max(values), 2)}


def measure(source: Path, runs: int, tenth: Path) -> dict[str, Any]:
    """All programs in turns; documents per CPU second and ratios."""
    n = sum(1 for _ in source.open(encoding="utf-8"))
    n_tenth = sum(1 for _ in tenth.open(encoding="utf-8"))
    have = {name: (VENVS / name / "bin/python").exists() for name in ("datatrove", "dolma", "nemo")}
    speed: dict[str, dict[str, list[float]]] = {"ours": {}, "datatrove": {}, "dolma": {}, "nemo": {}}
    result: dict[str, Any] = {"versions": {}}
    mine: dict[str, Any] = {}
    for _ in range(runs):
        mine = call(Path(sys.executable), Path(__file__), "--measure", source, "--out")
        for name, seconds in mine["time"].items():
            speed["ours"].setdefault(name, []).append(n / seconds)
        if have["datatrove"]:
            peer = call(VENVS / "datatrove/bin/python", HERE / "peers/datatrove_quality.py", "time", source)
            result["versions"] |= {"datatrove": peer["version"], "spacy": peer["spacy"]}
            for name, seconds in peer["time"].items():
                speed["datatrove"].setdefault(name, []).append(n / seconds)
        if have["dolma"]:
            for tagger in DOLMA:
                slow = tagger == "repetitions_v1"
                peer = call(
                    VENVS / "dolma/bin/python", HERE / "peers/dolma_quality.py", tagger, tenth if slow else source
                )
                result["versions"]["dolma"] = peer["version"]
                speed["dolma"].setdefault(tagger, []).append((n_tenth if slow else n) / peer["seconds"])
        if have["nemo"]:
            peer = call(VENVS / "nemo/bin/python", HERE / "peers/nemo_quality.py", source)
            result["versions"]["nemo"], result["nemo_filters"] = peer["version"], peer["filters"]
            speed["nemo"].setdefault("all", []).append(n / peer["seconds"])
    result["documents_per_cpu_second"] = {
        who: {name: spread(values) for name, values in found.items()} for who, found in speed.items() if found
    }
    result["ratio"] = {
        who: {
            name: spread([a / b for a, b in zip(speed["ours"][name], values, strict=True)])
            for name, values in speed[who].items()
        }
        for who in ("datatrove", "dolma", "nemo")
        if speed[who]
    }
    result["cpu_seconds_to_load"] = round(mine["start"], 2)
    result["memory"] = mine["memory"]
    if have["datatrove"]:
        result["agreement"] = agreement(mine, datatrove_verdicts(source)["verdicts"])
    return result


def plot(result: dict[str, Any], target: Path) -> None:
    """Speed beside the peers, and agreement per rule."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    speed = result["documents_per_cpu_second"]
    pairs = [("datatrove", name, name.replace("_", " ")) for name in ("all", *FAMILIES) if "datatrove" in speed]
    notes = {"repetitions_v1": " (other rule,\nevery 10th document)"}
    pairs += [("dolma", name, f"dolma {name}{notes.get(name, '')}") for name in DOLMA if "dolma" in speed]
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 8), gridspec_kw={"width_ratios": [1, 1.1]})
    for place, (peer, name, _) in enumerate(pairs):
        for shift, who, colour in ((0.2, "ours", "#1b6ca8"), (-0.2, peer, "#d08c2f")):
            value = speed[who][name]
            error = [[value["median"] - value["min"]], [value["max"] - value["median"]]]
            left.barh(place + shift, value["median"], 0.38, color=colour, xerr=error, ecolor="#444444")
        ratio = result["ratio"][peer][name]["median"]
        left.text(speed["ours"][name]["max"] * 1.15, place + 0.2, f"{ratio:.0f}x", va="center")
    left.set_yticks(range(len(pairs)), [label for *_, label in pairs])
    left.set_xscale("log")
    left.margins(x=0.25)
    left.set_xlabel("documents per CPU second (one process, one thread; bars: range)")
    left.set_title(f"This project (blue) and its peers (orange), {result['documents']:,} documents")
    left.invert_yaxis()
    table = result.get("agreement", {})
    right.barh(range(len(table)), [100 * entry["agreement"] for entry in table.values()], color="#1b6ca8")
    for place, entry in enumerate(table.values()):
        right.text(99.02, place, f"fires {100 * entry['fires']:.1f}%", va="center", color="white", fontsize=7)
    right.set_yticks(range(len(table)), [name.replace("_", " ") for name in table], fontsize=8)
    right.axvline(100 * LEAST_AGREEMENT, color="#b03030", linewidth=1)
    right.set_xlim(99, 100.05)
    right.invert_yaxis()
    right.set_xlabel("agreement with datatrove, % of documents (red: least that is wanted)")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a twentieth of the documents, one run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.55, help="of the documents; 1 is about 4,000")
    parser.add_argument("--out", type=Path, default=HERE / "quality_rules.json")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        options.out.write_text(json.dumps(ours(options.measure)))
        return
    sys.path.insert(0, str(HERE / "peers"))
    from quality_documents import documents

    table = documents(cache_folder(), share=0.05 if options.quick else options.share)
    with tempfile.TemporaryDirectory() as folder:
        source, tenth = Path(folder) / "documents.jsonl", Path(folder) / "tenth.jsonl"
        table.write_ndjson(source)
        table.gather_every(10).write_ndjson(tenth)
        runs = 1 if options.quick else options.runs
        measured = measure(source, runs, tenth)
    result = {
        "documents": table.height,
        "mean_words": round(float(table["text"].str.count_matches(r"\S+").mean() or 0), 1),  # type: ignore[arg-type]
        "registers": dict(table["register"].value_counts(sort=True).iter_rows()),
        "runs": runs,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "floors": {"speed_ratio_datatrove": LEAST_SPEED, "speed_ratio_dolma": 1.0, "agreement": LEAST_AGREEMENT},
        **measured,
    }
    result["versions"] |= {name: version(name) for name in ("polars", "numpy", "numba")}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    plot(result, options.out.with_suffix(".png"))
    print(json.dumps({key: result[key] for key in ("documents_per_cpu_second", "ratio", "memory")}, indent=1))
    for name, entry in result.get("agreement", {}).items():
        print(
            f"{name:45} fires {entry['fires']:.4f} (peer {entry['peer_fires']:.4f}) agreement {entry['agreement']:.5f}"
        )


if __name__ == "__main__":
    main()
