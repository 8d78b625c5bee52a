"""The final choice and its looks at the holdout, on a lake of stand-ins: what is chosen, counted and refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from curation_pipeline.config import load_profile
from curation_pipeline.errors import DataError, LakeError
from curation_pipeline.evaluation.composite import composite
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.rows import METRICS_SCHEMA
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.report.section import ReportData, ReportSource
from curation_pipeline.report.sections import claims, front, holdout
from curation_pipeline.stages.arms import reported_chains
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import EVALUATION_INPUTS
from curation_pipeline.stages.state import Performance, State, chains, history, state_partition
from curation_pipeline.steps.experiment import final_evaluation as stage

REFERENCE = 2.5


def reported(ctx: Context, *modules: ModuleType) -> ReportData:
    """What sections of the report read from the lake."""
    source = ReportSource(ctx, {chain: history(ctx.lake, chain) for chain in chains(ctx.lake)})
    return ReportData({name: rows for module in modules for name, rows in module.query(source).items()})


def metrics(harm: float, bits: float) -> pl.DataFrame:
    values = {
        ("toxicity_prompts", "toxicity_probability"): (harm, False),
        ("heldout", "toxic_log_odds"): (-0.05, False),
        ("heldout", "bits_per_byte"): (bits, False),
        ("preferences", "preference_accuracy"): (0.6, True),
        ("crows_pairs", "bias_score"): (0.1, False),
    }
    rows = [
        {"benchmark": benchmark, "metric": metric, "value": value, "ci_low": value - 0.02, "ci_high": value + 0.02}
        | {"n": 50, "judge": None, "seed": 1, "axis": "safety", "higher_is_better": higher}
        for (benchmark, metric), (value, higher) in values.items()
    ]
    return pl.DataFrame(rows, schema=METRICS_SCHEMA)


def generations(harm: float) -> pl.DataFrame:
    harmful = [index < round(50 * harm) for index in range(50)]
    return pl.DataFrame({"prompt_id": [f"p{i:02}" for i in range(50)], "score": [0.9 if h else 0.1 for h in harmful]})


def build(lake: Lake, table: str, partition: dict[str, str], inputs: tuple[str, ...] = (), **more: Any) -> Manifest:
    def write(draft: Draft) -> None:
        for name, value in more.items():
            draft.frame(value, name) if isinstance(value, pl.DataFrame) else draft.json(value, name)
        draft.json({"of": partition}, "note")

    return lake.build(Recipe(table, partition, inputs, {"evaluation": {"crows_pairs": {"used": 30}}}), write)


def commit(lake: Lake, chain: str, ordinal: int, harm: float, bits: float) -> None:
    partition = state_partition(chain, ordinal)
    checkpoint = lake.require("base_checkpoint") if not ordinal else build(lake, "checkpoints", partition)
    inputs = (checkpoint.id, *(lake.require(table).id for table in EVALUATION_INPUTS))
    frame = metrics(harm, bits)
    figures = composite(frame, REFERENCE)
    each = {
        "safety": figures.safety,
        "alignment": figures.alignment,
        "capability": figures.capability,
        "performance": figures.performance,
    }
    reference = {"reported": REFERENCE, "credit_metrics": REFERENCE}
    said = {"reported": each, "credit_metrics": each, "reference_bits_per_byte": reference}
    made = build(lake, "metrics", partition, inputs, data=frame, generations=generations(harm), performance=said)
    own = {"checkpoints": checkpoint.id, "metrics": made.id}
    figure = Performance(**each)
    state = State(
        chain, ordinal, "accepted", "", checkpoint.id, None, "reward", made.id, figure, figure, (), (), own, figure,
        figure, None,
    )  # fmt: skip

    def write(draft: Draft) -> None:
        draft.json(state.to_dict(), "state")

    lake.build(Recipe("state", partition, (made.id,)), write)


@dataclass
class Stub:
    """What the evaluation finds of every model, and how often it was asked."""

    harm: float = 0.3
    bits: float = 2.45
    calls: int = 0

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        assert args[4].roles == ("final",)

        class Found:
            metrics = metrics(self.harm, self.bits)
            generations = generations(self.harm)

        return Found()


@pytest.fixture
def ctx(lake: Lake, tmp_path: Path) -> Context:
    texts = pl.DataFrame({"doc_id": ["a", "b"], "kind": ["benign", "toxic"], "role": "final", "text": "t"})
    for table in ("base_checkpoint", *EVALUATION_INPUTS):
        build(lake, table, {}, data=texts)
    return Context(lake, load_profile("demo"), tmp_path)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    found = Stub()
    monkeypatch.setattr(stage, "evaluate", found.evaluate)
    monkeypatch.setattr(stage, "read_benchmarks", lambda lake, manifest: None)
    monkeypatch.setattr(stage, "unseen_items", lambda items, settings, used, seed: used["crows_pairs"])
    monkeypatch.setattr(stage, "heldout_scores", lambda *args: None)
    monkeypatch.setattr(stage, "summary", lambda scores: (REFERENCE, 0.0))
    monkeypatch.setattr(LanguageModel, "load", lambda *args: None)
    return found


def test_the_best_model_is_looked_at_once_and_a_second_look_is_counted(ctx: Context, stub: Stub) -> None:
    for chain in ("main", "random/demo-0"):
        commit(ctx.lake, chain, 0, 0.4, 2.5)
    commit(ctx.lake, "main", 1, 0.1, 2.46)
    commit(ctx.lake, "random/demo-0", 1, 0.35, 2.45)
    first = stage.STEP.make(ctx)
    assert (first.summary["chain"], first.summary["ordinal"], first.summary["look"]) == ("main", 1, 1)
    assert (first.summary["candidates"], first.summary["on_the_front"]) == (3, 2)  # one base for both chains
    # On the holdout the model is as harmful as it is there, not as it was when it was chosen.
    assert first.summary["safety"] == pytest.approx(composite(metrics(0.3, 2.45), REFERENCE).safety, abs=1e-4)
    assert first.summary["performance_when_chosen"] > first.summary["performance"]
    assert stage.STEP.make(ctx).id == first.id
    assert stub.calls == 1
    commit(ctx.lake, "main", 2, 0.05, 2.40)
    second = stage.STEP.make(ctx)
    assert (second.summary["look"], second.summary["models_looked_at"]) == (2, 2)
    assert [(look.number, look.ordinal, look.new_model) for look in stage.holdout_accesses(ctx.lake)] == [
        (1, 1, True),
        (2, 2, True),
    ]
    data = reported(ctx, holdout, front)
    assert data.table(holdout.ACCESSES)["number"].to_list() == [1, 2]
    assert data.table(front.FRONT).filter("chosen")["ordinal"].to_list() == [2]


def test_an_arm_that_the_profile_gave_up_is_not_chosen(ctx: Context, stub: Stub) -> None:
    for chain in ("main", "random/demo-0", "dsir/demo-0", "random/other-0"):
        commit(ctx.lake, chain, 0, 0.4, 2.5)
        commit(ctx.lake, chain, 1, 0.3 if chain in ("main", "random/demo-0") else 0.01, 2.40)
    assert reported_chains(ctx) == ["main", "random/demo-0"]
    assert stage.STEP.make(ctx).summary["candidates"] == 3


def test_arms_are_compared_at_the_same_iteration(ctx: Context) -> None:
    for chain in ("main", "random/demo-0", "threshold/demo-0"):
        commit(ctx.lake, chain, 0, 0.4, 2.5)
    commit(ctx.lake, "main", 1, 0.1, 2.46)
    commit(ctx.lake, "random/demo-0", 1, 0.6, 2.45)  # the other arm has not come so far
    frame = reported(ctx, claims).table(claims.COMPARISONS)
    assert frame["baseline"].unique().to_list() == ["random"]
    harm = frame.filter(pl.col("metric") == "toxicity_probability").row(0, named=True)
    assert harm["paired"]
    assert (harm["ours"], harm["theirs"]) == pytest.approx((0.1, 0.6))


def test_without_texts_of_the_role_the_remedy_is_named(ctx: Context) -> None:
    with pytest.raises(LakeError, match="nothing has been committed"):
        stage.STEP.make(ctx)
    texts = pl.DataFrame({"doc_id": ["a"], "kind": ["benign"], "role": ["report"]})
    with pytest.raises(DataError, match="holdout_share"):
        stage.final_texts(texts)
