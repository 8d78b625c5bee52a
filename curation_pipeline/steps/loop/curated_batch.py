"""The weighted batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.reward.parity import PARITY_FLOOR
from curation_pipeline.seeds import derive
from curation_pipeline.selection.draw import BATCH, DECISIONS
from curation_pipeline.selection.policy_selector import PolicySelector
from curation_pipeline.selection.protocol import Drawer, PoolFile
from curation_pipeline.selection.stream_tables import DrawTables
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.drawn import drawn_parts
from curation_pipeline.stages.objective import objective_of
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.steps.figures import corpus_links, documents_of, input_links
from curation_pipeline.steps.loop.candidate_pool import STEP as CANDIDATE_POOL
from curation_pipeline.steps.loop.probes import STEP as PROBES
from curation_pipeline.steps.loop.selection_policy import STEP as SELECTION_POLICY
from curation_pipeline.steps.step import Partitioning, Step, Work
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


def compute(work: Work, draft: Draft) -> None:
    """The weighted batch: order sampling with the policy's probabilities under the token budget.

    The decision about every document of the pool is a row of a table of its own.
    """
    lake, parent = work.lake, work.parent
    reward = RewardModel.load(lake.folder(lake.get(parent.reward_model_id)))
    credit = DownstreamCredit.from_json(lake.json(work[PROBES], "credit"))
    objective = objective_of(work.ctx, parent, reward, credit)
    draw_batch(work, draft, PolicySelector(lake.folder(work[SELECTION_POLICY]), objective))


def draw_batch(work: Work, draft: Draft, drawer: Drawer) -> None:
    """Write a batch and the decisions about the whole pool.

    Args:
        work: of an iteration, with the pool among its inputs.
        draft: gets the tables ``data`` and ``decisions``.
        drawer: the policy, or a baseline.
    """
    budget = work.profile.loop.token_budget
    # The draw's seed carries the iteration, so that the same document is not lucky every night; arms of one seed share
    # it, so that they differ by what they choose and not by chance.
    seed = derive(work.profile.seed, "draw", work.place.arm_seed, work.place.ordinal)
    path = work.lake.path(work[CANDIDATE_POOL], "data.parquet")
    file = PoolFile(path, draft.scratch, work.profile.engine, work.ctx.progress)
    with draft.keyed_writer(DECISIONS, "decisions") as decisions, draft.keyed_writer(BATCH) as batch:
        tables = DrawTables(decisions, batch)
        threshold = tables.extend(drawer.decisions(file, budget, seed))
    draft.summary.update(tables.summary(budget))
    draft.summary["threshold"] = threshold


def draw_parameters(work: Work, selector: str, settings: Mapping[str, object]) -> dict[str, Any]:
    """What a batch depends on besides its inputs."""
    return {
        "selector": selector,
        "token_budget": work.profile.loop.token_budget,
        "arm_seed": work.place.arm_seed,
        "settings": dict(settings),
    }


def view(ctx: Context, manifest: Manifest) -> View:
    """What the batch was drawn from, and how it differs from the pool."""
    lake, figures = ctx.lake, manifest.summary
    drawn_from = next(lake.get(i) for i in manifest.inputs if i.startswith(f"{CANDIDATE_POOL.table}-"))
    batch = lake.frame(manifest)
    longest = known = 0
    for part in drawn_parts(lake, drawn_from, manifest, ["n_tokens"]):
        longest = max(longest, int(part["n_tokens"].to_numpy().max()))
        known += int(part["weight"].is_not_null().sum())
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
    version="4",
    compute=compute,
    partitioning=Partitioning.ITERATION,
    inputs=(CANDIDATE_POOL, SELECTION_POLICY, PROBES),
    also=lambda work: [work.parent.reward_model_id],
    parameters=lambda work: draw_parameters(work, "policy", {}),
    kinds=frozenset({"polars", "parquet"}),
    view=view,
    checks=(BUDGET_MET, DRAWN_FROM_POOL, PARITY),
    resumes=True,
)
