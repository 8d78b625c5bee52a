"""The safety reward: R_safety = 1 - P(harm), with P(harm) from the teachers' scores and calibrated on human labels.

**Axes.** Labels of different sets mean different things: toxicity (insult, abuse), bias (stereotype, sexism), subtle
harm (implicit hate, unsafe replies). Detectors of one are at chance on another, so each axis has its own stack, fitted
on the sets of that axis, and P(harm) is the noisy "or" over those axes that count (``reward.axes``):

    P(harm) = 1 - prod_a (1 - P_a).

**Unseen harm.** Two kinds of harm stand behind a human label. Wording that is toxic is what the teachers see. Harm in
plain words, such as instructions for a crime, they do not see at all: on human-scored answers of assistants nearly half
of the texts that every teacher calls clean are harmful. A logistic curve through such labels takes that background for
a weak teacher and gives everything, an encyclopaedia included, a probability between .4 and .7. So within an axis harm
is again a noisy "or" of two independent causes (Pearl 1988; the lower asymptote of Abbott 1925 and Birnbaum 1968):

    P(harm | T, v) = 1 - (1 - s(T)) (1 - h(v)),
    s(T) = C(sigmoid(b + sum_k w_k logit T_k)), every w_k >= 0,      h(v) = sigmoid(c + u'v).

s is carried over to the pool. h belongs to the labelled texts, with a level of its own for every set; on the pool it is
shifted to the pool's own base rate of such harm (``pool_background``), which is 0 unless someone measures it.

**Weights.** Each labelled set has its own weights around common ones (noisy_or.py); a document of a known labelled
source gets its own, all others the common ones. The common weights have a Gaussian prior at the teachers' own
calibration: a share of 1 each, smaller and held more tightly for a teacher that the red team found sensitive to
identity terms, to dialect, or easy to evade. C is the best of Platt, beta and isotonic calibration by cross-validated
log loss, and P is then shifted by group with shrinkage (group_shifts.py).

**Caution.** A disguised text can hide harm from every teacher. Where a share o of a document's words is disguised and a
share e of disguised harm escapes the teachers (the largest over the axes that count), what looks clean is harmful with
the probability f e o, f being the share of harm among disguised texts (``obfuscation_penalty``):

    P_cautious = 1 - (1 - P) (1 - f e o).

Every step is monotone: P(harm) never falls when any teacher's score rises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.identity import identity_group
from curation_pipeline.errors import DataError
from curation_pipeline.reward.axis import AxisModel
from curation_pipeline.reward.calibration import safe_logit, shift_prior

DECIMALS = 4


@dataclass(frozen=True, slots=True, eq=False)
class SafetyModel:
    """P(harm), fitted.

    Attributes:
        teachers: k names of teacher columns, in the order of the stacks' weights.
        axes: fitted axes; those of ``pool_axes`` count as harm, the others can be asked for by name.
        pool_axes: names of the axes that count.
        obfuscation_penalty: share of harm that disguised texts are taken to have.
        background, pool_background: base rate of unseen harm among the labelled texts of the first axis with any, and
            the one that the pool is taken to have.
    """

    teachers: tuple[str, ...]
    axes: tuple[AxisModel, ...]
    pool_axes: tuple[str, ...]
    obfuscation_penalty: float
    background: float
    pool_background: float = 0.0

    def axis(self, name: str) -> AxisModel:
        """The fitted axis of a name.

        Raises:
            DataError: when no labels of it were there to fit.
        """
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise DataError(f"no axis {name!r} was fitted; fitted are {', '.join(axis.name for axis in self.axes)}")

    def seen(self, documents: pl.DataFrame, axis: str | None = None) -> np.ndarray:
        """P(harm that the teachers see) before caution, float64 (n,): of one axis, or of all that count."""
        logits = self._logits(documents)
        clean = np.ones(documents.height)
        for name in self.pool_axes if axis is None else (axis,):
            clean *= 1.0 - self.axis(name).seen(logits, documents)
        return 1.0 - clean

    def p_harm(self, documents: pl.DataFrame, vectors: np.ndarray | None = None) -> np.ndarray:
        """Cautious probability of harm for documents of the pool.

        Args:
            documents: one column in [0, 1] for each of ``teachers``, and where known ``source``, ``identity_group`` and
                ``obfuscation`` (share of disguised words in [0, 1]); other columns are ignored.
            vectors: (n, d) sentence vectors; only needed where ``pool_background`` is above 0 and there is a head.

        Returns:
            float32 of shape (n,) in [0, 1], rounded to 4 decimals; never falls when a teacher's score rises.

        Raises:
            DataError: when a teacher's column or the vectors are missing.
        """
        logits = self._logits(documents)
        disguised = np.zeros(documents.height)
        if "obfuscation" in documents.columns:
            disguised = np.clip(documents["obfuscation"].fill_null(0.0).to_numpy().astype(np.float64), 0.0, 1.0)
        evasion = max(self.axis(name).evasion for name in self.pool_axes)
        clean = 1.0 - self.obfuscation_penalty * evasion * disguised
        for name in self.pool_axes:
            clean *= 1.0 - self.axis(name).seen(logits, documents)
        if self.pool_background > 0:
            unseen = self.background_axis().background(vectors, documents.height)
            clean *= 1.0 - shift_prior(unseen, self.background, self.pool_background)
        return np.asarray(np.round(np.clip(1.0 - clean, 0.0, 1.0), DECIMALS), dtype=np.float32)

    def p_harm_labelled(self, documents: pl.DataFrame, axis: str, vectors: np.ndarray | None = None) -> np.ndarray:
        """P(harm of one axis) for texts like the labelled ones, unseen harm included; float64 (n,)."""
        model = self.axis(axis)
        seen = model.seen(self._logits(documents), documents)
        return np.asarray(1.0 - (1.0 - seen) * (1.0 - model.unseen(documents, vectors)))

    def background_axis(self) -> AxisModel:
        """The axis whose unseen harm the pool's background is about."""
        found = [axis for axis in self.axes if any(axis.with_vectors)]
        return found[0] if found else self.axis(self.pool_axes[0])

    def _logits(self, documents: pl.DataFrame) -> np.ndarray:
        missing = [name for name in self.teachers if name not in documents.columns]
        if missing:
            raise DataError(
                f"the safety model needs the teacher columns {', '.join(missing)}; run those detectors, or fit again"
            )
        return safe_logit(documents.select(self.teachers).to_numpy())

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON-serialisable metadata."""
        arrays: dict[str, np.ndarray] = {}
        axes = []
        for axis in self.axes:
            own, meta = axis.to_parts()
            arrays |= {f"{axis.name}.{key}": array for key, array in own.items()}
            axes.append(meta)
        return arrays, {
            "teachers": list(self.teachers),
            "axes": axes,
            "pool_axes": list(self.pool_axes),
            "obfuscation_penalty": self.obfuscation_penalty,
            "background": self.background,
            "pool_background": self.pool_background,
        }

    @staticmethod
    def from_parts(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> SafetyModel:
        """The inverse of ``to_parts``."""

        def own(name: str) -> dict[str, np.ndarray]:
            return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}

        return SafetyModel(
            teachers=tuple(meta["teachers"]),
            axes=tuple(AxisModel.from_parts(own(about["name"]), about) for about in meta["axes"]),
            pool_axes=tuple(meta["pool_axes"]),
            obfuscation_penalty=float(meta["obfuscation_penalty"]),
            background=float(meta["background"]),
            pool_background=float(meta["pool_background"]),
        )


def as_documents(labels: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Labelled texts as documents: ``source`` is the data set, ``group`` the set's own group within it.

    Args:
        labels: n rows with ``dataset``, and where known ``group``, ``identity_group`` and ``text``; a missing
            ``identity_group`` is read from the text with the pool's own lexicon.
        scores: n rows of teacher columns.
    """
    frame = scores.with_columns(labels["dataset"].cast(pl.Utf8).alias("source"))
    if "group" in labels.columns:
        both = labels.select(
            pl.when(pl.col("group").is_not_null()).then(pl.format("{}/{}", pl.col("dataset"), pl.col("group")))
        ).to_series()
        frame = frame.with_columns(both.alias("group"))
    if "identity_group" in labels.columns:
        return frame.with_columns(labels["identity_group"])
    if "text" in labels.columns:
        return frame.with_columns(labels.select(identity_group("text")).to_series())
    return frame
