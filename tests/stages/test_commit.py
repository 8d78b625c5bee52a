"""Gate and commit on a lake whose artefacts are stand-ins: what they decide, not what they decide on."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.errors import GateClosedError, LakeError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.commit import commit_cold_start, commit_iteration
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import read_gate
from curation_pipeline.stages.state import State, history, read_state, state_partition
from curation_pipeline.steps.corpus_tables import complete_corpus

from .sources import ANNOTATIONS, REFERENCES, declaring, deliver, open_gate


def make(lake: Lake, table: str, partition: dict[str, str], inputs: tuple[str, ...] = (), p: float = 0.5) -> Manifest:
    def write(draft: Draft) -> None:
        draft.frame(pl.DataFrame({"doc_id": ["0" * 32]}))
        each = {"safety": p, "alignment": p, "capability": p, "performance": p}
        draft.json({"reported": each, "credit_metrics": each}, "performance")

    return lake.build(Recipe(table, partition, inputs, {"p": p}), write)


def add_partition(lake: Lake, snapshot: str, annotated: bool = True) -> None:
    place = {"source": "s", "snapshot": snapshot}
    documents = make(lake, "documents", place)
    for table in ANNOTATIONS if annotated else ANNOTATIONS[:1]:
        make(lake, table, place, (documents.id,))


@pytest.fixture
def ctx(lake: Lake, tmp_path: Path) -> Context:
    for table in (*REFERENCES, "base_metrics", "initial_reward"):
        make(lake, table, {})
    add_partition(lake, "2026-01")
    for snapshot in ("2026-01", "2026-02", "2026-03"):
        deliver(tmp_path, "s", snapshot)
    return Context(lake, declaring(tmp_path, "s"), tmp_path)


def iterate(ctx: Context, ordinal: int, p: float, limit: float | None = None) -> Manifest:
    gate = open_gate(ctx, "main", ordinal)
    for table in ("pool", "probes", "policies", "batches", "checkpoints", "metrics", "reward_models"):
        make(ctx.lake, table, state_partition("main", ordinal), (gate.id,), p)
    return commit_iteration(ctx, "main", ordinal, limit)


def test_the_gate_is_closed_until_the_parent_is_committed(ctx: Context) -> None:
    with pytest.raises(GateClosedError, match="cold start has not been committed"):
        open_gate(ctx, "main", 1)
    commit_cold_start(ctx, "main")
    open_gate(ctx, "main", 1)
    with pytest.raises(GateClosedError, match="iteration 1 has not been committed"):
        open_gate(ctx, "main", 2)
    with pytest.raises(GateClosedError, match="chain 'other'"):
        open_gate(ctx, "other", 1)


def test_an_open_gate_stays_as_it_was_when_the_corpus_grows(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    first = open_gate(ctx, "main", 1)
    add_partition(ctx.lake, "2026-02")
    add_partition(ctx.lake, "2026-03", annotated=False)
    assert open_gate(ctx, "main", 1) == first
    assert set(complete_corpus(ctx)) == {"s|2026-01", "s|2026-02"}  # the third is still being annotated
    iterate(ctx, 1, 0.6)
    assert set(read_gate(ctx.lake, open_gate(ctx, "main", 2)).corpus) == {"s|2026-01", "s|2026-02"}


def test_a_better_model_is_accepted_and_becomes_the_parent(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    state = read_state(ctx.lake, iterate(ctx, 1, 0.6))
    assert state.status == "accepted"
    assert state.checkpoint_id == state.own["checkpoints"]
    assert state.batches == (state.own["batches"],)
    assert state.policy_id == state.own["policies"]


def test_a_worse_model_is_committed_as_rejected_and_the_chain_goes_on(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    iterate(ctx, 1, 0.6)
    rejected = iterate(ctx, 2, 0.4)
    one, two = history(ctx.lake, "main")[1:]
    assert two.status == "rejected"
    assert (two.checkpoint_id, two.policy_id, two.reward_model_id) == (
        one.checkpoint_id, one.policy_id, one.reward_model_id,
    )  # fmt: skip
    assert two.batches == one.batches
    assert two.own_performance.performance == 0.4
    assert two.performance.performance == 0.6
    assert len(two.probes) == 2  # what the probes measured stays true
    third = read_state(ctx.lake, iterate(ctx, 3, 0.61))
    assert third.status == "accepted"
    assert third.parent_state_id == rejected.id


def test_the_limit_of_a_fall_is_honoured(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    assert read_state(ctx.lake, iterate(ctx, 1, 0.49)).status == "accepted"  # a fall of .01, .02 is allowed
    assert read_state(ctx.lake, iterate(ctx, 2, 0.9, limit=-1.0)).status == "rejected"


def test_an_iteration_without_an_evaluation_cannot_be_committed(ctx: Context) -> None:
    commit_cold_start(ctx, "main")
    open_gate(ctx, "main", 1)
    with pytest.raises(LakeError, match="metrics"):
        commit_iteration(ctx, "main", 1)


def test_another_base_is_refused_under_the_loops_iterations(ctx: Context) -> None:
    start = commit_cold_start(ctx, "main")
    ctx.lake.build(Recipe("base_checkpoint", {}, seed=1), lambda draft: draft.json({"seed": 1}, "model"))
    assert commit_cold_start(ctx, "main") != start  # nothing has gone on from it yet
    start = commit_cold_start(ctx, "main")
    iterate(ctx, 1, 0.6)
    before = ctx.lake.require("base_checkpoint").id
    ctx.lake.build(Recipe("base_checkpoint", {}, seed=2), lambda draft: draft.json({"seed": 2}, "model"))
    with pytest.raises(LakeError, match=f"go on from {before}, and the base is now .*--state"):
        commit_cold_start(ctx, "main")
    assert ctx.lake.require("state", state_partition("main", 0)) == start


def test_another_evaluation_leaves_iteration_0_as_it_was(ctx: Context, caplog: pytest.LogCaptureFixture) -> None:
    start = commit_cold_start(ctx, "main")
    iterate(ctx, 1, 0.6)
    make(ctx.lake, "base_metrics", {}, ("benchmarks-2",), 0.7)
    assert commit_cold_start(ctx, "main") == start
    assert "iteration 0 keeps the evaluation" in caplog.text


def test_a_state_of_an_earlier_version_is_read(ctx: Context) -> None:
    state = read_state(ctx.lake, commit_cold_start(ctx, "main"))
    raw = state.to_dict()
    former = {name.replace("credit_metrics", "drive"): value for name, value in raw.items()}
    assert former.keys() != raw.keys()
    assert State.from_dict(former) == state
