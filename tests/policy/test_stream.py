from __future__ import annotations

import random
import re
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curation_pipeline.policy
import curation_pipeline.reward
from curation_pipeline.engine.settings import ONE_PROCESS, EngineSettings
from curation_pipeline.lake.keyed import Shard, shards_of, write_keyed
from curation_pipeline.policy import stream_sample
from curation_pipeline.policy.artefact import ScoringPolicy, load_policy, save_policy
from curation_pipeline.policy.closed_form import closed_form_rule
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.keep_logits import BudgetShift, KeepHistogram, KeepLogits
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.pool_statistics import composition_of, merged
from curation_pipeline.policy.problem import ConstraintDuals, observation_names
from curation_pipeline.policy.scoring import DecisionRule, frozen_on, policy_rule, score_pool, scores_at, scores_by
from curation_pipeline.selection.draw import decision_rows, draw
from curation_pipeline.selection.stream import Decided, decide_pool
from curation_pipeline.selection.stream_tables import COLUMNS, DrawTables
from research.synthetic_pool import SyntheticPool, synthetic_pool

from .conftest import SMALL, objective


def effective_share(weight: np.ndarray, tokens: np.ndarray, probability: np.ndarray | float = 1.0) -> float:
    """Kish's effective tokens over the tokens: (sum w t)^2 / (sum w^2 t sum t)."""
    mass = probability * tokens
    return float(mass @ weight) ** 2 / float(mass @ weight.astype(np.float64) ** 2) / float(mass.sum())


def untrained(pool: Pool) -> ScoringPolicy:
    """A network of random weights: it decides differently on every document, which is all that is asked of it here."""
    normaliser = Normaliser.fit(pool, SMALL.random_features, 0.5, 0)
    names = observation_names(normaliser.names)
    rng = np.random.default_rng(0)
    network: dict[str, np.ndarray] = {}
    for layer, (inputs, units) in enumerate(zip((len(names), *SMALL.net_arch), SMALL.net_arch, strict=False)):
        network[f"mlp_extractor.policy_net.{2 * layer}.weight"] = rng.standard_normal((units, inputs)) / inputs**0.5
        network[f"mlp_extractor.policy_net.{2 * layer}.bias"] = np.zeros(units)
    network["action_net.weight"] = rng.standard_normal((len(SMALL.weights), SMALL.net_arch[-1]))
    network["action_net.bias"] = np.zeros(len(SMALL.weights))
    network = {name: value.astype(np.float32) for name, value in network.items()}
    return ScoringPolicy(network, normaliser, SMALL, names, 1.0, ConstraintDuals(0.1), {})


@pytest.fixture(scope="module")
def made() -> SyntheticPool:
    return synthetic_pool(7, 3_000)


@pytest.fixture(scope="module")
def policy(made: SyntheticPool) -> ScoringPolicy:
    return untrained(made.pool)


