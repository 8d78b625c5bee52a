"""The table of stages next to their fastest peers, out of the committed JSON of the benchmarks.

    python benchmarks/table.py [--write]

Prints it; with `--write` it also replaces what is between the two markers in docs/results.md, and in README.md by a
short one. A row is there when its benchmark's JSON has what it needs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
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
HEAD = """| stage | here | fastest peer (others) | times as fast | quality, and what differs |
|---|---|---|---|---|"""
SHORT_HEAD = """| stage | here | fastest peer | times as fast |
|---|---|---|---|"""
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


@dataclass(frozen=True, slots=True)
class Row:
    """A stage: its speed here and by its peers, in the same unit, and what the speed is worth.

    Attributes:
        stage: what is done.
        here: documents per CPU second, unless the quality says otherwise.
        peers: the same by each peer.
        quality: how results compare, and what differs.
    """

    stage: str
    here: float
    peers: dict[str, float]
    quality: str

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Stage, speed here, the fastest peer, the others, how many times as fast we are, quality."""
        named = [
            f"{NAMES.get(who, who)} {number(self.peers[who])}" for who in sorted(self.peers, key=self.peers.__getitem__)
        ]
        best = named.pop()
        others = f" ({'; '.join(reversed(named))})" if named else ""
        times = f"**{number(self.here / max(self.peers.values()))}**"
        return self.stage, number(self.here), best, others, times, self.quality


def pipeline(found: dict[str, Any]) -> list[Row]:
    """Whole pipelines."""
    rows: list[Row] = []
    for corpus in found["corpora"].values():
        programs = corpus["programs"]
        rates = {who: program["documents_per_cpu_second"]["median"] for who, program in programs.items()}
        here = rates.pop("ours")
        same = "; ".join(f"{NAMES[who]} {number(corpus['times_as_fast'][who]['same_steps'])}" for who in rates)
        kept = ", ".join(f"{NAMES.get(who, 'here')} {program['kept_share']:.2f}" for who, program in programs.items())
        text = f"JSONL to Parquet, {programs['ours']['documents']:,} documents of {corpus['words']} words"
        rows.append(Row(text, here, rates, f"with the peer's steps only: {same}; share kept: {kept}"))
    return rows


def rules(found: dict[str, Any]) -> list[Row]:
    """Quality rules."""
    speed = found["documents_per_cpu_second"]
    peers = {who: speed[who]["all"]["median"] for who in ("datatrove", "nemo") if who in speed}
    least = min(entry["agreement"] for entry in found["agreement"].values())
    quality = f"for each of 33 rules the verdict of datatrove on at least {100 * least:.4g}% of the documents"
    return [Row("quality rules", speed["ours"]["all"]["median"], peers, f"{quality}; others have other definitions")]


def duplicates(found: dict[str, Any]) -> list[Row]:
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
    return [Row("MinHash signatures", rates["ours"], peers, f"error of the similarity: {errors}")]


def annotators(found: dict[str, Any]) -> list[Row]:
    """Language, personal data, hashed features."""
    rows: list[Row] = []
    speed = {name.partition("@")[0]: entry["median"] for name, entry in found["documents_per_cpu_second"].items()}
    if found.get("language_peers"):
        peers = found["language_peers"]
        rates = {name: entry["documents_per_cpu_second"]["median"] for name, entry in peers.items()}
        right = {"here": found["language_accuracy"]["confidence of 0.0 or more"]["accuracy"]}
        right |= {name: entry["accuracy"] for name, entry in peers.items()}
        quality = ", ".join(f"{name} {value:.3f}" for name, value in right.items())
        rows.append(Row("language", speed["language"], rates, f"accuracy over 85 languages: {quality}"))
    known = {who: found["pii"][who] for who in ("dolma", "presidio") if found["pii"].get(who)}
    rates = {who: entry["documents_per_cpu_second"]["median"] for who, entry in known.items()}
    planted = {"here": found["pii"]["here"]["planted"]} | {NAMES[who]: entry["planted"] for who, entry in known.items()}
    quality = ", ".join(f"{who} {kinds['phone']['recall']:.2f}" for who, kinds in planted.items())
    false = ", ".join(f"{who} {sum(kind['false'] for kind in kinds.values())}" for who, kinds in planted.items())
    if "presidio" in known:
        false += f" (in {known['presidio']['documents']:,} of {found['documents']:,} documents)"
    rows.append(Row("e-mail, phone, IP", speed["pii"], rates, f"recall of phones: {quality}; false spans: {false}"))
    features = {name: entry["median"] for name, entry in found.get("hashed_features", {}).items()}
    for what, theirs, note in (
        ("words and pairs", "words and pairs", "the same kind of features"),
        ("words, pairs and pieces", "pieces", "the peer's are pieces alone"),
    ):
        if features:
            peers = {"HashingVectorizer": features[f"HashingVectorizer: {theirs}"]}
            rows.append(Row(f"hashed features: {what}", features[f"here: {what}"], peers, note))
    return rows


