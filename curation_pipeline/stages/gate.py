"""What an iteration may read, as its gate froze it; `steps/loop/iteration_gate.py` opens one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.state import State, read_state, state_partition

TABLE = "gates"


@dataclass(frozen=True, slots=True)
class Gate:
    """What an iteration reads, by id.

    Attributes:
        chain: the chain.
        ordinal: the iteration, from 1.
        parent_state_id: the committed state that it starts from.
        corpus: for each raw corpus partition, the ids of its documents and annotations, by table.
        references: ids of the unpartitioned artefacts, by table.
        stage: the curriculum's stage as the profile writes it; empty without a curriculum.
    """

    chain: str
    ordinal: int
    parent_state_id: str
    corpus: dict[str, dict[str, str]]
    references: dict[str, str]
    stage: dict[str, Any] = field(default_factory=dict)

    @property
    def partition(self) -> dict[str, str]:
        """The partition of everything that the iteration makes."""
        return state_partition(self.chain, self.ordinal)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form; without a curriculum it says nothing of one."""
        return {name: value for name, value in asdict(self).items() if name != "stage" or value}

    @property
    def max_p_harm(self) -> float:
        """The greatest P(harm) that the curriculum's stage lets into the pool; 1 without a curriculum."""
        return float(self.stage.get("max_p_harm", 1.0))


def read_gate(lake: Lake, manifest: Manifest) -> Gate:
    """The gate that a manifest of the table ``gates`` holds."""
    return Gate(**lake.json(manifest, "gate"))


def gate_of(lake: Lake, pool: Manifest) -> Gate:
    """The gate that a candidate pool was built from."""
    return read_gate(lake, next(found for found in map(lake.get, pool.inputs) if found.table == TABLE))


def gate_and_parent(lake: Lake, chain: str, ordinal: int) -> tuple[Manifest, Gate, State]:
    """The open gate of an iteration and the state of its parent.

    Raises:
        LakeError: the gate has not been opened.
    """
    manifest = lake.require(TABLE, state_partition(chain, ordinal))
    gate = read_gate(lake, manifest)
    return manifest, gate, read_state(lake, lake.get(gate.parent_state_id))
