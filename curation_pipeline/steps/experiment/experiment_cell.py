"""A baseline at the same token budget."""

from __future__ import annotations

from dataclasses import replace

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.arm_inputs import check_arms, first_probes, needs_loop
from curation_pipeline.stages.arms import Cell
from curation_pipeline.stages.commit import commit_cold_start
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.stages.state import committed, read_state
from curation_pipeline.steps.experiment.baseline_batch import draw_baseline_batch
from curation_pipeline.steps.loop.candidate_pool import STEP as CANDIDATE_POOL
from curation_pipeline.steps.loop.checkpoint import STEP as CHECKPOINT
from curation_pipeline.steps.loop.evaluation import STEP as EVALUATION
from curation_pipeline.steps.loop.iteration_commit import STEP as ITERATION_COMMIT
from curation_pipeline.steps.loop.iteration_gate import STEP as ITERATION_GATE
from curation_pipeline.steps.reference.cold_start import STEP as COLD_START
from curation_pipeline.steps.step import Partitioning, Place, Step, of_iteration
from curation_pipeline.steps.view import Table, View

VERSION = "2"
ACCEPT_ALL = 1.0
"""Arms have no gatekeeper: P lies in [0, 1], so every iteration is accepted and the budget is always spent."""
FIGURES = ("safety", "alignment", "capability", "performance", "checkpoint")


def run(ctx: Context, place: Place) -> Manifest:
    """One arm with one seed (experiment|arm|seed): a whole chain of iterations with a baseline selector.

    It starts from the same base, at the same token budget, with the same training and evaluation as the loop.

    Raises:
        ConfigError: the arm asks for a rule that does not exist.
        LakeError: the cold start's parts, or the probes that the arm learns from, have not been made.
    """
    return _run(ctx, Cell.parse("|".join(place.partition.values())))


def _run(ctx: Context, cell: Cell) -> Manifest:
    """Run a cell's iterations, as many as the loop's, and record them."""
    chain = cell.chain
    check_arms(ctx, [cell.arm])
    if needs_loop(cell.arm):
        first_probes(ctx.lake, chain, ctx.lake.require("base_checkpoint").id)
    states = [commit_cold_start(ctx, chain)]
    iterations = ctx.profile.loop.max_iterations
    for ordinal in range(1, iterations + 1):
        done = (ordinal - 1) / iterations

        def tell(what: str, fraction: float, done: float = done, ordinal: int = ordinal) -> None:
            ctx.progress(f"{cell.arm} {cell.seed}, iteration {ordinal}: {what}", done + fraction / iterations)

        inner = ctx.with_progress(tell)
        found = committed(ctx.lake, chain, ordinal)
        # A cell that is finished stays as it was run, even if the corpus has grown since.
        if found is None or found[1].parent_state_id != states[-1].id:
            place = of_iteration(chain, ordinal, cell.seed)
            for step in (ITERATION_GATE, CANDIDATE_POOL):
                step.make(inner, place)
            draw_baseline_batch(inner, place, cell.arm)
            for step in (CHECKPOINT, EVALUATION):
                step.make(inner, place)
            accepted = replace(place, options={"max_performance_drop": ACCEPT_ALL})
            states.append(ITERATION_COMMIT.make(inner, accepted))
        else:
            states.append(found[0])
    recipe = Recipe(
        "cells",
        cell.partition,
        tuple(state.id for state in states),
        {"chain": chain, "token_budget": ctx.profile.loop.token_budget, "iterations": iterations},
        cell.seed,
        VERSION,
    )

    def make(draft: Draft) -> None:
        last = states[-1].summary
        draft.json({"chain": chain, "states": [state.id for state in states]}, "cell")
        draft.summary.update({name: last[name] for name in ("safety", "alignment", "capability", "performance")})
        own = read_state(ctx.lake, states[-1]).own
        groups = batch_parity(ctx.lake, own["pool"], own["batches"])
        draft.frame(groups, "parity")
        if groups.height:
            draft.summary.update(
                least_parity=round(groups["parity"][0], 3), least_parity_of=groups["identity_group"][0]
            )
        draft.summary.update(arm=cell.arm, arm_seed=cell.seed, iterations=iterations, checkpoint=last["checkpoint"])

    return ctx.lake.build(recipe, make)


def view(ctx: Context, manifest: Manifest) -> View:
    """The iterations of the chain."""
    rows = []
    for ordinal, identity in enumerate(ctx.lake.json(manifest, "cell")["states"]):
        figures = ctx.lake.get(identity).summary
        rows.append([ordinal, *(figures[name] for name in FIGURES)])
    return View({"iterations": Table(["iteration", "safety", "alignment", "capability", "P", "checkpoint"], rows)})


STEP = Step(
    module=__name__, table="cells", version=VERSION, run=run, partitioning=Partitioning.RUN, inputs=(COLD_START,),
    kinds=frozenset({"pytorch"}), view=view,
)  # fmt: skip
