"""The detectors of a profile: made once, opened with what surrounds them, and put to scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curation_pipeline.annotate import toxicity
from curation_pipeline.annotate.cached_detector import CachedDetector
from curation_pipeline.annotate.detectors.cascade import NAME as CASCADE
from curation_pipeline.annotate.detectors.identity_blind import IdentityBlindDetector
from curation_pipeline.annotate.detectors.preflight import preflight
from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.annotate.detectors.registry import Opening, find_detector
from curation_pipeline.annotate.detectors.windows import WindowedDetector
from curation_pipeline.annotate.score_cache import ScoreCache
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.datasets.labelled import OPT_IN, PACKAGED_AXES
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context

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
    found: dict[str, Any] = {"teachers": list(settings.teachers), "windows": windows(settings)}
    found["identity_blind"] = sorted((set(named_detectors(settings)) - {settings.judge}) & set(settings.identity_blind))
    specs = [find_detector(name) for name in settings.teachers]
    if hosted := {spec.name: spec.weights(settings) for spec in specs if spec.hosted}:
        found["hosted"] = hosted
    return found


def judge_parameters(settings: AnnotateSettings) -> dict[str, Any]:
    """What the judge's scores depend on besides the artefacts of `MODELS`."""
    found: dict[str, Any] = {"judge": settings.judge, "windows": windows(settings)}
    found["judge_is_blind"] = settings.judge in settings.identity_blind
    if (spec := find_detector(settings.judge)).hosted:
        found["judge_service"] = spec.weights(settings)
    return found


def labels_hash(rows: pl.DataFrame, columns: Sequence[str] = ("dataset", "text_id", "role", "group", "label")) -> str:
    """Sixteen hexadecimal digits of labelled rows, in any order."""
    lines = rows.select(pl.concat_str(columns, separator="\x1f", ignore_nulls=True)).to_series().sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def windows(settings: AnnotateSettings) -> list[int]:
    """Words of a window of a long text, and of its overlap with the next."""
    return [settings.window_words, settings.window_overlap]


def _keyed(texts: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"doc_id": pl.Series([""] * len(texts), dtype=pl.Utf8), "text": texts})
