"""Runs the project's Dagster jobs in this process, on the instance that the web UI shows.

`python -m assets.runner run|cells` is what the command line starts. It writes one JSON object a line to standard
output: ``{"job": ..., "step": ..., "fraction": ...}`` as work goes on, ``{"error": ...}`` before it ends with exit
code 1.

One process does corpus, loop and serving, because each start would import Dagster and torch anew; the baseline arms run
in a second one beside the loop, which shares nothing with them but the base.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg

from assets.automation import iteration_job
from assets.definitions import defs
from assets.partitions import cell_partitions, corpus_partitions, window_of
from curation_pipeline.config import active_profile, state_folder
from curation_pipeline.corpus.ingest import fingerprint
from curation_pipeline.corpus.settings import Source
from curation_pipeline.datasets.labelled_files import fingerprints
from curation_pipeline.errors import CurationError
from curation_pipeline.lake.lake import file_sha256
from curation_pipeline.lake.manifest import canonical_json
from curation_pipeline.stages.annotations import ANNOTATORS
from curation_pipeline.stages.arm_inputs import check_arms, needs_loop
from curation_pipeline.stages.arms import Cell
from curation_pipeline.stages.context import Context, open_context
from curation_pipeline.stages.corpus import partition_sources
from curation_pipeline.stages.detectors import check_detectors
from curation_pipeline.stages.state import MAIN, committed
from resources.project import REPORTER

FIRST = ("labels", "benchmarks", "detectors", "tombstones")
FITTED = ("cascade", "sentence_embedding", "register_model", "tokenizer")
PER_PARTITION_FITTED = tuple(name for name, entry in ANNOTATORS.items() if set(entry.references) & set(FITTED))
PER_PARTITION = ("documents", *(name for name in ANNOTATORS if name not in PER_PARTITION_FITTED))
CORPUS_WIDE = ("duplicates", "document_index", "corpus_profile")
START = ("heldout_texts", "detector_audit", "initial_reward", "base_checkpoint", "base_metrics", "cold_start")
ITERATION_STEPS = (
    "iteration_gate", "candidate_pool", "probes", "selection_policy", "curated_batch", "checkpoint", "evaluation",
    "harness", "reward_model", "iteration_commit",
)  # fmt: skip


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

    @contextmanager
    def job(self, name: str) -> Iterator[None]:
        """Tell progress under this name."""
        self._job = name
        self.tell("starting", 0.0)
        yield
        self.tell("done", 1.0)

    def tell(self, step: str, fraction: float) -> None:
        """Write one line of progress, at most ten a second unless something ends."""
        now = time.monotonic()
        if 0 < fraction < 1 and now - self._last < 0.1:
            return
        self._last = now
        print(json.dumps({"job": self._job, "step": step, "fraction": round(fraction, 4)}), flush=True)

    def run(self, iterations: int, keys: Sequence[str], only_prepare: bool) -> None:
        """Everything: corpus and base, then the loop with the cells of an experiment beside it, then serving.

        Raises:
            RunFailedError: a step failed, here or in the process of the cells.
        """
        with self.job("corpus and base model"):
            self.prepare()
        if only_prepare:
            return
        waiting = [key for key in keys if not self.cell_done(key)]
        late = [key for key in waiting if needs_loop(Cell.parse(key).arm)]
        with beside([key for key in waiting if key not in late]), self.job("loop"):
            self.loop(iterations)
        if late:  # they learn from what the loop measured
            with self.job("baseline arms"):
                self.cells(late)
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
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        finally:
            REPORTER.reset(token)
        if not done.success:
            raise RunFailedError(_failure(done))
        self.tell(name, end)

    def prepare(self) -> None:
        """Bring corpus, annotations, references and the cold start up to date; nothing is done where they are."""
        sources = partition_sources(self.ctx)
        marker = state_folder() / "prepared" / self._fingerprint(sources)
        if marker.is_file() and committed(self.ctx.lake, MAIN, 0) is not None:
            self.tell("corpus and base model are up to date", 1.0)
            return
        keys = sorted(sources)
        self.instance.add_dynamic_partitions(str(corpus_partitions.name), keys)
        self.materialise(FIRST, None, (0.0, 0.05))
        for index, key in enumerate(keys):
            self.materialise(PER_PARTITION, key, (0.05 + 0.4 * index / len(keys), 0.05 + 0.4 * (index + 1) / len(keys)))
        self.materialise(FITTED, None, (0.45, 0.55))
        for index, key in enumerate(keys):
            span = (0.55 + 0.13 * index / len(keys), 0.55 + 0.13 * (index + 1) / len(keys))
            self.materialise(PER_PARTITION_FITTED, key, span)
        self.materialise(CORPUS_WIDE, None, (0.68, 0.73))
        self.materialise(START, None, (0.73, 1.0))
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()

    def _fingerprint(self, sources: Mapping[str, tuple[Source, str]]) -> str:
        profile = self.ctx.profile.model_dump(mode="json", exclude={"loop", "experiment", "policy", "credit"})
        files = {key: fingerprint(source, snapshot, self.ctx.cache) for key, (source, snapshot) in sources.items()}
        requests = self.ctx.profile.removal.tombstones
        buried = file_sha256(requests) if requests is not None and requests.is_file() else None
        labelled = fingerprints(self.ctx.profile.labels.files)
        prepared = {*FIRST, *PER_PARTITION, *FITTED, *PER_PARTITION_FITTED, *CORPUS_WIDE, *START}
        versions = {
            spec.key.to_user_string(): spec.code_version
            for spec in defs.resolve_all_asset_specs()
            if spec.key.to_user_string() in prepared
        }
        text = canonical_json(
            {"profile": profile, "files": files, "versions": versions, "tombstones": buried, "labels": labelled}
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def loop(self, iterations: int) -> None:
        """Run the iterations that have not been committed, in order."""
        for ordinal in range(1, iterations + 1):
            span = ((ordinal - 1) / iterations, ordinal / iterations)
            if committed(self.ctx.lake, MAIN, ordinal) is not None:
                self.tell(f"iteration {ordinal} is committed", span[1])
                continue
            self.materialise(ITERATION_STEPS, window_of(ordinal), span, iteration_job.name)

    def cell_done(self, key: str) -> bool:
        """Whether a cell has run all its iterations from the base that is in force."""
        cell = Cell.parse(key)
        place = {"experiment": cell.experiment, "arm": cell.arm, "seed": str(cell.seed)}
        head = self.ctx.lake.head("cells", place)
        start, main = (committed(self.ctx.lake, chain, 0) for chain in (cell.chain, MAIN))
        same_base = start is not None and main is not None and start[1].checkpoint_id == main[1].checkpoint_id
        iterations = self.ctx.profile.loop.max_iterations
        return head is not None and same_base and head.parameters["iterations"] == iterations

    def cells(self, keys: Sequence[str]) -> None:
        """Run cells of an experiment."""
        for index, key in enumerate(keys):
            span = (index / len(keys), (index + 1) / len(keys))
            if self.cell_done(key):
                self.tell(f"{key} is done", span[1])
                continue
            self.instance.add_dynamic_partitions(str(cell_partitions.name), [key])
            self.materialise(("experiment_cell",), key, span)

    def serve(self) -> None:
        """Rebuild the serving database and the report, where something was committed since."""
        states = "\n".join(sorted(m.id for m in self.ctx.lake.manifests() if m.table in ("state", "cells")))
        marker = state_folder() / "served" / hashlib.sha256(states.encode()).hexdigest()[:32]
        if marker.is_file():
            self.tell("serving database is up to date", 1.0)
            return
        self.materialise((), None, (0.0, 1.0), "serving")
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


@contextmanager
def beside(keys: Sequence[str]) -> Iterator[None]:
    """Run cells in a process of their own, whose lines go where this one's go, while the body runs.

    Raises:
        RunFailedError: the process failed. It is ended where the body fails.
    """
    if not keys:
        yield
        return
    command = [sys.executable, "-m", "assets.runner", "cells", *keys]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
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
    relaying.join()
    if code:
        raise RunFailedError(f"baseline arms: {said[-1] if said else f'the process ended with code {code}'}")


def _failure(done: dg.ExecuteInProcessResult) -> str:
    """The message of the step that failed, with its cause."""
    for event in done.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            message = error.message.strip() if error is not None else "no message"
            return f"step {event.step_key} of run {done.run_id} failed: {message}"
    return f"run {done.run_id} failed: its page in the web UI says why"


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="assets.runner")
    parser.add_argument("what", choices=("run", "cells"))
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--only-prepare", action="store_true")
    parser.add_argument("keys", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    # Ended by its parent, it must end its own child: an exception unwinds the stack, the default action does not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        ctx = open_context(active_profile())
        check_detectors(ctx)
        check_arms(ctx, ctx.profile.experiment.arms)
        with dg.DagsterInstance.get() as instance:
            runner = Runner(ctx, instance)
            if options.what == "run":
                iterations = options.iterations or ctx.profile.loop.max_iterations
                runner.run(iterations, options.keys, options.only_prepare)
            else:
                with runner.job("baseline arms"):
                    runner.cells(options.keys)
    except CurationError as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
