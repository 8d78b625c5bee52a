"""The pool of `decision_quality.py`: documents with human labels that nothing of the scores has seen, and clean text.

Labelled documents are those of role ``report`` of EDOS, ToxiGen, Impermium, Wikipedia talk, Davidson, RedditBias,
DiaSafety and ParaDetox; encyclopaedic, web and other text, which nobody labelled, stands beside them. Detectors, stack,
calibration and alignment are fitted on the roles ``fit`` and ``calibrate`` alone; vectors and topics on the texts of
the pool without labels, as the pipeline does. Two sets of teachers score the pool: the demo's, fitted on labels that
packages carry, and a richer one, fitted on all sets.

More of Davidson's tweets than usual are held out (60%), since hardly any other set holds benign text with markers of
African American English. The publisher of alt_profanity fitted it on Davidson's and Wikipedia's comments, held out here
or not: of what that package has seen nothing can be said.
"""

from __future__ import annotations

import html
import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from curation_pipeline.stages.pool import candidates

from curation_pipeline.annotate.dialect import dialect
from curation_pipeline.annotate.parity import group_membership
from curation_pipeline.annotate.quality import FAMILIES, quality_rules
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.annotate.statistics import text_statistics
from curation_pipeline.annotate.topics import fit_topics
from curation_pipeline.annotate.toxicity import teacher_scores
from curation_pipeline.annotate.vectors import VectorModel, fit_vectors
from curation_pipeline.config import cache_folder
from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.labelled import axis_of, labelled_sets
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.datasets.settings import LabelledFile
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.fitting import fit_reward
from curation_pipeline.reward.settings import RewardSettings
from curation_pipeline.seeds import unit_hash
from curation_pipeline.selection.bad_words import WORD_LIST, bad_words, passes_word_list

SEED = 7
SETS = {
    "edos": "corpus/edos/edos_labelled_aggregated.csv",
    "davidson": "corpus/davidson/labeled_data.csv",
    "paradetox": "corpus/paradetox/paradetox.tsv",
    "diasafety": "corpus/diasafety",
    "toxigen": "benchmarks/toxigen_annotated/toxigen.csv",
    "wiki_talk": "corpus/wiki_toxicity_testsets/toxicity_nonfuzzed_testset.csv",
}
PACKAGED_LABELS = ("redditbias", "pyrit_harm", "pyrit_refusal")
TEACHERS = {
    "demo": ("alt_profanity", "bias_head"),
    "rich": ("alt_profanity", "harm_head", "bias_head", "subtle_head"),
}
CLEAN = {"bold": 2_500, "boolq": 2_500, "pubmedqa": 500, "narrativeqa": 500}
"""Documents of each packaged corpus; what is beyond is the target of `dsir`, which must not be in the pool."""
TARGET = 400
MOST = {"paradetox": 1_500, "davidson_offensive": 3_500}
"""Sets of which only a sample enters."""
MAX_CHARS = 2_000


