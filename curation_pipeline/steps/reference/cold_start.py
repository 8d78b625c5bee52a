"""Iteration 0."""

from __future__ import annotations

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.commit import commit_cold_start
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import CODE_VERSION, MAIN, TABLE
from curation_pipeline.steps.reference.base_checkpoint import STEP as BASE_CHECKPOINT
from curation_pipeline.steps.reference.base_metrics import STEP as BASE_METRICS
from curation_pipeline.steps.reference.initial_reward import STEP as INITIAL_REWARD
from curation_pipeline.steps.step import Place, Step


def run(ctx: Context, place: Place) -> Manifest:
    """Iteration 0: commits the uncurated base as the state that iteration 1 starts from."""
    return commit_cold_start(ctx, place.partition.get("chain", MAIN))


STEP = Step(
    module=__name__, table=TABLE, version=CODE_VERSION, run=run,
    inputs=(BASE_CHECKPOINT, BASE_METRICS, INITIAL_REWARD), kinds=frozenset({"json"}),
)  # fmt: skip
