"""What a person sets about the reward."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from curation_pipeline.annotate.toxicity import built_in_axes
from curation_pipeline.errors import ConfigError
from curation_pipeline.reward.principles import Principle
from curation_pipeline.reward.refinement_settings import AuditSettings, DivergenceSettings, RefinementSettings
from curation_pipeline.reward.target_settings import TargetSettings


class RewardSettings(TargetSettings):
    """Weights of the reward, how far an iteration may move them, and the priors of its fitted parts."""

    alpha: float = Field(default=0.5, ge=0.0, le=1.0, description="weight of safety; alpha + beta + gamma = 1")
    beta: float = Field(default=0.25, ge=0.0, le=1.0, description="weight of alignment")
    gamma: float = Field(default=0.25, ge=0.0, le=1.0, description="weight of diversity")
    eta: float = Field(default=0.2, ge=0.0, le=10.0, description="weight of downstream credit, outside of the simplex")
    max_log_step: float = Field(
        default=0.2, gt=0.0, le=1.0, description="most that an iteration changes a weight, on the log scale"
    )
    refine_rate: float = Field(
        default=2.0, gt=0.0, le=100.0, description="log step for a shortfall of 1; shortfalls are in the metric's unit"
    )
    min_weight: float = Field(default=0.05, ge=0.0, le=0.3, description="least that alpha, beta or gamma may become")
    tolerance: float = Field(
        default=0.01, ge=0.0, le=1.0, description="fall from one iteration to the next that counts as noise"
    )
    capability_tolerance: float = Field(
        default=0.05, ge=0.0, le=1.0, description="share of capability that may be lost before diversity gains weight"
    )
    axes: tuple[str, ...] = Field(
        default=("toxicity",),
        min_length=1,
        description="axes of harm that count on the pool: toxicity, bias, subtle; P(harm) is their noisy or",
    )
    pool_base_rates: dict[str, float] = Field(
        default_factory=dict,
        description="axis -> share of the pool that is harmful on it, in (0, 1); without one the labelled sets' own",
    )
    teacher_axes: dict[str, str] = Field(
        default_factory=built_in_axes,
        description="teacher -> the axis that its own probability is about; toxicity where not named",
    )
    background_datasets: tuple[str, ...] = Field(
        default=("pyrit_harm",), description="labelled sets that also mark harm in plain words, which no teacher sees"
    )
    dataset_sd: float = Field(
        default=0.3, gt=0.0, le=10.0, description="standard deviation of a set's stack weights around the common ones"
    )
    dataset_intercept_sd: float = Field(
        default=1.5, gt=0.0, le=10.0, description="the same for a set's intercept: how much base rates differ"
    )
    audit_weight: float = Field(
        default=1.0, ge=0.0, le=100.0, description="how much a teacher's sensitivity to identity and evasion costs it"
    )
    obfuscation_penalty: float = Field(
        default=0.5, ge=0.0, le=1.0, description="share of harm that texts of disguised words are taken to have"
    )
    alignment_datasets: tuple[str, ...] = Field(
        default=("redditbias", "pyrit_harm"),
        min_length=1,
        description="labelled sets that alignment is fitted on; a label of 1 means not aligned",
    )
    alignment_features: tuple[str, ...] = Field(
        default=("vectors",),
        min_length=1,
        description="what the alignment head reads: vectors, and names of teachers such as bias_head or subtle_head",
    )
    preference_weight: float = Field(
        default=1.0, ge=0.0, le=100.0, description="mass of a set of preference pairs relative to a set of anchors"
    )
    principles: tuple[Principle, ...] = Field(
        default=(), description="written principles with own examples, weak evidence for the alignment head"
    )
    principle_weight: float = Field(
        default=0.25, ge=0.0, le=100.0, description="mass of all principles' examples relative to a set of anchors"
    )
    pool_background: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="share of the pool that is harmful in ways the teachers cannot see; 0 claims nothing unmeasured",
    )
    use_vector_head: bool = Field(
        default=True, description="let harm that the teachers cannot see depend on the text while fitting on the labels"
    )
    teacher_prior_sd: float = Field(
        default=0.25, gt=0.0, le=100.0, description="standard deviation of a teacher's stack weight around 1 / teachers"
    )
    l2: tuple[float, ...] = Field(
        default=(0.05, 1.0, 10.0),
        min_length=1,
        description="precisions of the alignment head's prior; the one that is best on held-out labels is taken",
    )
    background_l2: float = Field(
        default=1.0, gt=0.0, le=1e4, description="the same for the coefficients of unseen harm on sentence vectors"
    )
    isotonic_from: int = Field(
        default=1000, ge=20, description="calibration labels from which isotonic regression replaces Platt's sigmoid"
    )
    refinement: RefinementSettings = Field(
        default=RefinementSettings(), description="constraints that move weights and corrections after each evaluation"
    )
    audit: AuditSettings = Field(default=AuditSettings(), description="the audit batch that recalibrates P(harm)")
    divergence: DivergenceSettings = Field(
        default=DivergenceSettings(), description="when judge and teacher are said to part"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Check that the three weights sum to one and respect the floor, and the bounds of lists.

        Raises:
            ConfigError: when they do not.
        """
        total = self.alpha + self.beta + self.gamma
        if abs(total - 1.0) > 1e-6:
            raise ConfigError(
                f"reward.alpha + reward.beta + reward.gamma = {self.alpha} + {self.beta} + {self.gamma} = {total:.4g}, "
                "but must be 1"
            )
        if min(self.l2) <= 0:
            raise ConfigError(f"reward.l2 holds {min(self.l2)}; a precision is above 0")
        low = min(self.alpha, self.beta, self.gamma)
        if low < self.min_weight:
            raise ConfigError(
                f"reward: the smallest of alpha, beta and gamma is {low}, below reward.min_weight {self.min_weight}; "
                "raise the weight or lower the floor"
            )
        return self
