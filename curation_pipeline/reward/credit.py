"""Downstream credit: what one more unit of a stratum is worth to the trained model, as measured by probe trainings.

The surrogate of the downstream score P over the token composition q (shares of the strata, summing to one) is

    P(q) = mu + sum_k share_k q_k + sum_k coverage_k log(q_k + eps),

a linear mixture model in the manner of RegMix (Liu et al., arXiv:2407.01492) with a concave coverage term, so that
returns diminish. A further linear term may stand over the batch's means of standardised traits of its documents
(``traits.py``), for what differs inside a stratum. The gradient at the present composition is the credit that
the policy adds to its reward. The surrogate is fitted elsewhere; this class is what passes between the fit and the
policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from curation_pipeline.errors import DataError
from curation_pipeline.reward.traits import TraitScale

CLIP = 2.5
"""Bound on a stratum's credit, in standard deviations: no stratum may drown the rest of the reward."""


@dataclass(frozen=True, slots=True, eq=False)
class DownstreamCredit:
    """The fitted surrogate's coefficients, in the order of ``strata`` (k of them).

    Attributes:
        strata: names of the strata; all arrays below follow this order.
        share: (k,) coefficients of the linear term.
        coverage: (k,) coefficients of the log term; positive values mean diminishing returns.
        composition: (k,) token shares of the pool or batch at which the surrogate was fitted, summing to one.
        r2: leave-one-out R2 of the surrogate; at or below zero the credit is worth nothing and fades out.
        eps: added to a share before its logarithm, the same in the fit and here.
        n_probes: how many probe trainings stand behind the fit.
        metric: what P is, in words.
        traits: names of the f traits, and the constants of the pool of the fit.
        slope: (f,) coefficients of the batch's means of them.
        trait_spread: standard deviation of the traits' part of the credit over the documents of the fit.
    """

    strata: tuple[str, ...]
    share: np.ndarray
    coverage: np.ndarray
    composition: np.ndarray
    r2: float
    eps: float = 1e-3
    n_probes: int = 0
    metric: str = ""
    traits: TraitScale = field(default_factory=TraitScale)
    slope: np.ndarray = field(default_factory=lambda: np.empty(0))
    trait_spread: float = 0.0

    def __post_init__(self) -> None:
        """Bring the arrays to float64 and check their lengths.

        Raises:
            DataError: when an array does not have one finite number for each stratum, or eps is not positive.
        """
        for name in ("share", "coverage", "composition"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != (len(self.strata),) or not np.isfinite(array).all():
                raise DataError(
                    f"downstream credit: `{name}` must hold {len(self.strata)} finite numbers, one for each stratum, "
                    f"but has shape {array.shape}; refit the surrogate"
                )
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        slope = np.array(self.slope, dtype=np.float64)
        if slope.shape != (len(self.traits.names),) or not np.isfinite(slope).all():
            raise DataError(f"downstream credit: `slope` must hold {len(self.traits.names)} finite numbers; refit it")
        slope.setflags(write=False)
        object.__setattr__(self, "slope", slope)
        if not self.eps > 0:
            raise DataError(f"downstream credit: eps must be positive, not {self.eps}")

    def at(self, composition: np.ndarray | None = None) -> np.ndarray:
        """Credit of each stratum at a composition.

        The gradient dP/dn_k, with n_k the tokens of stratum k and q = n / sum(n), is (up to a common positive factor)
        dP/dq_k minus its mean under q: hence the centring. It is then brought to unit standard deviation under q
        (the traits' part counted in), clipped at +-2.5, and multiplied by max(r2, 0), so that an unreliable surrogate
        has no voice.

        Args:
            composition: (k,) non-negative token counts or shares; None means the composition of the fit.

        Returns:
            float64 of shape (k,), in [-2.5, 2.5].

        Raises:
            DataError: when the composition has the wrong length or a negative entry.
        """
        centred, scale = self._centred(composition)
        if scale <= 1e-12 or not self.r2 > 0:
            return np.zeros_like(centred)
        return np.asarray(np.clip(centred / scale, -CLIP, CLIP) * min(max(self.r2, 0.0), 1.0))

    def documents(self, traits: Mapping[str, npt.NDArray[np.floating]]) -> np.ndarray:
        """Credit of documents for their traits, to be added to that of their stratum; in its unit, clipped like it.

        Args:
            traits: name -> (n,) values as they are, at least those that the credit knows of.

        Returns:
            float64 of shape (n,), in [-2.5, 2.5].

        Raises:
            DataError: when a trait is missing.
        """
        own = np.zeros(len(next(iter(traits.values()))))
        scale = self._centred(None)[1]
        if not self.traits.names or scale <= 1e-12 or not self.r2 > 0:
            return own
        # Added one by one: a product's last bits would depend on how many documents stand in it.
        for slope, value in zip(self.slope, self.traits.standardised(traits).T, strict=True):
            own += slope * value
        return np.asarray(np.clip(own / scale, -CLIP, CLIP) * min(self.r2, 1.0))

    def unit(self) -> DownstreamCredit:
        """The same credit with coefficients in the unit of ``at``; those of several fits can then be averaged."""
        scale = max(self._centred(None)[1], 1e-12)
        return replace(
            self,
            share=self.share / scale,
            coverage=self.coverage / scale,
            slope=self.slope / scale,
            trait_spread=self.trait_spread / scale,
        )

    def _centred(self, composition: np.ndarray | None) -> tuple[np.ndarray, float]:
        """Slopes (k,) less their mean, and the standard deviation of a document's credit."""
        q = np.asarray(self.composition if composition is None else composition, dtype=np.float64)
        if q.shape != self.share.shape or (q < 0).any():
            raise DataError(f"a composition must hold {self.share.size} non-negative numbers, got shape {q.shape}")
        if self.share.size == 0:
            return np.zeros_like(self.share), 0.0
        total = float(q.sum())
        q = q / total if total > 0 else np.full_like(q, 1.0 / q.size)
        slope = self.share + self.coverage / (q + self.eps)
        centred = slope - float(q @ slope)
        scale = float(np.hypot(np.sqrt(q @ centred**2), self.trait_spread))
        # All mass on one stratum leaves no spread under q; the plain spread over strata is then the only scale.
        if scale <= 1e-9 * max(1.0, float(np.abs(slope).max())):
            scale = float(np.sqrt(np.mean(centred**2)))
        return centred, scale

    def indexed(self, strata: tuple[str, ...] | list[str]) -> DownstreamCredit:
        """The same credit in another order of strata; strata that the surrogate never saw get zero coefficients."""
        place = {name: i for i, name in enumerate(self.strata)}
        index = np.array([place.get(name, -1) for name in strata], dtype=np.int64)

        def take(values: np.ndarray) -> np.ndarray:
            return np.append(values, 0.0)[index]

        return replace(
            self,
            strata=tuple(strata),
            share=take(self.share),
            coverage=take(self.coverage),
            composition=take(self.composition),
        )

    @staticmethod
    def none(strata: tuple[str, ...] | list[str]) -> DownstreamCredit:
        """No credit: the state before the first probes, in which ``at`` is zero everywhere."""
        k = len(strata)
        zero = np.zeros(k)
        return DownstreamCredit(tuple(strata), zero, zero, np.full(k, 1.0 / max(k, 1)), r2=0.0)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain lists and numbers."""
        return {
            "strata": list(self.strata),
            "share": self.share.tolist(),
            "coverage": self.coverage.tolist(),
            "composition": self.composition.tolist(),
            "r2": float(self.r2),
            "eps": float(self.eps),
            "n_probes": int(self.n_probes),
            "metric": self.metric,
            "traits": list(self.traits.names),
            "trait_centre": self.traits.centre.tolist(),
            "trait_scale": self.traits.spread.tolist(),
            "slope": self.slope.tolist(),
            "trait_spread": float(self.trait_spread),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> DownstreamCredit:
        """The inverse of ``to_json``.

        Raises:
            DataError: when a key is missing or unknown.
        """
        try:
            rest = dict(data)
            names, centre, spread = (rest.pop(name, ()) for name in ("traits", "trait_centre", "trait_scale"))
            traits = TraitScale(tuple(names), np.asarray(centre), np.asarray(spread))
            return DownstreamCredit(**{**rest, "strata": tuple(data["strata"]), "traits": traits})
        except (KeyError, TypeError) as error:
            raise DataError(f"not a downstream credit: {error}") from error
