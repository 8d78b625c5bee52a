"""The curriculum: which stage is in force, what it lets into the pool, and when the next one comes.

Harder criteria and harder sources come in when the easier are met (Bengio et al. 2009): a stage is left after
``patience`` accepted iterations in a row whose model meets its least safety, capability and alignment on credit data.
The loop never goes back a stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from curation_pipeline.reward.curriculum_settings import CurriculumStage


@dataclass(frozen=True, slots=True)
class CurriculumState:
    """Where the loop is.

    Attributes:
        stage: index of the stage in force for the next iteration, from 0.
        name: its name.
        stages: how many there are.
        met: accepted iterations in a row that met its test.
        since: the iteration that committed it.
        reason: why it moved on or did not, in words.
    """

    stage: int
    name: str
    stages: int
    met: int
    since: int
    reason: str

    @property
    def progress(self) -> float:
        """How far the curriculum is, in [0, 1]: what the policy observes."""
        return self.stage / (self.stages - 1) if self.stages > 1 else 1.0

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return asdict(self)

    @staticmethod
    def from_json(raw: Mapping[str, Any] | None) -> CurriculumState | None:
        """The inverse of ``to_json``; None for a loop without a curriculum."""
        return None if raw is None else CurriculumState(**raw)


def started(stages: tuple[CurriculumStage, ...]) -> CurriculumState | None:
    """The state before the first iteration; None without stages."""
    return CurriculumState(0, stages[0].name, len(stages), 0, 0, "the first stage") if stages else None


def resumed(state: CurriculumState | None, stages: tuple[CurriculumStage, ...]) -> CurriculumState | None:
    """The state under the profile's present stages: found again by name, or else at the same place, or the last."""
    if not stages:
        return None
    if state is None:
        return started(stages)
    names = [stage.name for stage in stages]
    index = names.index(state.name) if state.name in names else min(state.stage, len(stages) - 1)
    return replace(state, stage=index, name=names[index], stages=len(stages))


def advanced(
    state: CurriculumState | None,
    stages: tuple[CurriculumStage, ...],
    performance: Mapping[str, float],
    accepted: bool,
    ordinal: int,
) -> CurriculumState | None:
    """The state that an iteration commits.

    Args:
        state: of the parent.
        stages: of the profile.
        performance: safety, capability and alignment of the iteration's own model on credit data.
        accepted: whether its model was accepted; a rejected one meets nothing.
        ordinal: the iteration.
    """
    state = resumed(state, stages)
    if state is None:
        return None
    stage = stages[state.stage]
    asked = {axis: getattr(stage, f"min_{axis}") for axis in ("safety", "capability", "alignment")}
    short = [
        f"{axis} {performance[axis]:.3f} < {least:g}" for axis, least in asked.items() if performance[axis] < least
    ]
    if not accepted:
        return replace(state, met=0, reason=f"{stage.name}: the iteration was rejected")
    if short:
        return replace(state, met=0, reason=f"{stage.name}: {', '.join(short)}")
    met = state.met + 1
    shown = ", ".join(f"{axis} {performance[axis]:.3f} >= {least:g}" for axis, least in asked.items() if least > 0)
    counted = f"{stage.name} was met ({shown or 'it asks for nothing'}), {met} of {stage.patience} in a row"
    if state.stage + 1 == len(stages):
        return replace(state, met=met, reason=f"{counted}; it is the last stage")
    if met < stage.patience:
        return replace(state, met=met, reason=counted)
    following = stages[state.stage + 1]
    return CurriculumState(
        state.stage + 1, following.name, len(stages), 0, ordinal, f"{counted}: on to {following.name}"
    )


def admits(stage: CurriculumStage | None, key: str) -> bool:
    """Whether a stage lets a corpus partition ``source|snapshot`` into the pool."""
    return stage is None or not stage.sources or key in stage.sources or key.split("|")[0] in stage.sources


def admitted(frame: pl.DataFrame, max_p_harm: float) -> pl.DataFrame:
    """The documents of a pool (column p_harm) that a stage's criterion lets in."""
    return frame if max_p_harm >= 1.0 else frame.filter(pl.col("p_harm") <= max_p_harm)
