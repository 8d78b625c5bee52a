"""A box of the graph as data: what it reads, its version, its settings, what it computes and how it is shown.

Everything that needs to know the graph derives it from these declarations: Dagster's assets, their dependencies and
code versions (`assets/`), the order of work, what a gate freezes, `curate status`, and the documentation's list.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from curation_pipeline.config import Profile
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.foundation import build_foundation
from curation_pipeline.stages.gate import Gate, gate_and_parent
from curation_pipeline.stages.sampling import corpus_documents
from curation_pipeline.stages.state import State, state_partition
from curation_pipeline.steps.view import Check, View


class Partitioning(StrEnum):
    """What one artefact of a step belongs to."""

    WHOLE = "whole"
    """The project: there is one current artefact."""
    CORPUS = "corpus"
    """One delivery of raw text: source and snapshot."""
    ITERATION = "iteration"
    """One iteration of one chain."""
    RUN = "run"
    """One arm of an experiment with one seed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which artefact of a step is to be made.

    Attributes:
        partition: names and values of the lake's partition; empty for a step of the whole project.
        arm_seed: seed of an experiment's arm; the loop itself has 0.
        documents: the raw partitions that a step of the whole project reads; those that the profile declares if None.
        options: what a person gave for this one run.
    """

    partition: Mapping[str, str] = field(default_factory=dict)
    arm_seed: int = 0
    documents: Sequence[Manifest] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ordinal(self) -> int:
        """The iteration, from 1."""
        return int(self.partition["iteration"])

    @property
    def chain(self) -> str:
        """The chain of an iteration."""
        return self.partition["chain"]


def of_corpus(key: str) -> Place:
    """The place of a raw partition by its key ``source|snapshot``."""
    source, _, snapshot = key.partition("|")
    return Place({"source": source, "snapshot": snapshot})


def of_iteration(chain: str, ordinal: int, arm_seed: int = 0) -> Place:
    """The place of an iteration of a chain."""
    return Place(state_partition(chain, ordinal), arm_seed)


@dataclass(frozen=True, slots=True)
class StepGroup:
    """All steps of a group, as something that is read."""

    name: str


@dataclass(frozen=True, slots=True)
class When:
    """A step that is read only where the profile asks for it; the graph shows it always."""

    step: Step
    asked: Callable[[Profile], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """What the computation of a step is handed: its surroundings, and its inputs as they were found.

    Attributes:
        ctx: the surroundings.
        place: which artefact is made.
        found: artefacts of each input by the step's name; several where it reads all raw partitions.
        iteration: what the iteration may read, and the committed state that it starts from; None outside of the loop.
        manifest_id: the id that the artefact will have.
    """

    ctx: Context
    place: Place
    found: Mapping[str, tuple[Manifest, ...]]
    iteration: tuple[Gate, State] | None = None
    manifest_id: str = ""

    def __getitem__(self, step: Step) -> Manifest:
        """The one artefact of an input."""
        (manifest,) = self.found[step.name]
        return manifest

    def every(self, step: Step) -> tuple[Manifest, ...]:
        """The artefacts of an input, in order of partition; none where the profile does not ask for it."""
        return self.found.get(step.name, ())

    def by_table(self, *steps: Step) -> dict[str, Manifest]:
        """The artefacts of some inputs by the lake's table."""
        return {step.table: self[step] for step in steps}

    @property
    def lake(self) -> Lake:
        """Where artefacts are."""
        return self.ctx.lake

    @property
    def profile(self) -> Profile:
        """The settings in force."""
        return self.ctx.profile

    @property
    def gate(self) -> Gate:
        """What the iteration may read."""
        assert self.iteration is not None
        return self.iteration[0]

    @property
    def parent(self) -> State:
        """The committed state that the iteration starts from."""
        assert self.iteration is not None
        return self.iteration[1]

    def reference(self, step: Step) -> Manifest:
        """An artefact of the whole project as the iteration's gate froze it."""
        return self.lake.get(self.gate.references[step.table])


def _nothing(work: Work) -> dict[str, Any]:
    return {}


def _no_ids(work: Work) -> Iterable[str]:
    return ()


def _profile_seed(work: Work) -> int:
    return work.profile.seed


def no_seed(work: Work) -> int:
    """The seed of a step that draws nothing at random."""
    return 0


