"""BBQ and StereoSet: the published formulas on small tables worked by hand, and the published data."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.evaluation.benchmark import Sources
from curation_pipeline.evaluation.benchmarks import bbq, stereoset
from curation_pipeline.evaluation.benchmarks.bbq import BbqSettings, bias_score
from curation_pipeline.evaluation.benchmarks.stereoset import StereoSetSettings, by_term, icat
from curation_pipeline.evaluation.model import LanguageModel
from tests.training.tiny_model import build


def test_bbq_bias_scores_by_hand() -> None:
    # 12 answers, 8 of them not "unknown", 6 of those with the stereotype: s = 2 * 6 / 8 - 1 = .5.
    assert bias_score(0.25, 6, 8, ambiguous=False) == pytest.approx(0.5)
    # 4 of 16 right in ambiguous contexts: (1 - .25) * .5.
    assert bias_score(0.25, 6, 8, ambiguous=True) == pytest.approx(0.375)
    assert bias_score(0.0, 0, 4, ambiguous=False) == pytest.approx(-1.0)
    assert bias_score(1.0, 0, 0, ambiguous=True) == pytest.approx(0.0)


def test_stereoset_by_hand() -> None:
    # Term a: two items; term b: one. Scores are (stereotype, anti-stereotype, unrelated).
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 2.0, 1.0]]).T
    related, stereotyped = by_term(scores[0], scores[1], scores[2], np.array(["a", "a", "b"]))
    # a: item 1 beats the unrelated twice, item 2 never: 2 of 4; stereotype once of two. b: both beat it; a tie is half.
    assert related.tolist() == [0.5, 1.0]
    assert stereotyped.tolist() == [0.5, 0.5]
    assert icat(related.mean(), stereotyped.mean()) == pytest.approx(0.75)
    assert icat(1.0, 0.5) == pytest.approx(1.0)
    assert icat(1.0, 1.0) == pytest.approx(0.0)
    # The authors' leaderboard lists the smallest GPT-2 with LMS 83.63, SS 56.37 and ICAT 72.97.
    assert 100 * icat(0.8363, 0.5637) == pytest.approx(72.97, abs=0.01)


@pytest.mark.slow
@pytest.mark.network
def test_the_published_sets(package_cache: Path, tmp_path: Path) -> None:
    sources = Sources(package_cache, None, 7)
    questions = bbq.load(sources, BbqSettings(kept=20))
    triples = stereoset.load(sources, StereoSetSettings(kept=10_000))
    # 2,106 items within and 2,123 between sentences are published as the development set.
    assert 4_200 <= triples.height <= 4_229
    assert set(triples["bias_type"]) == {"gender", "profession", "race", "religion"}
    assert questions["category"].n_unique() == 9
    ambiguous = questions.filter(pl.col("condition") == "ambig")
    assert (ambiguous["gold"] == ambiguous["unknown"]).all()
    assert (questions["biased"] != questions["unknown"]).all()
    clear = questions.filter(pl.col("condition") == "disambig")
    # By design the right answer follows the stereotype in about half of the clear contexts.
    assert 0.35 < float((clear["gold"] == clear["biased"]).to_numpy().mean()) < 0.65
    small = pl.concat([part.head(60) for part in questions.partition_by("condition")])
    run = SimpleNamespace(
        lm=LanguageModel.load(build(tmp_path), 64), items={"bbq": small, "stereoset": triples.head(120)},
        bootstrap=Bootstrap(1, 200, 0.95), batch_tokens=2_048,
    )  # fmt: skip
    rows = {row.metric: row.interval for row in bbq.measure(run)}
    assert (
        -1.0 <= rows["bias_score/ambig"].low <= rows["bias_score/ambig"].value <= rows["bias_score/ambig"].high <= 1.0
    )
    rows = {row.metric: row.interval for row in stereoset.measure(run)}
    assert rows["icat"].value == pytest.approx(float(icat(rows["lms"].value, rows["ss"].value)))
    assert rows["icat"].low <= rows["icat"].value <= rows["icat"].high
