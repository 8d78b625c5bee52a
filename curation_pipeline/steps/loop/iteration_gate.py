"""The gate of an iteration: reads the parent's committed state and freezes everything that the iteration will read.

The gate, not a scheduler, guarantees that iterations run in order: it fails where the parent has not been committed.
What it freezes is found again by every later step, so corpus partitions can be added while an iteration runs.
"""

from __future__ import annotations

from curation_pipeline.capacity.spending import check_spending
from curation_pipeline.errors import LakeError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.curriculum import admits, resumed
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import declared
from curation_pipeline.stages.gate import TABLE, Gate, read_gate
from curation_pipeline.stages.state import MAIN, parent_of
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.corpus_tables import complete_corpus
from curation_pipeline.steps.corpus_wide.duplicates import STEP as DUPLICATES
from curation_pipeline.steps.corpus_wide.duplicates import duplicates_in_force
from curation_pipeline.steps.corpus_wide.takedown_requests import STEP as TAKEDOWN_REQUESTS
from curation_pipeline.steps.figures import corpus_links
from curation_pipeline.steps.reference.cold_start import STEP as COLD_START
from curation_pipeline.steps.reference.initial_reward import STEP as INITIAL_REWARD
from curation_pipeline.steps.reference.labels import STEP as LABELS
from curation_pipeline.steps.reference.tokenizer import STEP as TOKENIZER
from curation_pipeline.steps.registry import frozen
from curation_pipeline.steps.step import Partitioning, Place, Step, StepGroup
from curation_pipeline.steps.view import Link, View

VERSION = "1"


def run(ctx: Context, place: Place) -> Manifest:
    """Opens an iteration: reads the parent's committed state and freezes the ids of everything that will be read.

    It fails, and changes nothing, where the parent has not been committed.

    Raises:
        GateClosedError: the parent has not been committed, or the iteration would pass ``loop.max_cost``.
        LakeError: no corpus partition is complete, or the curriculum's stage lets none of them in.
    """
    chain, partition = place.chain, place.partition
    parent, state = parent_of(ctx.lake, chain, place.ordinal)
    present = declared(ctx)
    # An iteration that was interrupted continues with what its gate froze, whatever arrived since; not with what was
    # retired since.
    earlier = ctx.lake.head(TABLE, partition)
    if earlier is not None and parent.id in earlier.inputs and ctx.lake.head("state", partition) is None:
        reads_retired = present.retired.keys() & read_gate(ctx.lake, earlier).corpus.keys()
        if not reads_retired:
            return earlier
    check_spending(ctx, place.ordinal)
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
    references = {
        step.table: ctx.lake.require(step.table).id for step in frozen() if step not in (TAKEDOWN_REQUESTS, COLD_START)
    }
    references[DUPLICATES.table] = duplicates_in_force(ctx, every, present).id
    # Read here, not looked up: a request to use a document no more holds from the next iteration on.
    references[TAKEDOWN_REQUESTS.table] = TAKEDOWN_REQUESTS.make(ctx).id
    frozen_stage = {} if stage is None else stage.model_dump(mode="json")
    gate = Gate(chain, place.ordinal, parent.id, corpus, references, frozen_stage)
    inputs = [parent.id, *references.values(), *(identity for ids in corpus.values() for identity in ids.values())]
    parameters = {"stage": frozen_stage} if frozen_stage else {}
    recipe = Recipe(TABLE, partition, tuple(inputs), parameters, ctx.profile.seed, VERSION)

    def make(draft: Draft) -> None:
        draft.json(gate.to_dict(), "gate")
        draft.summary.update(parent=parent.id, corpus_partitions=len(corpus))
        if present.retired:
            draft.summary["retired"] = list(present.retired)
        if stage is not None:
            draft.summary["curriculum_stage"] = stage.name

    return ctx.lake.build(recipe, make)


def view(ctx: Context, manifest: Manifest) -> View:
    """The parent, and the corpus that was frozen."""
    gate = read_gate(ctx.lake, manifest)
    before = gate.ordinal - 1
    parent = Link(f"cold_start {before}", "cold_start")
    if before:
        parent = Link(f"committed_state {before}", "committed_state", ctx.lake.get(gate.parent_state_id).partition)
    frozen_corpus = corpus_links(ctx.lake, {key: ids["documents"] for key, ids in gate.corpus.items()})
    _, state = parent_of(ctx.lake, gate.chain, gate.ordinal)
    return View(
        {"iteration": gate.ordinal, "parent": parent, "parent_was": state.status, "frozen_inputs": frozen_corpus}
    )


STEP = Step(
    module=__name__,
    table=TABLE,
    version=VERSION,
    run=run,
    partitioning=Partitioning.ITERATION,
    # Labels and tokenizer are read by people who follow an iteration's lineage; the others by its steps.
    reads=(
        COLD_START, INITIAL_REWARD, DUPLICATES, TAKEDOWN_REQUESTS, LABELS, TOKENIZER, DOCUMENTS,
        StepGroup("annotations"),
    ),
    kinds=frozenset({"json"}),
    view=view,
)  # fmt: skip
