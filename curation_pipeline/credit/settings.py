"""Settings of the probe trainings and of the surrogate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from curation_pipeline.settings import Settings


class CreditSettings(Settings):
    """How many probes are trained, on how much, and how fast old ones fade; the defaults are the demo's."""

    n_probes_first: int = Field(default=24, ge=0, description="probe trainings before the first iteration")
    n_probes: int = Field(default=6, ge=0, description="probe trainings before each later iteration")
    probe_tokens: int = Field(default=30_000, ge=1_000, description="tokens each probe fine-tunes the shared base on")
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="peak rate of a probe; lower than a continuation's, as probes are short"
    )
    topic_spread: float = Field(default=0.8, ge=0, description="standard deviation of a topic's log tilt")
    toxicity_spread: float = Field(default=1.0, ge=0, description="standard deviation of a toxicity bin's log tilt")
    identity_spread: float = Field(default=0.6, ge=0, description="standard deviation of an identity group's log tilt")
    trait_spread: float = Field(
        default=0.3, ge=0, description="standard deviation of the log tilt for each standard deviation of a trait"
    )
    first_around: Literal["pool", "best_response"] = Field(
        default="pool",
        description=(
            "What the first probes of a chain tilt: the pool, or the closed form without feedback. A best response is "
            "so clean that short probes around it differ by little but noise: on the demo their leave-one-out R2 was 0."
        ),
    )
    local_spread: float = Field(
        default=1.0, gt=0, le=1, description="factor on the strata's spreads where probes draw around a policy"
    )
    step: float = Field(
        default=0.5, gt=0, le=1, description="share of the newly fitted credit in what is used; the rest is the last"
    )
    decay: float = Field(default=0.85, gt=0, le=1, description="weight of a probe per iteration of age")
    max_age: int = Field(default=12, ge=0, description="iterations after which a probe is no longer used")
    min_probes: int = Field(default=6, ge=3, description="fewer probes than this give no credit at all")
    max_heldout_chars: int = Field(default=300, ge=20, description="characters of a held-out text that are scored")
    eps: float = Field(default=1e-3, gt=0, le=0.1, description="added to a stratum's share before its logarithm")
