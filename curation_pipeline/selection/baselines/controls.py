"""Controls with the policy's own objective: the closed form, and a search over the policy's class."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.inputs import Inputs


class SearchSettings(SharedSettings):
    """Of the cross-entropy search."""

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


def closed_form(pool: Pool, budget_tokens: int, seed: int, settings: SharedSettings, inputs: Inputs) -> Scores:
    """The best response to the same reward, the mandatory control, as an arm without a trained policy."""
    from curation_pipeline.selection.policy_search import objective_of
    from curation_pipeline.selection.policy_selector import ClosedFormSelector

    objective = objective_of(settings, inputs, budget_tokens)
    return ClosedFormSelector(objective, inputs.policy).scores(pool, budget_tokens, seed)


def cross_entropy(pool: Pool, budget_tokens: int, seed: int, settings: SearchSettings, inputs: Inputs) -> Scores:
    """Probabilities of the policy that a search of ``search_evaluations`` batches ends with."""
    from curation_pipeline.selection.policy_search import CrossEntropy

    return CrossEntropy(settings, inputs).scores(pool, budget_tokens, seed)


BASELINES = (
    Baseline("closed_form", "the softened argmax of the policy's objective", closed_form, weighs=True),
    Baseline(
        "cross_entropy",
        "a search over the policy's class (Rubinstein and Kroese 2004)",
        cross_entropy,
        settings=SearchSettings,
    ),
)
