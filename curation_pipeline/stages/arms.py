"""Arms of an experiment: the same chain of iterations with another selector, at the same token budget.

A *cell* is one arm with one seed. Its chain is named after it, starts from the same uncurated base as the loop, and
draws, trains and evaluates through the same stages, so that only the choice of data differs.
"""

from __future__ import annotations

from dataclasses import dataclass

from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.selection.baselines import BASELINES
from curation_pipeline.stages.arm_inputs import check_arms, first_probes, needs_loop
from curation_pipeline.stages.commit import commit_cold_start, commit_iteration
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import evaluate_checkpoint
from curation_pipeline.stages.gate import open_gate
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.stages.pool import candidate_pool
from curation_pipeline.stages.selection import draw_baseline_batch
from curation_pipeline.stages.state import MAIN, chains, committed, read_state
from curation_pipeline.stages.training import train_checkpoint

CODE_VERSION = "2"
ACCEPT_ALL = 1.0
"""Arms have no gatekeeper: P lies in [0, 1], so every iteration is accepted and the budget is always spent."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One chain of an experiment.

    Attributes:
        experiment: the experiment's name.
        arm: the selector's name.
        seed: the seed of the arm's draws and training.
    """

    experiment: str
    arm: str
    seed: int

    @property
    def key(self) -> str:
        """The partition key ``experiment|arm|seed``."""
        return f"{self.experiment}|{self.arm}|{self.seed}"

    @property
    def chain(self) -> str:
        """The name of the cell's chain in the lake."""
        return f"{self.arm}/{self.experiment}-{self.seed}"

    @classmethod
    def parse(cls, key: str) -> Cell:
        """The cell of a partition key.

        Raises:
            ConfigError: the key has another form, or names an arm that does not exist.
        """
        parts = key.split("|")
        if len(parts) != 3 or not parts[2].isdigit():
            raise ConfigError(f"experiment cell {key!r}: write experiment|arm|seed")
        if parts[1] not in BASELINES:
            raise ConfigError(f"experiment cell {key!r}: no arm {parts[1]!r}; there are {', '.join(sorted(BASELINES))}")
        return cls(parts[0], parts[1], int(parts[2]))


def cells(ctx: Context) -> list[Cell]:
    """The cells that the profile asks for."""
    experiment = ctx.profile.experiment
    return [Cell(ctx.profile.name, arm, seed) for arm in experiment.arms for seed in experiment.seeds]


def reported_chains(ctx: Context) -> list[str]:
    """The chains that have committed something and that the profile asks for: the loop's, and those of its cells.

    What an arm that was taken out of the profile made stays in the lake, and is compared and chosen from no more.
    """
    wanted = {MAIN, *(cell.chain for cell in cells(ctx))}
    return [chain for chain in chains(ctx.lake) if chain in wanted]


def run_cell(ctx: Context, cell: Cell) -> Manifest:
    """Run a cell's iterations, as many as the loop's, and record them.

    Raises:
        ConfigError: the arm asks for a rule that does not exist.
        LakeError: the cold start's parts, or the probes that the arm learns from, have not been made.
    """
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

        inner = ctx.telling(tell)
        found = committed(ctx.lake, chain, ordinal)
        # A cell that is finished stays as it was run, even if the corpus has grown since.
        if found is None or found[1].parent_state_id != states[-1].id:
            open_gate(inner, chain, ordinal)
            candidate_pool(inner, chain, ordinal)
            draw_baseline_batch(inner, chain, ordinal, cell.arm, cell.seed)
            train_checkpoint(inner, chain, ordinal, cell.seed)
            evaluate_checkpoint(inner, chain, ordinal)
            states.append(commit_iteration(inner, chain, ordinal, ACCEPT_ALL))
        else:
            states.append(found[0])
    recipe = Recipe(
        "cells",
        {"experiment": cell.experiment, "arm": cell.arm, "seed": str(cell.seed)},
        tuple(state.id for state in states),
        {"chain": chain, "token_budget": ctx.profile.loop.token_budget, "iterations": iterations},
        cell.seed,
        CODE_VERSION,
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
