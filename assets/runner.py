"""Runs the project's Dagster jobs in this process, on the instance that the web UI shows.

`python -m assets run|cells` is what the command line starts. It writes one JSON object a line to standard
output: ``{"job": ..., "step": ..., "fraction": ...}`` as work proceeds, ``{"note": ...}`` for what a user should know,
``{"committed": ...}`` after each iteration but the last, ``{"error": ...}`` before it ends with exit code 1. Standard
error is its log, and holds every failure whole.

One process does corpus, loop and serving, because each start would import Dagster and torch again; the baseline arms
run in a second one next to the loop, which shares nothing with them but the base.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import dagster as dg

from assets.automation import iteration_job
from assets.definitions import defs
from assets.partitions import cell_partitions, follow_declared, window_of
from assets.tracked import attempt, catch_up
from curation_pipeline.capacity.spending import check_plan
from curation_pipeline.cli_run import DRAIN_SECONDS
from curation_pipeline.config import active_profile, state_folder
from curation_pipeline.errors import CurationError
from curation_pipeline.lake.garbage import collect, find_abandoned
from curation_pipeline.lake.manifest import canonical_json
from curation_pipeline.processes import end_with_parent, how_it_ended
from curation_pipeline.report.corpus_status import corpus_notes
from curation_pipeline.stages.arm_inputs import check_arms, needs_loop
from curation_pipeline.stages.arms import Cell, cells
from curation_pipeline.stages.context import Context, open_context
from curation_pipeline.stages.declared import declared, partition_sources
from curation_pipeline.stages.detectors import check_detectors
from curation_pipeline.stages.foundation import check_foundation
from curation_pipeline.stages.state import MAIN, committed
from curation_pipeline.steps.experiment.experiment_cell import STEP as EXPERIMENT_CELL
from curation_pipeline.steps.preparation import preparation_fingerprint, prepared_steps
from curation_pipeline.steps.registry import check_names, phases
from curation_pipeline.steps.side_by_side import Artefact, Failure, Made, graph_of, make_side_by_side
from curation_pipeline.steps.step import Partitioning, Step
from resources.project import REPORTER
from resources.tracking import TrackingResource

CORPUS = Partitioning.CORPUS
MADE = 0.95
"""Share of the preparation's progress when all is made and its last part has to be recorded."""

ABANDONED_SECONDS = 7 * 86_400.0
"""Work that was interrupted so long ago is begun again, and its folder goes."""

RUNNER_TAG = "curation/runner"
"""On the runs that a runner executes itself: only one works on a state folder at a time."""


class Recording(NamedTuple):
    """Steps whose artefacts one run of Dagster makes, or finds and records."""

    phase: tuple[Step, ...]
    key: str | None

    @property
    def artefacts(self) -> list[Artefact]:
        """What has to be there for the run to have nothing to make."""
        return [Artefact(step.name, self.key) for step in self.phase]


class RunFailedError(CurationError):
    """A Dagster run failed; the message is that of the step that failed."""


