"""What runs by itself: the next iteration, the first of a night, new corpus deliveries, and lost events.

The gate of an iteration guarantees order; what is here only decides when to try.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from assets.partitions import cell_partitions, corpus_partitions, iteration_partitions, ordinal_of, window_of
from assets.steps import POOLS, committed_state, iteration_state
from assets.tracked import attempt, catch_up
from curation_pipeline.config import active_profile, load_profile
from curation_pipeline.corpus.settings import Source
from curation_pipeline.lake.manifest import canonical_json, sha256_text
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import partition_sources
from curation_pipeline.stages.state import MAIN, committed, history
from curation_pipeline.steps.corpus import documents
from resources.project import ProjectResource
from resources.tracking import TrackingResource

iteration_job = dg.define_asset_job(
    "iteration",
    selection=dg.AssetSelection.groups("loop") - dg.AssetSelection.assets(committed_state.key),
    description="One iteration of the loop, from its gate to its commit.",
    partitions_def=iteration_partitions(),
)

partition_job = dg.define_asset_job(
    "corpus_partition",
    selection=dg.AssetSelection.groups("corpus", "annotations"),
    description="Ingest one raw corpus partition and annotate it.",
    partitions_def=corpus_partitions,
)


def _next_ordinal(project: ProjectResource) -> tuple[int, int]:
    """The earliest iteration that has not been committed, and the last one allowed."""
    ctx = project.context()
    states = history(ctx.lake, MAIN)
    return (states[-1].ordinal + 1 if states else 1), ctx.profile.loop.max_iterations


@dg.asset_sensor(
    asset_key=committed_state.key,
    job=iteration_job,
    name="next_iteration",
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests the next window when an iteration has committed, until the profile's max_iterations.",
)
def next_iteration(
    context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry, project: ProjectResource
) -> dg.RunRequest | dg.SkipReason:
    """Chain from one committed iteration to the next."""
    run = context.instance.get_run_by_id(asset_event.run_id) if asset_event.run_id else None
    if run is not None and "dagster/backfill" in run.tags:
        return dg.SkipReason("the commit came from a backfill, which requests its own windows")
    event = asset_event.dagster_event
    window = event.partition if event is not None else None
    if window is None:
        return dg.SkipReason("the event names no iteration")
    ordinal = ordinal_of(window) + 1
    ctx = project.context()
    limit = ctx.profile.loop.max_iterations
    if ordinal > limit:
        return dg.SkipReason(f"the profile's max_iterations ({limit}) is reached")
    if committed(ctx.lake, MAIN, ordinal) is not None:
        return dg.SkipReason(f"iteration {ordinal} is already committed")
    following = window_of(ordinal)
    return dg.RunRequest(run_key=f"curation/{following}", partition_key=following)


@dg.schedule(
    cron_schedule=load_profile(active_profile()).loop.nightly_cron,
    job=iteration_job,
    name="nightly",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Starts the night at the earliest iteration that has not been committed.",
)
def nightly(context: dg.ScheduleEvaluationContext, project: ProjectResource) -> dg.RunRequest | dg.SkipReason:
    """Request the earliest uncommitted window."""
    ordinal, limit = _next_ordinal(project)
    if ordinal > limit:
        return dg.SkipReason(f"the profile's max_iterations ({limit}) is reached")
    active = context.instance.get_runs(
        dg.RunsFilter(
            job_name=iteration_job.name,
            statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
        ),
        limit=1,
    )
    if active:
        return dg.SkipReason(f"run {active[0].run_id} of the loop is still going")
    return dg.RunRequest(partition_key=window_of(ordinal))


@dg.sensor(
    name="reconcile_commits",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports commits that stand in the lake and whose event a crash swallowed, and makes the loop's pools "
    "known to the queue.",
)
def reconcile_commits(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult | dg.SkipReason:
    """Storage is written first and the event second; this writes the event where only the first happened."""
    pools = context.instance.event_log_storage
    for pool in set(POOLS.values()) - {known.name for known in pools.get_pool_limits()}:
        pools.initialize_concurrency_limit_to_default(pool)  # the queue does not limit a pool at its first meeting
    ctx = project.context()
    known = context.instance.get_materialized_partitions(committed_state.key)
    events: list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation] = []
    for state in history(ctx.lake, MAIN):
        if state.ordinal >= 1 and window_of(state.ordinal) not in known:
            found = committed(ctx.lake, MAIN, state.ordinal)
            if found is not None:
                events.append(iteration_state(found[0], state, window_of(state.ordinal)))
    if not events:
        return dg.SkipReason("every commit in the lake has its event")
    return dg.SensorResult(asset_events=events)


corpus_wide_job = dg.define_asset_job(
    "corpus_wide",
    selection=dg.AssetSelection.groups("corpus_wide"),
    description="Duplicates, removal requests, the index and the profile, over all raw partitions.",
)


@dg.sensor(
    name="reconcile_tracking",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Logs to MLflow what could not be logged when it was made.",
)
def reconcile_tracking(
    context: dg.SensorEvaluationContext, project: ProjectResource, tracking: TrackingResource
) -> dg.SkipReason:
    """Compare the lake with MLflow."""
    logged: list[str] = []
    failed = attempt("all of the loop", lambda: logged.extend(catch_up(project.context(), tracking)))
    return dg.SkipReason(f"logged {', '.join(logged)}" if logged else failed)


@dg.sensor(
    name="discover_corpus",
    jobs=[partition_job, corpus_wide_job],
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Adds a partition for each new delivery of a source, and ingests new or changed ones. What the profile "
    "no longer declares leaves the partitions, and what spans the corpus is made again without it.",
)
def discover_corpus(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult:
    """Compare the sources' deliveries with what the lake holds."""
    ctx = project.context()
    sources = partition_sources(ctx)
    runs = list(_deliveries(ctx, sources))
    changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]
    changes = [corpus_partitions.build_add_request(sorted(sources))]
    if gone := set(context.instance.get_dynamic_partitions(str(corpus_partitions.name))) - sources.keys():
        changes.append(corpus_partitions.build_delete_request(sorted(gone)))
        runs.append(dg.RunRequest(job_name=corpus_wide_job.name))
    return dg.SensorResult(run_requests=runs, dynamic_partitions_requests=changes)


