"""What some baselines need in addition to the pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F64
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.credit import DownstreamCredit

PREFIX = "pass_"
"""Boolean columns of a pool's frame that begin so are flags of rules."""

Texts = Callable[[pl.Series], pl.Series]
"""The texts of some doc_ids, in their order."""

Evaluate = Callable[[F64], float]
"""What a batch is worth, higher is better, given the expected loss weight (n,) of each document of the pool."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Inputs in addition to the pool; a baseline that lacks the one it needs says so.

    Attributes:
        flags: for each rule, whether each document (n,) of the pool passes it, in the pool's order (manual_filters).
        texts: reads texts of the pool a chunk at a time (dsir).
        target: texts that a batch should resemble: clean and held out from the pool (dsir).
        credit: surrogate of the downstream score, fitted on probe outcomes (regmix; optional for exp3, closed_form and
            cross_entropy).
        objective: of the iteration (closed_form, cross_entropy); None makes one of the baselines' settings.
        policy: settings of the decision process (closed_form, cross_entropy).
        evaluate: what cross_entropy maximises; None maximises the value of the set under the objective.
    """

    flags: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    texts: Texts | None = None
    target: pl.Series | None = None
    credit: DownstreamCredit | None = None
    objective: Objective | None = None
    policy: PolicySettings = field(default_factory=PolicySettings)
    evaluate: Evaluate | None = None

    def require_flags(self, names: tuple[str, ...], n: int) -> dict[str, npt.NDArray[np.bool_]]:
        """The flags of some rules.

        Raises:
            DataError: one is missing or has another length than the pool.
        """
        missing = [name for name in names if name not in self.flags]
        if missing:
            raise DataError(
                f"the pool has no {', '.join(PREFIX + name for name in missing)}; add these columns to its frame, or "
                "leave the rules out of baselines.manual_rules"
            )
        wrong = [name for name in names if len(self.flags[name]) != n]
        if wrong:
            raise DataError(f"flags of {', '.join(wrong)} do not fit a pool of {n} documents")
        return {name: np.asarray(self.flags[name], dtype=np.bool_) for name in names}
