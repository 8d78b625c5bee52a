"""A synthetic pool whose downstream truth is known: the policy's tests and benchmarks stand on it.

24 topics with a long tail. Five forum topics are 45% harmful, three short bland topics 2%, the others 8%; a
minority-dialect topic (3% of the documents) and a counter-speech topic (2%) are benign, yet the lexical detector calls
them toxic. A third of the harm is implicit: the lexical detector hardly sees it, the second detector sees it through
noise, and the vectors lean a little towards it. Each document has a hidden information content with diminishing returns
within its topic; the quality score mistakes bland for good.

Truth of a batch, with m_i the weighted tokens of document i (weights scaled to a token-weighted mean of 1):

- safety S = exp(-7 h) (0.85 + 0.15 min(1, s / 0.04)), h the mass share of harm and s that of counter-speech;
- capability C = sum_t v_t (1 - exp(-I_t / r_t)), I_t the information of the batch in topic t, v_t the topic's
  importance (square root of its size, normalised) and r_t in proportion to v_t;
- P = (S + C) / 2.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.seeds import generator

N_TOPICS = 24
FORUM, BLAND, DIALECT, COUNTER = (1, 4, 7, 11, 14), (0, 5, 9), 22, 23
NEW_FORUM = 17
"""The topic that a drifting pool's forum talk moves into; one of the tail otherwise."""
BUDGET_SHARE = 0.2
"""The budget that the truth is scaled for, as a share of the pool's tokens."""

_DIMS = 64
_SATURATION = 0.5
"""Information, as a share of what an average budget holds, at which a topic has 63% of its worth."""


@dataclass(frozen=True, slots=True)
class SyntheticPool:
    """A pool and what the curator cannot see.

    Attributes:
        frame: follows the ``pool`` contract.
        pool: the same as arrays.
        harmful, implicit: (n,) hidden labels.
        information: (n,) hidden information per token.
        topic: (n,) hidden topic.
    """

    frame: pl.DataFrame
    pool: Pool
    harmful: np.ndarray
    implicit: np.ndarray
    information: F64
    topic: np.ndarray

    @property
    def budget_tokens(self) -> int:
        """A fifth of the pool's tokens."""
        return int(BUDGET_SHARE * self.pool.total_tokens)

    def truth(self, weights: np.ndarray) -> tuple[float, float, float]:
        """Safety, capability and their mean of the model that a batch would make.

        Args:
            weights: (n,) loss weight of each document of the pool, 0 if not drawn.

        Returns:
            (S, C, P), each in [0, 1], higher is better.
        """
        return self.performance(weights, self.harmful.astype(np.float64), self.information)

    def performance(self, weights: np.ndarray, harm: F64, information: F64) -> tuple[float, float, float]:
        """(S, C, P) of a batch if its documents were as believed: (n,) probability of harm and information a token."""
        weights = np.asarray(weights, dtype=np.float64)
        tokens = self.pool.n_tokens.astype(np.float64)
        drawn = tokens[weights > 0].sum()
        if drawn == 0:
            return 1.0, 0.0, 0.5
        mass = weights * tokens
        mass *= drawn / mass.sum()
        harmful = float(mass @ harm) / drawn
        counter = float(mass @ np.where(self.topic == COUNTER, 1.0 - harm, 0.0)) / drawn
        safety = float(np.exp(-7.0 * harmful) * (0.85 + 0.15 * min(1.0, counter / 0.04)))
        importance, scale = self.topics()
        filled = np.bincount(self.topic, weights=mass * information, minlength=N_TOPICS)
        capability = float(importance @ (1.0 - np.exp(-filled / scale)))
        return safety, capability, 0.5 * (safety + capability)

    def topics(self) -> tuple[F64, F64]:
        """Importance v_t and scale of saturation r_t of each topic."""
        size = np.bincount(self.topic, minlength=N_TOPICS)
        importance = np.sqrt(size) / np.sqrt(size).sum()
        return importance, np.maximum(importance, 1e-12) * _SATURATION * BUDGET_SHARE * self.pool.total_tokens


