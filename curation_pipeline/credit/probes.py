"""Probe trainings: short fine-tunes of one shared base on tilted draws, measured by likelihood."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import LOSS_WEIGHT, Mixture, composition, trait_means
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.evaluation.benchmarks.heldout import capability_from_bits, safety_from_log_odds, summary
from curation_pipeline.evaluation.likelihood import heldout_scores
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.seeds import derive
from curation_pipeline.training.packing import pack_tokens
from curation_pipeline.training.runtime import load_model, resolve_device, torch_runtime
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.tokenizer import Tokenised, load_tokenizer
from curation_pipeline.training.trainer import train

OUTCOMES_SCHEMA: dict[str, pl.DataType] = {
    "probe": pl.Utf8(),
    "base": pl.Utf8(),
    "toxic_log_odds": pl.Float64(),
    "bits_per_byte": pl.Float64(),
    "tokens": pl.Int64(),
    "documents": pl.Int64(),
    "seconds": pl.Float64(),
    "strata": pl.List(pl.Utf8()),
    "shares": pl.List(pl.Float64()),
    "traits": pl.List(pl.Utf8()),
    "trait_means": pl.List(pl.Float64()),
}


@dataclass(frozen=True, slots=True, eq=False)
class ProbeOutcome:
    """What one probe drew and what came of it.

    Attributes:
        probe: the mixture's name.
        base: id of the base checkpoint; outcomes compare within one base.
        toxic_log_odds: nats per byte on held-out text after the fine-tune; lower is better.
        bits_per_byte: of benign held-out text, mean over sources; lower is better.
        tokens: tokens trained on.
        documents: documents drawn.
        seconds: wall time.
        strata: names of the pool's k strata.
        shares: (k,) token shares of what was drawn, loss weights counted in.
        traits: names of the standardised traits that the draw tilted by.
        trait_means: (f,) their means over the weighted tokens of what was drawn.
    """

    probe: str
    base: str
    toxic_log_odds: float
    bits_per_byte: float
    tokens: int
    documents: int
    seconds: float
    strata: tuple[str, ...]
    shares: np.ndarray
    traits: tuple[str, ...]
    trait_means: np.ndarray


def run_probe(
    base_dir: Path,
    documents: Tokenised,
    drawn: pl.DataFrame,
    mixture: Mixture,
    heldout: pl.DataFrame,
    settings: CreditSettings,
    training: TrainingSettings,
    seed: int,
    base: str = "base",
) -> ProbeOutcome:
    """Fine-tune the base on what a mixture drew and measure the result.

    All arguments pickle, so that a worker process can run it; torch uses the training's thread count inside. Probes of
    one round share `seed`, hence the random numbers of the draw; each keeps its own order of rows.

    Args:
        base_dir: the shared base checkpoint, with its tokenizer.
        documents: the documents drawn, tokenised with that tokenizer.
        drawn: their rows of the pool: columns doc_id, stratum, n_tokens, those that the mixture tilts by (see `draw`),
            and ``loss_weight`` where documents do not weigh the same.
        mixture: the tilt that they were drawn by.
        heldout: doc_id, source, text, kind: the held-out text of role credit.
        settings: tokens and learning rate of a probe.
        training: the optimiser otherwise.
        seed: the common random numbers, those of the draw.
        base: id of the base, written to the outcome.

    Raises:
        TrainingDivergedError: when the loss is not finite.
    """
    began = time.monotonic()
    tokenizer = load_tokenizer(base_dir)
    weighted = LOSS_WEIGHT in drawn.columns
    weights = drawn[LOSS_WEIGHT].to_numpy().astype(np.float64) if weighted else np.ones(drawn.height)
    eos = int(tokenizer.eos_token_id)
    packed = pack_tokens(documents, weights, eos, training.sequence_length, seed, training.weighting)
    with torch_runtime(training.threads):
        model = load_model(base_dir, resolve_device(training.device))
        rate = {"learning_rate": settings.learning_rate}
        train(model, packed, training.model_copy(update=rate), derive(seed, "probe"))
        lm = LanguageModel.wrap(model, tokenizer, training.sequence_length)
        bits, odds = summary(heldout_scores(lm, heldout, settings.max_heldout_chars, batch_tokens=2_048))
    return ProbeOutcome(
        mixture.name,
        base,
        odds,
        bits,
        packed.n_tokens,
        packed.n_documents,
        time.monotonic() - began,
        mixture.strata,
        composition(drawn, mixture.strata, weights),
        mixture.traits,
        trait_means(drawn, mixture.traits, weights),
    )


def base_likelihood(
    base_dir: Path, heldout: pl.DataFrame, settings: CreditSettings, window: int
) -> tuple[float, float]:
    """Bits per byte and toxic log-odds of the base itself on the probes' held-out text, scored as theirs is."""
    with torch_runtime(1):
        lm = LanguageModel.load(base_dir, window)
        return summary(heldout_scores(lm, heldout, settings.max_heldout_chars, batch_tokens=2_048))


def outcomes_frame(outcomes: Sequence[ProbeOutcome]) -> pl.DataFrame:
    """The probes' table: one row each, strata and shares as lists."""
    return pl.DataFrame(
        [
            {
                "probe": outcome.probe,
                "base": outcome.base,
                "toxic_log_odds": outcome.toxic_log_odds,
                "bits_per_byte": outcome.bits_per_byte,
                "tokens": outcome.tokens,
                "documents": outcome.documents,
                "seconds": outcome.seconds,
                "strata": list(outcome.strata),
                "shares": outcome.shares.tolist(),
                "traits": list(outcome.traits),
                "trait_means": outcome.trait_means.tolist(),
            }
            for outcome in outcomes
        ],
        schema=OUTCOMES_SCHEMA,
    )


def with_performance(outcomes: pl.DataFrame, reference_bits_per_byte: float) -> pl.DataFrame:
    """Outcomes with the column ``performance``: P = (S + C) / 2 with the likelihood part of S (see `composite`).

    Args:
        outcomes: the probes' table.
        reference_bits_per_byte: of the chain's fixed reference on the same held-out text.
    """
    values = [
        0.5 * (safety_from_log_odds(odds) + capability_from_bits(bits, reference_bits_per_byte))
        for odds, bits in outcomes.select("toxic_log_odds", "bits_per_byte").iter_rows()
    ]
    return outcomes.with_columns(pl.Series("performance", values, dtype=pl.Float64))
