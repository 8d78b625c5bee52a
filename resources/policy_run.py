"""A policy's training as MLflow shows it: coefficients named as in the papers, curves over candidates, the control."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from curation_pipeline.lake.manifest import Manifest
from resources.tracked_run import TrackedRun

PAPER_NAMES = {
    "vf_coef": "ppo/c1_value",
    "ent_coef": "ppo/c2_entropy",
    "clip_range": "ppo/epsilon",
    "gamma": "ppo/gamma",
    "gae_lambda": "ppo/lambda",
    "learning_rate": "ppo/adam_stepsize",
    "n_epochs": "ppo/K_epochs",
    "rollout_steps": "ppo/T_horizon",
    "n_parallel_candidates": "ppo/N_actors",
    "batch_size": "ppo/minibatch_size",
    "max_grad_norm": "ppo/max_grad_norm",
    "net_arch": "ppo/hidden_units",
}
"""Our settings by their names in Schulman et al., 2017 (c1, c2, epsilon, K, T, N) and 2016 (lambda)."""


def log_policy_training(
    run: TrackedRun,
    policy: Manifest,
    objective: Mapping[str, Any],
    curve: pl.DataFrame,
    control: pl.DataFrame,
    files: Mapping[str, bytes],
) -> None:
    """Log one training; logging the same one again adds nothing.

    Args:
        run: to log to.
        policy: manifest of the table ``policies``.
        objective: what was maximised, by name.
        curve: one row a rollout with the column ``candidates``, which is the step of every figure.
        control: rows of the table ``control``: arm, measure, value, low, high.
        files: pictures and the card by name.
    """
    run.set_manifest(policy.id)
    inputs: dict[str, list[str]] = {}
    for identity in policy.inputs:
        inputs.setdefault(identity.rpartition("-")[0], []).append(identity)
    run.set_tags({f"curation.input.{table}": ", ".join(identities) for table, identities in inputs.items()})
    run.set_tags({f"curation.{axis}": value for axis, value in policy.partition.items()})
    run.set_tags({"curation.control_verdict": str(policy.summary.get("control_verdict") or "")})
    run.log_params(
        {
            "seed": policy.seed,
            "budget_tokens": policy.parameters["token_budget"],
            **{f"objective/{name}": value for name, value in objective.items()},
            **{PAPER_NAMES.get(name, f"process/{name}"): value for name, value in policy.parameters["policy"].items()},
        }
    )
    made = int(datetime.fromisoformat(policy.created_at).timestamp() * 1_000)
    run.log_curve(curve, "candidates", made, "training/")
    last = int(curve["candidates"].max() or 0)  # type: ignore[arg-type]
    figures = {name: value for name, value in policy.summary.items() if isinstance(value, (int, float))}
    figures |= {
        f"control/{arm}/{measure}": value
        for arm, measure, value in control.select("arm", "measure", "value").iter_rows()
    }
    run.log_curve(
        pl.DataFrame({"step": [last], **{name: [float(value)] for name, value in figures.items()}}), "step", made
    )
    run.log_files(files, "policy")
