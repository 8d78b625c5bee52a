"""The table of stages next to their fastest peers, out of the committed JSON of the benchmarks.

    python benchmarks/table.py [--write]

Prints it; with `--write` it also replaces what is between the two markers in README.md and docs/results.md. A row is
there when its benchmark's JSON has what it needs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/results.md")
BEGIN, END = "<!-- benchmarks/table.py writes this table -->", "<!-- end of the table -->"
NAMES = {
    "datatrove": "datatrove",
    "nemo": "NeMo Curator",
    "datajuicer": "Data-Juicer",
    "dolma": "dolma",
    "presidio": "Presidio",
    "duckdb": "DuckDB",
    "lance": "Lance",
    "onnxruntime": "ONNX Runtime",
    "transformers_pipeline": "transformers pipeline",
    "detoxify_predict": "Detoxify's `predict`",
}
HEAD = """| stage | here | fastest peer | times as fast | quality, and what differs |
|---|---|---|---|---|"""
NOT_COMPARED = (
    "Not compared: identity groups, dialect, registers and the red team, for which no peer has an operator; extraction "
    "of HTML, which resiliparse or trafilatura do here too; clustering of near duplicates, for which datatrove's whole "
    "pipeline is the only measure so far; operators of peers that need a GPU, a server or a hub."
)


def number(value: float) -> str:
    """Three digits at most."""
    if value >= 100:
        digits = 3 - len(str(round(value)))
        return f"{round(value, digits):,.0f}"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def row(stage: str, here: float, peers: dict[str, float], quality: str) -> str:
    """A line of the table: the fastest of the peers by their rates; the others are named behind it."""
    best, *rest = sorted(peers, key=lambda name: -peers[name])
    others = "; ".join(f"{NAMES.get(name, name)} {number(peers[name])}" for name in rest)
    peer = f"{NAMES.get(best, best)} {number(peers[best])}" + (f" ({others})" if others else "")
    return f"| {stage} | {number(here)} | {peer} | **{number(here / peers[best])}** | {quality} |"


def pipeline(found: dict[str, Any]) -> list[str]:
    """Whole pipelines."""
    lines = []
    for corpus in found["corpora"].values():
        programs = corpus["programs"]
        rates = {who: program["documents_per_cpu_second"]["median"] for who, program in programs.items()}
        here = rates.pop("ours")
        same = "; ".join(f"{NAMES[who]} {number(corpus['times_as_fast'][who]['same_steps'])}" for who in rates)
        kept = ", ".join(f"{NAMES.get(who, 'here')} {program['kept_share']:.2f}" for who, program in programs.items())
        text = f"JSONL to Parquet, {programs['ours']['documents']:,} documents of {corpus['words']} words"
        lines.append(row(text, here, rates, f"with the peer's steps only: {same}; share kept: {kept}"))
    return lines


def rules(found: dict[str, Any]) -> list[str]:
    """Quality rules."""
    speed = found["documents_per_cpu_second"]
    peers = {who: speed[who]["all"]["median"] for who in ("datatrove", "nemo") if who in speed}
    least = min(entry["agreement"] for entry in found["agreement"].values())
    quality = f"for each of 33 rules the verdict of datatrove on at least {100 * least:.4g}% of the documents"
    return [row("quality rules", speed["ours"]["all"]["median"], peers, f"{quality}; others have other definitions")]


def duplicates(found: dict[str, Any]) -> list[str]:
    """Signatures of near duplicates."""
    if "signatures" not in found:
        return []
    methods = found["signatures"]["methods"]
    rates = {name: entry["documents_per_cpu_second"] for name, entry in methods.items()}
    peers = {name: rate for name, rate in rates.items() if not name.startswith("ours")}
    errors = ", ".join(
        f"{name.replace('ours', 'here')} {entry['error_of_similarity']:.3f}"
        for name, entry in methods.items()
        if "error_of_similarity" in entry
    )
    return [row("MinHash signatures", rates["ours"], peers, f"error of the similarity: {errors}")]


def annotators(found: dict[str, Any]) -> list[str]:
    """Language, personal data, hashed features."""
    lines = []
    speed = {name.partition("@")[0]: entry["median"] for name, entry in found["documents_per_cpu_second"].items()}
    if found.get("language_peers"):
        peers = found["language_peers"]
        rates = {name: entry["documents_per_cpu_second"]["median"] for name, entry in peers.items()}
        right = {"here": found["language_accuracy"]["confidence of 0.0 or more"]["accuracy"]}
        right |= {name: entry["accuracy"] for name, entry in peers.items()}
        quality = ", ".join(f"{name} {value:.3f}" for name, value in right.items())
        lines.append(row("language", speed["language"], rates, f"accuracy over 85 languages: {quality}"))
    known = {who: found["pii"][who] for who in ("dolma", "presidio") if found["pii"].get(who)}
    rates = {who: entry["documents_per_cpu_second"]["median"] for who, entry in known.items()}
    planted = {"here": found["pii"]["here"]["planted"]} | {NAMES[who]: entry["planted"] for who, entry in known.items()}
    quality = ", ".join(f"{who} {kinds['phone']['recall']:.2f}" for who, kinds in planted.items())
    false = ", ".join(f"{who} {sum(kind['false'] for kind in kinds.values())}" for who, kinds in planted.items())
    few = f" (in {known['presidio']['documents']:,} documents)" if "presidio" in known else ""
    lines.append(
        row("e-mail, phone, IP", speed["pii"], rates, f"recall of phones: {quality}; false spans: {false}{few}")
    )
    features = {name: entry["median"] for name, entry in found.get("hashed_features", {}).items()}
    for what, theirs, note in (
        ("words and pairs", "words and pairs", "the same kind of features"),
        ("words, pairs and pieces", "pieces", "the peer's are pieces alone"),
    ):
        if features:
            peers = {"HashingVectorizer": features[f"HashingVectorizer: {theirs}"]}
            lines.append(row(f"hashed features: {what}", features[f"here: {what}"], peers, note))
    return lines


def ingest(found: dict[str, Any]) -> list[str]:
    """Reading of JSONL."""
    largest = {name: rows[-1] for name, rows in found["figures"].items()}
    rates = {name: entry["documents_per_cpu_second"] for name, entry in largest.items()}
    quality = "only here: ids, exact duplicates, quarantine, exclusion of benchmark texts, every row accounted for"
    return [row(f"ingest of {largest['ours']['documents']:,} JSONL documents", rates.pop("ours"), rates, quality)]


def lookup(found: dict[str, Any]) -> list[str]:
    """Documents by their id."""
    times = {name: 1000 / entry["median_ms"] for name, entry in found["readers"].items()}
    quality = "lookups a second (of time that passes), the file opened for each"
    if "lance" in found["readers"]:
        quality += (
            f"; Lance reads a copy with an index, made in {found['readers']['lance']['made_in_cpu_seconds']:.0f} s"
        )
    return [row(f"a document of {found['rows'] / 1e6:.0f} million by id", times.pop("lookup"), times, quality)]


def detectors(found: dict[str, Any]) -> list[str]:
    """Detectors on one network, and the linear one."""
    rates = {name: entry["median"] for name, entry in found["documents_per_cpu_second"].items()}
    names = ("detoxify_predict", "transformers_pipeline", "onnxruntime")
    peers = {name: rates[name] for name in names if name in rates}
    lines = [row("a network of 22.7 million parameters as detector", rates["detoxify"], peers, "the same flags")]
    if "alt_profanity_check" in rates:
        peers = {"the package alt-profanity-check": rates["alt_profanity_check"]}
        lines.append(row("alt-profanity-check", rates["alt_profanity"], peers, "the same flags"))
    return lines


SECTIONS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "corpus_pipeline": pipeline,
    "ingest": ingest,
    "annotators": annotators,
    "quality_rules": rules,
    "near_duplicates": duplicates,
    "scoring": detectors,
    "pool_lookup": lookup,
}


def table(folder: Path = ROOT / "benchmarks") -> str:
    """The table in Markdown, and below it what is not compared."""
    lines = [HEAD]
    for name, section in SECTIONS.items():
        file = folder / f"{name}.json"
        if file.is_file():
            lines += section(json.loads(file.read_text(encoding="utf-8")))
    return "\n".join([*lines, "", NOT_COMPARED])


def shown(page: str) -> str:
    """What a page shows between the markers."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into README.md and docs/results.md too")
    options = parser.parse_args()
    made = table()
    print(made)
    if options.write:
        for file in PAGES:
            before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
            file.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
