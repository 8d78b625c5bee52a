from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.credit.mixtures import INCLUSION, composition, draw, probe_mixtures
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import fit_credit, moved
from curation_pipeline.errors import DataError
from curation_pipeline.lake.keyed import shards_of, write_keyed
from curation_pipeline.policy.candidates import EVERY
from curation_pipeline.policy.closed_form import closed_form_rule
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.problem import ConstraintDuals, Marginal, prepare
from curation_pipeline.policy.scoring import scores_by
from curation_pipeline.policy.selection_state import SelectionState
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.policy.traits import trait_credit, trait_frame, trait_scale, traits_of
from curation_pipeline.reward.credit import CLIP, DownstreamCredit
from curation_pipeline.reward.traits import TraitScale
from curation_pipeline.selection.draw import decision_rows
from curation_pipeline.selection.stream import decide_pool
from research.synthetic_pool import SyntheticPool, synthetic_pool


@pytest.fixture(scope="module")
def pool() -> SyntheticPool:
    return synthetic_pool(6, 2_000)


def _credit(pool: SyntheticPool, wanted: str, seed: int = 0) -> DownstreamCredit:
    """Credit where P rises with a batch's mean of one trait and with nothing else."""
    scale = trait_scale(pool.pool)
    traits = trait_frame(pool.pool, scale)
    frame = pool.frame.select("doc_id", "stratum", "n_tokens").hstack(traits)
    rows = []
    for mixture in probe_mixtures(frame, 40, seed, None, CreditSettings(), tuple(traits.columns)):
        drawn = draw(frame, mixture, pool.budget_tokens, seed)
        mass = np.zeros(len(pool.pool))
        mass[drawn] = pool.pool.n_tokens[drawn]
        means = (mass @ traits.to_numpy() / mass.sum()).tolist()
        rows.append(
            {
                "base": "one",
                "strata": list(mixture.strata),
                "shares": composition(pool.frame, mixture.strata, (mass > 0).astype(float)).tolist(),
                "performance": 0.5 + 0.1 * means[traits.columns.index(wanted)],
                "traits": traits.columns,
                "trait_means": means,
            }
        )
    strata = tuple(sorted(set(pool.frame["stratum"])))
    here = composition(pool.frame, strata)
    values = traits.to_numpy()
    return fit_credit(pl.DataFrame(rows), strata, here, np.zeros(40), CreditSettings(), here, scale, values)


def test_a_planted_trait_is_found(pool: SyntheticPool) -> None:
    credit = _credit(pool, "trait_quality")
    assert credit.r2 > 0.9
    assert int(np.argmax(np.abs(credit.slope))) == credit.traits.names.index("trait_quality")
    traits = traits_of(pool.pool)
    whole = credit.documents(traits) + credit.at()[pool.pool.stratum.code]
    assert np.corrcoef(whole, traits["trait_quality"])[0, 1] > 0.9
    assert np.abs(credit.documents(traits)).max() <= CLIP
    again = DownstreamCredit.from_json(json.loads(json.dumps(credit.to_json())))
    np.testing.assert_array_equal(again.documents(traits), credit.documents(traits))
    with pytest.raises(DataError, match="trait_quality"):
        credit.documents({name: value for name, value in traits.items() if name != "trait_quality"})


def test_a_step_lies_between_the_last_credit_and_the_new(pool: SyntheticPool) -> None:
    last, new = _credit(pool, "trait_quality"), _credit(pool, "trait_log_tokens")
    traits = traits_of(pool.pool)

    def against(credit: DownstreamCredit, name: str) -> float:
        return float(np.corrcoef(credit.documents(traits), traits[name])[0, 1])

    half = moved(last, new, 0.5)
    assert against(half, "trait_quality") > against(new, "trait_quality") + 0.3
    assert against(half, "trait_log_tokens") > against(last, "trait_log_tokens") + 0.3
    assert moved(None, new, 0.5) is new
    np.testing.assert_allclose(moved(last, new, 1.0).at(), new.at(), atol=1e-9)


def test_reward_takes_up_what_traits_are_credited_with(pool: SyntheticPool) -> None:
    credit = _credit(pool, "trait_quality")
    objective = Objective(0.3, 0.1, 0.6, 0.15, credit, pool.budget_tokens)
    settings = PolicySettings()
    normaliser = Normaliser.fit(pool.pool, settings.random_features, settings.novelty_bandwidth, 0)

    def marginal(credit: DownstreamCredit) -> Marginal:
        problem = prepare(pool.pool, replace(objective, credit=credit), normaliser, settings)
        statistics = problem.candidates.statistics
        found = problem.marginal_gain(SelectionState(statistics, statistics.budget), EVERY, ConstraintDuals())
        return replace(found, gain=found.gain + problem.scale.reference)

    with_traits, without = marginal(credit), marginal(replace(credit, traits=TraitScale(), slope=np.empty(0)))
    own = credit.documents(traits_of(pool.pool))
    np.testing.assert_allclose(with_traits.gain - without.gain, 0.15 * own, atol=1e-9)
    seen = with_traits.features.stratum_credit - without.features.stratum_credit
    np.testing.assert_allclose(seen, own, atol=1e-9)


def test_a_part_of_a_pool_is_credited_as_in_the_whole(pool: SyntheticPool) -> None:
    credit = _credit(pool, "trait_quality")
    whole = trait_credit(pool.pool, credit)
    rows = np.flatnonzero(pool.pool.quality > np.median(pool.pool.quality))
    np.testing.assert_array_equal(trait_credit(pool.pool.take(rows), credit), whole[rows])


def test_a_file_is_decided_as_in_memory_with_a_credit_of_traits(pool: SyntheticPool, tmp_path: Path) -> None:
    credit = _credit(pool, "trait_quality")
    goal = Objective(0.3, 0.1, 0.6, 0.15, credit, pool.budget_tokens)
    rule = closed_form_rule(pool.pool, PolicySettings(), 0)
    write_keyed(pool.frame, tmp_path / "data.parquet")
    decided = decide_pool(shards_of([tmp_path / "data.parquet"], 700), rule, goal, 3, tmp_path)
    table = pl.concat([decision_rows(rows["doc_id"], said, drawn) for rows, said, drawn in decided.parts(["doc_id"])])
    scores = scores_by(rule, pool.pool, goal)
    memory = pool.frame.select("doc_id").with_columns(pl.Series("memory", scores.probability))
    both = table.join(memory, on="doc_id")
    assert both.height == len(pool.pool)
    # The last bits of float32 products differ, and the best response is nearly a step.
    np.testing.assert_allclose(both["probability"], both["memory"], atol=1e-3)
    without = scores_by(rule, pool.pool, replace(goal, credit=None)).probability
    assert np.abs(without - scores.probability).mean() > 0.05


def test_probes_stay_near_the_policy(pool: SyntheticPool) -> None:
    """With its own probabilities a policy's choice inside a stratum is kept; a stratum's mean would lose it."""
    safe = pool.pool.p_harm < np.median(pool.pool.p_harm)
    probability = np.where(safe, 0.4, 0.0)
    frame = pool.frame.select("doc_id", "stratum", "n_tokens")

    def kept(table: pl.DataFrame, around: np.ndarray | None) -> float:
        rows = [draw(table, m, pool.budget_tokens, 0) for m in probe_mixtures(table, 4, 1, around)]
        return float(np.mean([safe[row].mean() for row in rows]))

    near = kept(frame.with_columns(pl.Series(INCLUSION, probability)), None)
    assert near > 0.9
    assert near > kept(frame, probability) + 0.02
