"""Steps made on several processes are those that one process makes."""

from __future__ import annotations

from pathlib import Path

from curation_pipeline.config import Profile
from curation_pipeline.engine.settings import EngineSettings
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.context import Context
from curation_pipeline.steps.registry import step_of
from curation_pipeline.steps.side_by_side import Artefact, Failure, Made, graph_of, make_side_by_side
from tests.stages.sources import declaring, deliver, make_all, stand_in_documents

STEPS = ("dialect", "language", "minhash", "pii", "quality_rules", "text_statistics", "document_index")
KEYS = ("forum|2026-01", "forum|2026-02", "wiki|2026-01")


def profile(root: Path) -> Profile:
    for key in KEYS:
        source, _, snapshot = key.partition("|")
        deliver(root, source, snapshot)
    found = declaring(root, "forum", "wiki")
    return found.model_copy(update={"engine": EngineSettings(workers=2)})


def context(root: Path, profile: Profile, name: str) -> Context:
    ctx = Context(Lake.open(root / name), profile, root)
    for rows, key in enumerate(KEYS, start=9):
        texts = [f"Text {i} of {key}, by a.b{i}@example.org, says that the harbour is old." for i in range(rows)]
        stand_in_documents(ctx.lake, key, texts)
    return ctx


def contents(ctx: Context) -> dict[str, str]:
    return {manifest.id: manifest.content_hash for manifest in ctx.lake.manifests()}


def test_ids_and_bytes_are_those_of_one_process(tmp_path: Path) -> None:
    chosen = [step_of(name) for name in STEPS]
    wanted = profile(tmp_path)
    alone, together = (context(tmp_path, wanted, name) for name in ("alone", "together"))
    make_all(alone, chosen)
    told: list[float] = []
    found = list(make_side_by_side(together.with_progress(lambda _, part: told.append(part)), graph_of(chosen, KEYS)))
    assert all(isinstance(one, Made) for one in found)
    assert contents(together) == contents(alone)
    assert len(found) == len(contents(alone)) - len(KEYS)  # the documents were there
    assert told[-1] == 1.0


def test_what_fails_is_named_and_ends_the_rest(tmp_path: Path) -> None:
    ctx = context(tmp_path, profile(tmp_path), "lake")
    *_, last = make_side_by_side(ctx, graph_of([step_of(name) for name in STEPS], [*KEYS, "wiki|absent"]))
    assert isinstance(last, Failure)
    assert last.artefact == Artefact(last.artefact.step, "wiki|absent")
    assert "absent" in last.reason
