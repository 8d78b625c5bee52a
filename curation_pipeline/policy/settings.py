"""What a person sets about the selection policy: the decision process, PPO, and the scoring of a pool."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from curation_pipeline.settings import Settings


class PolicySettings(Settings):
    """Settings of the decision process and of PPO; the defaults are the demo's."""

    # The decision process.
    n_parallel_candidates: int = Field(
        default=1024, ge=2, description="Candidates that the vectorised environment shows at once, one a row."
    )
    episode_candidates: int = Field(
        default=16_384,
        ge=2,
        description="Candidates of a reshuffled pool in one episode, a multiple of n_parallel_candidates.",
    )
    weights: tuple[float, ...] = Field(
        default=(0.0, 0.5, 1.0, 2.0),
        min_length=2,
        description="w: the loss weight of each discrete action; the first is skip.",
    )
    random_features: int = Field(default=64, ge=2, description="D: random Fourier features phi of the novelty term.")
    novelty_bandwidth: float = Field(
        default=0.5, gt=0, description="Width of the novelty kernel, as a multiple of the median distance in the pool."
    )
    novelty_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of novelty in R_d; the rest is the deficit of the document's coverage bin.",
    )
    prior_share: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="kappa: pseudo-tokens at the pool's composition, as a share of the budget.",
    )
    gain_reference: float | None = Field(
        default=0.75,
        ge=0,
        le=1,
        description=(
            "The reward R is measured from that of the pool's document at the quantile gain_reference * "
            "(1 - budget share). The price absorbs the constant for weights 0 and 1, but without it (None) gains that "
            "are all near 1 make the smallest weight the best response to every document."
        ),
    )
    repeat_decay: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description=(
            "What each earlier iteration that drew a document leaves of its freshness: a document drawn n times loses "
            "1 - repeat_decay^n standard deviations of the pool's gains."
        ),
    )

    # The budget's price and the slow constraints.
    price_rate: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description=(
            "Rate of the moving average of the market-clearing price. 1 is the price of the row at hand: the set "
            "changes fast at the start of an episode, and an average lags behind; 0 leaves it where it is."
        ),
    )
    demand_gain_rate: float = Field(
        default=0.15,
        ge=0,
        description=(
            "Rate at which the market asks best responses for more while the policy takes less of a row than it "
            "should, and for less while it takes more. With 0 some trainings ended by selecting nothing."
        ),
    )
    initial_price: float | None = Field(
        default=None,
        description="Price at the start of training; None clears the whole pool once at the pool's composition.",
    )
    toxicity_ceiling: float = Field(default=0.05, ge=0, le=1, description="tau: ceiling on the set's mean P(harm).")
    toxicity_dual_rate: float = Field(default=0.02, ge=0, description="Step of lambda_T for each environment step.")
    group_floor: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Floor on the benign text of a group in the set, as a share of what the pool holds of it.",
    )
    membership_floor: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description=(
            "Floor on the tokens of each identity group, dialect included, whatever a detector says of them, as a "
            "share of what a draw without favour would hold. 0 is none; 1 brought parity among benign text by people's "
            "labels above .8 where detectors shun a group (benchmarks/decision_quality.py)."
        ),
    )
    group_dual_rate: float = Field(default=0.02, ge=0, description="Step of lambda_D for each environment step.")
    dual_max: float = Field(default=4.0, ge=0, description="Upper bound of every dual.")
    floor_axes: tuple[Literal["identity_group", "domain"], ...] = Field(
        default=("identity_group", "domain"),
        description="Axes whose groups have a floor; the group 'none' has no floor.",
    )
    floor_minimum_share: float = Field(
        default=0.002, ge=0, le=1, description="Groups with less than this share of the pool's tokens have no floor."
    )

    # PPO (Schulman et al., 2017).
    cold_start_candidates: int = Field(
        default=393_216, ge=2, description="Candidates seen in training without a parent."
    )
    warm_start_candidates: int = Field(
        default=131_072, ge=2, description="Candidates seen in training from a parent's weights."
    )
    rollout_steps: int = Field(default=2, ge=1, description="Environment steps in one rollout (n_steps).")
    batch_size: int = Field(default=1024, ge=2, description="Rows of one minibatch.")
    n_epochs: int = Field(default=1, ge=1, description="Passes over a rollout.")
    learning_rate: float = Field(default=5e-3, gt=0, description="Constant step size of Adam; never a schedule.")
    clip_range: float = Field(default=0.2, gt=0, lt=1, description="epsilon of the clipped surrogate.")
    vf_coef: float = Field(default=0.5, ge=0, description="c1: weight of the value loss.")
    ent_coef: float = Field(default=0.001, ge=0, description="c2: weight of the entropy bonus.")
    gamma: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Discount; 0 because marginal gains telescope and the price carries what is next.",
    )
    gae_lambda: float = Field(default=1.0, ge=0, le=1, description="lambda of generalised advantage estimation.")
    max_grad_norm: float = Field(default=0.5, gt=0, description="Largest norm of a gradient.")
    net_arch: tuple[int, ...] = Field(default=(64, 64), min_length=1, description="Hidden units of the policy network.")
    value_arch: tuple[int, ...] = Field(
        default=(64,),
        min_length=1,
        description="Hidden units of the value network: with gamma = 0 it has one reward to predict, not a future.",
    )

    # Scoring a pool.
    min_effective_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description=(
            "Least share of the expected tokens that stays effective (Kish) under the loss weights; weights are shrunk "
            "towards 1 until it holds."
        ),
    )
    mean_field_rounds: int = Field(default=16, ge=1, description="Rounds that make state and selection consistent.")
    mean_field_damping: float = Field(
        default=0.35,
        gt=0,
        le=1,
        description="Share of the new selection in each round; 1 diverged at diversity weights >= 1.",
    )
    closed_form_temperature: float = Field(
        default=0.005, gt=0, description="Temperature of the closed-form control, in units of reward."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.weights[0] != 0.0 or any(b <= a for a, b in zip(self.weights, self.weights[1:], strict=False)):
            raise ValueError(f"weights must start at 0 and increase, got {self.weights}")
        if self.episode_candidates % self.n_parallel_candidates:
            raise ValueError(
                f"episode_candidates ({self.episode_candidates}) must be a multiple of n_parallel_candidates "
                f"({self.n_parallel_candidates})"
            )
        return self
