"""A small quality classifier: running text against the debris that crawls of the web bring.

The classifiers of GPT-3 (Brown et al. 2020) and of fastText filters after it hold reference text against web text. Such
a contrast is one of register before it is one of quality: it prefers the writing of the educated, wealthy and urban
(Gururangan et al. 2022, "Whose language counts as high quality?"). Here both sides hold the same registers in the same
shares, informal conversation with the others: the good side as it was written, the bad side after damage as crawls do
it (``degrade``). A register, a dialect or a topic then says nothing about the label; damage does. What this cannot see
is quality that damage does not touch: whether a text is true, useful or well argued.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline import seeds
from curation_pipeline.annotate.annotator_settings import QualityClassifierSettings
from curation_pipeline.annotate.degrade import degrade
from curation_pipeline.annotate.hashed_linear import HashedLinear, excerpts, fit_hashed_linear, load_hashed_linear
from curation_pipeline.annotate.words import Words

VERSION = 1
DECIMALS = 4
KIND = "quality"
WORDS_MIN = 15


@dataclass(frozen=True, slots=True, eq=False)
class QualityModel:
    """A fitted quality classifier; ``linear`` has one column of weights, for undamaged text."""

    linear: HashedLinear

    def score(self, words: Words, values: pl.DataFrame) -> np.ndarray:
        """How much each of n texts looks undamaged.

        Args:
            words: of the texts.
            values: their indicators.

        Returns:
            float32 (n,) in [0, 1], rounded to 4 decimals; 0 where a text holds no word. An odds scale against damage at
            even odds, not the share of good text in a corpus.
        """
        logits = np.clip(self.linear.logits(words, values)[:, 0], -30.0, 30.0)
        scores = np.where(words.counts > 0, 1.0 / (1.0 + np.exp(-logits)), 0.0)
        return np.asarray(np.round(scores, DECIMALS), dtype=np.float32)

    def save(self, directory: Path) -> None:
        """Write to a folder as safetensors and JSON."""
        self.linear.save(directory, {"kind": KIND, "version": VERSION})


def load_quality(directory: Path) -> QualityModel:
    """What ``QualityModel.save`` wrote.

    Raises:
        MissingModelError: when the folder does not hold it.
        DataError: when it holds something else.
    """
    return QualityModel(load_hashed_linear(directory, KIND, VERSION)[0])


def fit_quality(documents: pl.DataFrame, seed: int, settings: QualityClassifierSettings | None = None) -> QualityModel:
    """Learn to tell text from its damaged versions.

    Args:
        documents: columns ``text`` and ``domain`` (the register, null where unknown); registers count equally.
        seed: the same documents and seed give the same model.
        settings: size and regularisation.

    Raises:
        DataError: when there is no document.
    """
    settings = settings or QualityClassifierSettings()
    generator = seeds.generator(seed, "quality")
    named = documents.with_columns(pl.col("domain").fill_null("unknown"))
    limits = (WORDS_MIN, max(WORDS_MIN, settings.words_max))
    sample = excerpts(named, "domain", settings.max_documents, limits, generator)
    # Good and bad text come from different excerpts: no document is on both sides.
    bad = generator.permutation(len(sample)) < len(sample) // 2
    labels = (~bad).astype(np.int64)
    texts = sample["text"].to_list()
    for register in sample["domain"].unique().sort().to_list():
        rows = np.flatnonzero(bad & (sample["domain"] == register).to_numpy())
        others = [texts[i] for i in rows]
        for i in rows:
            texts[i] = degrade(texts[i], others, generator)
    linear = fit_hashed_linear(
        pl.Series(texts, dtype=pl.Utf8),
        labels,
        bits=settings.buckets_log2,
        pairs=True,
        regularisation=settings.regularisation,
    )
    return QualityModel(linear)
