"""MLflow: a run for each asset and partition, and the way from raw data to models and back.

It writes to one local SQLite file, or to the server or database that `MLFLOW_TRACKING_URI` names.

The lake's manifests are the truth about lineage. MLflow carries their ids, so that a person who looks at a curve can go
from a raw partition to every checkpoint that was trained on some of it (`Tracker.models_trained_on`) and back.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from curation_pipeline.errors import DataError
from curation_pipeline.lake.store import LocalStore
from resources.tracked_run import TrackedRun
from resources.tracking_database import prepare

if TYPE_CHECKING:
    from mlflow import MlflowClient

_KEY_TAG = "curation.key"


@dataclass(frozen=True, slots=True)
class TrackedModel:
    """A checkpoint as MLflow knows it: its model id, its name, its manifest in the lake and the run that made it."""

    model_id: str
    name: str
    manifest_id: str
    source_run_id: str


@dataclass(frozen=True, slots=True)
class Tracker:
    """The MLflow experiment of the state in `folder`, without Dagster around it.

    Attributes:
        folder: Holds `mlflow.db` and `mlflow-artifacts/`, unless `MLFLOW_TRACKING_URI` names another place.
        experiment: Name of the experiment; it is made at first use.
    """

    folder: Path
    experiment: str = "curation"

    @property
    def uri(self) -> str:
        """`MLFLOW_TRACKING_URI`, or what to give to `mlflow server --backend-store-uri`."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.folder.resolve() / 'mlflow.db'}"

    @property
    def _owner(self) -> str:
        """What tells the runs of this state from those of others on a server that they share."""
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            return ""
        store = LocalStore(self.folder)
        store.put_if_absent("tracking_owner", uuid.uuid4().hex.encode())
        return (store.read("tracking_owner") or b"").decode()

    @contextmanager
    def run(
        self,
        asset: str,
        partition: str = "",
        *,
        attempt: int = 0,
        dagster_run_id: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[TrackedRun]:
        """The one run of this asset, partition and attempt; a retry finds it again.

        The run ends as FINISHED, or as FAILED if the block raises.

        Args:
            asset: Key of the asset, as in Dagster's graph.
            partition: Partition key, empty for an asset without partitions.
            attempt: Number of the materialisation in the lake.
            dagster_run_id: Id of the Dagster run, kept as a tag.
            tags: More tags.
        """
        client = self.client()
        experiment_id = self.experiment_id(client)
        key = hashlib.sha256(f"{asset}\0{partition}\0{attempt}{self._owner}".encode()).hexdigest()[:32]
        found = client.search_runs([experiment_id], f"tags.`{_KEY_TAG}` = '{key}'", max_results=1)
        label = f"{asset} {partition}".strip()
        if found:
            run_id = found[0].info.run_id
            client.update_run(run_id, status="RUNNING")
        else:
            run_id = client.create_run(experiment_id, tags={_KEY_TAG: key}, run_name=label).info.run_id
        run = TrackedRun(client=client, uri=self.uri, experiment_id=experiment_id, run_id=run_id)
        run.set_tags(
            {
                "curation.asset": asset,
                "curation.partition": partition,
                "curation.attempt": str(attempt),
                "dagster.run_id": dagster_run_id,
                "dagster.partition": partition,
                **(tags or {}),
            }
        )
        try:
            yield run
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id, status="FINISHED")

    def models_trained_on(self, name: str, digest: str | None = None) -> list[TrackedModel]:
        """Checkpoints with training data from a raw partition.

        Args:
            name: "source|snapshot".
            digest: Head of the partition's content hash; any version of it when absent.
        """
        client = self.client()
        # Chosen here: a server, unlike a database, finds no model by a data set's name alone.
        models: list[TrackedModel] = []
        token: str | None = None
        while True:
            page = client.search_logged_models([self.experiment_id(client)], page_token=token)
            models.extend(
                TrackedModel(
                    model_id=model.model_id,
                    name=model.name or "",
                    manifest_id=model.tags.get("curation.manifest_id", ""),
                    source_run_id=model.source_run_id or "",
                )
                for model in page
                if any(
                    metric.dataset_name == name and digest in (None, metric.dataset_digest)
                    for metric in model.metrics or ()
                )
            )
            token = page.token
            if not token:
                return models

    def runs_that_read(self, name: str) -> list[str]:
        """Ids of the runs that have the raw partition "source|snapshot" among their inputs.

        Raises:
            DataError: a quote in the name, which MLflow's filters cannot express.
        """
        if "'" in name:
            raise DataError(f"a dataset's name may not hold a quote: {name!r}")
        client = self.client()
        found = client.search_runs([self.experiment_id(client)], f"dataset.name = '{name}'")
        return [run.info.run_id for run in found]

    def finished(self) -> set[str]:
        """Ids of the manifests that a finished run has logged."""
        client, found, token = self.client(), set(), None
        while True:
            page = client.search_runs(
                [self.experiment_id(client)], "attributes.status = 'FINISHED'", max_results=1_000, page_token=token
            )
            found |= {run.data.tags.get("curation.manifest_id", "") for run in page}
            token = page.token
            if not token:
                return found

    def client(self) -> MlflowClient:
        """A client of the tracking store; a SQLite file is made at first use."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from filelock import FileLock
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Two processes that both find no database would both set one up.
        with FileLock(self.folder / "mlflow.lock"):
            own = self.folder.resolve() / "mlflow.db"
            if self.uri == f"sqlite:///{own}":
                prepare(own, (self.folder / "mlflow-artifacts").resolve().as_uri())
            client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            self.experiment_id(client)
        return client

    def experiment_id(self, client: MlflowClient) -> str:
        """Id of the experiment, which is made at first use."""
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        # A server keeps files where it was told to; a database knows of no place for them.
        served = self.uri.startswith(("http", "databricks", "uc"))
        location = None if served else (self.folder / "mlflow-artifacts").resolve().as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=location))
