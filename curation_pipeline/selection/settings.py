"""What a person sets about the baselines."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from curation_pipeline.settings import Settings


class BaselineSettings(Settings):
    """Settings of the baselines; the defaults are the demo's."""

    # What all baselines share.
    fractional_weights: bool = Field(
        default=False,
        description="Loss weights 0.5, 1 and 2 by rank of the reward within what is chosen; else all are 1.",
    )
    doubled_share: float = Field(
        default=0.2,
        ge=0,
        le=1 / 3,
        description=(
            "Share of each topic's chosen tokens, those of the highest reward, with weight 2; twice as many, of the "
            "lowest, get 0.5, so that the mean weight stays 1."
        ),
    )
    safety_weight: float = Field(default=0.5, ge=0, description="alpha of the reward alpha R_s + beta R_a.")
    alignment_weight: float = Field(default=0.2, ge=0, description="beta of the reward alpha R_s + beta R_a.")
    diversity_weight: float = Field(
        default=0.5, ge=0, description="gamma of closed_form and cross_entropy where no objective is given."
    )
    credit_weight: float = Field(
        default=0.3, ge=0, description="eta of the downstream credit, where one is given but no objective."
    )

    # Filters.
    toxicity_threshold: float = Field(
        default=0.1, ge=0, le=1, description="tau: documents with P(harm) at or below it pass."
    )
    source_drop: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Share of the tokens of each source (or stratum), the most harmful, that a threshold within drops.",
    )
    manual_rules: tuple[str, ...] = Field(
        default=("gopher_quality", "gopher_repetition", "c4", "word_list"),
        min_length=1,
        description="Rules that manual_filters asks a document to pass; each is a flag pass_<name> of the inputs.",
    )

    # Sampling.
    gumbel_temperature: float = Field(
        default=0.05, gt=0, le=100, description="Temperature of Gumbel top-k, in units of reward; 0 would be top-k."
    )
    dsir_ngrams: int = Field(default=2, ge=1, le=4, description="Longest n-gram that DSIR hashes.")
    dsir_buckets: int = Field(default=10_000, ge=2, le=1_000_000, description="Buckets that DSIR hashes n-grams into.")
    dsir_smoothing: float = Field(
        default=1e-8, gt=0, le=1, description="Added to the share of each bucket, as the published package does."
    )
    dsir_minimum_tokens: int = Field(
        default=0,
        ge=0,
        description="Texts of fewer words and marks are refused by DSIR; the published package has 100.",
    )
    dsir_temperature: float = Field(
        default=1.0, gt=0, description="Divides DSIR's log importance weights; 1 is importance resampling."
    )
    dsir_target_domains: tuple[str, ...] = Field(
        default=("encyclopaedia",),
        description="Domains whose clean documents are DSIR's target where no target texts are given; () is all.",
    )
    dsir_bins: int = Field(
        default=16, ge=2, le=1024, description="Bins of each dimension of the vector, DSIR's features without texts."
    )

    # Facility location.
    facility_neighbours: int = Field(
        default=32, ge=1, le=4096, description="Nearest candidates that may represent a document."
    )
    facility_block: int = Field(
        default=2048, ge=2, le=16_384, description="Neighbours are searched within blocks of at most so many documents."
    )
    facility_bandwidth: float = Field(
        default=0.5, gt=0, description="Width of the similarity, as a multiple of the median distance in the pool."
    )
    facility_reward: float = Field(
        default=0.0,
        ge=0,
        description=(
            "lambda: further weight of the chosen documents' reward beside the coverage, which holds it already; both "
            "count in shares of the tokens."
        ),
    )

    # Bandit.
    bandit_rounds: int = Field(
        default=4000, ge=1, le=1_000_000, description="Rounds in which the EXP3 bandit spends the budget."
    )
    bandit_exploration: float | None = Field(
        default=None, gt=0, le=1, description="gamma of EXP3; None takes the value of its regret bound."
    )

    # Search over mixtures and over policies.
    mixtures: int = Field(default=4096, ge=1, le=1_000_000, description="Mixtures that regmix simulates.")
    mixtures_averaged: int = Field(default=32, ge=1, description="Best mixtures whose mean regmix draws.")
    search_evaluations: int = Field(
        default=1200, ge=2, le=1_000_000, description="Evaluations that the cross-entropy search may ask for."
    )
    search_population: int = Field(default=60, ge=2, description="Policies in one round of the cross-entropy search.")
    search_elite: float = Field(
        default=0.2, gt=0, le=1, description="Share of a round whose mean and spread the next is drawn from."
    )
    search_smoothing: float = Field(
        default=0.7, gt=0, le=1, description="Share of the new mean and spread; the rest stays as it was."
    )
    search_hidden: int = Field(
        default=0, ge=0, le=256, description="Hidden units of the searched policy; 0 is a linear one."
    )
    search_documents: int = Field(
        default=2048, ge=2, description="Documents of the pool on which the search evaluates its policies."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.search_population > self.search_evaluations:
            raise ValueError(
                f"search_evaluations ({self.search_evaluations}) must allow one round of search_population "
                f"({self.search_population})"
            )
        return self
