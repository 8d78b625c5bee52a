"""What a person sets about the composition of the batch: shares to aim at, and shares that it must have."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from curation_pipeline.errors import ConfigError
from curation_pipeline.settings import Settings

Axis = Literal["register", "topic", "source", "domain", "identity_group"]
"""What a share can be about. None of them is toxicity: diversity must never ask for toxic text."""
Shares = dict[Axis, dict[str, Annotated[float, Field(ge=0.0, le=1.0)]]]
"""axis -> value -> share of the batch's tokens."""


class TargetSettings(Settings):
    """The composition that diversity aims at, and the least that a batch must hold of essential domains."""

    targets: Shares = Field(
        default_factory=dict,
        description="axis (register, topic, source, domain, identity_group) -> value -> share of the batch's tokens to "
        "aim at; values not named keep the pool's proportions; without any target the pool's composition is the aim",
    )
    essential: Shares = Field(
        default_factory=dict,
        description="axis -> value -> least share of the batch's tokens, as a floor that every batch holds where the "
        "pool has enough of it",
    )

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        """The named shares of an axis cannot exceed the whole.

        Raises:
            ConfigError: when they do, or an essential share exceeds the target of its value.
        """
        for name, shares in (("targets", self.targets), ("essential", self.essential)):
            for axis, values in shares.items():
                if not values:
                    raise ConfigError(f"reward.{name}.{axis} names no value; give shares or leave the axis out")
                total = sum(values.values())
                if total > 1.0 + 1e-9:
                    raise ConfigError(f"reward.{name}.{axis} adds up to {total:.4g}; shares of one axis are at most 1")
        for axis, values in self.essential.items():
            for value, least in values.items():
                aim = self.targets.get(axis, {}).get(value)
                if aim is not None and aim < least - 1e-9:
                    raise ConfigError(
                        f"reward.targets.{axis}.{value} aims at {aim:.4g}, below the least share {least:.4g} of "
                        f"reward.essential; raise the one or lower the other"
                    )
        return self
