"""The composite reward and what it is made of.

Signs, stated once: every R is higher-is-better and lies in [0, 1].

    R_safety    = 1 - P(harm), cautious and corrected (safety.py, corrections.py)
    R_alignment = calibrated alignment                (alignment.py)
    R_diversity = coverage and novelty given the batch (diversity.py)
    R = alpha R_safety + beta R_alignment + gamma R_diversity + eta c,      alpha + beta + gamma = 1,

with c the downstream credit of the document's stratum (credit.py), in [-2.5, 2.5]. A toxicity score therefore never
enters with a plus sign: dR / dT <= 0 for every teacher's score T, through P(harm) and, where it reads teachers, through
alignment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from curation_pipeline.annotate.files import load_arrays, save_arrays
from curation_pipeline.errors import DataError
from curation_pipeline.reward.alignment import AlignmentModel
from curation_pipeline.reward.corrections import Corrections
from curation_pipeline.reward.diversity import RandomFeatures
from curation_pipeline.reward.safety import DECIMALS, SafetyModel
from curation_pipeline.reward.settings import RewardSettings

VERSION = 2
Reason = Literal["safety", "alignment", "capability"]
WEIGHT_OF: Mapping[Reason, str] = {"safety": "alpha", "alignment": "beta", "capability": "gamma"}
"""Which weight answers which shortfall. Capability answers to diversity: it is lost where coverage is lost."""


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

    def stepped(self, reason: Reason, log_step: float = 0.2) -> RewardWeights:
        """The weights after one multiplicative step in favour of the weight that answers ``reason``."""
        return self.moved({WEIGHT_OF[reason]: log_step})

    def moved(self, log_steps: Mapping[str, float], floor: float = 0.0) -> RewardWeights:
        """Exponentiated-gradient step on the simplex (Kivinen and Warmuth 1997).

        With every step in [0, m], no weight's logarithm changes by more than m, since the normaliser lies in [1, e^m].

        Args:
            log_steps: for some of alpha, beta, gamma: how far to raise its logarithm before normalising.
            floor: least weight; the whole step is shortened until it holds.
        """
        start = np.array([self.alpha, self.beta, self.gamma])
        step = np.array([log_steps.get(name, 0.0) for name in ("alpha", "beta", "gamma")])
        fraction, after = 1.0, start
        for _ in range(40):
            after = start * np.exp(fraction * step)
            after = after / after.sum()
            if after.min() >= min(floor, float(start.min())) - 1e-12:
                break
            fraction *= 0.8
        else:
            after = start
        alpha, beta = float(after[0]), float(after[1])
        return RewardWeights(alpha, beta, max(0.0, 1.0 - alpha - beta), self.eta)

    def total(
        self,
        safety: np.ndarray,
        alignment: np.ndarray,
        diversity: np.ndarray | float = 0.0,
        credit: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        """The composite reward R of each document, float64 (n,); see the module."""
        r_safety, r_alignment = np.asarray(safety, dtype=np.float64), np.asarray(alignment, dtype=np.float64)
        return np.asarray(
            self.alpha * r_safety
            + self.beta * r_alignment
            + self.gamma * np.asarray(diversity)
            + self.eta * np.asarray(credit)
        )


@dataclass(frozen=True, slots=True, eq=False)
class RewardModel:
    """All fitted parts of the reward: what an iteration's policy is trained against.

    Attributes:
        safety, alignment: the fitted models.
        novelty: random Fourier features of the diversity term.
        weights: alpha, beta, gamma, eta.
        corrections: of P(harm) by stratum, from audits and constraints.
    """

    safety: SafetyModel
    alignment: AlignmentModel
    novelty: RandomFeatures
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

    def reweighted(self, weights: RewardWeights) -> RewardModel:
        """The same models under other weights."""
        return replace(self, weights=weights)

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
        for name, part in (("safety", self.safety), ("alignment", self.alignment), ("novelty", self.novelty)):
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
            novelty=RandomFeatures.from_parts(part("novelty"), meta["novelty"]),
            weights=RewardWeights(**meta["weights"]),
            corrections=Corrections.from_json(meta["corrections"]),
        )
        if model.identity != meta.get("identity"):
            raise DataError(
                f"{directory}: the reward model's content is not what was saved; restore it or fit it again"
            )
        return model
