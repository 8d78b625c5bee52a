"""The multipliers of the loop's constraints: what earlier evaluations left to be answered.

Constraints, each with a multiplier that is never negative: safety, capability and alignment of the trained model, the
selection parity of each identity group, and the likelihood of each register (source). After an evaluation

    lambda <- clip((1 - decay) lambda + clip(rate step v, -m step, m step), 0, max_dual),

v the violation (negative when there is slack), m ``max_log_step``. It is projected dual ascent (Arrow, Hurwicz and
Uzawa 1958) with a leak, so that an old shortfall is forgotten, and with a bounded step, so that one noisy evaluation
cannot turn the loop round. ``step`` starts at 1, is multiplied by ``backoff`` when an iteration is rejected, and is
brought back by the same factor when one is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from curation_pipeline.reward.refinement_settings import RefinementSettings
from curation_pipeline.reward.settings import RewardSettings

AXES = ("safety", "capability", "alignment")


@dataclass(frozen=True, slots=True)
class Duals:
    """Multipliers, each at least 0.

    Attributes:
        safety, capability, alignment: lambda_S, lambda_C, lambda_A.
        groups: lambda_g of each identity group.
        registers: lambda_r of each source.
        step: factor on every step, in (0, 1].
    """

    safety: float = 0.0
    capability: float = 0.0
    alignment: float = 0.0
    groups: Mapping[str, float] = field(default_factory=dict)
    registers: Mapping[str, float] = field(default_factory=dict)
    step: float = 1.0

    def rejected(self, settings: RefinementSettings) -> Duals:
        """The same multipliers with a shorter step, as they go on after a rejected iteration."""
        return replace(self, step=max(settings.min_step, self.step * settings.backoff))

    def accepted(self, settings: RefinementSettings) -> Duals:
        """The same multipliers with the step on its way back to 1."""
        return replace(self, step=min(1.0, self.step / settings.backoff))

    def named(self) -> dict[str, float]:
        """All multipliers by the name that people see, such as ``lambda_S`` or ``lambda_g gender``."""
        out = {"lambda_S": self.safety, "lambda_C": self.capability, "lambda_A": self.alignment}
        out |= {f"lambda_g {name}": value for name, value in sorted(self.groups.items())}
        return out | {f"lambda_r {name}": value for name, value in sorted(self.registers.items())}

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and dictionaries."""
        plain = {name: float(getattr(self, name)) for name in (*AXES, "step")}
        return plain | {"groups": dict(self.groups), "registers": dict(self.registers)}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Duals:
        """The inverse of ``to_json``."""
        return Duals(**raw)


def ascend(
    multiplier: float, violation: float | None, step: float, reward: RewardSettings, settings: RefinementSettings
) -> float:
    """One step of one multiplier; see the module.

    Args:
        multiplier: lambda, at least 0.
        violation: v in the constraint's own unit, below 0 where there is slack; None where nothing was measured,
            which leaves the multiplier as it is.
        step: the duals' factor.
        reward: ``refine_rate`` and ``max_log_step``.
        settings: decay and largest multiplier.
    """
    if violation is None:
        return multiplier
    limit = reward.max_log_step * step
    move = min(limit, max(-limit, reward.refine_rate * step * violation))
    # The leak counts towards the bound: the whole change of a multiplier is at most the limit.
    change = min(limit, max(-limit, move - settings.dual_decay * multiplier))
    return min(settings.max_dual, max(0.0, multiplier + change))
