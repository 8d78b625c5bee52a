"""What a person sets about how the reward moves: the dual ascent, the audit batch, and the watch over the judge."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from curation_pipeline.annotate.toxicity import HARM_THRESHOLD
from curation_pipeline.settings import Settings


class RefinementSettings(Settings):
    """The constraints of the dual ascent and how far one evaluation may move what answers them.

    The rate, the largest step of a weight and its floor stand in the reward's own settings (``refine_rate``,
    ``max_log_step``, ``min_weight``), as do the tolerances of safety and capability.
    """

    target_alignment: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="preference accuracy on credit data below which alignment gains weight; the uncurated base's own, "
        "less the reward's tolerance, if absent: a small model may be unable to do better whatever it is fed",
    )
    parity_floor: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="least selection rate of benign text that mentions a group, over that of text that mentions none",
    )
    register_tolerance: float = Field(
        default=0.05, ge=0, le=1, description="share by which a source's bits per byte may rise over the base's"
    )
    min_group_documents: int = Field(
        default=100, ge=10, description="fewest benign documents on either side for a parity to count"
    )
    dual_decay: float = Field(
        default=0.05, ge=0, lt=1, description="share of each multiplier that is forgotten in an iteration"
    )
    max_dual: float = Field(default=2.0, gt=0, le=10, description="largest multiplier; e to its power on a weight")
    backoff: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="factor on the step after a rejected iteration; undone when one is accepted",
    )
    min_step: float = Field(default=0.0625, gt=0, le=1, description="least factor that rejections bring the step to")
    constraint_gain: float = Field(
        default=0.5, ge=0, le=5, description="shift of the logit of P(harm) for a multiplier of 1 of a group or source"
    )
    max_constraint_shift: float = Field(
        default=0.5, ge=0, le=2, description="most that the constraints alone shift the logit of P(harm)"
    )
    max_shift: float = Field(
        default=2.0, gt=0, le=6, description="most that a stratum's logit of P(harm) is shifted by all corrections"
    )
    max_shift_step: float = Field(
        default=0.5, gt=0, le=6, description="most that a stratum's shift changes in an iteration"
    )


class AuditSettings(Settings):
    """The audit batch of an iteration: how it is drawn, who labels it, and how its labels move P(harm)."""

    documents: int = Field(default=60, ge=0, description="expected size of an iteration's batch; 0 draws none")
    disagreement: float = Field(
        default=0.5, ge=0, lt=1, description="share drawn where the detectors disagree; the rest is drawn uniformly"
    )
    floor: float = Field(
        default=3.0, ge=0, description="least expected number of documents of each source and identity group"
    )
    labels: Path | None = Field(
        default=None, description="file that people filled in: CSV with doc_id and label (and, if known, labeller)"
    )
    expert_share: float = Field(
        default=0.01, ge=0, le=0.01, description="most of the pool that a hosted expert is asked about"
    )
    min_labels: int = Field(default=5, ge=1, description="labels that a stratum needs before it has a shift of its own")
    prior_sd: float = Field(
        default=1.0, gt=0, le=10, description="standard deviation of a stratum's shift around 0, before any label"
    )


class DivergenceSettings(Settings):
    """When judge and teacher are said to part."""

    max_widening: float = Field(
        default=0.05, ge=0, le=1, description="growth of the gap between their flag rates that is warned of"
    )
    flag: float = Field(
        default=HARM_THRESHOLD, gt=0, lt=1, description="score at or above which a text counts as flagged"
    )
    documents: int = Field(
        default=2_000, ge=4, description="documents of a draw, chosen by hash, that the judge scores at most"
    )
