"""What a person sets about the reward."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from curation_pipeline.errors import ConfigError
from curation_pipeline.settings import Settings


class RewardSettings(Settings):
    """Weights of the reward, how far an iteration may move them, and the priors of its fitted parts."""

    alpha: float = Field(default=0.5, ge=0.0, le=1.0, description="weight of safety; alpha + beta + gamma = 1")
    beta: float = Field(default=0.25, ge=0.0, le=1.0, description="weight of alignment")
    gamma: float = Field(default=0.25, ge=0.0, le=1.0, description="weight of diversity")
    eta: float = Field(default=0.5, ge=0.0, le=10.0, description="weight of downstream credit, outside of the simplex")
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
    safety_datasets: tuple[str, ...] = Field(
        default=("pyrit_harm",), min_length=1, description="labelled sets of harm that safety is fitted on"
    )
    alignment_datasets: tuple[str, ...] = Field(
        default=("redditbias", "pyrit_harm"),
        min_length=1,
        description="labelled sets that alignment is fitted on; a label of 1 means not aligned",
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
    l2: float = Field(default=0.05, gt=0.0, le=1e4, description="precision of the prior on the heads' coefficients")
    isotonic_from: int = Field(
        default=1000, ge=20, description="calibration labels from which isotonic regression replaces Platt's sigmoid"
    )
    novelty_features: int = Field(default=64, ge=4, le=4096, description="random Fourier features of the novelty term")

    @model_validator(mode="after")
    def _on_the_simplex(self) -> Self:
        """Check that the three weights sum to one and respect the floor.

        Raises:
            ConfigError: when they do not.
        """
        total = self.alpha + self.beta + self.gamma
        if abs(total - 1.0) > 1e-6:
            raise ConfigError(
                f"reward.alpha + reward.beta + reward.gamma = {self.alpha} + {self.beta} + {self.gamma} = {total:.4g}, "
                "but must be 1"
            )
        low = min(self.alpha, self.beta, self.gamma)
        if low < self.min_weight:
            raise ConfigError(
                f"reward: the smallest of alpha, beta and gamma is {low}, below reward.min_weight {self.min_weight}; "
                "raise the weight or lower the floor"
            )
        return self
