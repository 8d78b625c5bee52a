"""One run of MLflow: tags, parameters, figures, curves, inputs, models and files."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

DIGEST_LENGTH = 16
_MODEL_KEY_TAG = "curation.checkpoint"
_METRICS_A_BATCH = 500  # MLflow takes 1,000 at once


@dataclass(frozen=True, slots=True)
class RawPartition:
    """A raw corpus partition as MLflow shows it.

    Attributes:
        source: Name of the corpus.
        snapshot: Its release.
        content_hash: Hash of the partition's manifest over its contents.
        manifest_id: Id of that manifest.
        n_documents: Documents in it.
        n_bytes: Bytes of their text.
        n_tokens: Tokens of the batch at hand that come from it.
    """

    source: str
    snapshot: str
    content_hash: str
    manifest_id: str = ""
    n_documents: int = 0
    n_bytes: int = 0
    n_tokens: int = 0

    @property
    def name(self) -> str:
        """The dataset's name: source|snapshot."""
        return f"{self.source}|{self.snapshot}"

    @property
    def digest(self) -> str:
        """The dataset's digest: the head of the content hash."""
        return self.content_hash[:DIGEST_LENGTH]


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """One open run; see `Tracker.run`."""

    client: MlflowClient
    uri: str
    experiment_id: str
    run_id: str

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; empty ones are left out."""
        from mlflow.entities import RunTag

        present = [RunTag(key, str(value)) for key, value in tags.items() if value != ""]
        self.client.log_batch(self.run_id, tags=present, synchronous=True)

    def set_manifest(self, manifest_id: str) -> None:
        """Say which manifest of the lake the run has written."""
        self.set_tags({"curation.manifest_id": manifest_id})

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters. MLflow never changes one: where a retry differs, the newer value becomes a tag."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        text = {_metric_name(key): str(value)[:6_000] for key, value in params.items()}
        changed = {key: value for key, value in text.items() if known.get(key, value) != value}
        if changed:
            logger.warning("run %s was retried with other parameters: %s", self.run_id, ", ".join(sorted(changed)))
            self.set_tags({f"param.{key}": value for key, value in changed.items()})
        new = [Param(key, value) for key, value in text.items() if key not in known]
        for start in range(0, len(new), 100):
            self.client.log_batch(self.run_id, params=new[start : start + 100], synchronous=True)

    def log_metrics(
        self,
        metrics: Mapping[str, float | None],
        step: int,
        *,
        model_id: str | None = None,
        dataset: RawPartition | None = None,
    ) -> None:
        """Log figures of one iteration.

        Args:
            metrics: Figures by name; an absent one (None) is left out.
            step: The iteration's ordinal.
            model_id: The checkpoint they were measured on, as `log_checkpoint` returned it.
            dataset: The raw partition they speak about.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entities = [
            Metric(
                key=_metric_name(key),
                value=float(value),
                timestamp=now,
                step=step,
                model_id=model_id,
                dataset_name=dataset.name if dataset else None,
                dataset_digest=dataset.digest if dataset else None,
                run_id=self.run_id,
            )
            for key, value in metrics.items()
            if value is not None
        ]
        for start in range(0, len(entities), _METRICS_A_BATCH):
            self.client.log_batch(self.run_id, metrics=entities[start : start + _METRICS_A_BATCH], synchronous=True)

    def log_curve(self, curve: pl.DataFrame, step: str, timestamp: int, prefix: str = "") -> None:
        """Log a table of figures, a step a row, many figures a call.

        MLflow knows a figure by name, step and time, so the same curve with the same time is logged only once.

        Args:
            curve: The column of steps and numeric columns, whose names become the figures'; nulls are left out.
            step: Column of whole numbers.
            timestamp: Milliseconds since 1970, for all of them.
            prefix: Put before the names.
        """
        from mlflow.entities import Metric

        long = curve.select(pl.col(step), pl.exclude(step).cast(pl.Float64)).unpivot(index=step).drop_nulls()
        entities = [
            Metric(
                key=_metric_name(f"{prefix}{name}"), value=value, timestamp=timestamp, step=place, run_id=self.run_id
            )
            for place, name, value in long.iter_rows()
        ]
        for start in range(0, len(entities), _METRICS_A_BATCH):
            self.client.log_batch(self.run_id, metrics=entities[start : start + _METRICS_A_BATCH], synchronous=True)

    def log_dataset_inputs(self, partitions: Sequence[RawPartition], context: str = "training") -> None:
        """Name the raw partitions that the run read. Their texts stay in the lake: MLflow gets a row of facts."""
        from mlflow.data.polars_dataset import from_polars
        from mlflow.entities import DatasetInput, InputTag

        inputs = []
        for partition in partitions:
            facts = pl.DataFrame(
                {
                    "content_hash": [partition.content_hash],
                    "manifest_id": [partition.manifest_id],
                    "n_documents": [partition.n_documents],
                    "n_bytes": [partition.n_bytes],
                }
            )
            dataset = from_polars(facts, name=partition.name, digest=partition.digest)
            tags = [
                InputTag("mlflow.data.context", context),
                InputTag("curation.manifest_id", partition.manifest_id or "unknown"),
            ]
            inputs.append(DatasetInput(dataset=dataset._to_mlflow_entity(), tags=tags))
        if inputs:
            self.client.log_inputs(self.run_id, datasets=inputs)

    def log_checkpoint(
        self,
        name: str,
        manifest_id: str,
        *,
        step: int,
        partitions: Sequence[RawPartition] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Make the run's checkpoint known as a model whose files are in the lake.

        Args:
            name: Name of the model, such as "main-003".
            manifest_id: Manifest of the checkpoint; a retry with the same one finds its model again.
            step: The iteration's ordinal.
            partitions: The raw partitions that its training data came from. Each is tied to the model by one figure,
                `training_tokens`, which is what makes a search by dataset find it.
            params: Shown with the model.
            tags: More tags.

        Returns:
            The model id that `log_metrics` takes.
        """
        import mlflow

        key = hashlib.sha256(f"{self.run_id}\0{manifest_id}".encode()).hexdigest()[:32]
        found = self.client.search_logged_models([self.experiment_id], f"tags.`{_MODEL_KEY_TAG}` = '{key}'")
        if found:
            model_id = str(found[0].model_id)
        else:
            with _global_uri(self.uri):
                model = mlflow.create_external_model(
                    name=re.sub(r"[/:.%\"'\s|]", "-", name),
                    source_run_id=self.run_id,
                    experiment_id=self.experiment_id,
                    tags={_MODEL_KEY_TAG: key, "curation.manifest_id": manifest_id, **(tags or {})},
                    params={key: str(value) for key, value in (params or {}).items()},
                    model_type="language-model",
                )
            model_id = str(model.model_id)
        self.log_dataset_inputs(partitions)
        for partition in partitions:
            self.log_metrics({"training_tokens": partition.n_tokens}, step, model_id=model_id, dataset=partition)
        return model_id

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file, such as the report, beside the run."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def log_files(self, files: Mapping[str, bytes], folder: str | None = None) -> None:
        """Put files that are in memory beside the run, by name."""
        with tempfile.TemporaryDirectory() as place:
            for name, content in files.items():
                (Path(place) / name).write_bytes(content)
            self.client.log_artifacts(self.run_id, place, folder)


@contextmanager
def _global_uri(uri: str) -> Iterator[None]:
    """`create_external_model` takes no client: point MLflow's global address at ours, and put the old one back."""
    import mlflow

    # Setting it sets the environment variable too, which says where runs go: it is put back as it was, also to none.
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets both


def _metric_name(name: str) -> str:
    """A name MLflow accepts: letters, digits, and `_ - . : / space`."""
    return re.sub(r"[^\w.\- :/]", "_", name).strip("/") or "_"
