"""What the steps did, as Prometheus reads it from `/metrics` of the guarded web server.

Nothing is recorded for it: manifests in the lake say what was made, Dagster's event log says what failed. Both only
grow, so a scrape reads what is new since the last one, and a restarted server counts to the same figures again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

import dagster as dg
from dagster._core.execution.stats import StepEventStatus
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from curation_pipeline.config import active_profile
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.context import open_context
from curation_pipeline.steps.registry import steps
from curation_pipeline.steps.step import Partitioning

ROWS_ARE_DOCUMENTS = ("candidate_pool", "curated_batch", "baseline_batch")
"""Steps of an iteration or an arm whose table has a row for each document; those of the corpus all have."""
NO_STEP = "none"
"""The step of a run that failed before it began one."""
_PAGE = 1_000

COUNTERS = {
    "curation_step_artefacts": "artefacts made",
    "curation_step_seconds": "wall seconds of making them",
    "curation_step_documents": "documents that they hold",
    "curation_step_bytes": "bytes written to the lake",
    "curation_step_failures": "failures of the step in Dagster's runs",
}
"""Counters by step; Prometheus sees each with the suffix `_total`."""
LAST_SUCCESS = "curation_step_last_success_timestamp_seconds"


class StepMetrics:
    """A Prometheus collector over a lake and a Dagster instance, and the answer that serves it."""

    def __init__(self, instance: dg.DagsterInstance, lake: Lake | None = None) -> None:
        """Read nothing yet.

        Args:
            instance: whose event log tells of failures.
            lake: whose manifests tell of successes; that of the active profile by default, opened at the first scrape.
        """
        self._instance, self._lake = instance, lake
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._totals: dict[str, dict[str, float]] = {name: defaultdict(float) for name in COUNTERS}
        self._last: dict[str, float] = {}
        self._cursor: str | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def answer(self, request: Request) -> Response:
        """The metrics in the format that the request accepts."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={"content-type": content_type})

    def describe(self) -> list[Metric]:
        """Name no metric when registered: that would read the lake."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The totals since the lake and the instance began."""
        with self._lock:  # a scrape that comes while another reads waits for it
            self._read_lake()
            self._read_failures()
            for name, told in COUNTERS.items():
                counter = CounterMetricFamily(name, told.capitalize(), labels=["step"])
                for step, value in sorted(self._totals[name].items()):
                    counter.add_metric([step], value)
                yield counter
            gauge = GaugeMetricFamily(LAST_SUCCESS, "When the step's newest artefact was made", labels=["step"])
            for step, value in sorted(self._last.items()):
                gauge.add_metric([step], value)
            yield gauge

    def _read_lake(self) -> None:
        if self._lake is None:
            self._lake = open_context(active_profile()).lake
        makers = {step.table: step for step in steps().values()}
        new = [path for path in self._lake.records("manifests") if path not in self._seen]
        for path in new:
            manifest = self._lake.get(path.removeprefix("manifests/").removesuffix(".json"))
            self._seen.add(path)
            step = makers.get(manifest.table)
            name = manifest.table if step is None else step.name
            self._totals["curation_step_artefacts"][name] += 1
            self._totals["curation_step_seconds"][name] += manifest.seconds
            self._totals["curation_step_bytes"][name] += manifest.n_bytes
            if step is not None and (step.partitioning is Partitioning.CORPUS or name in ROWS_ARE_DOCUMENTS):
                self._totals["curation_step_documents"][name] += manifest.n_rows
            made = datetime.fromisoformat(manifest.created_at).timestamp()
            self._last[name] = max(made, self._last.get(name, 0.0))

    def _read_failures(self) -> None:
        more = True
        while more:
            found = self._instance.fetch_run_status_changes(
                dg.DagsterEventType.RUN_FAILURE, limit=_PAGE, cursor=self._cursor, ascending=True
            )
            for record in found.records:
                stats = self._instance.get_run_step_stats(record.run_id)
                # Where the process was killed, what it was doing has no event of its own.
                ended = (StepEventStatus.FAILURE, StepEventStatus.IN_PROGRESS)
                for name in [found.step_key for found in stats if found.status in ended] or [NO_STEP]:
                    self._totals["curation_step_failures"][name] += 1
            self._cursor, more = found.cursor, found.has_more
