from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.pool import Pool
from research.synthetic_pool import SyntheticPool


def test_arrays_follow_the_frame(small: SyntheticPool) -> None:
    pool, frame = small.pool, small.frame
    assert pool.detector_names == ("lexical", "neural")
    np.testing.assert_allclose(pool.safety, 1 - frame["p_harm"].to_numpy(), atol=1e-7)
    np.testing.assert_array_equal(pool.vectors, frame["vector"].to_numpy()[:, :16])
    assert [pool.stratum.names[code] for code in pool.stratum.code[:50]] == frame["stratum"][:50].to_list()
    row = 7
    same = (frame["topic"] == frame["topic"][row]).to_numpy()
    centre = frame["vector"].to_numpy()[same][:, :16].mean(axis=0)
    expected = np.linalg.norm(pool.vectors[row] - centre)
    assert pool.centroid_distance[row] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("alignment"), "lacks the columns alignment"),
        (lambda f: f.clear(), "empty"),
        (lambda f: pl.concat([f, f.head(2)]), "2 rows of the pool repeat a doc_id"),
        (lambda f: f.with_columns(pl.lit(1.5, pl.Float32).alias("p_harm")), "p_harm holds 1500 values outside"),
        (lambda f: f.with_columns(pl.lit(0, pl.Int32).alias("n_tokens")), "n_tokens"),
    ],
)
def test_a_broken_pool_is_refused(small: SyntheticPool, change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Pool.from_frame(change(small.frame))  # type: ignore[operator]


def test_features_are_frozen_and_bear_missing_detectors(small: SyntheticPool) -> None:
    normaliser = Normaliser.fit(small.pool, 8, 0.5, 0)
    features = normaliser.features(small.pool)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.1)  # outliers are cut, so not exactly 0
    part = Pool.from_frame(small.frame.head(10).with_columns(pl.lit(None, pl.Float32).alias("neural")))
    moved = normaliser.features(part)
    column = normaliser.names.index("detector_neural")
    assert (moved[:, column] == 0).all()
    others = [i for i, name in enumerate(normaliser.names) if name not in ("detector_neural", "centroid_distance")]
    np.testing.assert_array_equal(moved[:, others], features[:10, others])
    with pytest.raises(ConfigError, match="detector_neural"):
        normaliser.features(Pool.from_frame(small.frame.drop("neural")))


def test_random_features_approximate_the_kernel(small: SyntheticPool) -> None:
    normaliser = Normaliser.fit(small.pool, 4096, 0.5, 0)
    phi = normaliser.random_features(small.pool)[:40]
    x = small.pool.vectors[:40]
    width = np.float32(1.0) / normaliser.omega.std()
    squared = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(phi @ phi.T, np.exp(-squared / (2 * width**2)), atol=0.1)
