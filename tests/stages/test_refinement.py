"""What commits and gates carry of the refinement and the curriculum, on a lake of stand-ins."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from curation_pipeline.errors import DataError, LakeError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.composite import RewardModel, RewardWeights
from curation_pipeline.reward.corrections import Corrections
from curation_pipeline.reward.curriculum_settings import CurriculumStage
from curation_pipeline.reward.duals import Duals
from curation_pipeline.reward.fitting import fit_reward
from curation_pipeline.reward.label_version import adopted, label_version_moves
from curation_pipeline.reward.refinement_settings import AuditSettings
from curation_pipeline.reward.settings import RewardSettings
from curation_pipeline.stages.audit import labelled_audits, people_labels
from curation_pipeline.stages.commit import commit_cold_start, commit_iteration
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import read_gate
from curation_pipeline.stages.state import Refinement, State, history, read_state, state_partition

from .sources import ANNOTATIONS, REFERENCES, declaring, deliver, open_gate

PERFORMANCE = {"safety": 0.7, "alignment": 0.5, "capability": 0.5}
STAGES = (
    CurriculumStage(name="easy", sources=("wiki",), max_p_harm=0.4, min_safety=0.6),
    CurriculumStage(name="hard"),
)


def make(
    lake: Lake, table: str, partition: dict[str, str], inputs: tuple[str, ...] = (), **parameters: Any
) -> Manifest:
    p = parameters.get("p", 0.5)

    def write(draft: Draft) -> None:
        draft.frame(pl.DataFrame({"doc_id": ["0" * 32]}))
        each = {**PERFORMANCE, "performance": p}
        draft.json({"reported": each, "credit_metrics": each}, "performance")
        if "refinement" in parameters:
            draft.json(
                {"refinement": parameters["refinement"], "on_rejection": parameters["on_rejection"]}, "refinement"
            )

    return lake.build(Recipe(table, partition, inputs, parameters), write)


@pytest.fixture
def ctx(lake: Lake, tmp_path: Path) -> Context:
    for table in {*REFERENCES, "base_metrics", "initial_reward"}:
        make(lake, table, {})
    for source in ("wiki", "forum"):
        documents = make(lake, "documents", {"source": source, "snapshot": "s"})
        for table in ANNOTATIONS:
            make(lake, table, {"source": source, "snapshot": "s"}, (documents.id,))
        deliver(tmp_path, source, "s")
    return Context(lake, declaring(tmp_path, "wiki", "forum"), tmp_path)


def with_stages(ctx: Context) -> Context:
    profile = ctx.profile.model_copy(update={"curriculum": STAGES})
    return Context(ctx.lake, profile, ctx.cache)


def iterate(ctx: Context, ordinal: int, p: float, carried: Refinement | None = None, on_rejection: str = "") -> State:
    gate = open_gate(ctx, "main", ordinal)
    for table in ("pool", "probes", "policies", "batches", "checkpoints", "metrics", "audits"):
        make(ctx.lake, table, state_partition("main", ordinal), (gate.id,), p=p)
    parameters = {} if carried is None else {"refinement": asdict(carried), "on_rejection": on_rejection}
    make(ctx.lake, "reward_models", state_partition("main", ordinal), (gate.id,), p=p, **parameters)
    return read_state(ctx.lake, commit_iteration(ctx, "main", ordinal))


def test_a_rejection_halves_the_step_and_keeps_the_parents_multipliers(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    start = read_state(ctx.lake, ctx.lake.require("state", state_partition("main", 0)))
    fitted = start.refinement.fitted_reward_id
    assert fitted == start.reward_model_id
    one = iterate(ctx, 1, 0.6, Refinement(Duals(safety=0.2), {"source": {"wiki": 0.1}}, fitted, ("a",)), fitted or "")
    assert one.refinement == Refinement(Duals(safety=0.2), {"source": {"wiki": 0.1}}, fitted, ("a",))
    two = iterate(ctx, 2, 0.1, Refinement(Duals(safety=0.4), {}, fitted, ("a", "b")), one.reward_model_id)
    assert two.status == "rejected"
    assert two.refinement.duals == Duals(safety=0.2, step=0.5)
    assert two.refinement.audits == ("a", "b"), "what people said of the batch stays true"
    assert two.refinement.audit_shifts == one.refinement.audit_shifts
    assert two.reward_model_id == one.reward_model_id
    three = iterate(ctx, 3, 0.6, Refinement(Duals(safety=0.3, step=0.5), {}, fitted, ()), one.reward_model_id)
    assert three.refinement.duals == Duals(safety=0.3, step=1.0)
    assert three.reward_model_id == three.own["reward_models"]


def test_a_changed_norm_comes_into_force_even_where_the_model_is_rejected(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    one = iterate(ctx, 1, 0.6)
    new = make(ctx.lake, "initial_reward", {}, p=0.7)
    assert read_gate(ctx.lake, open_gate(ctx, "main", 2)).references["initial_reward"] == new.id
    two = iterate(ctx, 2, 0.1, Refinement(Duals(safety=0.4), {}, new.id, ("mine",)), "reward_models-under-the-new-norm")
    assert two.status == "rejected"
    assert two.reward_model_id == "reward_models-under-the-new-norm"
    assert two.refinement.fitted_reward_id == new.id
    assert two.refinement.audits == ("mine",)
    assert two.refinement.duals.safety == one.refinement.duals.safety


def test_a_new_fit_does_not_rewrite_the_start_of_a_chain_that_has_gone_on(ctx: Context) -> None:
    first = commit_cold_start(ctx, "main")
    make(ctx.lake, "initial_reward", {}, p=0.7)
    second = commit_cold_start(ctx, "main")
    assert second.id != first.id, "nothing stands on it yet: the loop starts from the newest fit"
    iterate(ctx, 1, 0.6)
    make(ctx.lake, "initial_reward", {}, p=0.8)
    assert commit_cold_start(ctx, "main").id == second.id
    make(ctx.lake, "base_metrics", {}, p=0.4)
    assert commit_cold_start(ctx, "main").id == second.id, "nor does another evaluation of the same base"


def test_a_state_of_an_earlier_version_is_read(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    raw = history(ctx.lake, "main")[0].to_dict()
    old = State.from_dict({name: value for name, value in raw.items() if name not in ("refinement", "curriculum")})
    assert old.refinement == Refinement()
    assert old.curriculum is None


def test_the_gate_freezes_the_stage_and_lets_in_its_sources(ctx: Context) -> None:
    staged = with_stages(ctx)
    commit_cold_start(staged, "main")
    gate = read_gate(ctx.lake, open_gate(staged, "main", 1))
    assert set(gate.corpus) == {"wiki|s"}
    assert gate.max_p_harm == 0.4
    assert gate.stage["name"] == "easy"
    one = iterate(staged, 1, 0.6)
    assert one.curriculum is not None
    assert (one.curriculum.stage, one.curriculum.since) == (1, 1)
    assert "safety 0.700 >= 0.6" in one.curriculum.reason
    assert set(read_gate(ctx.lake, open_gate(staged, "main", 2)).corpus) == {"wiki|s", "forum|s"}
    commit_cold_start(staged, "random/demo-0")
    assert set(read_gate(ctx.lake, open_gate(staged, "random/demo-0", 1)).corpus) == {"wiki|s", "forum|s"}
    nowhere = ctx.profile.model_copy(update={"curriculum": (CurriculumStage(name="no", sources=("court",)),)})
    lost = Context(Lake.open(ctx.cache / "other"), nowhere, ctx.cache)
    for table in {*REFERENCES, "base_metrics", "initial_reward"}:
        make(lost.lake, table, {})
    documents = make(lost.lake, "documents", {"source": "wiki", "snapshot": "s"})
    for table in ANNOTATIONS:
        make(lost.lake, table, {"source": "wiki", "snapshot": "s"}, (documents.id,))
    commit_cold_start(lost, "main")
    with pytest.raises(LakeError, match="lets in court"):
        open_gate(lost, "main", 1)


def test_without_stages_nothing_of_a_curriculum_is_written(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    manifest = open_gate(ctx, "main", 1)
    assert manifest.parameters == {}
    assert "stage" not in ctx.lake.json(manifest, "gate")
    assert "curriculum_stage" not in manifest.summary
    state = iterate(ctx, 1, 0.6)
    assert state.curriculum is None
    assert ctx.lake.require("state", state_partition("main", 1)).parameters == {
        "max_drop": ctx.profile.loop.max_performance_drop
    }


@pytest.fixture(scope="module")
def norms() -> tuple[RewardModel, RewardModel, pl.DataFrame, np.ndarray]:
    """Two rewards fitted on the same texts, the second with the labels turned round; scores and vectors of a pool."""
    random = np.random.default_rng(0)
    n = 600
    vectors = random.standard_normal((n, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    score = random.random(n)
    labels = pl.DataFrame(
        {
            "dataset": np.where(np.arange(n) % 2, "pyrit_harm", "redditbias"),
            "label": np.clip(0.6 * score + 2.0 * vectors[:, 0], 0, 1),
            "group": ["x" if i % 3 else None for i in range(n)],
            "role": np.array(["fit", "calibrate", "report"])[random.integers(0, 3, n)],
        }
    )
    scores = pl.DataFrame({"alt_profanity": score.astype(np.float32)})
    turned = labels.with_columns(label=1.0 - pl.col("label"))
    first, second = (fit_reward(each, scores, vectors, RewardSettings(), seed=4) for each in (labels, turned))
    return first, second, scores.with_columns(source=pl.lit("wiki"), identity_group=pl.lit("none")), vectors


def test_a_new_fit_takes_over_under_the_running_weights(
    norms: tuple[RewardModel, RewardModel, pl.DataFrame, np.ndarray],
) -> None:
    first, second, scores, vectors = norms
    running = replace(first, weights=RewardWeights(0.6, 0.2, 0.2), corrections=Corrections({"source": {"wiki": 0.5}}))
    follows = adopted(running, second)
    assert (follows.weights, follows.corrections) == (running.weights, running.corrections)
    assert follows.safety is second.safety
    assert follows.alignment is second.alignment
    old, new = running.annotate(scores, vectors), follows.annotate(scores, vectors)
    # Labels of toxicity that were turned round leave no alignment of the old kind.
    assert np.corrcoef(old["alignment"].to_numpy(), new["alignment"].to_numpy())[0, 1] < 0
    moves = label_version_moves(running, follows, scores, vectors)
    assert [move.kind for move in moves] == ["label_version", "label_version"]
    assert "fitted again" in moves[0].reason
    assert moves[0].before == pytest.approx(old["p_harm"].to_numpy().astype(float).mean())


def test_labels_of_people_are_read_or_refused(ctx: Context, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    reward = ctx.profile.reward.model_copy(update={"audit": AuditSettings(labels=path)})
    ctx = replace(ctx, profile=ctx.profile.model_copy(update={"reward": reward}))
    assert people_labels(ctx)[0].is_empty(), "no file yet: awaiting labels"
    ids = [f"{i:032x}" for i in range(3)]
    path.write_text(
        f'doc_id,text,label,rater\n{ids[0]},"a, b",1,ann\n{ids[0]},x,0,bob\n{ids[1]},y,0.25,\n{ids[2]},z,,\n'
    )
    labels, digest = people_labels(ctx)
    assert dict(labels.select("doc_id", "label").iter_rows()) == {ids[0]: 0.5, ids[1]: 0.25}
    assert len(digest) == 64

    def write(draft: Draft) -> None:
        draft.keyed(pl.DataFrame({"doc_id": ids, "probability": [0.1, 0.2, 0.3]}))

    drawn = ctx.lake.build(Recipe("audits", state_partition("main", 1), (), {}), write)

    def answer(draft: Draft) -> None:
        draft.frame(
            pl.DataFrame({"doc_id": ids[:2], "label": [0.9, 0.8], "probability": [0.05, 0.1], "labeller": ["e"] * 2})
        )

    ctx.lake.build(Recipe("audit_labels", state_partition("main", 1), (drawn.id,), {}), answer)
    found = labelled_audits(ctx.lake, (drawn.id,), labels)
    assert found.select("doc_id", "label", "probability").rows() == [(ids[0], 0.5, 0.1), (ids[1], 0.25, 0.2)]
    by_expert = labelled_audits(ctx.lake, (drawn.id,), labels.clear())
    assert by_expert.select("label", "probability").rows() == [(0.9, 0.05), (0.8, 0.1)]
    assert labelled_audits(ctx.lake, (), labels).is_empty()
    path.write_text(f"doc_id,label\n{ids[0]},yes\n")
    with pytest.raises(DataError, match="'yes' is no number"):
        people_labels(ctx)
    path.write_text(f"doc_id,label\n{ids[0]},\n")
    assert people_labels(ctx)[0].is_empty(), "a sheet that waits to be filled in stops no night"
