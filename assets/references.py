"""Where every chain starts: held-out text, the first reward model, the uncurated base and its evaluation."""

from typing import Any

import dagster as dg
import polars as pl

from assets.annotations import ANNOTATION_ASSETS, BY_NAME
from assets.corpus import benchmarks, documents, labels
from assets.metadata import OWNERS, markdown_table, plot, result
from assets.models import cascade, detectors, sentence_embedding, tokenizer
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages import references
from curation_pipeline.stages.commit import commit_cold_start
from curation_pipeline.stages.detector_audit import CODE_VERSION as AUDIT_VERSION
from curation_pipeline.stages.detector_audit import detector_audit as audit_detectors
from curation_pipeline.stages.evaluation import CODE_VERSION as EVALUATION_VERSION
from curation_pipeline.stages.evaluation import evaluate_base
from curation_pipeline.stages.reward import CODE_VERSION as REWARD_VERSION
from curation_pipeline.stages.reward import initial_reward as fit_initial_reward
from curation_pipeline.stages.state import CODE_VERSION as STATE_VERSION
from curation_pipeline.stages.state import MAIN
from curation_pipeline.stages.training import CODE_VERSION as TRAINING_VERSION
from curation_pipeline.stages.training import base_checkpoint as fit_base
from resources.project import ProjectResource


def loss_plot(lake: Lake, manifest: Manifest) -> dg.MetadataValue:
    """The loss of a fit over its steps."""
    losses = lake.frame(manifest, "losses")

    def draw(axes: Any) -> None:
        axes.plot(losses["step"].to_numpy(), losses["loss"].to_numpy(), linewidth=0.8)
        axes.set(xlabel="step", ylabel="weighted loss, nats a token")

    return plot(draw)


