"""What the refinement is told, and what it says of each change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Shifts = Mapping[str, Mapping[str, float]]
"""Column of the pool (``source``, ``identity_group``) -> value -> shift of the logit of P(harm)."""


@dataclass(frozen=True, slots=True)
class Move:
    """One change and why.

    Attributes:
        reason: what was seen, for a person to read.
        name: alpha, beta, gamma, a multiplier such as ``lambda_S``, or ``correction source reddit``.
        before, after: the value.
        kind: weight, dual, correction, label_version or curriculum.
    """

    reason: str
    name: str
    before: float
    after: float
    kind: str = "weight"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with an interval, of one identity group or source.

    Attributes:
        value: parity of selection (1 is parity) or bits per byte over the base's (1 is no change).
        low, high: its interval.
        n: texts behind it.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """What the probes' surrogate says about drawing less harm: see ``credit.tradeoff``.

    Attributes:
        capability_per_safety: change of C for a change of S of +1, along a small tilt away from harm.
        r2_safety, r2_capability: leave-one-out R2 of the two surrogates.
    """

    capability_per_safety: float
    r2_safety: float
    r2_capability: float

    @property
    def believed(self) -> bool:
        """Whether both surrogates predict better than their mean."""
        return min(self.r2_safety, self.r2_capability) > 0.1


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an iteration showed, all of it on data of role ``credit`` or on its own batch.

    Attributes:
        now: safety, alignment and capability of the model just trained, higher is better; one that is missing moves
            nothing.
        before: the same of the parent model; may be empty.
        targets: wanted values, and the reference of capability of which ``capability_tolerance`` may be lost.
        parity: by identity group, selection rate of benign text over that of benign text that mentions none.
        sources: by source, bits per byte of clean text over the base's.
        tradeoff: the surrogate's word, where there is one.
    """

    now: Mapping[str, float]
    before: Mapping[str, float] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    parity: Mapping[str, Ratio] = field(default_factory=dict)
    sources: Mapping[str, Ratio] = field(default_factory=dict)
    tradeoff: Tradeoff | None = None
