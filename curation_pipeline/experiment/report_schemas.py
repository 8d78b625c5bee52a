"""Columns of the report's frames."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from curation_pipeline.experiment.claims import COMPARISONS_SCHEMA

_CI: dict[str, type[pl.DataType]] = {"ci_low": pl.Float64, "ci_high": pl.Float64}

SCHEMAS: Mapping[str, Mapping[str, type[pl.DataType]]] = {
    "summary": {"chain": pl.String, "ordinal": pl.Int64, "status": pl.String, "axis": pl.String, "value": pl.Float64}
    | _CI
    | {"tokens": pl.Int64},
    "harm": {
        "arm": pl.String,
        "baseline": pl.String,
        "ordinal": pl.Int64,
        "benchmark": pl.String,
        "judge": pl.String,
        "rate": pl.Float64,
        "baseline_rate": pl.Float64,
        "reduction": pl.Float64,
    }
    | _CI
    | {"n": pl.Int64},
    "metrics": {
        "chain": pl.String,
        "ordinal": pl.Int64,
        "axis": pl.String,
        "benchmark": pl.String,
        "metric": pl.String,
        "judge": pl.String,
        "value": pl.Float64,
    }
    | _CI
    | {"n": pl.Int64, "higher_is_better": pl.Boolean, "chance": pl.Float64, "at_chance": pl.Boolean},
    "comparisons": {name: type(dtype) for name, dtype in COMPARISONS_SCHEMA.items()},
    "front": {
        "chain": pl.String,
        "ordinal": pl.Int64,
        "status": pl.String,
        "safety": pl.Float64,
        "safety_low": pl.Float64,
        "safety_high": pl.Float64,
        "capability": pl.Float64,
        "capability_low": pl.Float64,
        "capability_high": pl.Float64,
        "performance": pl.Float64,
        "on_front": pl.Boolean,
        "chosen": pl.Boolean,
        "front_share": pl.Float64,
        "chosen_share": pl.Float64,
    },
    "looks": {
        "number": pl.Int64,
        "chain": pl.String,
        "ordinal": pl.Int64,
        "checkpoint": pl.String,
        "at": pl.String,
        "new_model": pl.Boolean,
        "safety": pl.Float64,
        "capability": pl.Float64,
        "performance": pl.Float64,
    }
    | _CI
    | {"performance_when_chosen": pl.Float64},
    "policy_effects": {"ordinal": pl.Int64, "feature": pl.String, "effect": pl.Float64},
    "policy_rates": {
        "ordinal": pl.Int64,
        "axis": pl.String,
        "name": pl.String,
        "share_before": pl.Float64,
        "selected": pl.Float64,
        "control_selected": pl.Float64,
    },
    "policy_control": {
        "ordinal": pl.Int64,
        "verdict": pl.String,
        "sentence": pl.String,
        "kl_to_parent": pl.Float64,
        "parent_overlap": pl.Float64,
        "control_overlap": pl.Float64,
    },
    "credit_probes": {"ordinal": pl.Int64, "probe": pl.String, "measured": pl.Float64, "predicted": pl.Float64},
    "selection": {
        "chain": pl.String,
        "ordinal": pl.Int64,
        "dimension": pl.String,
        "value": pl.String,
        "pool_token_share": pl.Float64,
        "batch_token_share": pl.Float64,
        "selection_rate": pl.Float64,
        "mean_weight": pl.Float64,
    },
    "parity": {
        "chain": pl.String,
        "ordinal": pl.Int64,
        "identity_group": pl.String,
        "documents": pl.Int64,
        "parity": pl.Float64,
        "parity_low": pl.Float64,
        "parity_high": pl.Float64,
    },
    "credit": {"ordinal": pl.Int64, "stratum": pl.String, "credit": pl.Float64},
    "credit_fit": {"ordinal": pl.Int64, "target": pl.String, "r2": pl.Float64, "n_probes": pl.Int64},
    "reward_moves": {"ordinal": pl.Int64, "weight": pl.String, "value": pl.Float64, "reason": pl.String},
    "moves": {
        "ordinal": pl.Int64,
        "kind": pl.String,
        "name": pl.String,
        "before": pl.Float64,
        "after": pl.Float64,
        "reason": pl.String,
    },
    "multipliers": {"ordinal": pl.Int64, "name": pl.String, "value": pl.Float64},
    "corrections": {"ordinal": pl.Int64, "stratum": pl.String, "value": pl.Float64},
    "audits": {"ordinal": pl.Int64, "drawn": pl.Int64, "labelled": pl.Int64, "state": pl.String},
    "audit_shifts": {
        "ordinal": pl.Int64,
        "stratum": pl.String,
        "value": pl.Float64,
        "labels": pl.Int64,
        "harmful": pl.Float64,
        "predicted": pl.Float64,
    }
    | _CI,
    "curriculum": {"ordinal": pl.Int64, "stage": pl.String, "reason": pl.String},
    "distance": {"ordinal": pl.Int64, "what": pl.String, "measure": pl.String, "value": pl.Float64}
    | _CI
    | {"n": pl.Int64},
    "learning": {"ordinal": pl.Int64, "step": pl.Int64, "quantity": pl.String, "value": pl.Float64},
    "divergence": {"ordinal": pl.Int64, "teacher": pl.Float64, "judge": pl.Float64},
    "judge_clean": {
        "judge": pl.String,
        "dataset": pl.String,
        "n": pl.Int64,
        "flagged": pl.Int64,
        "rate": pl.Float64,
    }
    | _CI,
    "inputs": {
        "source": pl.String,
        "snapshot": pl.String,
        "standing": pl.String,
        "documents": pl.Int64,
        "bytes": pl.Int64,
        "duplicates": pl.Int64,
        "quarantined": pl.Int64,
        "content_hash": pl.String,
    },
    "timings": {"ordinal": pl.Int64, "stage": pl.String, "seconds": pl.Float64},
    "generations": {
        "chain": pl.String,
        "ordinal": pl.Int64,
        "benchmark": pl.String,
        "prompt": pl.String,
        "text": pl.String,
        "score": pl.Float64,
    },
}
"""Columns of each part. Columns in `OPTIONAL` may be left out and read as null; further columns are ignored."""

OPTIONAL = frozenset(
    {"ci_low", "ci_high", "n", "status", "tokens", "judge", "higher_is_better", "mean_weight", "selection_rate"}
    | {
        "parity_low",
        "parity_high",
        "documents",
        "standing",
        "reason",
        "n_probes",
        "flagged",
        "duplicates",
        "quarantined",
        "bytes",
    }
    | {"chance", "at_chance", "kl_to_parent", "parent_overlap", "control_selected"}
)
REQUIRED_ANYWAY = {
    ("moves", "reason"),
    ("curriculum", "reason"),
    ("divergence", "judge"),
    ("judge_clean", "judge"),
    ("inputs", "documents"),
    ("comparisons", "at_chance"),
}
"""Columns of a part that may not be left out, although they may elsewhere."""
