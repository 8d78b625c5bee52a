"""The reward model before any feedback."""

from __future__ import annotations

from typing import Any

import polars as pl

from curation_pipeline.annotate.detectors.head import HEADS
from curation_pipeline.annotate.detectors.registry import built_in
from curation_pipeline.annotate.toxicity import axis_of_detector
from curation_pipeline.annotate.vectors import VectorModel, load_vectors
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.reward.alignment import Examples, Pairs
from curation_pipeline.reward.fitting import fit_reward, preference_pairs, principle_examples
from curation_pipeline.reward.principles import examples_of
from curation_pipeline.reward.quality import reward_quality, reward_reliability
from curation_pipeline.reward.settings import RewardSettings
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import labels_hash, score_teachers
from curation_pipeline.steps.reference.cascade import STEP as CASCADE
from curation_pipeline.steps.reference.detector_audit import STEP as DETECTOR_AUDIT
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.reference.labels import STEP as LABELS
from curation_pipeline.steps.reference.sentence_embedding import STEP as SENTENCE_EMBEDDING
from curation_pipeline.steps.step import Step, Work
from curation_pipeline.steps.view import Plot, Table, View

NOT_FITTED = {
    "refinement", "audit", "divergence",
    "max_log_step", "refine_rate", "min_weight", "tolerance", "capability_tolerance",
}  # fmt: skip
"""Settings of the reward that no fitted part depends on: they say how it moves."""


def compute(work: Work, draft: Draft) -> None:
    """The reward model before any feedback; every reward is higher-is-better.

    Safety is calibrated on human labels, alignment comes from labelled anchors through sentence vectors, and alpha,
    beta and gamma are the profile's. It is fitted again when labels, principles or detectors change, which is how a
    change of norms reaches a running chain (see `reward_model`), and stays as it is when only the corpus has grown.
    """
    lake, settings, teachers = work.lake, _settings(work), list(work.profile.annotate.teachers)
    frame, preferences = _labels(work), lake.frame(work[LABELS], "preferences")
    vectoriser = load_vectors(lake.folder(work[SENTENCE_EMBEDDING]) / "vectors")
    vectors = vectoriser.transform(frame["text"])
    scores = _scores(work, frame["text"])
    pairs = _pairs(work, preferences, vectoriser)
    axes = work[LABELS].summary["axes"]
    model = fit_reward(
        frame,
        scores,
        vectors,
        settings,
        derive(work.profile.seed, "reward"),
        audit=lake.frame(work[DETECTOR_AUDIT]).filter(pl.col("detector").is_in(teachers)),
        preferences=pairs,
        examples=_principles(work, vectoriser),
        trained_on=trained_on(work.ctx),
        dataset_axes=axes,
    )
    model.save(draft.folder)
    lengths = tuple(preferences[side].str.len_chars().to_numpy() for side in ("preferred", "dispreferred"))
    quality = reward_quality(
        model,
        frame,
        scores,
        vectors,
        settings,
        work.profile.seed,
        preferences=pairs,
        preference_lengths=None if pairs is None else (lengths[0], lengths[1]),
        dataset_axes=axes,
    )
    draft.frame(quality, "quality")
    draft.frame(reward_reliability(model, frame, scores, vectors, dataset_axes=axes), "reliability")
    shown = quality.filter((pl.col("group") == "") & pl.col("value").is_finite())
    draft.summary.update(
        identity=model.identity, alpha=settings.alpha, beta=settings.beta, gamma=settings.gamma,
        **{f"{part}_{metric}_{dataset}": round(value, 4)
           for part, dataset, metric, value in shown.select("part", "dataset", "metric", "value").iter_rows()},
    )  # fmt: skip


def _settings(work: Work) -> RewardSettings:
    """The profile's settings, with the axes that detectors of other packages declare."""
    settings, teachers = work.profile.reward, work.profile.annotate.teachers
    others = {name: axis_of_detector(name) for name in teachers if name not in built_in()}
    return settings.model_copy(update={"teacher_axes": others | settings.teacher_axes}) if others else settings


