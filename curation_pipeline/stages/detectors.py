"""The detectors of a profile: made once, opened with what surrounds them, and put to scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curation_pipeline.annotate import toxicity
from curation_pipeline.annotate.cached_detector import CachedDetector
from curation_pipeline.annotate.detectors.cascade import NAME as CASCADE
from curation_pipeline.annotate.detectors.cascade import fit_cascade
from curation_pipeline.annotate.detectors.identity_blind import IdentityBlindDetector
from curation_pipeline.annotate.detectors.preflight import preflight
from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.annotate.detectors.registry import Making, Opening, find_detector
from curation_pipeline.annotate.detectors.windows import WindowedDetector
from curation_pipeline.annotate.score_cache import ScoreCache
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.datasets.labelled import OPT_IN, PACKAGED_AXES
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.sampling import corpus_documents, sample_texts

DETECTORS_VERSION = "2"
CASCADE_VERSION = "1"
MODELS = ("detectors", "cascade")
"""Artefacts that hold what the profile's detectors are loaded from."""


def named_detectors(settings: AnnotateSettings) -> tuple[str, ...]:
    """Every detector that a profile makes use of, each once: teachers, judge, expert, and what a cascade runs."""
    names = [*settings.teachers, settings.judge, *([] if settings.expert is None else [settings.expert])]
    for spec in map(find_detector, tuple(names)):
        names += spec.components(spec.options(settings))
    return tuple(dict.fromkeys(names))


def check_detectors(ctx: Context) -> None:
    """Say, before anything is started, all that the profile's detectors lack.

    Raises:
        ConfigError: a key, a setting or a labelled set is missing.
        MissingModelError: a model, a folder or a package is missing.
    """
    settings, profile = ctx.profile.annotate, ctx.profile
    if absent := [file for file in profile.labels.files if not file.path.exists()]:
        raise ConfigError(
            "labelled files of the profile are not there; nothing has been started: "
            + "; ".join(f"labels.files {file.name}: {file.path}" for file in absent)
        )
    labelled = [name for name in PACKAGED_AXES if name not in OPT_IN or name in profile.corpus.opt_in_labels]
    preflight(named_detectors(settings), settings, [*labelled, *(file.name for file in profile.labels.files)])


def make_detectors(ctx: Context) -> Manifest:
    """Detectors carried by packages, converted once; and heads fitted on labelled texts of role ``fit``.

    No code of the packages runs. Labels that no head is fitted on do not change the artefact.

    Raises:
        LakeError: the labels have not been made.
        ConfigError: what a detector needs is missing.
        MissingModelError: the same.
    """
    check_detectors(ctx)
    settings = ctx.profile.annotate
    specs = {name: find_detector(name) for name in named_detectors(settings)}
    specs = {name: spec for name, spec in specs.items() if not spec.hosted and name != CASCADE}
    labels = ctx.lake.require("labels")
    frame = ctx.lake.frame(labels)
    weights = {name: found for name, spec in specs.items() if (found := spec.weights(settings)) is not None}
    rows = {
        name: spec.training_rows(spec.options(settings), frame)
        for name, spec in specs.items()
        if spec.training_rows is not None
    }
    parameters: dict[str, Any] = {"teachers": list(settings.teachers), "judge": settings.judge, "made": list(specs)}
    if weights:
        parameters["weights"] = weights
    for name in rows:
        parameters |= specs[name].parameters(specs[name].options(settings))
    if rows:
        parameters["identity_blind"] = sorted(set(rows) & set(settings.identity_blind))
        parameters["labels"] = {name: labels_hash(part) for name, part in rows.items()}
    recipe = Recipe("detectors", {}, (labels.id,), parameters, ctx.profile.seed if rows else 0, DETECTORS_VERSION)

    def make(draft: Draft) -> None:
        sources: dict[str, str] = {}
        for name, spec in specs.items():
            if spec.make is None:
                sources[name] = f"the profile's own weights, {weights[name]}"
                continue
            making = Making(
                name=name,
                folder=draft.folder / name,
                cache=ctx.cache,
                rows=rows.get(name),
                identity_blind=name in settings.identity_blind,
                seed=ctx.profile.seed,
                progress=ctx.progress,
            )
            sources[name] = spec.make(spec.options(settings), making)
        draft.json(sources, "detectors")
        draft.summary.update(teachers=", ".join(settings.teachers), judge=settings.judge, sources=sources)

    return ctx.lake.build(recipe, make, founded=True)


