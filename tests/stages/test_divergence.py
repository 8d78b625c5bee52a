"""The judge reads a sample of a draw, the same whoever asks, and agrees with itself on all of a small one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages import divergence
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.divergence import DOCUMENTS, judge_and_teacher
from curation_pipeline.stages.state import state_partition
from tests.stages.sources import declaring, stand_in_documents

PLACE = state_partition("main", 1)
DRAWN = [f"{i:032x}" for i in range(30) if i % 7 != 3]
P_HARM = [i / len(DRAWN) for i in range(len(DRAWN))]


class Judge:
    """Says of the text of document i what the teacher says of it, and keeps what it has read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def score(self, texts: list[str], _progress: object) -> pl.DataFrame:
        self.read += texts
        return pl.DataFrame({"toxic": [float(text.split()[1]) for text in texts]})


@pytest.fixture
def ctx(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    said = dict(zip(DRAWN, P_HARM, strict=True))
    documents = stand_in_documents(lake, "s|a", [f"text {said.get(f'{i:032x}', 0.0)}" for i in range(30)])
    pii = write(lake, "pii", {"source": "s", "snapshot": "a"}, pl.DataFrame({"doc_id": DRAWN}))
    write(lake, "pool", PLACE, pl.DataFrame({"doc_id": DRAWN, "p_harm": P_HARM}))
    write(lake, "batches", PLACE, pl.DataFrame({"doc_id": DRAWN[::-1]}))
    write(lake, "metrics", PLACE, pl.DataFrame({"score": [0.1] * 5, "teacher_score": [0.1] * 5}))
    gate = SimpleNamespace(
        partition=PLACE,
        corpus={"s|a": {"documents": documents.id, "pii": pii.id}},
        references={name: write(lake, name, {}, pl.DataFrame({"n": [1]})).id for name in ("detectors", "cascade")},
    )
    monkeypatch.setattr(divergence, "gate_and_parent", lambda *_: (None, gate, None))
    return Context(lake, declaring(tmp_path, "s"), tmp_path)


def write(lake: Lake, table: str, partition: dict[str, str], frame: pl.DataFrame) -> Manifest:
    def make(draft: Draft) -> None:
        for name in ("data", "generations"):
            draft.frame(frame, name)

    return lake.build(Recipe(table, partition, ()), make)


@pytest.mark.parametrize(("limit", "expected"), [(8, 8), (1_000, len(DRAWN))])
def test_the_judge_reads_a_sample_of_the_draw(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, limit: int, expected: int
) -> None:
    judge = Judge()
    monkeypatch.setattr(divergence, "open_detector", lambda *_: judge)
    settings = ctx.profile.reward.divergence.model_copy(update={"documents": limit})
    reward = ctx.profile.reward.model_copy(update={"divergence": settings})
    ctx = replace(ctx, profile=ctx.profile.model_copy(update={"reward": reward}))
    rows = ctx.lake.frame(judge_and_teacher(ctx, "main", 1)).filter(pl.col("what") == DOCUMENTS)
    assert rows["n"].to_list() == [expected] * 2
    assert len(set(judge.read)) == len(judge.read) == expected
    values = dict(rows.select("measure", "value").iter_rows())
    assert values == {"rank_correlation": pytest.approx(1.0, abs=1e-5), "flag_rate_gap": 0.0}
