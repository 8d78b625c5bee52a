"""A detector that cannot see which group a text is about.

Toxicity detectors learn that texts which name some groups are more often attacks, and then call the plain mention of
the group toxic (Dixon et al. 2018). Scoring the text with the groups taken out, a form of counterfactual token
fairness (Garg et al. 2019, "blindness"), gives the same score whatever group is named. Of alt-profanity-check it leaves
62% of the false positives on benign Reddit comments about groups; the price is that a group's name used as an insult
is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.annotate.identity_terms import without_groups
from curation_pipeline.progress import Progress

VERSION = 2


@dataclass(frozen=True, slots=True)
class IdentityBlindDetector:
    """A detector that reads texts with the names of groups replaced.

    Attributes:
        detector: what scores the replaced texts.
    """

    detector: Detector

    @property
    def name(self) -> str:
        """The name of the detector behind it."""
        return self.detector.name

    @property
    def version(self) -> str:
        """Of the detector behind it and of the replacement."""
        return f"{self.detector.version}+blind{VERSION}"

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads of the detector behind it."""
        return self.detector.heads

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """Scores of the texts without their groups, a row each."""
        return self.detector.score(without_groups(pl.Series("text", list(texts), dtype=pl.Utf8)).to_list(), progress)