def _deliveries(ctx: Context, sources: Mapping[str, tuple[Source, str]]) -> Iterator[dg.RunRequest]:
    for key, (source, snapshot) in sorted(sources.items()):
        head = ctx.lake.head("documents", {"source": source.name, "snapshot": snapshot})
        wanted = documents.ingest_parameters(ctx, source, snapshot)
        if head is None or head.parameters != wanted:
            before = "new" if head is None else head.id  # what comes back is asked for again
            run_key = f"{documents.STEP.name}/{key}/{before}/{sha256_text(canonical_json(wanted))}"
            yield dg.RunRequest(run_key=run_key, job_name=partition_job.name, partition_key=key)


reference_job = dg.define_asset_job(
    "reference",
    selection=dg.AssetSelection.groups("reference"),
    description="Labels, benchmarks, detectors, embedding, tokenizer, held-out text, base model, cold start.",
)

follow_corpus = dg.AutomationConditionSensorDefinition(
    "follow_corpus",
    target=dg.AssetSelection.groups("corpus_wide"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Makes what spans the corpus again when a delivery has been annotated.",
)

serving_job = dg.define_asset_job(
    "serving",
    selection=dg.AssetSelection.groups("serving"),
    description="Rebuild the serving database and the report.",
)

experiment_job = dg.define_asset_job(
    "experiment",
    selection=dg.AssetSelection.groups("experiment"),
    partitions_def=cell_partitions,
    description="Run one arm with one seed.",
)

JOBS = [partition_job, corpus_wide_job, reference_job, iteration_job, experiment_job, serving_job]
SENSORS = [next_iteration, reconcile_commits, reconcile_tracking, discover_corpus, follow_corpus]
