"""What the report gathers, from a lake whose artefacts are stand-ins."""

from __future__ import annotations

import polars as pl
import pytest

from curation_pipeline.bootstrap import Interval
from curation_pipeline.evaluation.rows import Metric, metrics_frame
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Recipe
from curation_pipeline.report.sections.metrics import all_metrics
from curation_pipeline.report.sections.selection import batch_parities
from curation_pipeline.stages.state import MAIN, Performance, State, state_partition

NOTHING = Performance(0.5, 0.5, 0.5, 0.5)


def make(lake: Lake, table: str, frame: pl.DataFrame, **summary: str) -> str:
    def write(draft: Draft) -> None:
        draft.frame(frame)
        draft.summary.update(summary)

    return lake.build(Recipe(table, state_partition(MAIN, 1), (), dict(summary)), write).id


def state(own: dict[str, str]) -> State:
    return State(
        MAIN, 1, "accepted", "", "checkpoints-a", None, "reward", "metrics", NOTHING, NOTHING, (), (), own, NOTHING,
        NOTHING, None,
    )  # fmt: skip


def test_figures_of_the_harness_are_shown_of_the_iterations_own_model(lake: Lake) -> None:
    frames = [
        metrics_frame([Metric(name, "acc", Interval(0.5, 0.4, 0.6, 50), "capability", True)], 0)
        for name in ("heldout", "harness/sciq")
    ]
    own = {"metrics": make(lake, "metrics", frames[0]), "checkpoints": "checkpoints-a"}
    make(lake, "harness", frames[1], checkpoint="checkpoints-a")
    assert all_metrics(lake, {MAIN: [state(own)]})["benchmark"].to_list() == ["heldout", "harness/sciq"]
    make(lake, "harness", frames[1], checkpoint="checkpoints-b")
    assert all_metrics(lake, {MAIN: [state(own)]})["benchmark"].to_list() == ["heldout"]


def test_parity_has_an_interval_that_holds_it(lake: Lake) -> None:
    sizes = {"none": (200, 100), "gender": (100, 50), "race": (120, 0), "age": (10, 10)}
    rows = [
        {"doc_id": f"{group}{index}", "source": "wiki", "identity_group": group, "p_harm": 0.1, "drawn": index < drawn}
        for group, (documents, drawn) in sizes.items()
        for index in range(documents)
    ]
    pool = pl.DataFrame(rows)
    batch = pool.filter("drawn").select("doc_id", weight=pl.lit(1.0, pl.Float32))
    own = {"pool": make(lake, "pool", pool), "batches": make(lake, "batches", batch)}
    found = batch_parities(lake, [state({}), state(own)])
    assert found is not None
    gender, race = found.sort("identity_group").to_dicts()
    assert gender["parity"] == pytest.approx(1.0)
    assert 0.75 < gender["parity_low"] < 0.9 < 1.1 < gender["parity_high"] < 1.35
    assert race["parity"] == race["parity_low"] == 0.0
    assert 0.0 < race["parity_high"] < 0.5
