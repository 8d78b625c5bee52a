"""The composite reward, its weights, and its fitted parts.

    R = alpha R_s + beta R_a + gamma R_d(x | S) + eta c(x | S),      alpha + beta + gamma = 1

- R_s = 1 - P(harm), cautious and corrected (safety.py, corrections.py), in [0, 1];
- R_a: calibrated alignment (alignment.py), in [0, 1];
- R_d: novelty and coverage of a document x given the selected set S (policy/selection_state.py), in [-1, 1];
- c: downstream credit of the document's stratum and traits given the set (credit.py), in [-5, 5].

All are higher-is-better. A toxicity score T never enters with a plus sign: dR / dT <= 0 for every teacher, through
P(harm) and, where alignment reads teachers, through alignment. ``composite_reward`` is the only definition: training,
scoring, the closed form, baselines, the search and the reports all call it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import polars as pl

from curation_pipeline.annotate.files import load_arrays, save_arrays
from curation_pipeline.errors import DataError
from curation_pipeline.reward.alignment import AlignmentModel
from curation_pipeline.reward.corrections import Corrections
from curation_pipeline.reward.safety import DECIMALS, SafetyModel
from curation_pipeline.reward.settings import RewardSettings

VERSION = 3
Reason = Literal["safety", "alignment", "capability"]


class Coefficients(Protocol):
    """Whatever has the four weights of the reward."""

    @property
    def alpha(self) -> float: ...  # noqa: D102
    @property
    def beta(self) -> float: ...  # noqa: D102
    @property
    def gamma(self) -> float: ...  # noqa: D102
    @property
    def eta(self) -> float: ...  # noqa: D102


class RewardTerms(NamedTuple):
    """The four terms of the reward, each with its weight; numbers or float64 (n,)."""

    safety: Any
    alignment: Any
    diversity: Any
    credit: Any


def reward_terms(weights: Coefficients, safety: Any, alignment: Any, diversity: Any, credit: Any) -> RewardTerms:
    """The weighted terms of R.

    Args:
        weights: alpha, beta, gamma, eta.
        safety: R_s, a number or (n,).
        alignment: R_a.
        diversity: R_d.
        credit: c.
    """
    # R_a keeps its own precision: a pool stores it in float32.
    safe = np.asarray(safety, dtype=np.float64)
    return RewardTerms(weights.alpha * safe, weights.beta * alignment, weights.gamma * diversity, weights.eta * credit)


def composite_reward(
    weights: Coefficients,
    safety: Any,
    alignment: Any,
    diversity: Any = 0.0,
    credit: Any = 0.0,
    deduction: Any = 0.0,
) -> Any:
    """R less a deduction, float64; the arguments are those of ``reward_terms``.

    Args:
        weights: alpha, beta, gamma, eta.
        safety: R_s, a number or (n,).
        alignment: R_a.
        diversity: R_d.
        credit: c.
        deduction: what counts as zero, and what earlier draws take off; subtracted before R_d and c are added.
    """
    terms = reward_terms(weights, safety, alignment, diversity, credit)
    return terms.safety + terms.alignment - deduction + terms.diversity + terms.credit


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """alpha, beta and gamma on the simplex, and eta outside of it."""

    alpha: float = 0.5
    beta: float = 0.25
    gamma: float = 0.25
    eta: float = 0.5

    def __post_init__(self) -> None:
        """Check the simplex.

        Raises:
            DataError: when a weight is negative or the three do not sum to one.
        """
        values = (self.alpha, self.beta, self.gamma, self.eta)
        if not np.isfinite(values).all() or min(values) < 0 or abs(sum(values[:3]) - 1.0) > 1e-6:
            raise DataError(
                f"reward weights {values[:3]} must be non-negative and sum to 1, and eta {self.eta} be >= 0"
            )

    @staticmethod
    def of(settings: RewardSettings) -> RewardWeights:
        """The weights that a profile starts with."""
        return RewardWeights(settings.alpha, settings.beta, settings.gamma, settings.eta)


@dataclass(frozen=True, slots=True, eq=False)
class RewardModel:
    """All fitted parts of the reward: what an iteration's policy is trained against.

    Attributes:
        safety, alignment: the fitted models.
        weights: alpha, beta, gamma, eta.
        corrections: of P(harm) by stratum, from audits and constraints.
    """

    safety: SafetyModel
    alignment: AlignmentModel
    weights: RewardWeights
    corrections: Corrections = field(default_factory=Corrections)

    @property
    def identity(self) -> str:
        """32 hexadecimal digits of the content: two models with the same numbers are the same model."""
        arrays, meta = self._parts()
        digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
        for name in sorted(arrays):
            digest.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
        return digest.hexdigest()[:32]

    def annotate(self, documents: pl.DataFrame, vectors: np.ndarray) -> pl.DataFrame:
        """Columns ``p_harm`` and ``alignment`` of the pool, Float32 in [0, 1], one row a document in order.

        Args:
            documents: n rows with the teachers' columns, and where known ``source``, ``identity_group``,
                ``obfuscation`` and the columns of the corrections.
            vectors: (n, d) sentence vectors.

        Raises:
            DataError: when a teacher's column is missing, or the vectors have another size.
        """
        p_harm = self.corrections.apply(self.safety.p_harm(documents, vectors), documents)
        return pl.DataFrame(
            {
                "p_harm": np.round(np.clip(p_harm, 0.0, 1.0), DECIMALS).astype(np.float32),
                "alignment": self.alignment.score(vectors, documents),
            },
            schema={"p_harm": pl.Float32, "alignment": pl.Float32},
        )

    def _parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays: dict[str, np.ndarray] = {}
        meta: dict[str, Any] = {
            "kind": "reward",
            "version": VERSION,
            "weights": asdict(self.weights),
            "corrections": self.corrections.to_json(),
        }
        for name, part in (("safety", self.safety), ("alignment", self.alignment)):
            own, about = part.to_parts()
            arrays |= {f"{name}.{key}": array for key, array in own.items()}
            meta[name] = about
        return arrays, meta

    def save(self, directory: Path) -> None:
        """Write to a folder as safetensors and JSON."""
        arrays, meta = self._parts()
        save_arrays(directory, arrays, meta | {"identity": self.identity})

    @staticmethod
    def load(directory: Path) -> RewardModel:
        """What ``save`` wrote.

        Raises:
            MissingModelError: when the folder does not hold it.
            DataError: when it holds something else, or its content has another identity than recorded.
        """
        arrays, meta = load_arrays(directory)
        if meta.get("kind") != "reward" or meta.get("version") != VERSION:
            raise DataError(f"{directory} holds no reward model of version {VERSION}; fit it again")

        def part(name: str) -> dict[str, np.ndarray]:
            return {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}

        model = RewardModel(
            safety=SafetyModel.from_parts(part("safety"), meta["safety"]),
            alignment=AlignmentModel.from_parts(part("alignment"), meta["alignment"]),
            weights=RewardWeights(**meta["weights"]),
            corrections=Corrections.from_json(meta["corrections"]),
        )
        if model.identity != meta.get("identity"):
            raise DataError(
                f"{directory}: the reward model's content is not what was saved; restore it or fit it again"
            )
        return model