class Runner:
    """Executes selections of assets one after the other and tells how far it is."""

    def __init__(self, ctx: Context, instance: dg.DagsterInstance) -> None:
        """Keep the context and the instance."""
        self.ctx = ctx
        self.instance = instance
        self._job = ""
        self._last = 0.0
        self._fraction = 0.0
        self._noted: set[str] = set()

    @contextmanager
    def job(self, name: str) -> Iterator[None]:
        """Tell progress under this name."""
        self._job, self._fraction = name, 0.0
        self.tell("starting", 0.0)
        yield
        self.tell("done", 1.0)

    def tell(self, step: str, fraction: float) -> None:
        """Write one line of progress, at most ten a second unless something ends; it never goes back."""
        fraction = self._fraction = max(self._fraction, fraction)
        now = time.monotonic()
        if 0 < fraction < 1 and now - self._last < 0.1:
            return
        self._last = now
        told = {"job": self._job, "step": step, "fraction": round(fraction, 4)}
        print(json.dumps(told) + "\n", end="", flush=True)  # in one piece: several threads tell

    def note(self) -> None:
        """Say what is retired or could not be read, each line once."""
        for line in corpus_notes(self.ctx):
            if line not in self._noted:
                self._noted.add(line)
                print(json.dumps({"note": line}), flush=True)

    def run(self, iterations: int, keys: Sequence[str], only_prepare: bool) -> None:
        """Everything: corpus and base, then the loop with the runs of an experiment next to it, then serving.

        Raises:
            RunFailedError: a step failed, here or in the process of the cells.
        """
        with self.job("corpus and base model"):
            self.prepare()
        if only_prepare:
            return
        waiting = [key for key in keys if not self.cell_done(key)]
        late = [key for key in waiting if needs_loop(Cell.parse(key).arm)]
        with alongside([key for key in waiting if key not in late]), self.job("loop"):
            self.loop(iterations)
        if late:  # they learn from what the loop measured
            with self.job("baseline arms"):
                self.cells(late)
        attempt("all of the loop", self.catch_up)
        with self.job("serving database and report"):
            self.serve()

    def materialise(
        self, assets: Sequence[str], partition: str | None, span: tuple[float, float], job: str | None = None
    ) -> None:
        """Run some assets, telling progress as a part ``span`` of the whole.

        Raises:
            RunFailedError: a step failed.
        """
        begin, end = span
        name = partition or ", ".join(assets[:2])

        def report(what: str, fraction: float) -> None:
            self.tell(f"{name}: {what}", begin + (end - begin) * min(max(fraction, 0.0), 0.99))

        self.tell(name, begin)
        token = REPORTER.set(report)
        try:
            definition = defs.resolve_job_def(job or "__ASSET_JOB")
            done = definition.execute_in_process(
                instance=self.instance,
                partition_key=partition,
                asset_selection=None if job else [dg.AssetKey(asset) for asset in assets],
                raise_on_error=False,
                tags={RUNNER_TAG: "command line"},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        finally:
            REPORTER.reset(token)
        if not done.success:
            message, whole = _failure(done)
            _log(whole)
            raise RunFailedError(message)
        self.tell(name, end)

    def prepare(self) -> None:
        """Bring corpus, annotations, references and the cold start up to date; nothing is done where they are."""
        sources = partition_sources(self.ctx)
        keys = sorted(sources)
        follow_declared(self.instance, keys)
        self.note()
        # Only the last preparation counts: a profile that comes back must make its own artefacts current again.
        marker, fingerprint = state_folder() / "prepared" / "last", preparation_fingerprint(self.ctx, sources)
        if _reads(marker) == fingerprint and committed(self.ctx.lake, MAIN, 0) is not None:
            self.tell("corpus and base model are up to date", 1.0)
            return
        marker.unlink(missing_ok=True)
        once: list[str | None] = [None]
        order = phases(prepared_steps())
        work = [Recording(phase, key) for phase in order for key in (keys if phase[0].partitioning is CORPUS else once)]
        if self.ctx.profile.engine.kind == "ray" or self.ctx.profile.engine.workers > 1:
            self._prepare_side_by_side(work, keys)
        else:
            total, done = sum(len(phase) for phase, _ in work), 0
            for phase, key in work:
                self.materialise([step.name for step in phase], key, (done / total, (done + len(phase)) / total))
                done += len(phase)
                self.note()
        _write(marker, fingerprint)

    def _prepare_side_by_side(self, work: Sequence[Recording], keys: Sequence[str]) -> None:
        """Make everything on all cores; a run that finds all it needs records it, while the workers go on.

        What fails is run alone, so that the UI has its failure. Where it succeeds then, all goes on.

        Raises:
            RunFailedError: an artefact failed twice, or is refused by a check.
            WorkerLostError: a worker was killed.
        """
        ctx = self.ctx.with_progress(lambda what, fraction: self.tell(what, MADE * fraction))
        waiting, made = deque(work), set[Artefact]()
        graph = graph_of(prepared_steps(), keys)
        failed: Failure | None = None
        while waiting:
            failure: Failure | None = None
            with closing(make_side_by_side(ctx, graph)) as found:
                for one in found:
                    if isinstance(one, Failure):
                        failure = one
                        break
                    made.add(one.artefact)
                    _log(f"made {one.artefact} in {one.seconds:.1f} CPU seconds")
                    while waiting and made.issuperset(waiting[0].artefacts):
                        phase, key = waiting.popleft()
                        self.materialise([step.name for step in phase], key, (0.0, 0.0))
                        self.note()
            if failure is not None:
                if failure == failed:
                    raise RunFailedError(f"step {failure.artefact.step} failed: {failure.reason}")
                failed = failure
                _log(f"{failure.artefact}: {failure.reason}")
                self.materialise([failure.artefact.step], failure.artefact.key, (0.0, 0.0))

    def loop(self, iterations: int) -> None:
        """Run the iterations that have not been committed, in order."""
        for ordinal in range(1, iterations + 1):
            span = ((ordinal - 1) / iterations, ordinal / iterations)
            if committed(self.ctx.lake, MAIN, ordinal) is not None:
                self.tell(f"iteration {ordinal} is committed", span[1])
                continue
            self.materialise((), window_of(ordinal), span, iteration_job.name)
            if ordinal < iterations:  # the whole table follows the last one
                print(json.dumps({"committed": ordinal}), flush=True)

    def cell_done(self, key: str) -> bool:
        """Whether a cell has run all its iterations from the base that is in force."""
        cell = Cell.parse(key)
        head = self.ctx.lake.head("cells", cell.partition)
        start, main = (committed(self.ctx.lake, chain, 0) for chain in (cell.chain, MAIN))
        same_base = start is not None and main is not None and start[1].checkpoint_id == main[1].checkpoint_id
        iterations = self.ctx.profile.loop.max_iterations
        return head is not None and same_base and head.parameters["iterations"] == iterations

    def cells(self, keys: Sequence[str]) -> None:
        """Run cells of an experiment; on a cluster, all at a time."""
        made: set[str | None] = set()
        if self.ctx.profile.engine.kind == "ray":
            step = EXPERIMENT_CELL.name
            cells = {Artefact(step, key): () for key in keys if not self.cell_done(key)}
            with closing(make_side_by_side(self.ctx.with_progress(self.tell), cells)) as found:
                # What fails is run again below, where Dagster records its failure.
                made = {one.artefact.key for one in found if isinstance(one, Made)}
        for index, key in enumerate(keys):
            span = (index / len(keys), (index + 1) / len(keys))
            if key not in made and self.cell_done(key):
                self.tell(f"{key} is done", span[1])
                continue
            self.instance.add_dynamic_partitions(str(cell_partitions.name), [key])
            self.materialise(("experiment_cell",), key, span)

    def catch_up(self) -> None:
        """Log to MLflow what earlier runs could not."""
        if logged := catch_up(self.ctx, TrackingResource(folder=str(state_folder()))):
            print(json.dumps({"note": f"MLflow now has {', '.join(logged)}"}), flush=True)

    def serve(self) -> None:
        """Rebuild the serving database and the report, where something was committed, retired or declared since."""
        states = sorted(m.id for m in self.ctx.lake.manifests() if m.table in ("state", "cells"))
        corpus = sorted(m.id for m in declared(self.ctx).documents.values())
        text = canonical_json([states, corpus, [cell.key for cell in cells(self.ctx)]])
        marker, fingerprint = state_folder() / "served" / "last", hashlib.sha256(text.encode()).hexdigest()
        if _reads(marker) == fingerprint:
            self.tell("serving database is up to date", 1.0)
            return
        self.materialise((), None, (0.0, 1.0), "serving")
        _write(marker, fingerprint)


def _reads(marker: Path) -> str | None:
    return marker.read_text() if marker.is_file() else None


def _write(marker: Path, fingerprint: str) -> None:
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(fingerprint)


@contextmanager
def alongside(keys: Sequence[str]) -> Iterator[None]:
    """Run cells in a process of their own, whose lines go where this one's go, while the body runs.

    Raises:
        RunFailedError: the process failed. It is ended where the body fails.
    """
    if not keys:
        yield
        return
    command = [sys.executable, "-m", "assets", "--end-with-parent", "cells", *keys]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said: list[str] = []

    def relay() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"error"'):
                said.append(json.loads(line)["error"])
            else:
                print(line, end="", flush=True)

    relaying = threading.Thread(target=relay, daemon=True)
    relaying.start()
    try:
        yield
    except BaseException:
        process.terminate()
        process.wait()
        raise
    code = process.wait()
    relaying.join(DRAIN_SECONDS)
    if code:
        raise RunFailedError(f"baseline arms: {said[-1] if said else how_it_ended(code)}")


def _failure(done: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """The message of the step that failed, with its cause; and all that is known of it, for the log."""
    for event in done.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            whole = "" if error is None else error.to_string()
            while error is not None and error.cause is not None:
                error = error.cause
            message = error.message.strip() if error is not None else "no message"
            return f"step {event.step_key} of run {done.run_id} failed: {message}", whole
    return f"run {done.run_id} failed: its page in the web UI says why", ""


def _log(text: str) -> None:
    """Write to the log; where the disk is full, what is told to the parent matters more."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class Notes(logging.Handler):
    """Tells what our own code warns of, and logs it."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        _log(self.format(record))
        print(json.dumps({"note": record.getMessage()}), flush=True)


def end_interrupted_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of a runner that was killed as failed: the schedule would otherwise wait for them for ever."""
    going = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(tags={RUNNER_TAG: "command line"}, statuses=going)):
        instance.report_run_failed(
            run, "The process that executed this run was ended; the next run continues from there."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="assets")
    parser.add_argument("what", choices=("run", "cells"))
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--only-prepare", action="store_true")
    parser.add_argument("--end-with-parent", action="store_true")
    parser.add_argument("keys", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    # Ended by its parent, it must end its own child: an exception unwinds the stack, the default action does not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.end_with_parent:
        end_with_parent()
    for name in ("assets", "resources", "curation_pipeline"):
        logging.getLogger(name).addHandler(Notes(logging.WARNING))
    try:
        ctx = open_context(active_profile())
        ctx.lake.check()
        collect(ctx.lake, find_abandoned(ctx.lake, ABANDONED_SECONDS))
        check_foundation(ctx)
        check_detectors(ctx)
        if options.what == "run":
            check_plan(ctx)
        check_names(ctx.profile)
        check_arms(ctx, ctx.profile.experiment.arms)
        with dg.DagsterInstance.get() as instance:
            runner = Runner(ctx, instance)
            if options.what == "run":
                iterations = options.iterations or ctx.profile.loop.max_iterations
                window_of(iterations)
                end_interrupted_runs(instance)
                runner.run(iterations, options.keys, options.only_prepare)
            else:
                with runner.job("baseline arms"):
                    runner.cells(options.keys)
    except Exception as error:
        _log(traceback.format_exc())
        message = str(error) if isinstance(error, CurationError) else str(error).partition("\n")[0]
        print(json.dumps({"error": f"{type(error).__name__}: {message}"}), flush=True)
        return 1
    return 0
