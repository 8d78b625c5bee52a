"""The weighted batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.reward.parity import PARITY_FLOOR
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.stages.selection import BATCH_VERSION, draw_policy_batch
from curation_pipeline.steps.figures import corpus_links, documents_of, input_links
from curation_pipeline.steps.loop.candidate_pool import STEP as CANDIDATE_POOL
from curation_pipeline.steps.loop.selection_policy import STEP as SELECTION_POLICY
from curation_pipeline.steps.step import Partitioning, Place, Step
from curation_pipeline.steps.view import Answer, Check, Plot, Table, View

BUDGET_MET = Check("token_budget_met", "the drawn tokens meet the budget within one document", blocking=True)
DRAWN_FROM_POOL = Check(
    "drawn_from_pool", "every drawn document is in the pool, once, with a positive weight", blocking=True
)

PARITY = Check(
    "identity_parity",
    "inside each source, texts that the reward model calls benign and that mention an identity group are drawn at "
    f"least {PARITY_FLOOR:g} times as often as those that mention none",
)


def run(ctx: Context, place: Place) -> Manifest:
    """The weighted batch: order sampling with the policy's probabilities under the token budget.

    The decision about every document of the pool is a row of a table of its own.
    """
    return draw_policy_batch(ctx, place.chain, place.ordinal)


def view(ctx: Context, manifest: Manifest) -> View:
    """What the batch was drawn from, and how it differs from the pool."""
    lake, figures = ctx.lake, manifest.summary
    drawn_from = next(lake.get(i) for i in manifest.inputs if i.startswith(f"{CANDIDATE_POOL.table}-"))
    pool = lake.frame(drawn_from)
    batch = lake.frame(manifest)
    longest = int(pool["n_tokens"].max() or 0)  # type: ignore[arg-type]
    known = int(pool["doc_id"].is_in(batch["doc_id"].implode()).sum())
    whole = known == batch.height == batch["doc_id"].n_unique() and bool((batch["weight"] > 0).all())
    off = abs(figures["tokens"] - figures["token_budget"])
    return View(
        {
            "inputs": input_links(lake, manifest),
            "raw_partitions": corpus_links(lake, documents_of(lake, manifest)),
            "before_and_after": _shares(figures["token_share_by_toxicity_bin"]),
        },
        [
            BUDGET_MET.answer(
                off <= longest, tokens=figures["tokens"], budget=figures["token_budget"], longest_document=longest
            ),
            DRAWN_FROM_POOL.answer(whole, drawn=batch.height, in_pool=known),
            _parity(batch_parity(lake, drawn_from.id, manifest.id)),
        ],
    )


def _parity(found: pl.DataFrame) -> Answer:
    """Whether every group's parity reaches the floor; shown with the ends of its interval."""
    columns = ("identity_group", "parity", "parity_low", "parity_high")
    rows = [[group, round(value, 3), round(low, 3), round(high, 3)]
            for group, value, low, high in found.select(columns).iter_rows()]  # fmt: skip
    return PARITY.answer(bool((found["parity"] >= PARITY_FLOOR).all()), parity_by_group=Table(columns, rows))


def _shares(shares: dict[str, dict[str, float]]) -> Plot:
    """Token shares of the toxicity bins in the pool and in the batch."""
    names = sorted(shares["pool"])

    def draw(axes: Any) -> None:
        place = np.arange(len(names))
        for offset, (part, values) in zip((-0.2, 0.2), shares.items(), strict=True):
            axes.bar(place + offset, [values.get(name, 0.0) for name in names], width=0.38, label=part)
        axes.set_xticks(place, [f"bin {name}" for name in names])
        axes.set(ylabel="share of tokens", title="P(harm): bin 0 clean, 1 doubtful, 2 harmful")
        axes.legend(frameon=False)

    return Plot(draw)


STEP = Step(
    module=__name__,
    table="batches",
    version=BATCH_VERSION,
    run=run,
    partitioning=Partitioning.ITERATION,
    inputs=(CANDIDATE_POOL, SELECTION_POLICY),
    kinds=frozenset({"polars", "parquet"}),
    view=view,
    checks=(BUDGET_MET, DRAWN_FROM_POOL, PARITY),
)
