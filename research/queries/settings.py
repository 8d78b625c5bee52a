"""What a person sets about questions: which scores are costly, what an answer costs, and how PPO learns to ask."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from curation_pipeline.settings import Settings


class PricedQuestion(Settings):
    """A costly measurement of a document, by a detector, a judge or a person."""

    name: str = Field(min_length=1, description="Name of the question; the feature known_<name> says if it was asked.")
    columns: tuple[str, ...] = Field(
        min_length=1, description="Columns of the pool that an answer reveals: p_harm, alignment or detectors."
    )
    cost: float = Field(default=1.0, gt=0, description="What one answer takes of the query budget.")


class QuerySettings(Settings):
    """Settings of priced questions; the rest of the decision process is in ``PolicySettings``."""

    questions: tuple[PricedQuestion, ...] = Field(
        default=(PricedQuestion(name="judge", columns=("alignment", "neural", "p_harm")),),
        min_length=1,
        max_length=3,
        description="What can be asked. Together they reveal p_harm and alignment; a training row is held per subset.",
    )
    budget_share: float = Field(
        default=0.1, gt=0, description="Query budget: cost of all answers over the number of documents of the pool."
    )
    rounds: int = Field(
        default=1, ge=1, description="Batches in which the query budget is spent; answers are used between them."
    )

    # The belief about what was not asked.
    belief: Literal["forest", "ridge"] = Field(
        default="forest",
        description="Imputation: leaves of randomised trees (Meinshausen, 2006), or ridge with one Gaussian residual.",
    )
    trees: int = Field(default=64, ge=2, description="Trees of the forest; each gives one sample of the posterior.")
    leaf: int = Field(default=5, ge=1, description="Least known documents in a leaf.")
    folds: int = Field(
        default=3, ge=2, description="Cross-fitting: a known document is imputed by a belief that never saw it."
    )

    # Learning to ask.
    first_price: float = Field(
        default=0.005,
        gt=0,
        description=(
            "Price of a unit of cost at the start of training, in the unit of the reward, and the least: no more "
            "than what a question at random earns."
        ),
    )
    price_rate: float = Field(
        default=0.1, ge=0, description="Rate at which the query price follows demand over supply; 0 leaves it."
    )
    candidates: int = Field(default=196_608, ge=2, description="Observations seen in training.")
    rollout_steps: int = Field(default=4, ge=1, description="Environment steps in one rollout.")
    batch_size: int = Field(default=1024, ge=2, description="Rows of one minibatch.")

    net_arch: tuple[int, ...] = Field(
        default=(32,),
        min_length=1,
        description="Hidden units of policy and value network; a large one learns by heart.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [question.name for question in self.questions]
        if len(set(names)) != len(names):
            raise ValueError(f"questions share a name: {', '.join(names)}")
        revealed = {column for question in self.questions for column in question.columns}
        if not {"p_harm", "alignment"} <= revealed:
            raise ValueError("the questions together must reveal p_harm and alignment")
        return self
