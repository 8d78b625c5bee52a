"""The audit: drawn at known probability, and its labels bring P(harm) back to the truth, stratum by stratum."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from curation_pipeline.errors import DataError
from curation_pipeline.reward.audit_design import STRATA, draw_audit, inclusion_probabilities, thinned
from curation_pipeline.reward.recalibrate import as_corrections, recalibrate
from curation_pipeline.reward.refinement_settings import AuditSettings

TEACHERS = ("first", "second")


def make_pool(seed: int, bias: float = 1.0, n: int = 6_000) -> pl.DataFrame:
    """A pool whose true P(harm) differs from the detectors' by source and by group."""
    rng = np.random.default_rng(seed)
    source = rng.choice(["wiki", "forum", "court"], n, p=[0.6, 0.35, 0.05])
    group = rng.choice(["none", "gender", "religion"], n, p=[0.8, 0.15, 0.05])
    p = expit(rng.normal(-2.0, 1.5, n))
    shift = bias * (1.2 * (source == "forum") - 1.5 * (group == "gender"))
    truth = expit(logit(p) + shift)
    # The teachers disagree most where harm is likely: disagreement sampling favours harmful documents.
    spread = 0.5 * truth * rng.random(n)
    return pl.DataFrame(
        {
            "doc_id": [f"{seed:08x}{i:024x}" for i in range(n)],
            "source": source,
            "identity_group": group,
            "p_harm": p,
            "first": np.clip(p + spread, 0, 1),
            "second": np.clip(p - spread, 0, 1),
            "truth": truth,
            "label": (rng.random(n) < truth).astype(float),
        }
    )


@given(st.integers(0, 10_000), st.floats(0, 0.9), st.integers(10, 400))
@hypothesis_settings(max_examples=20)
def test_every_document_can_be_drawn_and_strata_have_their_floor(seed: int, share: float, size: int) -> None:
    pool = make_pool(seed, n=1_500)
    settings = AuditSettings(documents=size, disagreement=share, floor=5)
    pi = inclusion_probabilities(pool, TEACHERS, settings)
    assert pi.min() > 0
    assert pi.max() <= 1
    for column in STRATA:
        for value in pool[column].unique():
            inside = (pool[column] == value).to_numpy()
            assert pi[inside].sum() >= min(5, inside.sum()) - 1e-6
    drawn = draw_audit(pool, TEACHERS, settings, seed)
    assert drawn.height <= pi.sum() + 6 * np.sqrt(pi.sum()) + 1
    again = draw_audit(pool.sample(fraction=1, shuffle=True, seed=3), TEACHERS, settings, seed)
    assert again["doc_id"].equals(drawn["doc_id"]), "the draw does not depend on the order of the pool"


def test_inclusion_probabilities_are_those_of_the_draw() -> None:
    pool = make_pool(1, n=300)
    settings = AuditSettings(documents=60)
    counts = np.zeros(300)
    place = {doc_id: i for i, doc_id in enumerate(pool["doc_id"])}
    for seed in range(400):
        counts[[place[doc_id] for doc_id in draw_audit(pool, TEACHERS, settings, seed)["doc_id"]]] += 1
    pi = inclusion_probabilities(pool, TEACHERS, settings)
    z = (counts / 400 - pi) / np.sqrt(pi * (1 - pi) / 400 + 1e-9)
    assert np.abs(z).max() < 4.5
    assert abs(z.mean()) < 0.3


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_corrected_probabilities_are_calibrated_in_every_stratum(share: float) -> None:
    """Over repeated draws: unbiased on the whole pool, within sampling error in each, also where the design leans."""
    settings = AuditSettings(documents=1_200, disagreement=share, prior_sd=10.0)
    errors: dict[tuple[str, str], list[float]] = {}
    raw: dict[tuple[str, str], float] = {}
    naive: list[float] = []
    for seed in range(12):
        pool = make_pool(seed)
        audit = draw_audit(pool, TEACHERS, settings, seed)
        corrected = as_corrections(recalibrate(audit, settings)).apply(pool["p_harm"].to_numpy(), pool)
        naive.append(float(audit["label"].to_numpy().mean() - pool["truth"].to_numpy().mean()))
        for column in STRATA:
            for value in pool[column].unique().sort():
                inside = (pool[column] == value).to_numpy()
                truth = float(pool["truth"].to_numpy()[inside].mean())
                errors.setdefault((column, value), []).append(float(corrected[inside].mean()) - truth)
                raw[column, value] = float(pool["p_harm"].to_numpy()[inside].mean()) - truth
    assert abs(raw["source", "forum"]) > 0.1, "the detectors are far off before"
    for key, values in errors.items():
        spread = np.std(values, ddof=1)
        assert abs(np.mean(values)) < 3.5 * spread / np.sqrt(len(values)) + 0.004, (key, np.mean(values), spread)
        assert spread < 0.12, key
    if share:
        assert np.mean(naive) > 0.05, "the design does favour harmful documents: unweighted labels mislead"


def test_intervals_cover_the_true_shift() -> None:
    settings = AuditSettings(documents=500, prior_sd=10.0)
    covered = []
    for seed in range(30):
        audit = draw_audit(make_pool(seed), TEACHERS, settings, seed)
        true = {"forum": 1.2, "wiki": 0.0, "gender": -1.5, "none": 0.0}
        found = {entry.value: entry for entry in recalibrate(audit, settings)}
        # Only contrasts are identified: a constant may go to the sources or to the groups.
        for a, b in (("forum", "wiki"), ("gender", "none")):
            half = np.hypot(found[a].high - found[a].shift, found[b].high - found[b].shift)
            covered.append(abs((found[a].shift - found[b].shift) - (true[a] - true[b])) <= half)
    assert np.mean(covered) >= 0.9


def test_few_labels_move_little_and_none_move_nothing() -> None:
    pool = make_pool(3)
    settings = AuditSettings(documents=40, prior_sd=0.5)
    few = recalibrate(draw_audit(pool, TEACHERS, settings, 1), settings)
    many = recalibrate(draw_audit(pool, TEACHERS, AuditSettings(documents=2_000), 1), settings)
    shift = {entry.value: entry.shift for entry in many}
    assert shift["forum"] > 0.5 > 0 > shift["gender"]
    assert max(abs(entry.shift) for entry in few) < shift["forum"]
    reason = next(entry.reason for entry in many if entry.value == "gender")
    assert "see harm where there is none" in reason
    assert recalibrate(pool.clear(), settings) == []
    with pytest.raises(DataError, match=r"probabilities in \(0, 1\]"):
        recalibrate(pool.head(20).with_columns(probability=0.0), settings)


def test_an_expert_never_sees_more_than_its_share_and_speaks_for_the_pool() -> None:
    pool = make_pool(5, n=2_000)
    settings = AuditSettings(documents=80, disagreement=0.5)
    totals = []
    for seed in range(300):
        asked = thinned(draw_audit(pool, TEACHERS, settings, seed), 20, seed)
        assert asked.height <= 20
        totals.append(float((1.0 / asked["probability"]).sum()))
    assert np.mean(totals) == pytest.approx(pool.height, rel=0.05), "Horvitz and Thompson's count of the pool"
    few = draw_audit(pool, TEACHERS, settings, 0)
    assert thinned(few, few.height, 0).equals(few)
    assert thinned(few, 0, 0).is_empty()
