"""What a baseline declares, and the settings that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.settings import Settings


class SharedSettings(Settings):
    """What all baselines share; a baseline adds its own settings in a subclass."""

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


Choose = Callable[[Pool, int, int, Any, Inputs], Scores]
"""Takes a pool, a budget in tokens, a seed, the baselines' settings and the inputs."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A way of choosing data without a trained policy.

    Attributes:
        name: what ``experiment.arms`` calls it.
        about: what it does, in one line, with its paper.
        choose: with what probability each document is drawn and, where it would not be, why.
        needs: what of the inputs it cannot do without: flags of quality rules, or the credit of the first probes.
        settings: what it adds to the settings of the baselines.
        weighs: it weighs what it draws by itself; fractional weights are not for it.
    """

    name: str
    about: str
    choose: Choose
    needs: Literal["", "flags", "credit"] = ""
    settings: type[SharedSettings] = SharedSettings
    weighs: bool = False