def labels_of(data: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """All labelled texts, half of Davidson's ``fit`` moved to ``report``; and the axis of each set."""
    files = []
    for name, path in SETS.items():
        if not (data / path).exists():
            raise SystemExit(f"{data / path} is not there: give the folder of the published sets with --data")
        files.append(LabelledFile.model_validate({"name": name, "format": name, "path": str(data / path)}))
    frame = labelled_sets(cache_folder(), frozenset({"impermium"}), files)
    moved = (frame["dataset"] == "davidson") & (frame["role"] == "fit")
    moved &= pl.Series(unit_hash(frame["text_id"], SEED) < 2 / 3)
    frame = frame.with_columns(pl.when(moved).then(pl.lit("report")).otherwise("role").alias("role"))
    axes = {name: str(axis_of(name, files)) for name in frame["dataset"].unique().sort()}
    return frame, axes


def offensive(data: Path) -> pl.Series:
    """Ids of Davidson's tweets that most raters called offensive but not hateful."""
    rows = pl.read_csv(data / SETS["davidson"], infer_schema=False).filter(pl.col("class") == "1")
    return text_ids(pl.Series("text", [html.unescape(text).strip() for text in rows["tweet"]]))


def documents(data: Path, labels: pl.DataFrame, quick: bool) -> tuple[pl.DataFrame, pl.Series]:
    """The pool's texts, and texts for `dsir` to aim at that are not among them.

    Returns:
        Columns doc_id, text, source, domain, ``label`` (1 = harmful by people's labels, in the sense of its own set;
        null where nobody labelled) and ``strict`` (the same, and 1 for Davidson's "offensive" as well).
    """
    rough = labels["text_id"].is_in(offensive(data).implode()) & (labels["dataset"] == "davidson")
    unit = pl.Series("unit", unit_hash(labels["text_id"], SEED + 1))
    report = labels.with_columns(unit, rough.alias("offensive")).filter(pl.col("role") == "report")
    report = report.filter(~pl.col("dataset").is_in(["pyrit_harm", "pyrit_refusal"]))
    parts = []
    for (name, rude), part in report.group_by("dataset", "offensive", maintain_order=True):
        most = MOST.get("davidson_offensive" if rude else str(name))
        parts.append(part if most is None else part.sort("unit").head(most))
    known = pl.concat(parts).select(
        pl.col("text_id").alias("doc_id"), pl.col("text").str.slice(0, MAX_CHARS), pl.col("dataset").alias("source"),
        pl.lit("conversation").alias("domain"), "label", pl.max_horizontal("label", "offensive").alias("strict"),
    )  # fmt: skip
    clean, targets = [], []
    for dataset in PACKAGED:
        if dataset.name in CLEAN:
            archive = fetch(dataset.archive, cache_folder())
            texts = pl.concat([dataset.read(archive, snapshot)["text"] for snapshot in dataset.snapshots])
            frame = _unlabelled(texts, dataset.name, dataset.domain)
            clean.append(frame.head(CLEAN[dataset.name]))
            if dataset.name == "boolq":
                targets = frame["text"].slice(CLEAN[dataset.name], TARGET).to_list()
    lines = (data / "corpus/ewt_web/ewt_docs.jsonl").read_text(encoding="utf-8").splitlines()
    clean.append(_unlabelled(pl.Series("text", [json.loads(line)["text"] for line in lines]), "ewt_web", "web"))
    every = pl.concat([known, *clean]).unique("doc_id", keep="first", maintain_order=True)
    if quick:
        every = every.filter(pl.Series(unit_hash(every["doc_id"], SEED + 2) < 0.15))
    return every.sort("doc_id"), pl.Series("text", targets)


def _unlabelled(texts: pl.Series, source: str, domain: str) -> pl.DataFrame:
    frame = texts.alias("text").str.slice(0, MAX_CHARS).to_frame().filter(pl.col("text").str.len_chars() > 40)
    frame = frame.with_columns(text_ids(frame["text"]).alias("doc_id")).unique("doc_id", maintain_order=True)
    nothing = pl.lit(None, dtype=pl.Float64)
    return frame.sort("doc_id").select(
        "doc_id", "text", pl.lit(source).alias("source"), pl.lit(domain).alias("domain"),
        nothing.alias("label"), nothing.alias("strict"),
    )  # fmt: skip


def annotated(docs: pl.DataFrame, vectoriser: VectorModel) -> pl.DataFrame:
    """What the pipeline's annotators say of each document, rules and groups of people included."""
    vectors = vectoriser.transform(docs["text"])
    topics, distance = fit_topics(vectors, docs["text"], 24, SEED).assign(vectors)
    texts = docs.select("doc_id", "text", pl.col("text").str.len_bytes().alias("n_bytes"), "domain")
    rules = quality_rules(texts, AnnotateSettings().quality)
    groups = group_membership(docs.select(pl.col("doc_id").alias("text_id"), "text"))
    markers = dialect(docs["text"])["aae_score"]
    return docs.with_columns(
        pl.lit("all").alias("snapshot"),
        # Four bytes of English a token, about what a tokenizer of 32,000 pieces needs.
        (pl.col("text").str.len_bytes() / 4).ceil().clip(lower_bound=1).cast(pl.Int32).alias("n_tokens"),
        pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])),
        pl.Series("topic", topics, dtype=pl.Int16),
        pl.Series("topic_distance", distance, dtype=pl.Float32),
        *(rules[f"pass_{family}"] for family in FAMILIES),
        pl.Series(f"pass_{WORD_LIST}", passes_word_list(docs["text"], bad_words(cache_folder()))),
        *text_statistics(texts).select("quality", "identity_group").get_columns(),
        *groups.drop("text_id").get_columns(),
        (markers > 0).alias("dialect_aae_any"),
    )


def reward_settings(teachers: str) -> RewardSettings:
    """The demo's reward, or one over three axes of harm."""
    if teachers == "demo":
        return RewardSettings(alignment_features=("vectors", "bias_head"))
    return RewardSettings(
        axes=("toxicity", "bias", "subtle"),
        # A guess, made before any figure was seen: without it the labelled sets' own rates, a third and more, would be
        # taken for the pool's, and hardly a document would be called clean.
        pool_base_rates={"toxicity": 0.1, "bias": 0.1, "subtle": 0.1},
        alignment_datasets=("redditbias", "pyrit_harm", "diasafety"),
        alignment_features=("vectors", "bias_head", "subtle_head"),
    )


