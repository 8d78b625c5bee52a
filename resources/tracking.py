"""MLflow: a run for each policy and checkpoint, with the way from raw data to models.

It writes to one local SQLite file, or to the server or database that `MLFLOW_TRACKING_URI` names. The lake's manifests
are the truth about lineage; MLflow carries their ids, so that a person who looks at a curve finds the artefact, and a
search by a raw partition's name finds the models that were trained on some of it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from pydantic import Field

from curation_pipeline.config import active_profile, load_profile
from curation_pipeline.lake.store import LocalStore
from resources.tracking_database import prepare

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from curation_pipeline.lake.manifest import Manifest

logger = logging.getLogger(__name__)

DIGEST_LENGTH = 16
"""Characters of a partition's content hash that are its data set's digest in MLflow."""
_KEY_TAG, _MODEL_KEY_TAG = "curation.key", "curation.checkpoint"
MANIFEST_TAG = "curation.manifest_id"
_PARAMS_A_CALL, _METRICS_A_CALL = 100, 500  # MLflow takes 100 and 1,000 at once
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


class TrackingResource(dg.ConfigurableResource[Any]):
    """MLflow where `MLFLOW_TRACKING_URI` says, else on a local SQLite file.

    Look at the file with `mlflow server --backend-store-uri sqlite:///<state>/mlflow.db`.
    """

    folder: str = Field(description="Folder that holds mlflow.db and mlflow-artifacts/.")
    experiment: str = Field(
        default_factory=lambda: os.environ.get("MLFLOW_EXPERIMENT_NAME") or "curation",
        description="Name of the MLflow experiment; it is made at first use.",
    )

    bucket: str = Field(
        default_factory=lambda: load_profile(active_profile()).lake.bucket, description="The lake's, or nothing."
    )

    @property
    def uri(self) -> str:
        """`MLFLOW_TRACKING_URI`, or what to give to `mlflow server --backend-store-uri`."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self._path / 'mlflow.db'}"

    @property
    def _path(self) -> Path:
        return Path(self.folder).expanduser().resolve()

    def _owner(self) -> str:
        """What tells the runs of this state from those of others on a server that they share."""
        if self.bucket or not os.environ.get("MLFLOW_TRACKING_URI"):
            return self.bucket  # machines that share it have state folders of their own, and the same runs
        store = LocalStore(self._path)
        store.put_if_absent("tracking_owner", uuid.uuid4().hex.encode())
        return (store.read("tracking_owner") or b"").decode()

    @contextmanager
    def run(
        self, asset: str, partition: str = "", *, attempt: int = 0, dagster_run_id: str = ""
    ) -> Iterator[TrackedRun]:
        """The one run of this asset, partition and attempt; a retry finds it again.

        The run ends as FINISHED, or as FAILED if the block raises.

        Args:
            asset: key of the asset, as in Dagster's graph.
            partition: partition key, empty for an asset without partitions.
            attempt: number of the materialisation in the lake.
            dagster_run_id: id of the Dagster run, kept as a tag.
        """
        client = self.client()
        experiment_id = self.experiment_id(client)
        key = hashlib.sha256(f"{asset}\0{partition}\0{attempt}{self._owner()}".encode()).hexdigest()[:32]
        found = client.search_runs([experiment_id], f"tags.`{_KEY_TAG}` = '{key}'", max_results=1)
        if found:
            run_id = found[0].info.run_id
            client.update_run(run_id, status="RUNNING")
        else:
            label = f"{asset} {partition}".strip()
            run_id = client.create_run(experiment_id, tags={_KEY_TAG: key}, run_name=label).info.run_id
        run = TrackedRun(client, self.uri, experiment_id, run_id)
        run.set_tags(
            {
                "curation.asset": asset,
                "curation.partition": partition,
                "curation.attempt": str(attempt),
                "dagster.run_id": dagster_run_id,
                "dagster.partition": partition,
            }
        )
        try:
            yield run
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id, status="FINISHED")

    def finished(self) -> set[str]:
        """Ids of the manifests that a finished run has logged."""
        client, found, token = self.client(), set(), None
        while True:
            page = client.search_runs(
                [self.experiment_id(client)], "attributes.status = 'FINISHED'", max_results=1_000, page_token=token
            )
            found |= {run.data.tags.get(MANIFEST_TAG, "") for run in page}
            token = page.token
            if not token:
                return found

    def client(self) -> MlflowClient:
        """A client of the tracking store; a SQLite file is made at first use."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from filelock import FileLock
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        self._path.mkdir(parents=True, exist_ok=True)
        # Two processes that both find no database would both set one up.
        with FileLock(self._path / "mlflow.lock"):
            own = self._path / "mlflow.db"
            if self.uri == f"sqlite:///{own}":
                prepare(own, (self._path / "mlflow-artifacts").as_uri())
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
        location = None if served else (self._path / "mlflow-artifacts").as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=location))


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """One open run, see `TrackingResource.run`."""

    client: MlflowClient
    uri: str
    experiment_id: str
    run_id: str

    def log_checkpoint(
        self, checkpoint: Manifest, metrics: pl.DataFrame, ordinal: int, partitions: pl.DataFrame
    ) -> str:
        """Log an evaluated checkpoint: its model, the raw partitions behind it, and its metrics.

        Args:
            checkpoint: manifest of the checkpoint.
            metrics: rows of the table `metrics`.
            ordinal: number of the iteration, the step of every figure.
            partitions: one row for each raw partition, see `log_model`.

        Returns:
            The model's id in MLflow.
        """
        self.set_tags({MANIFEST_TAG: checkpoint.id})
        self.log_params({"seed": checkpoint.seed, **checkpoint.parameters.get("training", {})})
        name = "-".join(checkpoint.partition.values()) or checkpoint.table
        used = partitions.filter(pl.col("tokens_used") > 0)
        model = self.log_model(name, checkpoint.id, step=ordinal, partitions=used.to_dicts())
        self.log_metrics(metric_values(metrics), ordinal, model_id=model)
        return model

    def log_policy(
        self,
        policy: Manifest,
        objective: Mapping[str, Any],
        curve: pl.DataFrame,
        control: pl.DataFrame,
        files: Mapping[str, bytes],
    ) -> None:
        """Log a policy's training; logging the same one again adds nothing.

        Args:
            policy: manifest of the policy.
            objective: what was maximised, by name.
            curve: one row a rollout with the column ``candidates``, which is the step of every figure.
            control: rows of the table `control`: arm, measure, value.
            files: pictures and the card by name.
        """
        inputs: dict[str, list[str]] = {}
        for identity in policy.inputs:
            inputs.setdefault(identity.rpartition("-")[0], []).append(identity)
        self.set_tags(
            {
                MANIFEST_TAG: policy.id,
                **{f"curation.input.{table}": ", ".join(identities) for table, identities in inputs.items()},
                **{f"curation.{axis}": value for axis, value in policy.partition.items()},
                "curation.control_verdict": str(policy.summary.get("control_verdict") or ""),
            }
        )
        settings = policy.parameters["policy"].items()
        self.log_params(
            {
                "seed": policy.seed,
                "budget_tokens": policy.parameters["token_budget"],
                **{f"objective/{name}": value for name, value in objective.items()},
                **{PAPER_NAMES.get(name, f"process/{name}"): value for name, value in settings},
            }
        )
        made = int(datetime.fromisoformat(policy.created_at).timestamp() * 1_000)
        prefixed = curve.select("candidates", pl.exclude("candidates").name.prefix("training/"))
        self.log_curve(prefixed, "candidates", made)
        figures = {name: value for name, value in policy.summary.items() if isinstance(value, (int, float))}
        for arm, measure, value in control.select("arm", "measure", "value").iter_rows():
            figures[f"control/{arm}/{measure}"] = value
        last = int(curve["candidates"].max() or 0)  # type: ignore[arg-type]
        summary = {name: [float(value)] for name, value in figures.items()}
        self.log_curve(pl.DataFrame({"step": [last], **summary}), "step", made)
        self.log_files(files, "policy")

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; empty ones are left out."""
        from mlflow.entities import RunTag

        present = [RunTag(key, str(value)) for key, value in tags.items() if value != ""]
        self.client.log_batch(self.run_id, tags=present, synchronous=True)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters. MLflow never changes one: where a retry differs, the newer value becomes a tag."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        text = {_mlflow_name(key): str(value)[:6_000] for key, value in params.items()}
        changed = {key: value for key, value in text.items() if known.get(key, value) != value}
        if changed:
            logger.warning("run %s was retried with other parameters: %s", self.run_id, ", ".join(sorted(changed)))
            self.set_tags({f"param.{key}": value for key, value in changed.items()})
        new = [Param(key, value) for key, value in text.items() if key not in known]
        for start in range(0, len(new), _PARAMS_A_CALL):
            self.client.log_batch(self.run_id, params=new[start : start + _PARAMS_A_CALL], synchronous=True)

    def log_metrics(
        self, metrics: Mapping[str, float | None], step: int, *, model_id: str | None = None, **dataset: str
    ) -> None:
        """Log figures of one iteration.

        Args:
            metrics: figures by name; an absent one (None) is left out.
            step: the iteration's ordinal.
            model_id: the model that they were measured on, as `log_model` returned it.
            dataset: dataset_name and dataset_digest of the raw partition that they speak about.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._log(
            [
                Metric(_mlflow_name(name), float(value), now, step, model_id=model_id, run_id=self.run_id, **dataset)
                for name, value in metrics.items()
                if value is not None
            ]
        )

    def log_curve(self, curve: pl.DataFrame, step: str, timestamp: int) -> None:
        """Log a table of figures, a step a row.

        MLflow knows a figure by name, step and time, so the same curve with the same time is logged only once.

        Args:
            curve: the column of steps and numeric columns, whose names become the figures'; nulls are left out.
            step: column of whole numbers.
            timestamp: milliseconds since 1970, for all of them.
        """
        from mlflow.entities import Metric

        long = curve.select(pl.col(step), pl.exclude(step).cast(pl.Float64)).unpivot(index=step).drop_nulls()
        rows = long.iter_rows()
        self._log([Metric(_mlflow_name(name), value, timestamp, at, run_id=self.run_id) for at, name, value in rows])

    def _log(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), _METRICS_A_CALL):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + _METRICS_A_CALL], synchronous=True)

    def log_model(self, name: str, manifest_id: str, *, step: int, partitions: Sequence[Mapping[str, Any]] = ()) -> str:
        """Make the run's checkpoint known as a model whose files are in the lake.

        Args:
            name: name of the model, such as "main-003".
            manifest_id: manifest of the checkpoint; a retry with the same one finds its model again.
            step: the iteration's ordinal.
            partitions: the raw partitions that its training data came from: partition ("source|snapshot"),
                documents_manifest, content_hash, rows and tokens_used. Each becomes an input of the run and is tied to
                the model by the figure `training_tokens`, which is what makes a search by data set find it. Their texts
                stay in the lake: MLflow gets a row of facts.

        Returns:
            The model id that `log_metrics` takes.
        """
        from mlflow.data.polars_dataset import from_polars
        from mlflow.entities import DatasetInput, InputTag

        model_id, inputs = self._model(name, manifest_id), []
        for row in partitions:
            facts = pl.DataFrame([{key: row[key] for key in ("content_hash", "documents_manifest", "rows")}])
            dataset = from_polars(facts, name=row["partition"], digest=row["content_hash"][:DIGEST_LENGTH])
            tags = [InputTag("mlflow.data.context", "training"), InputTag(MANIFEST_TAG, row["documents_manifest"])]
            inputs.append(DatasetInput(dataset=dataset._to_mlflow_entity(), tags=tags))
            of = {"dataset_name": dataset.name, "dataset_digest": dataset.digest}
            self.log_metrics({"training_tokens": row["tokens_used"]}, step, model_id=model_id, **of)
        if inputs:
            self.client.log_inputs(self.run_id, datasets=inputs)
        return model_id

    def _model(self, name: str, manifest_id: str) -> str:
        """Id of the model of a checkpoint, which is made at first use."""
        import mlflow

        key = hashlib.sha256(f"{self.run_id}\0{manifest_id}".encode()).hexdigest()[:32]
        for found in self.client.search_logged_models([self.experiment_id], f"tags.`{_MODEL_KEY_TAG}` = '{key}'"):
            return str(found.model_id)
        with global_uri(self.uri):
            model = mlflow.create_external_model(
                name=re.sub(r"[/:.%\"'\s|]", "-", name),
                source_run_id=self.run_id,
                experiment_id=self.experiment_id,
                tags={_MODEL_KEY_TAG: key, MANIFEST_TAG: manifest_id},
                model_type="language-model",
            )
        return str(model.model_id)

    def log_files(self, files: Mapping[str, bytes], folder: str | None = None) -> None:
        """Put files that are in memory next to the run, by name."""
        with tempfile.TemporaryDirectory() as place:
            for name, content in files.items():
                (Path(place) / name).write_bytes(content)
            self.client.log_artifacts(self.run_id, place, folder)


def metric_values(metrics: pl.DataFrame) -> dict[str, float | None]:
    """The table `metrics` as names and figures: benchmark/metric, and /judge where one pair has several.

    Rows that agree in all three (several seeds) are averaged.
    """
    several = pl.col("judge").n_unique().over("benchmark", "metric") > 1
    judge = pl.when(several).then(pl.format("/{}", pl.col("judge").fill_null("none"))).otherwise(pl.lit(""))
    named = metrics.select(pl.concat_str("benchmark", pl.lit("/"), "metric", judge).alias("name"), "value")
    return dict(named.group_by("name", maintain_order=True).agg(pl.col("value").mean()).iter_rows())


@contextmanager
def global_uri(uri: str) -> Iterator[None]:
    """`create_external_model` takes no client: point MLflow's global address at ours, and put the old one back."""
    import mlflow

    # Setting it sets the environment variable too, which says where runs go: it is put back as it was, also to none.
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _mlflow_name(name: str) -> str:
    """A name that MLflow accepts: letters, digits, and `_ - . : / space`."""
    return re.sub(r"[^\w.\- :/]", "_", name).strip("/") or "_"