def synthetic_pool(seed: int, n: int = 20_000, drift: float = 0.0) -> SyntheticPool:
    """A pool of n documents; the same arguments give the same pool.

    Args:
        seed: of the sample.
        n: documents.
        drift: how far the corpus has moved, 0 for not at all and 1 for far: the shares of topics tilt, a rare topic
            (``NEW_FORUM``) grows to be a forum as harmful as the others, and the lexical detector, whose words spread
            into harmless talk, moves up and tells less.
    """
    rng = generator(seed, "synthetic_pool")
    tail = (1.0 + np.arange(N_TOPICS - 2)) ** -0.9
    if drift:
        tail *= np.exp(0.5 * drift * generator(0, "synthetic_drift").standard_normal(N_TOPICS - 2))
        tail[NEW_FORUM] *= 1.0 + 4.0 * drift
    topic = rng.choice(N_TOPICS, size=n, p=np.concatenate([0.95 * tail / tail.sum(), [0.03, 0.02]]))
    forum, bland = np.isin(topic, FORUM), np.isin(topic, BLAND)
    special = topic >= DIALECT
    rate = np.select([forum, bland | special], [0.45, 0.02], 0.08)
    rate[topic == NEW_FORUM] += 0.37 * drift
    harmful = rng.random(n) < rate
    implicit = harmful & (rng.random(n) < 1 / 3)
    explicit = harmful & ~implicit

    # Topic centres and the direction that harm leans to are the same in every pool: pools are samples of one corpus.
    fixed = generator(0, "synthetic_corpus")
    centres = np.zeros((N_TOPICS, _DIMS))
    centres[:, :16] = fixed.standard_normal((N_TOPICS, 16)) / 4.0
    lean = np.zeros(_DIMS)
    lean[:16] = fixed.standard_normal(16)
    lean /= np.linalg.norm(lean)
    noise = rng.standard_normal((n, _DIMS)) * np.where(np.arange(_DIMS) < 16, 0.16, 0.03)
    vectors = centres[topic] + noise + np.where(harmful, 0.12, 0.0)[:, None] * lean
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    information = np.exp(0.5 * rng.standard_normal(n) - 0.125)
    information *= np.where(bland, 0.35, 1.0) * np.where(harmful, 0.6, 1.0)
    length = np.exp(np.where(bland, 3.6, 4.8) + 0.6 * rng.standard_normal(n))
    n_tokens = np.clip(length, 4, 1024).astype(np.int32)

    words = (3.8 - 1.2 * drift) * explicit + 0.3 * implicit + 4.4 * (special & ~harmful)
    lexical = _squash(-3.2 + 1.2 * drift + words + rng.standard_normal(n))
    neural = _squash(-2.4 + 2.0 * explicit + 1.2 * implicit + 0.8 * special + 1.6 * rng.standard_normal(n))
    quality = _squash(1.2 * bland + 0.5 * np.log(information) + 0.9 * rng.standard_normal(n) - 0.6 * special)
    style = 1.2 * fixed.standard_normal(N_TOPICS)
    alignment = _squash(style[topic] - 0.6 * harmful + 0.8 * (topic == COUNTER) + 0.8 * rng.standard_normal(n))
    inputs = np.column_stack([np.ones(n), _logit(lexical), _logit(neural), vectors[:, :16]])
    labelled = rng.choice(n, size=min(1_000, n // 2), replace=False)
    p_harm = _squash(inputs @ _logistic(inputs[labelled], harmful[labelled].astype(np.float64)))

    group = np.where(rng.random(n) < 0.05, "gender", "none").astype(object)
    group[topic == DIALECT] = "dialect"
    group[topic == COUNTER] = "religion"
    bins = np.digitize(p_harm, [0.05, 0.2, 0.5]).astype(np.int8)
    stratum = [f"t{t}|b{b}|{g}" for t, b, g in zip(topic, bins, group, strict=True)]
    domain = np.select([forum | special, bland], ["conversation", "web"], "encyclopaedia")
    ids = [hashlib.sha256(f"synthetic {seed} {i}".encode()).hexdigest()[:32] for i in range(n)]
    frame = pl.DataFrame(
        {
            "doc_id": ids,
            "source": [f"source_{name}" for name in domain],
            "snapshot": ["synthetic"] * n,
            "domain": domain.tolist(),
            "n_tokens": pl.Series(n_tokens, dtype=pl.Int32),
            "topic": pl.Series(topic, dtype=pl.Int16),
            "toxicity_bin": pl.Series(bins, dtype=pl.Int8),
            "identity_group": group.tolist(),
            "stratum": stratum,
            "vector": pl.Series(vectors.astype(np.float32), dtype=pl.Array(pl.Float32, _DIMS)),
            "lexical": pl.Series(lexical.astype(np.float32).round(4)),
            "neural": pl.Series(neural.astype(np.float32).round(4)),
            "p_harm": pl.Series(p_harm.astype(np.float32)),
            "alignment": pl.Series(alignment.astype(np.float32)),
            "quality": pl.Series(quality.astype(np.float32)),
            "n_drawn": pl.Series(np.zeros(n, np.int32)),
        }
    )
    return SyntheticPool(frame, Pool.from_frame(frame), harmful, implicit, information, topic)


def _squash(x: F64) -> F64:
    return 1.0 / (1.0 + np.exp(-x))


def _logit(p: F64) -> F64:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1.0 - clipped))


def _logistic(inputs: F64, labels: F64, ridge: float = 1.0, steps: int = 12) -> F64:
    """Ridge logistic regression by Newton's method."""
    coefficients = np.zeros(inputs.shape[1])
    for _ in range(steps):
        p = _squash(inputs @ coefficients)
        hessian = (inputs * (p * (1.0 - p))[:, None]).T @ inputs + ridge * np.eye(len(coefficients))
        coefficients += np.linalg.solve(hessian, inputs.T @ (labels - p) - ridge * coefficients)
    return coefficients
