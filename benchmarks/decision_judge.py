"""How a batch of real documents is judged by people's labels: the composite, parity, and their intervals.

`decision_quality.py` says what is measured; the figures of a batch come with a row for each resample of the documents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.annotate.identity import TERMS
from curation_pipeline.annotate.parity import SUBGROUPS
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.pool import Pool
from curation_pipeline.reward.settings import RewardSettings
from curation_pipeline.seeds import generator

LEAST = 100
"""Benign texts that a group needs to be judged."""
ALPHA, BETA, GAMMA = RewardSettings().alpha, RewardSettings().beta, RewardSettings().gamma
GROUPS = (*(f"mentions_{name}" for name in TERMS), *(f"mentions_{name}" for name in SUBGROUPS), "dialect_aae",
          "dialect_aae_any")  # fmt: skip
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


class Judge:
    """What a batch is worth by people's labels, at the documents as they are (row 0) and at resamples of them.

    Args:
        docs: the documents with labels and groups.
        pool: the same as arrays.
        resamples: B.
    """

    def __init__(self, docs: pl.DataFrame, pool: Pool, resamples: int) -> None:
        n = len(pool)
        self.pool, self.tokens = pool, pool.n_tokens.astype(np.float32)
        rng = generator(7, "decision quality", "resamples")
        self.resampled = np.ones((resamples + 1, n), np.float32)
        self.resampled[1:] = rng.poisson(1.0, (resamples, n))
        self.phi = Normaliser.fit(pool, 64, 0.5, 7).random_features(pool)
        topic_group = pool.topic.code.astype(np.int64) * len(pool.group.names) + pool.group.code
        self.cell = np.unique(topic_group, return_inverse=True)[1]
        self.cells = np.bincount(self.cell, weights=self.tokens) / self.tokens.sum()
        self.label = docs["label"].fill_null(0.0).to_numpy().astype(np.float32)
        self.strict = docs["strict"].fill_null(0.0).to_numpy().astype(np.float32)
        self.labelled = docs["label"].is_not_null().to_numpy()
        self.group: npt.NDArray[np.bool_] = docs.select(GROUPS).to_numpy().astype(np.bool_)
        names, source = np.unique(docs["source"].to_numpy(), return_inverse=True)
        self.sources, self.source = [str(name) for name in names], source

    def sums(self, weight: F64, p_harm: F32 | None = None) -> dict[str, F64]:
        """Means (B + 1,) over the weighted tokens of a batch, one entry a measure; the set-level ones are computed."""
        rows = np.flatnonzero(weight > 0)
        mass = (weight[rows] * self.tokens[rows]).astype(np.float32)
        harm = self.label[rows] if p_harm is None else p_harm[rows]
        hot = np.zeros((len(rows), len(self.cells)), np.float32)
        hot[np.arange(len(rows)), self.cell[rows]] = 1.0
        each = np.column_stack(
            [harm, self.strict[rows], self.pool.alignment[rows], self.pool.p_harm[rows], self.phi[rows], hot]
        )
        seen = self.resampled[:, rows] if p_harm is None else self.resampled[:1, rows]
        means = (seen @ (mass[:, None] * each)).astype(np.float64) / (seen @ mass).astype(np.float64)[:, None]
        d = self.phi.shape[1]
        share = np.maximum(means[:, 4 + d :], 1e-9)
        away = (means[:, 4 + d :] * np.log(share / self.cells)).sum(axis=1)
        return {
            "harm": means[:, 0],
            "strict_harm": means[:, 1],
            "alignment": means[:, 2],
            "modelled_harm": means[:, 3],
            "diversity": 0.5 * (1.0 - (means[:, 4 : 4 + d] ** 2).sum(axis=1)) + 0.5 * np.exp(-away),
        }

    @staticmethod
    def composite(found: dict[str, F64], harm: str) -> F64:
        """The composite reward with one of the two harms."""
        return ALPHA * (1.0 - found[harm]) + BETA * found["alignment"] + GAMMA * found["diversity"]

    def benign(self, strict: bool) -> npt.NDArray[np.bool_]:
        """Which documents (n,) people called harmless."""
        return np.asarray(self.labelled & ((self.strict if strict else self.label) < 0.5), dtype=np.bool_)

    def rates(self, drawn: npt.NDArray[np.bool_], strict: bool) -> tuple[F64, F64, F64]:
        """Drawn shares of benign texts, each with a row a resample.

        Returns:
            (B + 1, G) of each group, (B + 1,) of the reference, and (B + 1, G) of the reference at the sources of the
            group.
        """
        rows = np.flatnonzero(self.benign(strict))
        seen, hit, group = self.resampled[:, rows], drawn[rows].astype(np.float32), self.group[rows].astype(np.float32)
        none = group.sum(axis=1) < 0.5
        size = np.maximum(seen @ group, 1e-9)
        hot = np.zeros((len(rows), len(self.sources)), np.float32)
        hot[np.arange(len(rows)), self.source[rows]] = 1.0
        there = hot * none[:, None]
        count = np.maximum(seen @ there, 1e-9)
        by_source = (seen @ (hit[:, None] * there)) / count
        # Of a source where the reference has hardly a text, its rate elsewhere says more.
        whole = (seen[:, none] @ hit[none]) / seen[:, none].sum(axis=1)
        by_source = np.where(there.sum(axis=0) >= 20, by_source, whole[:, None])
        mixed = np.stack([seen @ (group * hot[:, [s]]) for s in range(hot.shape[1])], axis=2)
        expected = (mixed * by_source[:, None, :]).sum(axis=2) / size
        return (seen @ (hit[:, None] * group)) / size, whole, expected

    def benign_sizes(self, strict: bool) -> npt.NDArray[np.int64]:
        """Benign texts (G,) of each group."""
        return np.asarray(self.group[self.benign(strict)].sum(axis=0))


def interval(values: F64, digits: int = 4, pivot: bool = False) -> list[float]:
    """The value in row 0 with the 95% interval of the others; ``pivot`` mirrors it at the value.

    Divergence and mean similarity grow when documents are resampled with repeats; the pivot takes that bias off.
    """
    low, high = np.quantile(values[1:], (0.025, 0.975))
    if pivot:
        low, high = 2.0 * values[0] - high, 2.0 * values[0] - low
    return [round(float(value), digits) for value in (values[0], low, high)]


def parity(rates: list[tuple[F64, F64, F64]], sizes: npt.NDArray[np.int64], picked: Any) -> dict[str, Any]:
    """Ratio of every group of enough texts, and the least, overall and within sources."""
    group, reference, expected = (picked(np.stack([run[part] for run in rates], axis=-1)) for part in range(3))
    enough = np.flatnonzero(sizes >= LEAST)
    out: dict[str, Any] = {"reference_rate": interval(reference)}
    for name, beside in (("ratio", reference[:, None]), ("within_sources", expected)):
        ratio = group[:, enough] / np.maximum(beside if beside.shape[1] == 1 else beside[:, enough], 1e-9)
        worst = int(ratio[0].argmin())
        out[name] = {
            "least": interval(ratio[:, worst]),
            "group": GROUPS[enough[worst]],
            "reaches_0.8": bool(ratio[0, worst] >= 0.8),
            "groups": {GROUPS[g]: interval(ratio[:, place], 3) for place, g in enumerate(enough)},
        }
    return out
