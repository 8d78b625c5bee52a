"""How traits of documents are standardised: the constants of one pool, which travel with the credit fitted on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from curation_pipeline.errors import DataError

_CLIP = 4.0
"""Standardised traits are cut at this many standard deviations."""


@dataclass(frozen=True, slots=True, eq=False)
class TraitScale:
    """Constants of f traits.

    With them a document's standardised traits depend on the document alone, so that a part of a pool is measured as the
    whole is.

    Attributes:
        names: of the traits, in order.
        centre: (f,) token-weighted mean of each.
        spread: (f,) token-weighted standard deviation; 0 for a trait that does not vary, which then counts for nothing.
    """

    names: tuple[str, ...] = ()
    centre: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    spread: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Check lengths.

        Raises:
            DataError: an array does not hold one finite number for each trait.
        """
        for name in ("centre", "spread"):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.shape != (len(self.names),) or not np.isfinite(values).all():
                raise DataError(f"`{name}` of the traits must hold {len(self.names)} finite numbers; fit it again")
            values.setflags(write=False)
            object.__setattr__(self, name, values)

    @classmethod
    def fit(cls, traits: Mapping[str, npt.NDArray[np.floating]], tokens: npt.NDArray[np.integer]) -> TraitScale:
        """Constants of a pool.

        Args:
            traits: name -> (n,) values; not a number where a value is missing.
            tokens: (n,) of each document.
        """
        centre, spread = [], []
        for value in traits.values():
            known = np.isfinite(value)
            mass = np.where(known, tokens, 0.0)
            mass /= max(float(mass.sum()), 1e-12)
            clean = np.where(known, value, 0.0).astype(np.float64)
            centre.append(float(mass @ clean))
            deviation = float(np.sqrt(mass @ (clean - centre[-1]) ** 2))
            spread.append(deviation if deviation > 1e-9 else 0.0)
        return cls(tuple(traits), np.array(centre), np.array(spread))

    def standardised(self, traits: Mapping[str, npt.NDArray[np.floating]]) -> npt.NDArray[np.float64]:
        """Traits (n, f) of documents, cut at 4; a missing value is 0, the mean.

        Raises:
            DataError: a trait is missing altogether.
        """
        missing = [name for name in self.names if name not in traits]
        if missing:
            raise DataError(f"downstream credit knows of {', '.join(missing)}, which the pool lacks; fit it again")
        found = np.zeros((len(next(iter(traits.values()))), len(self.names)))
        for place, (name, centre, spread) in enumerate(zip(self.names, self.centre, self.spread, strict=True)):
            if spread > 0:
                scaled = (traits[name].astype(np.float64) - centre) / spread
                found[:, place] = np.nan_to_num(np.clip(scaled, -_CLIP, _CLIP), nan=0.0)
        return found