def trained_on(ctx: Context) -> dict[str, tuple[str, ...]]:
    """Teacher -> the labelled sets whose texts of role ``fit`` it was fitted on."""
    settings = ctx.profile.annotate
    return {name: settings.heads.datasets_of(name) for name in settings.teachers if name in HEADS}


def _labels(work: Work) -> pl.DataFrame:
    return work.lake.frame(work[LABELS]).filter(pl.col("role").is_in(["fit", "calibrate", "report"]))


def _scores(work: Work, texts: pl.Series) -> pl.DataFrame:
    found = score_teachers(work.ctx, texts, work.by_table(DETECTORS, CASCADE))
    return found.select(work.profile.annotate.teachers)


def _pairs(work: Work, preferences: pl.DataFrame, vectoriser: VectorModel) -> Pairs | None:
    """The preference pairs of the profile's labelled files; None where there are none."""
    if preferences.is_empty():
        return None
    sides = [preferences["preferred"].alias("text"), preferences["dispreferred"].alias("text")]
    vectors = [vectoriser.transform(side) for side in sides]
    scores = [_scores(work, side) for side in sides]
    return preference_pairs(preferences, (vectors[0], vectors[1]), (scores[0], scores[1]))


def _principles(work: Work, vectoriser: VectorModel) -> Examples | None:
    """The examples of the profile's written principles; None where there are none."""
    examples = examples_of(work.profile.reward.principles)
    if examples.is_empty():
        return None
    return principle_examples(examples, vectoriser.transform(examples["text"]), _scores(work, examples["text"]))


def view(ctx: Context, manifest: Manifest) -> View:
    """Quality on human labels, and reliability."""
    rows = ctx.lake.frame(manifest, "quality").filter(pl.col("value").is_finite()).iter_rows(named=True)
    quality = [[row["part"], row["dataset"], row["metric"], row["group"], f"{row['value']:.3f}",
                "" if row["ci_low"] is None else f"{row['ci_low']:.3f} to {row['ci_high']:.3f}", row["n"]]
               for row in rows]  # fmt: skip
    columns = ["part", "labelled set", "metric", "group, or compared with", "value", "95% interval", "texts"]
    return View({"quality": Table(columns, quality), "reliability": _reliability(ctx.lake, manifest)})


def _reliability(lake: Lake, manifest: Manifest) -> Plot:
    """Observed harm over predicted P(harm) in bins of equal mass, a line a labelled set."""
    table = lake.frame(manifest, "reliability")

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.6)
        for (part, dataset), rows in table.group_by("part", "dataset", maintain_order=True):
            line = rows["mean_p"].to_numpy(), rows["observed"].to_numpy()
            axes.plot(*line, marker="o", markersize=3, label=f"{dataset} ({part})")
        axes.set(xlabel="predicted P(harm)", ylabel="share that people call harmful", xlim=(0, 1), ylim=(0, 1))
        axes.legend(frameon=False, fontsize=7)

    return Plot(draw, 4.5, 4.5)


def _parameters(work: Work) -> dict[str, Any]:
    annotate = work.profile.annotate
    preferences = work.lake.frame(work[LABELS], "preferences")
    return {
        "reward": _settings(work).model_dump(mode="json", exclude=NOT_FITTED),
        "teachers": list(annotate.teachers),
        "generation": annotate.generation,
        "labels": labels_hash(_labels(work)),
        "preferences": labels_hash(preferences, ["source", "pair_id", "role"]),
        "models": [work[DETECTORS].id, work[CASCADE].id],
        "audit": work[DETECTOR_AUDIT].id,
    }


STEP = Step(
    module=__name__,
    table="initial_reward",
    version="3",
    compute=compute,
    inputs=(LABELS, SENTENCE_EMBEDDING, DETECTOR_AUDIT, DETECTORS, CASCADE),
    parameters=_parameters,
    kinds=frozenset({"scikitlearn"}),
    view=view,
    pinned=True,
)
