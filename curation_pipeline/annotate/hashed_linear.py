"""Logistic regression over hashed words and indicators: what the register and the quality classifier share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.files import load_arrays, save_arrays
from curation_pipeline.annotate.indicators import INDICATORS, indicators
from curation_pipeline.annotate.words import Words, words_of
from curation_pipeline.errors import DataError

CLIP = 4.0
"""Standardised indicators are cut here: one odd share in a short text must not decide alone."""
INDICATOR_WEIGHT = 1.0
"""How much a standardised indicator counts against a hashed word under the one penalty. At 1 rather than 0.3, registers
of text from other sources are told a little better (62% against 58% over ten sets)."""


@dataclass(frozen=True, slots=True, eq=False)
class HashedLinear:
    """A fitted multinomial (or, with one column, binary) logistic model.

    Attributes:
        word_weights: float32 (2 ** bits, c).
        indicator_weights: float32 (len(INDICATORS), c).
        bias: float32 (c,).
        mean, scale: float32 (len(INDICATORS),), by which indicators are standardised.
        pairs: whether pairs of neighbouring words are hashed too.
    """

    word_weights: np.ndarray
    indicator_weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    pairs: bool

    @property
    def bits(self) -> int:
        """Logarithm to base 2 of the number of buckets."""
        return len(self.word_weights).bit_length() - 1

    def logits(self, words: Words, values: pl.DataFrame) -> np.ndarray:
        """Scores before the logistic function.

        Args:
            words: of n texts.
            values: their indicators.

        Returns:
            float64 (n, c).
        """
        dense = _standardised(values.select(INDICATORS).to_numpy(), self.mean, self.scale)
        bag = words.buckets(self.bits, self.pairs)
        return np.asarray(bag @ self.word_weights + dense @ self.indicator_weights + self.bias, dtype=np.float64)

    def save(self, directory: Path, meta: dict[str, Any]) -> None:
        """Write to a folder, with facts of the caller's next to the arrays."""
        names = ("word_weights", "indicator_weights", "bias", "mean", "scale")
        facts = {**meta, "pairs": self.pairs, "indicators": list(INDICATORS)}
        save_arrays(directory, {name: getattr(self, name) for name in names}, facts)


def load_hashed_linear(directory: Path, kind: str, version: int) -> tuple[HashedLinear, dict[str, Any]]:
    """What ``HashedLinear.save`` wrote, and the facts next to it.

    Raises:
        MissingModelError: when the folder does not hold it.
        DataError: when it is of another kind, version or list of indicators.
    """
    arrays, meta = load_arrays(directory)
    if meta.get("kind") != kind or meta.get("version") != version or meta.get("indicators") != list(INDICATORS):
        raise DataError(f"{directory} holds no {kind} model of version {version}; fit it again")
    return HashedLinear(**arrays, pairs=bool(meta["pairs"])), meta


def fit_hashed_linear(
    texts: pl.Series, labels: np.ndarray, *, bits: int, pairs: bool, regularisation: float
) -> HashedLinear:
    """Fit by L-BFGS, classes weighted equally; the same input gives the same model.

    Args:
        texts: n strings.
        labels: int (n,) in 0 .. c - 1; two classes give one column of weights.
        bits: 2 ** bits buckets.
        pairs: hash pairs of words too.
        regularisation: C, the inverse of the L2 penalty.

    Raises:
        DataError: when there are fewer than two classes.
    """
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:
        raise DataError("a classifier needs documents of at least two classes")
    words = words_of(texts)
    raw = indicators(texts, words).to_numpy()
    mean, scale = raw.mean(0).astype(np.float32), np.maximum(raw.std(0), 1e-6).astype(np.float32)
    dense = _standardised(raw, mean, scale)
    matrix = sparse.hstack([words.buckets(bits, pairs), sparse.csr_matrix(dense.astype(np.float32))], format="csr")
    # Buckets that hold nothing would cost the solver as much as the others.
    used = np.flatnonzero(matrix.getnnz(axis=0))
    model = LogisticRegression(C=regularisation, class_weight="balanced", max_iter=200, tol=1e-3)
    model.fit(matrix[:, used], labels)
    weights = np.zeros((matrix.shape[1], model.coef_.shape[0]), dtype=np.float32)
    weights[used] = model.coef_.T
    split = 1 << bits
    return HashedLinear(
        word_weights=weights[:split],
        indicator_weights=weights[split:],
        bias=model.intercept_.astype(np.float32),
        mean=mean,
        scale=scale,
        pairs=pairs,
    )


def _standardised(raw: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.asarray(INDICATOR_WEIGHT * np.clip((raw - mean) / scale, -CLIP, CLIP))


def excerpts(
    documents: pl.DataFrame, group: str, total: int, words: tuple[int, int], generator: np.random.Generator
) -> pl.DataFrame:
    """Cuttings of random place and length, equally many from each group, so that length does not tell groups apart.

    Args:
        documents: columns ``text`` and the one named by ``group``.
        group: name of a string column; rows without a group are left out.
        total: cuttings in all; a group gives fewer where its documents would be used more than eight times.
        words: smallest and largest number of words, drawn log-uniformly; shorter documents stand whole.
        generator: draws documents, lengths and places.

    Returns:
        Columns ``text`` and ``group``.
    """
    rows = documents.drop_nulls(group).sort(group, maintain_order=True)
    parts: list[tuple[str, str]] = []
    names = rows[group].unique().sort().to_list()
    for name in names:
        texts = rows.filter(pl.col(group) == name)["text"]
        want = min(total // len(names), 8 * len(texts))
        rounds = [generator.permutation(len(texts)) for _ in range(-(-want // max(len(texts), 1)))]
        for text in texts.gather(np.concatenate(rounds)[:want] if rounds else []).to_list():
            parts.append((_cut(text, words, generator), name))
    return pl.DataFrame(parts, schema={"text": pl.Utf8, group: pl.Utf8}, orient="row")


def _cut(text: str, words: tuple[int, int], generator: np.random.Generator) -> str:
    low, high = words
    size = int(np.exp(generator.uniform(np.log(low), np.log(high))))
    pieces = text.split(" ")
    if len(pieces) <= size:
        return text
    start = int(generator.integers(0, len(pieces) - size + 1))
    return " ".join(pieces[start : start + size])
