from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curation_pipeline.credit.mixtures import composition, draw, factors, probe_mixtures
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import fit_credit
from curation_pipeline.errors import DataError

SETTINGS = CreditSettings(n_probes_first=24)


def _pool(n: int = 4_000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    topic, toxic = rng.integers(0, 6, n), rng.choice(3, n, p=[0.6, 0.25, 0.15])
    group = rng.choice(["none", "gender", "race"], n, p=[0.8, 0.1, 0.1])
    return pl.DataFrame(
        {
            "doc_id": [rng.bytes(16).hex() for _ in range(n)],
            "n_tokens": rng.integers(5, 120, n).astype(np.int32),
            "stratum": [f"t{t}|b{b}|{g}" for t, b, g in zip(topic, toxic, group, strict=True)],
        }
    )


def _outcomes(pool: pl.DataFrame, n: int, seed: int, score: object = None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    mixtures = probe_mixtures(pool, n, seed)
    strata = mixtures[0].strata
    shares = [composition(pool[draw(pool, mixture, 20_000, seed)], strata) for mixture in mixtures]
    # The planted truth: toxic bins hurt in steps, topic 2 helps, gender helps a little.
    effect = np.array(
        [-0.5 * int(b[1:]) + 0.6 * (t == "t2") + 0.3 * (g == "gender") for t, b, g in map(factors, strata)]
    )
    truth = np.array([share @ effect for share in shares])
    values = rng.normal(0.5, 0.1, n) if score == "noise" else 0.5 + 0.2 * truth + rng.normal(0, 0.004, n)
    frame = pl.DataFrame(
        {
            "base": ["m0"] * n,
            "strata": [list(strata)] * n,
            "shares": [share.tolist() for share in shares],
            "performance": values,
        }
    )
    return frame, strata


def test_a_planted_truth_is_found() -> None:
    pool = _pool()
    outcomes, strata = _outcomes(pool, 24, seed=3)
    credit = fit_credit(outcomes, strata, composition(pool, strata), np.zeros(24), SETTINGS)
    assert credit.r2 > 0.7
    value = dict(zip(strata, credit.at(), strict=True))
    assert value["t0|b0|none"] > value["t0|b1|none"] > value["t0|b2|none"]
    assert value["t2|b0|none"] > value["t1|b0|none"] + 0.2
    assert value["t0|b2|none"] < 0 < value["t2|b0|none"]
    assert credit.n_probes == 24


def test_noise_gives_no_credit() -> None:
    pool = _pool()
    found = []
    for seed in range(12):
        outcomes, strata = _outcomes(pool, 18, seed, score="noise")
        found.append(fit_credit(outcomes, strata, composition(pool, strata), np.zeros(18), SETTINGS).r2)
    assert np.mean(found) < 0.12
    assert np.median(found) < 0.02


def test_another_base_shifts_the_level_and_not_the_credit() -> None:
    pool = _pool()
    outcomes, strata = _outcomes(pool, 24, seed=3)
    shifted = outcomes.with_columns(
        pl.when(pl.int_range(pl.len()) < 12).then(pl.lit("m1")).otherwise("base").alias("base"),
        pl.when(pl.int_range(pl.len()) < 12)
        .then(pl.col("performance") + 5)
        .otherwise("performance")
        .alias("performance"),
    )
    ages, here = np.zeros(24), composition(pool, strata)
    plain, other = (fit_credit(frame, strata, here, ages, SETTINGS) for frame in (outcomes, shifted))
    assert np.corrcoef(plain.at(), other.at())[0, 1] > 0.95


def test_probes_of_a_pool_with_other_strata_still_count() -> None:
    pool = _pool()
    outcomes, strata = _outcomes(pool, 24, seed=3)
    fewer = (*(name for name in strata if "race" not in name), "t9|b0|none")
    here = np.full(len(fewer), 1 / len(fewer))
    credit = fit_credit(outcomes, fewer, here, np.zeros(24), SETTINGS)
    assert credit.strata == fewer
    assert credit.r2 > 0.3


def test_too_few_or_too_old_probes_give_none() -> None:
    pool = _pool()
    outcomes, strata = _outcomes(pool, 8, seed=1)
    here = composition(pool, strata)
    assert not fit_credit(outcomes[:4], strata, here, np.zeros(4), SETTINGS).at().any()
    assert not fit_credit(outcomes, strata, here, np.full(8, 50), SETTINGS).at().any()
    with pytest.raises(DataError, match="ages"):
        fit_credit(outcomes, strata, here, np.zeros(3), SETTINGS)


def test_a_draw_meets_its_budget_and_shares_its_random_numbers() -> None:
    pool = _pool()
    mixtures = probe_mixtures(pool, 6, seed=2)
    drawn = [draw(pool, mixture, 15_000, seed=4) for mixture in mixtures]
    for rows in drawn:
        assert np.unique(rows).size == rows.size
        assert 15_000 <= pool["n_tokens"].to_numpy()[rows].sum() < 15_000 + 120
    np.testing.assert_array_equal(drawn[0], draw(pool, mixtures[0], 15_000, seed=4))
    # Two tilts under one seed overlap more than one tilt under two seeds.
    common = np.intersect1d(drawn[0], drawn[2]).size
    fresh = np.intersect1d(drawn[0], draw(pool, mixtures[2], 15_000, seed=5)).size
    assert common > fresh
    tilted = composition(pool[drawn[0]], mixtures[0].strata) / composition(pool, mixtures[0].strata)
    assert np.corrcoef(np.log(tilted + 1e-3), np.log(mixtures[0].weight))[0, 1] > 0.5


def test_tilts_follow_the_policy() -> None:
    pool = _pool()
    clean = pool["stratum"].str.contains("|b0|", literal=True).to_numpy()
    around = np.where(clean, 0.5, 0.001)
    shares = [
        sum(
            share
            for name, share in zip(m.strata, composition(pool[draw(pool, m, 15_000, 0)], m.strata), strict=True)
            if "|b0|" in name
        )
        for m in probe_mixtures(pool, 4, seed=1, around=around)
    ]
    assert min(shares) > 0.5
    with pytest.raises(DataError, match="inclusion probabilities"):
        probe_mixtures(pool, 2, seed=1, around=np.zeros(pool.height))
