"""What is made before the loop, and what tells that all of it is up to date."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from curation_pipeline.annotate.detectors.registry import find_detector
from curation_pipeline.corpus.ingest import fingerprint
from curation_pipeline.corpus.settings import Source
from curation_pipeline.datasets.labelled_files import fingerprints
from curation_pipeline.evaluation.registry import versions as benchmark_versions
from curation_pipeline.lake.manifest import canonical_json
from curation_pipeline.lake.store import file_sha256
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import named_detectors
from curation_pipeline.steps.registry import steps
from curation_pipeline.steps.step import Step

PREPARED = ("reference", "corpus", "annotations", "corpus_wide")
"""Groups that are made before the loop."""
OF_THE_LOOP = {"engine", "loop", "prices", "experiment", "policy", "credit"}
"""Parts of a profile that no preparation depends on."""


def prepared_steps() -> list[Step]:
    """The steps that are made before the loop, each after those that it reads."""
    return [step for step in steps().values() if step.group in PREPARED]


def preparation_fingerprint(ctx: Context, sources: Mapping[str, tuple[Source, str]]) -> str:
    """A hash of all that a preparation depends on: settings, files and versions.

    Args:
        ctx: the surroundings.
        sources: source and snapshot of each raw partition by its key.
    """
    requests = ctx.profile.removal.takedown_requests
    detectors = {name: find_detector(name).version for name in named_detectors(ctx.profile.annotate)}
    versions = {step.name: step.version for step in prepared_steps()}
    text = canonical_json(
        {
            "profile": ctx.profile.model_dump(mode="json", exclude=OF_THE_LOOP),
            "files": {key: fingerprint(source, snapshot, ctx.cache) for key, (source, snapshot) in sources.items()},
            "versions": versions | {"detectors": detectors, "benchmarks": benchmark_versions()},
            "takedown_requests": file_sha256(requests) if requests is not None and requests.is_file() else None,
            "labels": fingerprints(ctx.profile.labels.files),
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]
