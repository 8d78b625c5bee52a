from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.credit.mixtures import draw, probe_mixtures
from curation_pipeline.credit.probes import OUTCOMES_SCHEMA, outcomes_frame, run_probe, with_performance
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.training.tokenizer import tokenise
from tests.training.tiny_model import SETTINGS, build, sentences


def test_a_probe_learns_what_its_mixture_holds_and_repeats(tmp_path: Path) -> None:
    base = build(tmp_path)
    rng = np.random.default_rng(0)
    clean = [text.replace("idiot", "stone") for text in sentences(150, seed=1)]
    rude = [" ".join(["idiot shouted"] * rng.integers(1, 5)) + "." for _ in range(150)]
    texts = [*clean, *rude]
    documents = tokenise(texts, base)
    pool = pl.DataFrame(
        {
            "doc_id": [rng.bytes(16).hex() for _ in texts],
            "n_tokens": documents.counts,
            "stratum": ["t0|b0|none"] * 150 + ["t0|b1|none"] * 150,
        }
    )
    heldout = pl.DataFrame(
        {
            "doc_id": [rng.bytes(16).hex() for _ in range(20)],
            "source": ["one"] * 20,
            "text": [text.replace("idiot", "stone") for text in sentences(10, seed=5)] + ["idiot shouted idiot."] * 10,
            "kind": ["benign"] * 10 + ["toxic"] * 10,
        }
    )
    settings = CreditSettings(probe_tokens=2_000, toxicity_spread=3.0, learning_rate=1e-2)
    mixtures = probe_mixtures(pool, 2, seed=1, settings=settings)
    rows = [draw(pool, mixture, settings.probe_tokens, 7) for mixture in mixtures]
    arguments = [
        (base, documents.take(drawn), pool[drawn], mixture, heldout, settings, SETTINGS, 7)
        for mixture, drawn in zip(mixtures, rows, strict=True)
    ]
    outcomes = [run_probe(*pickle.loads(pickle.dumps(each))) for each in arguments]  # as a worker process gets them
    rude_share = [dict(zip(outcome.strata, outcome.shares, strict=True))["t0|b1|none"] for outcome in outcomes]
    more, less = (outcomes[i] for i in np.argsort(rude_share)[::-1])
    assert more.toxic_log_odds > less.toxic_log_odds + 0.05
    assert more.bits_per_byte > less.bits_per_byte
    again = run_probe(*arguments[0])
    assert again.toxic_log_odds == outcomes[0].toxic_log_odds
    frame = with_performance(outcomes_frame(outcomes), reference_bits_per_byte=3.0)
    assert dict(frame.drop("performance").schema) == OUTCOMES_SCHEMA
    assert np.argmax(frame["performance"].to_numpy()) == int(np.argmin(rude_share))
    assert frame["shares"].list.sum().to_list() == pytest.approx([1.0, 1.0])
