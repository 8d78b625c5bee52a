"""Baseline arms beside the loop, at the same token budget, and the report that compares them."""

import dagster as dg

from assets.loop import iteration_commit
from assets.metadata import OWNERS, markdown_table, result
from assets.partitions import cell_partitions
from assets.references import cold_start, metrics_table
from curation_pipeline.stages.arms import CODE_VERSION as CELLS_VERSION
from curation_pipeline.stages.arms import Cell, run_cell
from curation_pipeline.stages.final_evaluation import CODE_VERSION as FINAL_VERSION
from curation_pipeline.stages.final_evaluation import final_evaluation as evaluate_chosen
from resources.project import ProjectResource


@dg.asset(
    partitions_def=cell_partitions,
    group_name="experiment",
    owners=OWNERS,
    kinds={"pytorch"},
    code_version=CELLS_VERSION,
    pool="curation_experiment",
    deps=[cold_start],
    description="One arm with one seed (experiment|arm|seed): a whole chain of iterations with a baseline selector, "
    "from the same base, at the same token budget, with the same training and evaluation as the loop.",
)
def experiment_cell(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Run one cell."""
    ctx = project.context(context.log)
    manifest = run_cell(ctx, Cell.parse(context.partition_key))
    rows = []
    for identity in ctx.lake.json(manifest, "cell")["states"]:
        figures = ctx.lake.get(identity).summary
        rows.append([figures[name] for name in ("safety", "alignment", "capability", "performance", "checkpoint")])
    table = markdown_table(
        ["iteration", "safety", "alignment", "capability", "P", "checkpoint"],
        [[ordinal, *row] for ordinal, row in enumerate(rows)],
    )
    return result(manifest, {"iterations": table})


@dg.asset(
    group_name="experiment",
    owners=OWNERS,
    kinds={"pytorch"},
    code_version=FINAL_VERSION,
    deps=[
        dg.AssetDep(iteration_commit, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(experiment_cell, partition_mapping=dg.AllPartitionMapping()),
    ],
    description="The model that is chosen among all iterations and arms on the front of safety against capability, "
    "evaluated on items that none of them was. Made by hand: each model that is looked at so is counted, and the "
    "report shows how many there were.",
)
def final_evaluation(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Choose a model and evaluate it on the holdout."""
    ctx = project.context(context.log)
    manifest = evaluate_chosen(ctx)
    return result(manifest, {"metrics": metrics_table(ctx.lake, manifest)})
