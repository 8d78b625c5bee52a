"""What the report claims, read from the lake: comparisons with every arm, the front, and the looks at the holdout."""

from __future__ import annotations

import polars as pl

from curation_pipeline.experiment.claims import compare
from curation_pipeline.experiment.evidence import Evidence
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest, canonical_json
from curation_pipeline.seeds import generator
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.final_evaluation import front, holdout_accesses
from curation_pipeline.stages.state import MAIN, State


def claim_parts(ctx: Context, states: dict[str, list[State]]) -> dict[str, pl.DataFrame | None]:
    """The report's parts ``comparisons``, ``front`` and ``looks``; None where there is nothing to compare or no access.

    Args:
        ctx: the surroundings.
        states: the committed states of each chain.
    """
    marked = front(ctx, states)
    return {
        "comparisons": _comparisons(ctx, states),
        "front": marked if marked.height > 1 else None,
        "looks": _looks(ctx.lake),
    }


def evidence(lake: Lake, metrics: Manifest) -> Evidence:
    """An evaluation with whatever was kept of its items.

    Args:
        lake: holds it.
        metrics: an artefact of the table ``metrics`` or ``base_metrics``.
    """
    files = {file.name for file in metrics.files}
    # Equal items come from equal sources, sizes and seed; the model and the base's evaluation may differ.
    asked_of = [identity for identity in metrics.inputs if lake.get(identity).table in _ITEM_TABLES]
    return Evidence(
        metrics=lake.frame(metrics),
        items=lake.frame(metrics, "items") if "items.parquet" in files else None,
        generations=lake.frame(metrics, "generations", columns=["prompt_id", "score"]),
        items_from=canonical_json([asked_of, metrics.parameters, metrics.seed, metrics.code_version]),
    )


_ITEM_TABLES = ("benchmarks", "heldout_texts", "detectors", "cascade")


def _comparisons(ctx: Context, states: dict[str, list[State]]) -> pl.DataFrame | None:
    """The loop's model in force against the models of each arm at the same iteration, and so after as many tokens."""
    lake, main = ctx.lake, states[MAIN]
    ordinal = main[-1].ordinal
    if not ordinal:
        return None
    arms: dict[str, list[Evidence]] = {}
    for chain, entries in sorted(states.items()):
        arm = chain.split("/")[0]
        if arm != MAIN and len(entries) > ordinal:
            arms.setdefault(arm, []).append(evidence(lake, lake.get(entries[ordinal].metrics_id)))
    if not arms:
        return None
    ours = [evidence(lake, lake.get(main[-1].metrics_id))]
    return compare(MAIN, ours, arms, generator(ctx.profile.seed, "comparisons", ordinal))


def _looks(lake: Lake) -> pl.DataFrame | None:
    rows = []
    for access in holdout_accesses(lake):
        said = lake.json(lake.get(access.manifest_id), "performance")
        final = said["final"]
        low, high = said["intervals"]["performance"]
        rows.append(
            {
                "number": access.number,
                "chain": access.chain,
                "ordinal": access.ordinal,
                "checkpoint": access.checkpoint,
                "at": access.at,
                "new_model": access.new_model,
                **{axis: final[axis] for axis in ("safety", "capability", "performance")},
                "ci_low": low,
                "ci_high": high,
                "performance_when_chosen": said["chosen_on"]["performance"],
            }
        )
    return pl.DataFrame(rows) if rows else None
