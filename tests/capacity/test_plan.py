"""The capacity model: what it rests on, what it says of a profile, and where it stops a run."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation_pipeline import cli
from curation_pipeline.capacity.figures import figures
from curation_pipeline.capacity.plan import Cost, corpus_size, parameters, plan
from curation_pipeline.capacity.spending import check_plan, check_spending, spent_on
from curation_pipeline.cli_screen import FILE_WIDTH, Screen
from curation_pipeline.config import Profile, validate_profile
from curation_pipeline.corpus.source import Size
from curation_pipeline.errors import ConfigError, GateClosedError
from curation_pipeline.lake.draft import Draft
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.steps.registry import steps
from curation_pipeline.training.settings import TrainingSettings

COUNTED = {"base_checkpoint", "base_metrics", "probes", "checkpoint", "evaluation", "experiment_cell"}
"""Fits and evaluations: the model counts their operations."""
LITTLE = {"final_evaluation", "harness", "iteration_commit"}
"""What the model leaves out: it takes seconds, or runs only when somebody asks."""
WORDS = "some words of a document that is as long as the others of its file "


def profile(tmp_path: Path, **parts: Any) -> Profile:
    source = {"kind": "folder", "name": "texts", "path": str(tmp_path / "texts")}
    return validate_profile({"name": "mine", "corpus": {"sources": [source]}, **parts}, "a test")


def by_step(costs: list[Cost]) -> dict[str, Cost]:
    return {cost.step: cost for cost in costs}


def test_every_step_is_measured_counted_or_little() -> None:
    assert set(steps()) - figures().steps.keys() == COUNTED | LITTLE
    for name, known in figures().steps.items():
        assert name == "baseline_batch" or known.table == steps()[name].table  # part of an experiment's cell


class TestSize:
    def test_large_files_are_measured_by_their_first_rows(self, tmp_path: Path) -> None:
        folder = tmp_path / "texts" / "2026-01"
        folder.mkdir(parents=True)
        for number in range(3):
            lines = [json.dumps({"text": f"{WORDS}{number} {line}"}) for line in range(30_000)]
            (folder / f"{number}.jsonl").write_text("\n".join(lines))
        (folder / "packed.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
        pl.DataFrame({"text": [f"{WORDS}{line}" for line in range(30_000)]}).write_parquet(folder / "p.parquet")
        size = corpus_size(profile(tmp_path), tmp_path)
        assert size.documents == pytest.approx(150_000, rel=0.15)
        assert size.text_bytes / size.documents == pytest.approx(len(WORDS) + 6, rel=0.05)

    def test_a_limit_holds_for_each_snapshot(self, tmp_path: Path) -> None:
        for snapshot in ("a", "b"):
            folder = tmp_path / "texts" / snapshot
            folder.mkdir(parents=True)
            (folder / "x.jsonl").write_text("\n".join(json.dumps({"text": f"{WORDS}{n}"}) for n in range(500)))
        source = {"kind": "folder", "name": "texts", "path": str(tmp_path / "texts"), "limit": 100}
        limited = validate_profile({"name": "mine", "corpus": {"sources": [source]}}, "a test")
        assert corpus_size(limited, tmp_path).documents == pytest.approx(200)

    def test_the_model_s_size_is_that_of_its_settings_its_files_or_its_name(self, tmp_path: Path) -> None:
        assert parameters(TrainingSettings()) == pytest.approx(figures().evaluation_parameters, rel=0.01)
        assert parameters(TrainingSettings(model_id="HuggingFaceTB/SmolLM2-135M")) == 135e6
        assert parameters(TrainingSettings(model_id="Qwen/Qwen2.5-1.5B-Instruct")) == 1.5e9
        with pytest.raises(ConfigError, match="how many parameters"):
            parameters(TrainingSettings(model_id="gpt2"))


class TestPlan:
    def test_ten_times_the_corpus_takes_at_most_ten_times_as_much_and_fits_take_the_same(self, tmp_path: Path) -> None:
        mine = profile(tmp_path)
        small, large = (by_step(plan(mine, Size(n, 400.0 * n), figures())) for n in (1e6, 1e7))
        assert large["quality_rules"].cpu_seconds > 5 * small["quality_rules"].cpu_seconds
        assert all(large[name].cpu_seconds <= 10.001 * cost.cpu_seconds for name, cost in small.items())
        for name in ("checkpoint", "probes", "evaluation"):
            assert large[name] == small[name]

    def test_a_large_model_takes_a_gpu_and_adapters_less_memory(self, tmp_path: Path) -> None:
        size = Size(1e5, 4e7)
        training = {"model_id": "someone/model-1.5B", "device": "cuda"}
        whole = by_step(plan(profile(tmp_path, training=training), size, figures()))["checkpoint"]
        adapted = by_step(plan(profile(tmp_path, training={**training, "lora": {"rank": 8}}), size, figures()))
        assert whole.cpu_seconds == 0
        assert whole.gpu_seconds > adapted["checkpoint"].gpu_seconds > 0
        assert whole.peak_bytes == pytest.approx(16 * 1.5e9)
        assert adapted["checkpoint"].peak_bytes < whole.peak_bytes / 2

    def test_calls_of_hosted_detectors_are_counted_and_priced(self, tmp_path: Path) -> None:
        hosted = {"teachers": ["openai_moderation"], "expert": "openai_chat"}
        mine = profile(tmp_path, annotate=hosted, prices={"api_1000_calls": 2.0})
        costs = by_step(plan(mine, Size(3_200, 3_200 * 500.0), figures()))
        calls = costs["toxicity_teacher: openai_moderation"]
        assert calls.calls == 100  # batches of 32 texts
        assert calls.price == pytest.approx(0.2)
        assert costs["audit: openai_chat"].calls == mine.loop.max_iterations * mine.reward.audit.documents

    def test_a_transformer_as_teacher_is_what_costs_most(self, tmp_path: Path) -> None:
        mine = profile(tmp_path, annotate={"teachers": ["detoxify"], "detoxify": {"device": "cuda"}})
        costs = plan(mine, Size(1e8, 4e10), figures())
        assert max(costs, key=lambda cost: cost.price).step == "toxicity_teacher: detoxify"

    def test_the_command_prints_it_and_writes_nothing_to_the_lake(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "texts").mkdir()
        lines = [json.dumps({"text": f"{WORDS}{number}"}) for number in range(300)]
        (tmp_path / "texts" / "x.jsonl").write_text("\n".join(lines))
        raw = '[loop]\nmax_cost = 0.001\n[[corpus.sources]]\nkind = "folder"\nname = "t"\npath = "texts"\n'
        (tmp_path / "mine.toml").write_text(f'name = "mine"\n{raw}')
        for name in ("CURATION_PROFILE", "CURATION_STATE", "DAGSTER_HOME"):
            monkeypatch.setenv(name, "")  # the command sets them, and they are put back
        monkeypatch.setattr(cli, "console", Screen(width=FILE_WIDTH))
        arguments = ["plan", "--profile", str(tmp_path / "mine.toml"), "--state", str(tmp_path / "state")]
        cli.app(arguments, standalone_mode=False)
        said = capsys.readouterr().out
        assert "Corpus: about 300 documents" in said
        assert "The price is MORE THAN loop.max_cost = 0.00" in said
        for step in ("quality_rules", "checkpoint", "evaluation"):
            assert step in said
        assert not [path for path in (tmp_path / "state" / "lake").rglob("*") if path.is_file()]


class TestLimit:
    def context(self, tmp_path: Path, lake: Lake, limit: float | None) -> Context:
        folder = tmp_path / "texts"
        folder.mkdir(exist_ok=True)
        (folder / "x.jsonl").write_text("\n".join(json.dumps({"text": f"{WORDS}{n}"}) for n in range(500)))
        loop = {} if limit is None else {"max_cost": limit}
        return Context(lake, profile(tmp_path, loop=loop, prices={"cpu_hour": 3600.0}), tmp_path)

    def test_a_run_that_would_cost_more_is_not_started(self, tmp_path: Path, lake: Lake) -> None:
        check_plan(self.context(tmp_path, lake, None))
        check_plan(self.context(tmp_path, lake, 1e6))
        with pytest.raises(ConfigError, match=r"would cost about .* more than loop.max_cost = 1.00; most of it is"):
            check_plan(self.context(tmp_path, lake, 1.0))

    def test_an_iteration_that_would_pass_the_limit_does_not_open(self, tmp_path: Path, lake: Lake) -> None:
        def made(table: str, partition: dict[str, str], seconds: float) -> float:
            def write(draft: Draft) -> None:
                pl.DataFrame({"doc_id": [1]}).write_parquet(draft.folder / "data.parquet")

            manifest = lake.build(Recipe(table, partition), write)
            slow = replace(manifest, seconds=seconds)  # as if it had taken so long
            lake.store.replace(f"manifests/{manifest.id}.json", slow.to_json())
            return spent_on(self.context(tmp_path, lake, None), slow)

        assert made("labels", {}, 10.0) == pytest.approx(10.0)
        assert made("batches", {"chain": "main", "iteration": "0001"}, 30.0) == pytest.approx(30.0)
        check_spending(self.context(tmp_path, lake, None), 2)
        check_spending(self.context(tmp_path, lake, 70.5), 2)
        with pytest.raises(GateClosedError, match=r"40.00 has been spent .* took 30.00 .* loop.max_cost = 69.00"):
            check_spending(self.context(tmp_path, lake, 69.0), 2)
