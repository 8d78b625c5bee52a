"""The detectors of harm."""

from __future__ import annotations

from typing import Any

import polars as pl

from curation_pipeline.annotate.detectors.cascade import NAME as CASCADE
from curation_pipeline.annotate.detectors.registry import DetectorSpec, Making, built_in, find_detector
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import check_detectors, labels_hash, named_detectors
from curation_pipeline.steps.reference.labels import STEP as LABELS
from curation_pipeline.steps.step import Step, Work
from curation_pipeline.steps.view import Table, View


def compute(work: Work, draft: Draft) -> None:
    """The detectors that the profile names. Teachers make the reward; the judge never does.

    Those carried by packages are converted once, after their sha256 is checked, to safetensors and JSON by an
    allow-list reader; no code of the packages runs. Heads of our own are fitted on human labels of role `fit`; labels
    that no head is fitted on do not change the artefact.

    Raises:
        ConfigError: what a detector needs is missing.
        MissingModelError: the same.
    """
    settings, rows, weights = work.profile.annotate, _rows(work), _weights(work)
    sources: dict[str, str] = {}
    for name, spec in _made(work).items():
        if spec.make is None:
            sources[name] = f"the profile's own weights, {weights[name]}"
            continue
        making = Making(
            name=name,
            folder=draft.folder / name,
            cache=work.ctx.cache,
            rows=rows.get(name),
            identity_blind=name in settings.identity_blind,
            seed=work.profile.seed,
            progress=work.ctx.progress,
        )
        sources[name] = spec.make(spec.options(settings), making)
    draft.json(sources, "detectors")
    draft.summary.update(teachers=", ".join(settings.teachers), judge=settings.judge, sources=sources)


def view(ctx: Context, manifest: Manifest) -> View:
    """What each was made from."""
    return View({"made_from": Table(["detector", "made from"], list(manifest.summary["sources"].items()))})


def _made(work: Work) -> dict[str, DetectorSpec]:
    """The detectors that have a model of their own."""
    specs = {name: find_detector(name) for name in named_detectors(work.profile.annotate)}
    return {name: spec for name, spec in specs.items() if not spec.hosted and name != CASCADE}


def _rows(work: Work) -> dict[str, pl.DataFrame]:
    """The labelled texts that each head is fitted on."""
    frame = work.lake.frame(work[LABELS])
    return {
        name: spec.training_rows(spec.options(work.profile.annotate), frame)
        for name, spec in _made(work).items()
        if spec.training_rows is not None
    }


def _weights(work: Work) -> dict[str, Any]:
    found = {name: spec.weights(work.profile.annotate) for name, spec in _made(work).items()}
    return {name: weights for name, weights in found.items() if weights is not None}


def _parameters(work: Work) -> dict[str, Any]:
    check_detectors(work.ctx)
    settings, specs, rows = work.profile.annotate, _made(work), _rows(work)
    parameters: dict[str, Any] = {"teachers": list(settings.teachers), "judge": settings.judge, "made": list(specs)}
    if weights := _weights(work):
        parameters["weights"] = weights
    for name, spec in specs.items():
        own = spec.parameters(spec.options(settings))
        if name in rows:
            parameters |= own
        elif own or name not in built_in():
            parameters.setdefault("own", {})[name] = {"version": spec.version, **own}
    if rows:
        parameters["identity_blind"] = sorted(set(rows) & set(settings.identity_blind))
        parameters["labels"] = {name: labels_hash(part) for name, part in rows.items()}
    return parameters


STEP = Step(
    module=__name__,
    table="detectors",
    version="2",
    compute=compute,
    inputs=(LABELS,),
    parameters=_parameters,
    seed=lambda work: work.profile.seed if _rows(work) else 0,
    kinds=frozenset({"pytorch", "scikitlearn"}),
    view=view,
    pinned=True,
)
