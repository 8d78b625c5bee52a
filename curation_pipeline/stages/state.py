"""The committed state of a chain: the record that ends an iteration and that the next one starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from curation_pipeline.errors import GateClosedError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.reward.curriculum import CurriculumState
from curation_pipeline.reward.duals import Duals

MAIN = "main"
TABLE = "state"
CODE_VERSION = "2"


def iteration_key(ordinal: int) -> str:
    """The partition value of an iteration: its ordinal, zero-padded so that text order is the order of time."""
    return f"{ordinal:04d}"


@dataclass(frozen=True, slots=True)
class Performance:
    """What an evaluation says of a model, each in [0, 1], higher is better.

    Attributes:
        safety: S.
        alignment: preference accuracy.
        capability: C.
        performance: the composite P that iterations are accepted by.
    """

    safety: float
    alignment: float
    capability: float
    performance: float


@dataclass(frozen=True, slots=True)
class Refinement:
    """What the reward's refinement carries from an iteration to the next, besides the reward model itself.

    Attributes:
        duals: multipliers of the constraints, and the step that rejections shorten.
        audit_shifts: the audits' part of the corrections: column -> value -> shift of the logit of P(harm).
        fitted_reward_id: the fitted reward (table ``initial_reward``) that the running one descends from; None in a
            state of an earlier version.
        audits: audit batches drawn under that fitted reward, oldest first; their labels are what recalibrates.
    """

    duals: Duals = field(default_factory=Duals)
    audit_shifts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fitted_reward_id: str | None = None
    audits: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Refinement:
        """From what ``asdict`` gives, after JSON."""
        return cls(Duals.from_json(raw["duals"]), raw["audit_shifts"], raw["fitted_reward_id"], tuple(raw["audits"]))


_FORMER = {"drive": "credit_metrics", "own_drive": "own_credit_metrics"}
"""Names in states that earlier versions wrote: a chain that has iterations is read as it is."""
_PERFORMANCES = ("performance", "credit_metrics", "own_performance", "own_credit_metrics")


@dataclass(frozen=True, slots=True)
class State:
    """What an iteration committed.

    A rejected iteration carries its parent's model, policy and reward model, so that the next one has a parent.

    Attributes:
        chain: the run of the loop; ``main`` is production.
        ordinal: 0 for the cold start, then 1, 2, ...
        status: whether this iteration's own model was accepted.
        reason: why, in words.
        checkpoint_id: the model in force.
        policy_id: the policy in force; None before the first accepted iteration of a learning chain.
        reward_model_id: the reward model that the next iteration uses.
        metrics_id: the evaluation of the model in force.
        performance: what is reported of it, on held-out data of role ``report``.
        credit_metrics: the same on data of role ``credit``: what acceptance, the policy's state and the reward's
            refinement lean on, so that the reported figures stay unseen by the loop.
        batches: the drawn batches that the model in force was trained on after the base, oldest first.
        probes: the probe evaluations so far, oldest first.
        own: ids of what this iteration made itself, accepted or not, by table.
        own_performance: what is reported of this iteration's own model.
        own_credit_metrics: the same on data of role ``credit``.
        parent_state_id: the state it started from; None for the cold start.
        refinement: multipliers, the audits' shifts and the fitted reward that the next iteration starts from.
        curriculum: the stage that the next iteration is in; None without stages in the profile.
    """

    chain: str
    ordinal: int
    status: Literal["accepted", "rejected"]
    reason: str
    checkpoint_id: str
    policy_id: str | None
    reward_model_id: str
    metrics_id: str
    performance: Performance
    credit_metrics: Performance
    batches: tuple[str, ...]
    probes: tuple[str, ...]
    own: dict[str, str]
    own_performance: Performance
    own_credit_metrics: Performance
    parent_state_id: str | None
    refinement: Refinement = field(default_factory=Refinement)
    curriculum: CurriculumState | None = None

    @property
    def key(self) -> str:
        """The iteration's partition value."""
        return iteration_key(self.ordinal)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> State:
        """The inverse of `to_dict`."""
        raw = {_FORMER.get(name, name): value for name, value in raw.items()}
        return cls(
            **{
                **raw,
                **{name: Performance(**raw[name]) for name in _PERFORMANCES},
                "batches": tuple(raw["batches"]),
                "probes": tuple(raw["probes"]),
                "refinement": Refinement.from_dict(raw["refinement"]) if "refinement" in raw else Refinement(),
                "curriculum": CurriculumState.from_json(raw.get("curriculum")),
            }
        )


def state_partition(chain: str, ordinal: int) -> dict[str, str]:
    """The partition of the loop's tables."""
    return {"chain": chain, "iteration": iteration_key(ordinal)}


def read_state(lake: Lake, manifest: Manifest) -> State:
    """The state that a manifest of the table ``state`` holds."""
    return State.from_dict(lake.json(manifest, "state"))


def committed(lake: Lake, chain: str, ordinal: int) -> tuple[Manifest, State] | None:
    """The committed state of an iteration, or None."""
    manifest = lake.head(TABLE, state_partition(chain, ordinal))
    return None if manifest is None else (manifest, read_state(lake, manifest))


def history(lake: Lake, chain: str) -> list[State]:
    """Every committed state of a chain, the cold start first."""
    return [read_state(lake, manifest) for manifest in lake.heads(TABLE, {"chain": chain})]


def chains(lake: Lake) -> list[str]:
    """Every chain that has committed something, in order of name."""
    return sorted({manifest.partition["chain"] for manifest in lake.heads(TABLE)})


def parent_of(lake: Lake, chain: str, ordinal: int) -> tuple[Manifest, State]:
    """The committed state that an iteration starts from.

    Raises:
        GateClosedError: the iteration before it has not been committed.
    """
    found = committed(lake, chain, ordinal - 1)
    if found is None:
        what = "the cold start" if ordinal == 1 else f"iteration {ordinal - 1}"
        raise GateClosedError(
            f"iteration {ordinal} of chain {chain!r} may not start: {what} has not been committed. "
            f"Materialise {'`cold_start`' if ordinal == 1 else 'the earlier iteration'} first; nothing was changed"
        )
    return found
