"""The gate of an iteration: reads the parent's committed state and freezes everything that the iteration will read.

The gate, not a scheduler, guarantees that iterations run in order: it fails where the parent has not been committed.
What it freezes is found again by every later stage, so corpus partitions can be added while an iteration runs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from curation_pipeline.errors import LakeError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.curriculum import admits, resumed
from curation_pipeline.stages.annotations import ANNOTATIONS
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import Declared, declared
from curation_pipeline.stages.duplicates import duplicates_in_force
from curation_pipeline.stages.state import MAIN, State, parent_of, read_state, state_partition
from curation_pipeline.stages.tombstones import tombstones

TABLE = "gates"
CODE_VERSION = "1"
REFERENCES = (
    "heldout_texts",
    "benchmarks",
    "detectors",
    "cascade",
    "sentence_embedding",
    "tokenizer",
    "labels",
    "base_checkpoint",
    "duplicates",
    "initial_reward",
)


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


def annotated(lake: Lake, documents: Manifest) -> dict[str, str] | None:
    """Ids of a partition's documents and of their current annotations, by table; None where one is missing."""
    ids = {"documents": documents.id}
    for table in ANNOTATIONS:
        manifest = lake.head(table, documents.partition)
        if manifest is None or documents.id not in manifest.inputs:
            return None
        ids[table] = manifest.id
    return ids


def complete_corpus(ctx: Context, corpus: Declared | None = None) -> dict[str, dict[str, str]]:
    """The documents and annotations of every partition that the profile declares and that has all of them, by key.

    A partition that is still being annotated waits for the next iteration.

    Args:
        ctx: the surroundings.
        corpus: what `declared` says, where it has been asked already.
    """
    documents = (corpus or declared(ctx)).documents
    found = {key: annotated(ctx.lake, manifest) for key, manifest in documents.items()}
    return {key: ids for key, ids in found.items() if ids is not None}


def open_gate(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Open the gate of an iteration.

    Raises:
        GateClosedError: the parent has not been committed.
        LakeError: no corpus partition is complete, or the curriculum's stage lets none of them in.
    """
    parent, state = parent_of(ctx.lake, chain, ordinal)
    partition = state_partition(chain, ordinal)
    present = declared(ctx)
    # An iteration that was interrupted goes on with what its gate froze, whatever arrived since; not with what was
    # retired since.
    frozen = ctx.lake.head(TABLE, partition)
    if frozen is not None and parent.id in frozen.inputs and ctx.lake.head("state", partition) is None:
        reads_retired = present.retired.keys() & read_gate(ctx.lake, frozen).corpus.keys()
        if not reads_retired:
            return frozen
    every = corpus = complete_corpus(ctx, present)
    if not corpus:
        raise LakeError("no corpus partition has documents and all annotations: materialise the corpus assets first")
    stages = ctx.profile.curriculum
    found = resumed(state.curriculum, stages) if chain == MAIN else None
    stage = None if found is None else stages[found.stage]
    corpus = {key: ids for key, ids in corpus.items() if admits(stage, key)}
    if stage is not None and not corpus:
        raise LakeError(
            f"curriculum stage {stage.name!r} lets in {', '.join(stage.sources)}, and none of that is in the corpus "
            "with all annotations: correct its `sources`, or materialise those partitions"
        )
    references = {table: ctx.lake.require(table).id for table in REFERENCES}
    references["duplicates"] = duplicates_in_force(ctx, every, present).id
    # Read here, not looked up: a request to use a document no more holds from the next iteration on.
    references["tombstones"] = tombstones(ctx).id
    frozen_stage = {} if stage is None else stage.model_dump(mode="json")
    gate = Gate(chain, ordinal, parent.id, corpus, references, frozen_stage)
    inputs = [parent.id, *references.values(), *(identity for ids in corpus.values() for identity in ids.values())]
    parameters = {"stage": frozen_stage} if frozen_stage else {}
    recipe = Recipe(TABLE, partition, tuple(inputs), parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        draft.json(gate.to_dict(), "gate")
        draft.summary.update(parent=parent.id, corpus_partitions=len(corpus))
        if present.retired:
            draft.summary["retired"] = list(present.retired)
        if stage is not None:
            draft.summary["curriculum_stage"] = stage.name

    return ctx.lake.build(recipe, make)


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
