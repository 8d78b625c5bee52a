"""The graph that follows from the declarations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint

import polars as pl
import pytest

from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Recipe
from curation_pipeline.steps import registry
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.registry import frozen, phases, read_by, steps
from curation_pipeline.steps.status import stale_steps, step_status
from curation_pipeline.steps.step import Partitioning, Step, Work

BEFORE_THE_LOOP = {"reference", "corpus", "annotations", "corpus_wide"}


def test_each_step_comes_after_what_it_reads() -> None:
    seen: set[str] = set()
    for step in steps().values():
        assert {read.name for read in read_by(step)} <= seen
        seen.add(step.name)


def test_each_phase_needs_earlier_phases_only_and_goes_through_the_corpus_twice() -> None:
    chosen = [step for step in steps().values() if step.group in BEFORE_THE_LOOP]
    order = phases(chosen)
    done: set[str] = set()
    for phase in order:
        assert len({step.partitioning for step in phase}) == 1
        for step in phase:
            assert {read.name for read in read_by(step)} <= done | {other.name for other in phase}
        done |= {step.name for step in phase}
    assert done == {step.name for step in chosen}
    assert sum(phase[0].partitioning is Partitioning.CORPUS for phase in order) == 2


def test_a_gate_freezes_what_the_steps_of_an_iteration_read_of_the_whole_project() -> None:
    names = {step.name for step in frozen()}
    assert {"benchmarks", "heldout_texts", "base_checkpoint", "duplicates", "detectors"} <= names
    assert all(step.partitioning is Partitioning.WHOLE for step in frozen())


def shout(work: Work) -> Annotate:
    """Exclamation marks of each text."""
    return lambda documents: documents.select("doc_id", pl.col("text").str.count_matches("!").alias("n"))


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An annotator of another package."""
    own = annotator("annotations.shouting", shout, version=1)
    monkeypatch.setattr(EntryPoint, "load", lambda self: own)
    point = EntryPoint("shouting", "elsewhere:STEP", registry.PLUGINS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    steps.cache_clear()
    yield
    steps.cache_clear()


def test_an_annotator_of_another_package_is_a_step_like_any_other(plugged: None) -> None:
    assert "shouting" in [step.name for step in registry.annotation_steps()]
    assert steps()["shouting"].description == "Exclamation marks of each text."


def test_two_steps_of_one_name_are_an_error(plugged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = annotator("annotations.language", shout, version=1)
    monkeypatch.setattr(EntryPoint, "load", lambda self: twice)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("language", "elsewhere:STEP", group)])
    steps.cache_clear()
    with pytest.raises(ConfigError, match="two steps are called 'language'"):
        steps()


def test_a_change_of_version_makes_stale_what_reads_it_and_nothing_that_was_committed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(step: Step, **partition: str) -> None:
        recipe = Recipe(step.table, partition, code_version=step.version)
        lake.build(recipe, lambda draft: draft.json([step.name], "made"))

    for name in ("labels", "benchmarks", "detectors", "takedown_requests"):
        made(steps()[name])
    made(steps()["documents"], source="s", snapshot="a")
    made(steps()["iteration_gate"], chain="main", iteration="0001")
    assert stale_steps(step_status(lake)) == []
    known = dict(steps())
    changed = {**known, "labels": replace(known["labels"], version="next")}
    monkeypatch.setattr("curation_pipeline.steps.status.steps", lambda: changed)
    assert stale_steps(step_status(lake)) == ["labels", "documents", "detectors"]
