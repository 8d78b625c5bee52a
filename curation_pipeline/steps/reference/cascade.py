"""The calibration of a cascade of detectors."""

from __future__ import annotations

from typing import Any

from curation_pipeline.annotate.detectors.cascade import NAME, fit_cascade
from curation_pipeline.config import Profile
from curation_pipeline.lake.lake import Draft
from curation_pipeline.seeds import derive
from curation_pipeline.stages.detectors import named_detectors, open_detector, windows
from curation_pipeline.stages.sampling import sample_texts
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.step import Step, When, Work


def compute(work: Work, draft: Draft) -> None:
    """The cascade that the profile's teachers name, if any: its cheap side and its two thresholds.

    The cheap side is fitted on the expensive detector's scores of a sample of the corpus; between the thresholds the
    expensive one is asked. Without a cascade the artefact says so.

    Raises:
        DataError: the corpus is empty.
    """
    if not _used(work.profile):
        draft.json({"used": False}, "cascade_use")
        draft.summary["used"] = "no: annotate.teachers names no cascade"
        return
    ctx, chosen, documents = work.ctx, work.profile.annotate.cascade, list(work.every(DOCUMENTS))
    seed = derive(work.profile.seed, "cascade")
    wanted = chosen.student_sample + chosen.calibration_sample + chosen.test_sample
    texts = sample_texts(work.lake, documents, -(-wanted // len(documents)), seed)
    models = {DETECTORS.table: work[DETECTORS]}
    expensive = open_detector(ctx, chosen.expensive, models)
    cheap = None if chosen.cheap is None else open_detector(ctx, chosen.cheap, models)
    cascade = fit_cascade(texts, expensive, cheap, chosen, seed, ctx.progress)
    cascade.save(draft.folder / NAME)
    draft.summary.update(used=True, version=cascade.version, **cascade.facts)


def _used(profile: Profile) -> bool:
    return NAME in named_detectors(profile.annotate)


def _parameters(work: Work) -> dict[str, Any]:
    if not _used(work.profile):
        return {"used": False}
    settings = work.profile.annotate
    return {
        "used": True,
        "cascade": settings.cascade.model_dump(mode="json"),
        "detectors": work[DETECTORS].id,
        "windows": windows(settings),
        "generation": settings.generation,
    }


STEP = Step(
    module=__name__,
    table="cascade",
    version="1",
    compute=compute,
    inputs=(DETECTORS, When(DOCUMENTS, _used)),
    parameters=_parameters,
    seed=lambda work: work.profile.seed if _used(work.profile) else 0,
    kinds=frozenset({"scikitlearn"}),
    pinned=True,
)
