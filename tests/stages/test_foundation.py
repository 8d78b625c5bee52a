"""What a chain stands on: a profile that would replace it under the loop's iterations is refused, and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curation_pipeline.config import Profile
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.commit import commit_cold_start
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.foundation import PARAMETERS, build_foundation, check_foundation
from tests.stages.sources import REFERENCES, declaring, deliver
from tests.stages.test_commit import add_partition, iterate, make


@pytest.fixture
def ctx(lake: Lake, tmp_path: Path) -> Context:
    """A cold start by the demo's settings, of stand-ins."""
    deliver(tmp_path, "s", "2026-01")
    ctx = Context(lake, declaring(tmp_path, "s"), tmp_path)
    for table in {*REFERENCES, "base_metrics", "initial_reward"} - PARAMETERS.keys():
        make(lake, table, {})
    for table in PARAMETERS:
        settle(ctx, table)
    add_partition(lake, "2026-01")
    commit_cold_start(ctx, "main")
    return ctx


def settle(ctx: Context, table: str, inputs: tuple[str, ...] = (), version: str = "1") -> Manifest:
    recipe = Recipe(table, {}, inputs, PARAMETERS[table](ctx.profile), ctx.profile.seed, version)
    return build_foundation(ctx, recipe, lambda draft: draft.json([table, inputs, version], "made"))


def changed(profile: Profile, path: str, value: Any) -> Profile:
    head, _, rest = path.partition(".")
    part = getattr(profile, head)
    return profile.model_copy(update={head: changed(part, rest, value) if rest else value})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.scratch.hidden_size", 64),
        ("training.scratch.n_layers", 3),
        ("training.scratch.vocab_size", 600),
        ("training.sequence_length", 64),
        ("training.base_tokens", 1_000),
        ("training.base_learning_rate", 0.1),
        ("training.model_id", "other/model"),
        ("annotate.vector_dims", 24),
        ("annotate.topics", 7),
        ("annotate.generation", 1),
        ("corpus.holdout_share", 0.2),
        ("corpus.heldout_toxic", 8),
        ("removal.redact_pii", False),
        ("seed", 8),
    ],
)
def test_another_foundation_is_refused_once_an_iteration_is_committed(ctx: Context, path: str, value: Any) -> None:
    other = replace(ctx, profile=changed(ctx.profile, path, value))
    check_foundation(other)  # nothing has gone on from it yet
    iterate(ctx, 1, 0.6)
    old = ctx.profile
    for name in path.split("."):
        old = getattr(old, name)
    before = {table: ctx.lake.require(table) for table in PARAMETERS}
    for refused in (
        lambda: check_foundation(other),
        *(lambda table=table: settle(other, table) for table in PARAMETERS),
    ):
        with pytest.raises(ConfigError) as caught:
            refused()
        assert f"{path}: {old!r} -> {value!r}" in str(caught.value)
        assert "--state" in str(caught.value)
    assert {table: ctx.lake.require(table) for table in PARAMETERS} == before


def test_what_is_no_part_of_it_may_change(ctx: Context) -> None:
    iterate(ctx, 1, 0.6)
    profile = ctx.profile
    for path, value in (
        ("training.learning_rate", 0.1), ("training.threads", 2), ("training.start_from", "base"),
        ("loop.token_budget", 5_000), ("reward.alpha", 0.3), ("evaluation.samples", 7),
    ):  # fmt: skip
        profile = changed(profile, path, value)
    before = {table: ctx.lake.require(table) for table in PARAMETERS}
    other = replace(ctx, profile=profile)
    # Nor do a corpus that grew, and a later version of the project's code.
    assert {table: settle(other, table, ("documents-2",), "2") for table in PARAMETERS} == before
