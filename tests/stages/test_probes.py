"""Probes draw around the policy in force, and what they found becomes credit; the trainings are played by a truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from curation_pipeline.credit.mixtures import LOSS_WEIGHT, composition, trait_means
from curation_pipeline.credit.probes import ProbeOutcome
from curation_pipeline.credit.surrogate import comparable
from curation_pipeline.engine.settings import ONE_PROCESS
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Recipe
from curation_pipeline.policy.artefact import save_policy
from curation_pipeline.policy.pool import Pool
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.credit_report import credit_section
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.state import MAIN, state_partition
from curation_pipeline.steps.loop import probes
from curation_pipeline.steps.step import of_iteration
from curation_pipeline.training.tokenizer import Tokenised
from research.synthetic_pool import SyntheticPool

from ..policy.test_stream import untrained
from .test_pool import ctx, open_arm, synthetic  # noqa: F401 - fixtures


def _truth(task: probes._Task) -> ProbeOutcome:
    """A probe whose toxic log-odds fall with the mean quality of what it drew."""
    drawn = task.drawn
    weights = (
        drawn[LOSS_WEIGHT].to_numpy().astype(np.float64) if LOSS_WEIGHT in drawn.columns else np.ones(drawn.height)
    )
    means = trait_means(drawn, task.mixture.traits, weights)
    odds = -0.3 * means[task.mixture.traits.index("trait_quality")]
    shares = composition(drawn, task.mixture.strata, weights)
    tokens = int(drawn["n_tokens"].to_numpy().sum())
    return ProbeOutcome(
        task.mixture.name, task.base.id, float(odds), 2.0, tokens, drawn.height, 0.0, task.mixture.strata, shares,
        task.mixture.traits, means,
    )  # fmt: skip


@pytest.fixture
def played(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> Context:  # noqa: F811
    monkeypatch.setattr(probes, "_run", _truth)
    monkeypatch.setattr(
        probes,
        "tokenise",
        lambda texts, folder: Tokenised(np.empty(0, dtype=np.int32), np.zeros(len(texts) + 1, dtype=np.int64)),
    )
    monkeypatch.setattr(probes, "base_likelihood", lambda *given: (2.0, 0.0))
    credit = ctx.profile.credit.model_copy(update={"n_probes_first": 24, "probe_tokens": 4_000})
    return replace(ctx, profile=ctx.profile.model_copy(update={"credit": credit, "engine": ONE_PROCESS}))


@pytest.mark.parametrize("around", ["pool", "best_response"])
def test_the_first_probes_stand_where_they_are_told_and_credit_a_trait(
    played: Context,
    synthetic: SyntheticPool,  # noqa: F811
    around: str,
) -> None:
    credit_settings = played.profile.credit.model_copy(update={"first_around": around})
    played = replace(played, profile=played.profile.model_copy(update={"credit": credit_settings}))
    open_arm(played, synthetic, MAIN)
    manifest = probes.STEP.make(played, of_iteration(MAIN, 1))
    outcomes = played.lake.frame(manifest)
    harm = [
        dict(zip(*row, strict=True))["trait_p_harm"] for row in outcomes.select("traits", "trait_means").iter_rows()
    ]
    clean = np.mean(harm) < -0.2
    assert clean == (around == "best_response"), "the best response leaves harmful documents out, its probes with it"
    assert manifest.summary["around"] == around.replace("_", " ")
    credit = DownstreamCredit.from_json(played.lake.json(manifest, "credit"))
    assert credit.n_probes == 24
    assert int(np.argmax(credit.slope)) == credit.traits.names.index("trait_quality")
    section = credit_section(played.lake, manifest)
    assert section.r2_refitted is not None
    assert section.r2_refitted > 0.3, "left-out probes are predicted with their traits"


def test_later_probes_stand_around_the_policy_in_force_with_its_own_credit(
    played: Context,
    synthetic: SyntheticPool,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_arm(played, synthetic, MAIN)
    first = probes.STEP.make(played, of_iteration(MAIN, 1))
    pool = Pool.from_frame(played.lake.frame(played.lake.require("pool", state_partition(MAIN, 1))))
    made = untrained(pool)

    def make(draft: Draft) -> None:
        save_policy(
            draft.folder, made.network, made.normaliser, made.settings, made.observation_names, 1.0, made.duals, {}
        )

    policy = played.lake.build(Recipe("policies", state_partition(MAIN, 1), (first.id,), {}), make)
    manifest, gate, parent = gate_and_parent(played.lake, MAIN, 1)
    later = replace(parent, policy_id=policy.id, probes=(first.id,))
    monkeypatch.setattr("curation_pipeline.steps.step.gate_and_parent", lambda *given: (manifest, gate, later))
    second = probes.STEP.make(played, of_iteration(MAIN, 1))
    assert second.id != first.id
    assert {first.id, policy.id} <= set(second.inputs)
    assert second.summary["around"] == policy.id
    credit = DownstreamCredit.from_json(played.lake.json(second, "credit"))
    assert credit.n_probes == 24 + played.profile.credit.n_probes
    work, _ = probes.STEP.recipe(played, of_iteration(MAIN, 1))
    scores = probes._around(work, pool, synthetic.budget_tokens, 0)
    assert scores.probability @ pool.n_tokens == pytest.approx(synthetic.budget_tokens, rel=1e-6)


def test_probes_from_before_traits_are_set_aside() -> None:
    old = pl.DataFrame({"probe": ["a"]})
    new = pl.DataFrame({"probe": ["b"], "traits": [["trait_x"]]})
    both, ages = comparable(pl.concat([new, old], how="diagonal_relaxed"), np.array([0.0, 1.0]), ("trait_x",))
    assert both["probe"].to_list() == ["b"]
    assert ages.tolist() == [0.0]
    assert comparable(old, np.zeros(1), ("trait_x",))[0].is_empty()
    assert comparable(old, np.zeros(1), ())[0].height == 1