def ingest(found: dict[str, Any]) -> list[Row]:
    """Reading of JSONL."""
    largest = {name: rows[-1] for name, rows in found["figures"].items()}
    rates = {name: entry["documents_per_cpu_second"] for name, entry in largest.items()}
    quality = "only here: ids, exact duplicates, quarantine, exclusion of benchmark texts, every row accounted for"
    return [Row(f"ingest of {largest['ours']['documents']:,} JSONL documents", rates.pop("ours"), rates, quality)]


def lookup(found: dict[str, Any]) -> list[Row]:
    """Documents by their id."""
    times = {name: 1000 / entry["median_ms"] for name, entry in found["readers"].items()}
    quality = "lookups a second (of time that passes), the file opened for each"
    if "lance" in found["readers"]:
        quality += (
            f"; Lance reads a copy with an index, made in {found['readers']['lance']['made_in_cpu_seconds']:.0f} s"
        )
    return [Row(f"a document of {found['rows'] / 1e6:.0f} million by id", times.pop("lookup"), times, quality)]


def detectors(found: dict[str, Any]) -> list[Row]:
    """Detectors on one network, and the linear one."""
    rates = {name: entry["median"] for name, entry in found["documents_per_cpu_second"].items()}
    names = ("detoxify_predict", "transformers_pipeline", "onnxruntime")
    peers = {name: rates[name] for name in names if name in rates}
    rows = [Row("a network of 22.7 million parameters as detector", rates["detoxify"], peers, "the same flags")]
    if "alt_profanity_check" in rates:
        peers = {"the package alt-profanity-check": rates["alt_profanity_check"]}
        rows.append(Row("alt-profanity-check", rates["alt_profanity"], peers, "the same flags"))
    return rows


SECTIONS: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "corpus_pipeline": pipeline,
    "ingest": ingest,
    "annotators": annotators,
    "quality_rules": rules,
    "near_duplicates": duplicates,
    "scoring": detectors,
    "pool_lookup": lookup,
}


def tables(folder: Path = ROOT / "benchmarks") -> dict[Path, str]:
    """The Markdown that each page shows between its markers."""
    rows: list[Row] = []
    for name, section in SECTIONS.items():
        file = folder / f"{name}.json"
        if file.is_file():
            rows += section(json.loads(file.read_text(encoding="utf-8")))
    long, short = [HEAD], [SHORT_HEAD]
    for row in rows:
        stage, here, best, others, times, quality = row.cells()
        long.append(f"| {stage} | {here} | {best}{others} | {times} | {quality} |")
        short.append(f"| {stage} | {here} | {best} | {times} |")
    ends = ["", NOT_COMPARED]
    return {ROOT / "docs/results.md": "\n".join(long + ends), ROOT / "README.md": "\n".join(short + ends)}


def shown(page: str) -> str:
    """What a page shows between the markers."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into README.md and docs/results.md too")
    options = parser.parse_args()
    made = tables()
    print(made[ROOT / "docs/results.md"])
    if options.write:
        for file, text in made.items():
            before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
            file.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