def scored(
    which: str, docs: pl.DataFrame, labels: pl.DataFrame, axes: dict[str, str], vectoriser: VectorModel
) -> tuple[pl.DataFrame, RewardModel]:
    """The frame of the table ``pool`` for one set of teachers, and the reward behind it.

    Heads and reward are fitted here, on labels of the roles ``fit`` and ``calibrate``; the audit of the detectors,
    which only sets priors, is left out.
    """
    names, settings = TEACHERS[which], reward_settings(which)
    own = labels.filter(pl.col("role") != "report")
    if which == "demo":
        own = own.filter(pl.col("dataset").is_in(PACKAGED_LABELS))
    every = _detectors(names, own)
    stack = pl.DataFrame(
        {d.name: d.score(own["text"].to_list())[d.heads[0]] for d in every}, schema=dict.fromkeys(names, pl.Float32)
    )
    trained_on = {
        "harm_head": [name for name, axis in axes.items() if axis == "toxicity"],
        "bias_head": [name for name, axis in axes.items() if axis == "bias"],
        "subtle_head": [name for name, axis in axes.items() if axis == "subtle"],
    }
    reward = fit_reward(
        own, stack, vectoriser.transform(own["text"]), settings, SEED,
        trained_on={name: trained_on[name] for name in names if name in trained_on}, dataset_axes=axes,
    )  # fmt: skip
    teachers = teacher_scores(docs.select("doc_id", "text"), every)
    frame = docs.drop("text").with_columns(teachers.drop("doc_id").get_columns())
    return candidates(frame, tuple(names), reward, {}), reward


def _detectors(names: tuple[str, ...], labels: pl.DataFrame) -> list[Any]:
    """The teachers as the stages open them: blind to groups where the settings say so, in windows."""
    from curation_pipeline.annotate.detectors.head import fit_head, head_rows
    from curation_pipeline.annotate.detectors.identity_blind import IdentityBlindDetector
    from curation_pipeline.annotate.detectors.registry import Making, find_detector, load_detector
    from curation_pipeline.annotate.detectors.windows import WindowedDetector
    from curation_pipeline.annotate.identity_terms import without_groups

    settings = AnnotateSettings()
    found = []
    for name in names:
        blind = name in settings.identity_blind
        if name == "alt_profanity":
            folder = Path(tempfile.mkdtemp())
            find_detector(name).make(None, Making(name, folder / name, cache_folder()))
            detector = load_detector(name, settings, folder)
        else:
            rows = head_rows(name, labels, settings.heads)
            texts = without_groups(rows["text"]) if blind else rows["text"]
            groups = rows["group"].fill_null("").to_numpy()
            detector = fit_head(
                name, texts, rows["label"].to_numpy(), rows["dataset"].to_numpy(), groups, SEED, settings.heads, None
            )
            print(f"fitted {name} on {rows.height} texts", flush=True)
        found.append(WindowedDetector(IdentityBlindDetector(detector) if blind else detector))
    return found


def build(data: Path, quick: bool, cache: Path | None) -> tuple[pl.DataFrame, dict[str, pl.DataFrame], pl.Series]:
    """Annotated documents with labels, the pool of each set of teachers in their order, and DSIR's target texts.

    Args:
        data: the folder of the published sets.
        quick: a seventh of the documents and of the labels that are fitted on.
        cache: a folder that keeps the outcome between runs, or None.
    """
    kept = None if cache is None else cache / ("quick" if quick else "full")
    names = ["documents", *TEACHERS, "target"]
    if kept is None or not all((kept / f"{name}.parquet").is_file() for name in names):
        labels, axes = labels_of(data)
        if quick:
            sample = pl.Series(unit_hash(labels["text_id"], SEED + 3) < 0.15)
            labels = labels.filter(sample | (labels["role"] == "report"))
        docs, target = documents(data, labels, quick)
        vectoriser = fit_vectors(docs["text"], SEED)
        docs = annotated(docs, vectoriser)
        print(f"{docs.height} documents annotated", flush=True)
        frames = {"documents": docs, "target": target.to_frame()}
        for which in TEACHERS:
            frames[which], _ = scored(which, docs, labels, axes, vectoriser)
            print(f"{which}: scored", flush=True)
        if kept is None:
            return docs, {which: frames[which] for which in TEACHERS}, target
        kept.mkdir(parents=True, exist_ok=True)
        for name, frame in frames.items():
            frame.write_parquet(kept / f"{name}.parquet")
    read = {name: pl.read_parquet(kept / f"{name}.parquet") for name in names}
    return read["documents"], {which: read[which] for which in TEACHERS}, read["target"]["text"]