@pytest.fixture(scope="module")
def file(made: SyntheticPool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "data.parquet"
    write_keyed(made.frame, path)
    return path


def table(decided: Decided) -> pl.DataFrame:
    """All decisions, by doc_id."""
    rows = [decision_rows(found["doc_id"], scores, drawn) for found, scores, drawn in decided.parts(["doc_id"])]
    return pl.concat(rows).sort("doc_id")


@given(cuts=st.lists(st.integers(1, 2_999), max_size=5, unique=True), rng=st.randoms(use_true_random=False))
@settings(max_examples=6, deadline=None)
def test_the_order_of_shards_changes_no_byte(
    file: Path, made: SyntheticPool, policy: ScoringPolicy, cuts: list[int], rng: random.Random
) -> None:
    goal, rule = objective(made.budget_tokens), policy_rule(policy)
    shards = [Shard(file, a, b - a) for a, b in pairwise([0, *sorted(cuts), 3_000])]
    with tempfile.TemporaryDirectory() as folder:
        expected = table(decide_pool(shards, rule, goal, 3, Path(folder)))
        rng.shuffle(shards)
        decided = decide_pool(shards, rule, goal, 3, Path(folder))
        assert table(decided).equals(expected)


@pytest.mark.parametrize("sampled", [False, True])
def test_a_file_is_decided_as_in_memory_within_the_budget(
    file: Path,
    made: SyntheticPool,
    policy: ScoringPolicy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sampled: bool,
) -> None:
    if sampled:
        monkeypatch.setattr(stream_sample, "SAMPLE", 600)
    budget, pool = made.budget_tokens, made.pool
    decided = table(decide_pool(shards_of([file], 700), policy_rule(policy), objective(budget), 3, tmp_path))
    scores = score_pool(policy, pool, objective(budget), budget)
    drawn = draw(pool.doc_id, scores.probability, scores.weight, pool.n_tokens, budget, 3)
    memory = decision_rows(pool.doc_id, scores, drawn).sort("doc_id")
    # The last bits of float32 products differ, so a log-odds may differ by a step of 1/4096.
    np.testing.assert_allclose(decided["probability"], memory["probability"], atol=1e-4)
    assert (decided["drawn"] != memory["drawn"]).sum() <= 3
    tokens = decided.filter("drawn").join(made.frame, on="doc_id")["n_tokens"].sum()
    assert budget - pool.n_tokens.max() < tokens <= budget
    assert decided["probability"].to_numpy() @ made.frame.sort("doc_id")["n_tokens"].to_numpy() == pytest.approx(
        budget, rel=1e-9
    )


@pytest.mark.slow
def test_workers_change_no_byte(file: Path, made: SyntheticPool, policy: ScoringPolicy, tmp_path: Path) -> None:
    goal = objective(made.budget_tokens)
    one, two = (
        table(decide_pool(shards_of([file], 800), policy_rule(policy), goal, 3, tmp_path, engine))
        for engine in (ONE_PROCESS, EngineSettings(workers=2))
    )
    assert one.equals(two)


@pytest.mark.parametrize("control", [False, True])
def test_the_state_of_a_sample_decides_like_that_of_the_whole_pool(
    made: SyntheticPool, policy: ScoringPolicy, monkeypatch: pytest.MonkeyPatch, control: bool
) -> None:
    pool = synthetic_pool(31, 6_000).pool
    goal = objective(pool.total_tokens // 5)
    rule: DecisionRule = closed_form_rule(pool, SMALL, 0, policy) if control else policy_rule(policy)
    whole = scores_by(rule, pool, goal)
    state = frozen_on(rule, pool, goal)
    candidates = state.problem.candidates
    np.testing.assert_allclose(scores_at(state).probability, whole.probability, atol=2e-3)
    monkeypatch.setattr(stream_sample, "SAMPLE", 2_000)
    part = scores_by(rule, pool, goal)
    # The softened argmax is nearly a step: its margin moves with the sampling error of the state, as 1 / sqrt(n).
    moved = np.abs(part.probability - whole.probability) @ pool.n_tokens / goal.budget_tokens
    assert moved < (0.15 if control else 0.02)
    # Multipliers of the floors are found on the sample: in the pool they hold up to its error, here of a few dozen
    # documents of a group.
    mass = part.probability * pool.n_tokens / goal.budget_tokens
    assert (mass @ candidates.floor_counts > 0.75 * candidates.statistics.least).all()
    assert mass @ pool.p_harm < 1.03 * SMALL.toxicity_ceiling


def test_the_sample_stands_for_the_pool_exactly(made: SyntheticPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_sample, "SAMPLE", 500)
    pool = made.pool
    composition = composition_of(pool)
    rows, times = stream_sample.sample_rows(stream_sample.key_columns(pool), composition)
    assert 500 < len(rows) < 2_000
    tokens = pool.n_tokens[rows] * times
    for axis, codes in pool.columns.items():
        share = np.bincount(codes.code[rows], weights=tokens, minlength=len(codes.names)) / pool.total_tokens
        np.testing.assert_allclose(share, codes.shares(pool.n_tokens.astype(np.float64)), atol=1e-12, err_msg=axis)
    # Candidates of parts hold the whole sample.
    parts = [pool.take(slice(a, a + 1_000)) for a in range(0, 3_000, 1_000)]
    found = pl.concat([stream_sample.key_columns(p)[stream_sample.sample_candidates(p, 3_000)] for p in parts])
    again, times_again = stream_sample.sample_rows(found, composition)
    assert found["doc_id"][again].to_list() == pool.doc_id[rows].to_list()
    np.testing.assert_array_equal(times, times_again)
    assert merged(composition_of(p) for p in reversed(parts)).equals(composition)


def test_histograms_of_parts_cut_like_the_whole() -> None:
    rng = np.random.default_rng(0)
    kept = KeepLogits.of(rng.normal(0, 6, 5_000), rng.uniform(0.5, 2, 5_000))
    tokens = rng.integers(1, 900, 5_000)
    parts = [KeepLogits(kept.odds[i::3], kept.weight[i::3]).histogram(tokens[i::3]) for i in (2, 0, 1)]
    merged_parts = KeepHistogram.merge(parts)
    budget = int(tokens.sum() // 7)
    shift = BudgetShift.of(merged_parts, budget)
    assert shift == BudgetShift.of(kept.histogram(tokens), budget)
    probability = shift.probability(kept)
    assert probability @ tokens == pytest.approx(budget, rel=1e-9)
    assert (probability * shift.weight(kept)) @ tokens == pytest.approx(budget, rel=1e-6)
    assert (BudgetShift.of(merged_parts, 2 * int(tokens.sum())).probability(kept) == 1).all()
    # Weights from .5 to 2 are left alone at the default; a higher floor pulls them just far enough.
    assert BudgetShift.of(merged_parts, budget, 0.5) == shift
    held = BudgetShift.of(merged_parts, budget, 0.95)
    assert effective_share(shift.weight(kept), tokens, probability) < 0.94
    assert effective_share(held.weight(kept), tokens, probability) == pytest.approx(0.95, rel=1e-4)
    assert (probability * held.weight(kept)) @ tokens == pytest.approx(budget, rel=1e-6)


def test_log_odds_of_a_sure_policy_are_not_cut() -> None:
    """All at -200 or below but for a few steps: the shift of the budget tells them apart nevertheless."""
    odds = np.linspace(-230, -200, 1_000)
    kept = KeepLogits.of(odds, np.ones(1_000))
    tokens = np.ones(1_000, np.int64)
    probability = BudgetShift.of(kept.histogram(tokens), 100).probability(kept)
    assert probability.sum() == pytest.approx(100, rel=1e-9)
    assert probability[:800].sum() < 5


def test_predicted_inclusion_is_realised(made: SyntheticPool, policy: ScoringPolicy) -> None:
    """By tenths of the documents in order of p, over many draws: the error of calibration is below .01."""
    pool, draws = made.pool, 300
    scores = score_pool(policy, pool, objective(1), made.budget_tokens)
    drawn = np.zeros(len(pool))
    for seed in range(draws):
        drawn += draw(pool.doc_id, scores.probability, scores.weight, pool.n_tokens, made.budget_tokens, seed).drawn
    bins = np.array_split(np.argsort(scores.probability), 10)
    error = [abs(float((drawn / draws)[rows].mean() - scores.probability[rows].mean())) for rows in bins]
    assert np.mean(error) < 0.01
    assert max(error) < 0.02


def test_figures_of_a_batch_follow_from_its_tables(
    file: Path, made: SyntheticPool, policy: ScoringPolicy, tmp_path: Path
) -> None:
    decisions: list[pl.DataFrame] = []
    batch: list[pl.DataFrame] = []
    tables = DrawTables(decisions.append, batch.append)
    decided = decide_pool(shards_of([file], 900), policy_rule(policy), objective(made.budget_tokens), 3, tmp_path)
    tables.extend(decided.parts(COLUMNS))
    found = tables.summary(made.budget_tokens)
    chosen = pl.concat(decisions).filter("drawn").join(made.frame, on="doc_id", maintain_order="left")
    kept = pl.concat(batch)
    assert kept["doc_id"].to_list() == chosen["doc_id"].to_list()
    assert found["tokens"] == chosen["n_tokens"].sum() == kept["n_tokens"].sum()
    assert found["documents"] == chosen.height
    weight = chosen["weight"].to_numpy().astype(np.float64)
    size = chosen["n_tokens"].to_numpy()
    assert found["effective_token_share"] == pytest.approx(effective_share(weight, size), abs=1e-4)
    assert found["effective_documents"] == pytest.approx((weight @ size) ** 2 / ((weight * size) ** 2).sum(), abs=0.1)
    harm = np.average(chosen["p_harm"].to_numpy(), weights=chosen["n_tokens"].to_numpy())
    assert found["mean_p_harm"] == pytest.approx(harm, abs=1e-4)
    tokens = chosen["n_tokens"].to_numpy()
    religion = tokens[(chosen["identity_group"] == "religion").to_numpy()].sum() / tokens.sum()
    shares = found["token_share_by_identity_group"]
    assert isinstance(shares, dict)
    assert shares["batch"]["religion"] == pytest.approx(religion, abs=1e-4)
    assert sum(shares["pool"].values()) == pytest.approx(1.0, abs=1e-3)


def test_a_policy_is_stored_without_pickle(policy: ScoringPolicy, tmp_path: Path) -> None:
    save_policy(
        tmp_path, policy.network, policy.normaliser, SMALL, policy.observation_names, 1.0, policy.duals, {"seed": 0}
    )
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    again = load_policy(tmp_path)
    for name, value in policy.network.items():
        np.testing.assert_array_equal(again.network[name], value)
    # Nothing that reads or writes policies and reward models can unpickle. A state of training is safetensors as well,
    # and tests/policy/test_resume.py flips one of its bytes.
    unsafe = re.compile(r"import (pickle|joblib|cloudpickle)|torch\.(load|save)\(|allow_pickle=True|PPO\.load\(")
    for package in (curation_pipeline.policy, curation_pipeline.reward):
        for source in Path(str(package.__file__)).parent.rglob("*.py"):
            assert not unsafe.search(source.read_text(encoding="utf-8")), source