def metrics_table(lake: Lake, manifest: Manifest) -> dg.MetadataValue:
    """The long table of metrics with intervals."""
    rows = lake.frame(manifest).iter_rows(named=True)

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return markdown_table(
        ["axis", "benchmark", "metric", "value", "95% interval", "n", "judge"],
        [
            [
                row["axis"], row["benchmark"], row["metric"], cell(row["value"]),
                "" if row["ci_low"] is None else f"{cell(row['ci_low'])} to {cell(row['ci_high'])}",
                row["n"], row["judge"] or "",
            ]
            for row in rows
        ],
    )  # fmt: skip


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"parquet"},
    code_version=references.HELDOUT_VERSION,
    deps=[documents, BY_NAME["toxicity_teacher"], BY_NAME["toxicity_judge"]],
    description="Held-out documents that no pool ever holds, in two disjoint roles: `credit` drives the loop and is "
    "labelled by the teacher, `report` is shown to people and is labelled by the judge.",
)
def heldout_texts(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Choose the held-out documents."""
    return result(references.heldout_texts(project.context(context.log)))


AUDIT_FIGURES = {
    "mean_evasion": "disguised harm that escapes",
    "any_evasion": "escapes in at least one disguise",
    "false_positive": "benign texts flagged",
    "counter_speech": "counter speech flagged",
    "identity_false_positive": "neutral sentences about people flagged",
    "identity_gap": "gap between identity terms",
    "identity_swap_median": "change when a group is swapped",
    "dialect_swap_median": "change in dialect",
}


def audit_plot(lake: Lake, manifest: Manifest) -> dg.MetadataValue:
    """Evasion by family of disguise, a group of bars a detector."""
    rows = lake.frame(manifest).filter(pl.col("measure") == "evasion").drop_nulls("value")
    families = rows["family"].unique(maintain_order=True).to_list()
    names = rows["detector"].unique(maintain_order=True).to_list()

    def draw(axes: Any) -> None:
        for place, name in enumerate(names):
            own = rows.filter(pl.col("detector") == name)
            values = dict(own.select("family", "value").iter_rows())
            positions = [i + place * 0.8 / len(names) for i in range(len(families))]
            axes.bar(positions, [values.get(family, 0.0) for family in families], 0.8 / len(names), label=name)
        axes.set_xticks(range(len(families)), families, rotation=30, ha="right")
        axes.set(ylabel="share of flagged texts that escape", ylim=(0, 1))
        axes.legend(frameon=False)

    return plot(draw)


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"scikitlearn"},
    code_version=AUDIT_VERSION,
    deps=[labels, detectors, cascade],
    description="What each detector misses and whom it wrongs: disguised harm that escapes it, benign texts, counter "
    "speech and plain mentions of people that it flags, how its score changes with the group that is named or with the "
    "dialect, and how it does on human labels. Teachers that are easily fooled or unfair weigh less in the reward.",
)
def detector_audit(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Attack the detectors and count."""
    ctx = project.context(context.log)
    manifest = audit_detectors(ctx)
    figures = manifest.summary["figures"]
    attacks = markdown_table(
        ["measure", *figures],
        [[label, *(f"{own[key]:.3f}" if key in own else "" for own in figures.values())]
         for key, label in AUDIT_FIGURES.items()],
    )  # fmt: skip
    quality = ctx.lake.frame(manifest, "quality")
    labelled = markdown_table(
        ["detector", "axis", "labelled set", "AUROC", "calibration error", "texts"],
        [[name, axis, dataset, f"{area:.3f}", f"{ece:.3f} ({low:.3f} to {high:.3f})", n]
         for name, axis, dataset, area, ece, low, high, n in quality.iter_rows()],
    )  # fmt: skip
    plots = {"evasion": audit_plot(ctx.lake, manifest)}
    return result(manifest, {"red_team": attacks, "human_labels": labelled, **plots})


def reliability_plot(lake: Lake, manifest: Manifest) -> dg.MetadataValue:
    """Observed harm over predicted P(harm) in bins of equal mass, a line a labelled set."""
    table = lake.frame(manifest, "reliability")

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.6)
        for (part, dataset), rows in table.group_by("part", "dataset", maintain_order=True):
            axes.plot(
                rows["mean_p"].to_numpy(),
                rows["observed"].to_numpy(),
                marker="o",
                markersize=3,
                label=f"{dataset} ({part})",
            )
        axes.set(xlabel="predicted P(harm)", ylabel="share that people call harmful", xlim=(0, 1), ylim=(0, 1))
        axes.legend(frameon=False, fontsize=7)

    return plot(draw, 4.5, 4.5)


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"scikitlearn"},
    code_version=REWARD_VERSION,
    deps=[labels, detectors, detector_audit, sentence_embedding, BY_NAME["sentence_vectors"]],
    description="The reward model before any feedback: safety calibrated on human labels, alignment from labelled "
    "anchors through sentence vectors, and the profile's alpha, beta and gamma. Every reward is higher-is-better.",
)
def initial_reward(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Fit the first reward model."""
    ctx = project.context(context.log)
    manifest = fit_initial_reward(ctx)
    rows = ctx.lake.frame(manifest, "quality").filter(pl.col("value").is_finite())
    figures = markdown_table(
        ["part", "labelled set", "metric", "group, or compared with", "value", "95% interval", "texts"],
        [[row["part"], row["dataset"], row["metric"], row["group"], f"{row['value']:.3f}",
          "" if row["ci_low"] is None else f"{row['ci_low']:.3f} to {row['ci_high']:.3f}", row["n"]]
         for row in rows.iter_rows(named=True)],
    )  # fmt: skip
    return result(manifest, {"quality": figures, "reliability": reliability_plot(ctx.lake, manifest)})


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"pytorch", "huggingface"},
    code_version=TRAINING_VERSION,
    deps=[tokenizer, documents, *ANNOTATION_ASSETS],
    description="The uncurated base M_0: a small language model fitted on a random draw of the raw corpus, as "
    "pretraining on raw text would make it. Every chain and every probe starts from it.",
)
def base_checkpoint(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Train the base."""
    ctx = project.context(context.log)
    manifest = fit_base(ctx)
    return result(manifest, {"loss": loss_plot(ctx.lake, manifest)})


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"pytorch"},
    code_version=EVALUATION_VERSION,
    deps=[base_checkpoint, benchmarks, heldout_texts, detectors],
    description="Safety, alignment, bias and capability of the uncurated base.",
)
def base_metrics(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Evaluate the base."""
    ctx = project.context(context.log)
    manifest = evaluate_base(ctx)
    return result(manifest, {"metrics": metrics_table(ctx.lake, manifest)})


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"json"},
    code_version=STATE_VERSION,
    deps=[base_checkpoint, base_metrics, initial_reward],
    description="Iteration 0: commits the uncurated base as the state that iteration 1 starts from.",
)
def cold_start(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Commit iteration 0."""
    return result(commit_cold_start(project.context(context.log), MAIN))