def make_cascade(ctx: Context) -> Manifest:
    """The cascade's cheap side and its thresholds, calibrated on a sample of the corpus; an empty record without one.

    Raises:
        LakeError: the detectors have not been made.
        DataError: the corpus is empty.
    """
    settings = ctx.profile.annotate
    detectors = ctx.lake.require("detectors")
    used = CASCADE in named_detectors(settings)
    documents = corpus_documents(ctx) if used else []
    parameters: dict[str, Any] = {"used": used}
    if used:
        parameters |= {
            "cascade": settings.cascade.model_dump(mode="json"),
            "detectors": detectors.id,
            "windows": _windows(settings),
            "generation": settings.generation,
        }
    inputs = (detectors.id, *(m.id for m in documents)) if used else ()
    recipe = Recipe("cascade", {}, inputs, parameters, ctx.profile.seed if used else 0, CASCADE_VERSION)

    def make(draft: Draft) -> None:
        if not used:
            draft.json({"used": False}, "cascade_use")
            draft.summary["used"] = "no: annotate.teachers names no cascade"
            return
        chosen = settings.cascade
        seed = derive(ctx.profile.seed, "cascade")
        wanted = chosen.student_sample + chosen.calibration_sample + chosen.test_sample
        texts = sample_texts(ctx.lake, documents, -(-wanted // len(documents)), seed)
        models = {"detectors": detectors}
        expensive = open_detector(ctx, chosen.expensive, models)
        cheap = None if chosen.cheap is None else open_detector(ctx, chosen.cheap, models)
        cascade = fit_cascade(texts, expensive, cheap, chosen, seed, ctx.progress)
        cascade.save(draft.folder / CASCADE)
        draft.summary.update(used=True, version=cascade.version, **cascade.facts)

    return ctx.lake.build(recipe, make, founded=True)


def models_in_force(ctx: Context, frozen: Mapping[str, str] | None = None) -> dict[str, Manifest]:
    """The artefacts that detectors are loaded from: those that a gate froze, or the current ones.

    Raises:
        LakeError: one of them has not been made.
    """
    if frozen is None:
        return {name: ctx.lake.require(name) for name in MODELS}
    return {name: ctx.lake.get(frozen[name]) for name in MODELS}


def open_detector(ctx: Context, name: str, models: Mapping[str, Manifest]) -> Detector:
    """A detector as the profile wants it: blind to groups, in windows, with its scores kept.

    Raises:
        MissingModelError: its model is not there.
    """
    settings, spec = ctx.profile.annotate, find_detector(name)
    folder = ctx.lake.folder(models["cascade" if name == CASCADE else "detectors"]) / name
    opening = Opening(folder, ctx.cache, lambda other: open_detector(ctx, other, models))
    detector = spec.open(spec.options(settings), opening)
    if name in settings.identity_blind:
        detector = IdentityBlindDetector(detector)
    if not spec.cuts_windows:
        detector = WindowedDetector(detector, settings.window_words, settings.window_overlap)
    return detector if spec.cheap else CachedDetector(detector, ScoreCache(ctx.lake.work / "scores", detector))


def open_teachers(ctx: Context, models: Mapping[str, Manifest]) -> list[Detector]:
    """The detectors that make the reward."""
    return [open_detector(ctx, name, models) for name in ctx.profile.annotate.teachers]


def open_expert(ctx: Context, models: Mapping[str, Manifest]) -> Detector | None:
    """The hosted service that labels audit batches; None where people do."""
    name = ctx.profile.annotate.expert
    return None if name is None else open_detector(ctx, name, models)


def score_teachers(ctx: Context, texts: pl.Series, models: Mapping[str, Manifest]) -> pl.DataFrame:
    """The columns of `toxicity.teacher_scores`, in the order of the texts."""
    return toxicity.teacher_scores(_keyed(texts), open_teachers(ctx, models), ctx.progress).drop("doc_id")


def score_judge(ctx: Context, texts: pl.Series, models: Mapping[str, Manifest]) -> pl.DataFrame:
    """The judge's columns in [0, 1], in the order of the texts; the first is overall toxicity."""
    judge = open_detector(ctx, ctx.profile.annotate.judge, models)
    return toxicity.judge_scores(_keyed(texts), judge, ctx.progress).drop("doc_id")


def teacher_parameters(settings: AnnotateSettings) -> dict[str, Any]:
    """What the teachers' scores depend on besides the artefacts of `MODELS`."""
    found: dict[str, Any] = {"teachers": list(settings.teachers), "windows": _windows(settings)}
    found["identity_blind"] = sorted((set(named_detectors(settings)) - {settings.judge}) & set(settings.identity_blind))
    specs = [find_detector(name) for name in settings.teachers]
    if hosted := {spec.name: spec.weights(settings) for spec in specs if spec.hosted}:
        found["hosted"] = hosted
    return found


def judge_parameters(settings: AnnotateSettings) -> dict[str, Any]:
    """What the judge's scores depend on besides the artefacts of `MODELS`."""
    found: dict[str, Any] = {"judge": settings.judge, "windows": _windows(settings)}
    found["judge_is_blind"] = settings.judge in settings.identity_blind
    if (spec := find_detector(settings.judge)).hosted:
        found["judge_service"] = spec.weights(settings)
    return found


def labels_hash(rows: pl.DataFrame, columns: Sequence[str] = ("dataset", "text_id", "role", "group", "label")) -> str:
    """Sixteen hexadecimal digits of labelled rows, in any order."""
    lines = rows.select(pl.concat_str(columns, separator="\x1f", ignore_nulls=True)).to_series().sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _windows(settings: AnnotateSettings) -> list[int]:
    return [settings.window_words, settings.window_overlap]


def _keyed(texts: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"doc_id": pl.Series([""] * len(texts), dtype=pl.Utf8), "text": texts})