def _no_view(ctx: Context, manifest: Manifest) -> View:
    return View()


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """The declaration of a box.

    Attributes:
        module: the module's ``__name__``: its last part is the step's name, its folder the graph's group.
        table: the lake's table.
        version: declared version of the computation, raised by hand when its results change.
        compute: writes an artefact. Its docstring is what the graph says of the box.
        run: for a step whose inputs follow from what it does: makes the artefact itself, in place of ``compute``.
        partitioning: what one artefact belongs to.
        inputs: steps whose artefacts are read and are part of the recipe. A step of the whole project that reads one of
            raw partitions gets all that the profile declares; one of an iteration gets what its gate froze.
        reads: further steps that the graph shows: they are read through an input (an iteration's gate) or by ``also``.
        also: ids of further artefacts of the recipe, known only from the surroundings.
        parameters: settings and facts that change the result.
        seed: of the recipe.
        kinds: badges.
        view: what is shown of an artefact.
        checks: what ``view`` answers.
        options: what a person may give for one run.
        pinned: made once and kept when its inputs grow; see `Lake.build`.
        foundation: pinned, and refused a change once the loop has committed an iteration; see `stages.foundation`.
        resumes: continues after an interruption; see `Lake.build`.
        follows_corpus: made again by itself when a delivery has been annotated.
    """

    module: str
    table: str
    version: str
    compute: Callable[[Work, Draft], None] | None = None
    run: Callable[[Context, Place], Manifest] | None = None
    partitioning: Partitioning = Partitioning.WHOLE
    inputs: tuple[Step | When, ...] = ()
    reads: tuple[Step | StepGroup, ...] = ()
    also: Callable[[Work], Iterable[str]] = _no_ids
    parameters: Callable[[Work], dict[str, Any]] = _nothing
    seed: Callable[[Work], int] = _profile_seed
    kinds: frozenset[str] = frozenset({"parquet"})
    view: Callable[[Context, Manifest], View] = _no_view
    checks: tuple[Check, ...] = ()
    options: type[BaseModel] | None = None
    pinned: bool = False
    foundation: bool = False
    resumes: bool = False
    follows_corpus: bool = False

    def __post_init__(self) -> None:
        """Refuse a declaration that cannot be made."""
        if (self.compute is None) == (self.run is None):
            raise TypeError(f"{self.module}: a step has either compute or run")
        if not self.description:
            raise TypeError(f"{self.module}: the computation of a step needs a docstring: the graph shows it")

    @property
    def name(self) -> str:
        """The name of the box."""
        return self.module.rpartition(".")[2]

    @property
    def group(self) -> str:
        """The graph's group."""
        return self.module.split(".")[-2]

    @property
    def description(self) -> str:
        """What the box does: the docstring of its computation, without arguments and errors."""
        text = inspect.getdoc(self.compute or self.run) or ""
        return " ".join(text.partition("\n\nArgs:")[0].partition("\n\nRaises:")[0].split())

    @property
    def edges(self) -> tuple[Step | StepGroup, ...]:
        """Everything that it reads, as the graph shows it."""
        return (*(entry.step if isinstance(entry, When) else entry for entry in self.inputs), *self.reads)

    def make(self, ctx: Context, place: Place | None = None) -> Manifest:
        """The artefact of a place: made, or found where it has been made before.

        Raises:
            CurationError: an input has not been made, or the computation failed.
        """
        place = place or Place()
        if self.run is not None:
            return self.run(ctx, place)
        work, recipe = self.recipe(ctx, place)
        work = replace(work, manifest_id=recipe.manifest_id)
        compute = self.compute
        assert compute is not None

        def write(draft: Draft) -> None:
            compute(work, draft)

        if self.foundation:
            return build_foundation(ctx, recipe, write, resumes=self.resumes)
        return ctx.lake.build(recipe, write, pinned=self.pinned, resumes=self.resumes)

    def recipe(self, ctx: Context, place: Place) -> tuple[Work, Recipe]:
        """What would be made at a place, and of what.

        Raises:
            LakeError: an input has not been made.
        """
        iteration = None
        if self.partitioning is Partitioning.ITERATION:
            _, gate, parent = gate_and_parent(ctx.lake, place.chain, place.ordinal)
            iteration = gate, parent
        work = Work(ctx, place, {}, iteration)
        found: dict[str, tuple[Manifest, ...]] = {}
        documents: list[Manifest] | None = None
        for entry in self.inputs:
            if isinstance(entry, When) and not entry.asked(ctx.profile):
                continue
            step = entry.step if isinstance(entry, When) else entry
            if self.partitioning is Partitioning.WHOLE and step.partitioning is Partitioning.CORPUS:
                if documents is None:
                    documents = list(corpus_documents(ctx) if place.documents is None else place.documents)
                found[step.name] = tuple(
                    m if step.table == m.table else ctx.lake.require(step.table, m.partition) for m in documents
                )
            elif step.partitioning is Partitioning.WHOLE and iteration is not None:
                found[step.name] = (work.reference(step),)
            else:
                partition = place.partition if step.partitioning is self.partitioning else {}
                found[step.name] = (ctx.lake.require(step.table, partition),)
        work = replace(work, found=found)
        ids = [manifest.id for manifests in found.values() for manifest in manifests]
        ids += self.also(work)
        recipe = Recipe(self.table, place.partition, tuple(ids), self.parameters(work), self.seed(work), self.version)
        return work, recipe
