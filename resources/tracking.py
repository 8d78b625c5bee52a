"""The Dagster resource that logs policies and checkpoints to MLflow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from resources.policy_run import log_policy_training
from resources.tracked_run import RawPartition
from resources.tracker import Tracker

if TYPE_CHECKING:
    import polars as pl

    from curation_pipeline.lake.manifest import Manifest


class TrackingResource(dg.ConfigurableResource[Tracker]):
    """MLflow where `MLFLOW_TRACKING_URI` says, else on a local SQLite file.

    Look at the file with `mlflow server --backend-store-uri sqlite:///<state>/mlflow.db`.
    """

    folder: str = Field(description="Folder that holds mlflow.db and mlflow-artifacts/.")
    experiment: str = Field(
        default_factory=lambda: os.environ.get("MLFLOW_EXPERIMENT_NAME") or "curation",
        description="Name of the MLflow experiment.",
    )

    @property
    def tracker(self) -> Tracker:
        """The same experiment without Dagster around it."""
        return Tracker(Path(self.folder).expanduser().resolve(), self.experiment)

    def log_checkpoint(
        self,
        *,
        partition: str,
        dagster_run_id: str,
        checkpoint: Manifest,
        metrics: pl.DataFrame,
        ordinal: int,
        partitions: pl.DataFrame,
        attempt: int = 0,
        asset: str = "checkpoint",
    ) -> str:
        """Log an evaluated checkpoint: its model, the raw partitions behind it, and its metrics.

        Args:
            partition: Partition key of the iteration.
            dagster_run_id: Id of the Dagster run.
            checkpoint: Manifest of the checkpoint.
            metrics: Rows of the table `metrics`.
            ordinal: Number of the iteration, the step of every figure.
            partitions: One row for each raw partition: partition ("source|snapshot"), documents_manifest,
                content_hash, rows, tokens_used.
            attempt: Number of the checkpoint's materialisation in the lake.
            asset: Key of the asset that the run stands for.

        Returns:
            The model's id in MLflow.
        """
        raw = []
        for row in partitions.filter(partitions["tokens_used"] > 0).iter_rows(named=True):
            source, _, snapshot = row["partition"].partition("|")
            raw.append(
                RawPartition(
                    source=source,
                    snapshot=snapshot,
                    content_hash=row["content_hash"],
                    manifest_id=row["documents_manifest"],
                    n_documents=row["rows"],
                    n_tokens=row["tokens_used"],
                )
            )
        with self.tracker.run(asset, partition, attempt=attempt, dagster_run_id=dagster_run_id) as run:
            run.set_manifest(checkpoint.id)
            run.log_params({"seed": checkpoint.seed, **checkpoint.parameters.get("training", {})})
            model = run.log_checkpoint(
                "-".join(checkpoint.partition.values()) or checkpoint.table, checkpoint.id, step=ordinal, partitions=raw
            )
            run.log_metrics(metric_values(metrics), ordinal, model_id=model)
        return model

    def log_policy(
        self,
        *,
        partition: str,
        dagster_run_id: str,
        policy: Manifest,
        objective: Mapping[str, Any],
        curve: pl.DataFrame,
        control: pl.DataFrame,
        files: Mapping[str, bytes],
        attempt: int = 0,
        asset: str = "selection_policy",
    ) -> str:
        """Log a policy's training as a run of its own; see `policy_run.log_policy_training` for what it holds.

        Args:
            partition: Partition key of the iteration.
            dagster_run_id: Id of the Dagster run.
            policy: Manifest of the policy.
            objective: What was maximised, by name.
            curve: The learning curve, one row a rollout.
            control: Rows of the table `control`.
            files: Pictures and the card by name.
            attempt: Number of the policy's materialisation in the lake.
            asset: Key of the asset that the run stands for.

        Returns:
            The run's id in MLflow.
        """
        with self.tracker.run(asset, partition, attempt=attempt, dagster_run_id=dagster_run_id) as run:
            log_policy_training(run, policy, objective, curve, control, files)
        return run.run_id


def metric_values(metrics: pl.DataFrame) -> dict[str, float | None]:
    """The table `metrics` as names and figures: benchmark/metric, and /judge where one pair has several.

    Rows that agree in all three (several seeds) are averaged.
    """
    import polars as pl

    pair = ["benchmark", "metric"]
    several = pl.col("judge").n_unique().over(pair) > 1
    judge = pl.when(several).then(pl.format("/{}", pl.col("judge").fill_null("none"))).otherwise(pl.lit(""))
    named = metrics.select(pl.concat_str("benchmark", pl.lit("/"), "metric", judge).alias("name"), "value")
    return dict(named.group_by("name", maintain_order=True).agg(pl.col("value").mean()).iter_rows())
