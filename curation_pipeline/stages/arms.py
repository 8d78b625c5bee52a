"""Arms of an experiment: the same chain of iterations with another selector, at the same token budget.

A *cell* is one arm with one seed. Its chain is named after it, starts from the same uncurated base as the loop, and
draws, trains and evaluates through the same stages, so that only the choice of data differs.
"""

from __future__ import annotations

from dataclasses import dataclass

from curation_pipeline.errors import ConfigError
from curation_pipeline.selection.baselines import declared
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import MAIN, chains


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
    def partition(self) -> dict[str, str]:
        """The partition of its record in the lake."""
        return {"experiment": self.experiment, "arm": self.arm, "seed": str(self.seed)}

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
        declared(parts[1])
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
