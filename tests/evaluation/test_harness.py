from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.config import load_profile
from curation_pipeline.datasets.harness_data import PACKAGED, task_tables
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.evaluation.benchmarks import bbq, crows_pairs
from curation_pipeline.evaluation.harness import run_harness
from curation_pipeline.evaluation.harness_tasks import write_tasks
from curation_pipeline.evaluation.likelihood import Likelihoods
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.settings import HarnessSettings
from curation_pipeline.training.smollm2 import MODEL_ID, resolve_model
from tests.training.tiny_model import build, sentences

pytestmark = pytest.mark.slow

KINDS = ("sciq", "lambada_openai", "gsm8k")
"""A multiple-choice, a likelihood and a generation task."""
BOOTSTRAP = Bootstrap(1, 50, 0.95)


def _tables() -> dict[str, dict[str, pl.DataFrame]]:
    texts = sentences(60, seed=4)
    columns = {
        "question": texts[:8],
        "support": texts[8:16],
        "correct_answer": [f"bridge {i}" for i in range(8)],
        **{f"distractor{k}": [f"{word} mill" for word in texts[16 : 16 + 8]] for k in (1, 2, 3)},
    }
    columns["distractor2"] = columns["correct_answer"]  # a tie by construction
    worked = [f"it is {i} #### {i}" for i in range(4)]
    return {
        "sciq": {"validation": pl.DataFrame(columns)},
        "lambada_openai": {"test": pl.DataFrame({"text": texts[24:32]})},
        "gsm8k": {"test": pl.DataFrame({"question": texts[32:36], "answer": worked})},
    }


@pytest.fixture(scope="module", autouse=True)
def _offline() -> None:
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("harness"))


def _as_the_command_finds(
    checkpoint: Path, folder: Path, names: tuple[str, ...], limit: int, out: Path
) -> pl.DataFrame:
    """Value and answer of every sample that the harness's own command writes, by task, item, filter and metric."""
    code = "import torch; torch.set_num_threads(1); from lm_eval.__main__ import cli_evaluate; cli_evaluate()"
    arguments = [
        "run", "--model", "hf", "--model_args", f"pretrained={checkpoint},dtype=float32", "--include_path", str(folder),
        "--tasks", ",".join(names), "--limit", str(limit), "--batch_size", "32", "--device", "cpu", "--log_samples",
        "--output_path", str(out),
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=out.parent
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = []
    for path in out.rglob("samples_*.jsonl"):
        name = next(name for name in names if path.name.startswith(f"samples_{name}_"))
        for line in path.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            raw = sample["resps"][0][0]
            answer = {
                "task": name,
                "item": sample["doc_id"],
                "filter": sample["filter"],
                "item_hash": sample["doc_hash"],
                "response": json.dumps(sample["filtered_resps"]),
                "written": raw if isinstance(raw, str) else None,
            }
            rows += [
                {**answer, "metric": metric, "value": float(sample[metric])}
                for metric in ("acc", "acc_norm", "exact_match")
                if metric in sample
            ]
    return pl.DataFrame(rows, schema_overrides={"written": pl.Utf8})


def _as_text(answer: Any) -> Any:
    """The command writes every number of an answer as text."""
    return [_as_text(part) for part in answer] if isinstance(answer, list) else str(answer)


def _same(ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    joined = theirs.join(ours, on=["task", "item", "filter", "metric"], how="left", suffix="_ours")
    assert joined.height == theirs.height > 0
    assert (joined["item_hash"] == joined["item_hash_ours"]).all()
    assert (joined["value"] == joined["value_ours"]).all()
    assert joined["written"].equals(joined["written_ours"])
    for response, ours_response in joined.select("response", "response_ours").iter_rows():
        assert _as_text(json.loads(ours_response)) == json.loads(response)


@pytest.mark.network
def test_items_are_those_of_the_harness_itself(checkpoint: Path, package_cache: Path, tmp_path: Path) -> None:
    """Of all three kinds of task on items made here, and of published ones, item by item."""
    folder = tmp_path / "tasks"
    published = ("arc_easy", "mmlu_anatomy")
    shots = write_tasks(folder, {**_tables(), **task_tables(published, None, package_cache)})
    names = (*KINDS, *published)
    settings = HarnessSettings(tasks=names, limit=4, least_parameters_to_write=0)
    found = run_harness(checkpoint, names, folder, settings, 1, BOOTSTRAP)
    assert shots["gsm8k"] == shots["mmlu_anatomy"] == 0  # nothing to take examples from
    assert found.not_applicable == {}
    theirs = _as_the_command_finds(checkpoint, folder, names, 4, tmp_path / "out")
    assert set(theirs["task"]) == set(found.items["task"]) == set(names)
    _same(found.items, theirs)
    assert (found.metrics.filter(pl.col("metric") == "acc")["n"] == 4).all()
    accuracy = found.metrics.filter(pl.col("benchmark") == "harness/sciq")
    values = dict(accuracy.select("metric", "value").iter_rows())
    assert values["chance"] == pytest.approx(0.25)
    assert values["tie_rate"] > 0.0  # the tie that was built in is reported where it decides
    mine = theirs.filter((pl.col("task") == "sciq") & (pl.col("metric") == "acc"))["value"]
    assert values["acc"] == pytest.approx(float(mine.to_numpy().mean()))


@pytest.mark.network
def test_crows_pairs_in_the_loop_gives_the_share_of_the_harness(
    checkpoint: Path, package_cache: Path, tmp_path: Path
) -> None:
    """The loop asks it without the harness, whose import alone takes longer; the figure is the same."""
    name = "crows_pairs_english"
    pairs = task_tables((name,), None, package_cache)[name]["test"]
    short = pl.all_horizontal(pl.col("sent_more", "sent_less").str.len_chars() < 50)
    pairs = pairs.filter(short & (pl.col("sent_more") == pl.col("sent_more").str.strip_chars())).head(60)
    write_tasks(tmp_path, {name: {"test": pairs}})
    found = run_harness(checkpoint, (name,), tmp_path, HarnessSettings(tasks=(name,)), 1, BOOTSTRAP)
    lm = LanguageModel.load(checkpoint, 128)
    run = SimpleNamespace(lm=lm, items={"crows_pairs": pairs}, bootstrap=BOOTSTRAP, batch_tokens=2_048)
    ours = {row.metric: row.interval for row in crows_pairs.measure(run)}["stereotype_share"]
    theirs = found.metrics.filter(metric="pct_stereotype")
    assert ours.n == theirs["n"].item() == 60
    assert ours.value == pytest.approx(theirs["value"].item())
    items = found.items.filter(metric="pct_stereotype").sort("item")["value"].to_numpy()
    assert np.array_equal(ours.groups[0][0], items)


def test_bbq_in_the_loop_scores_answers_as_the_harness_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness asks with a prompt of its own and ten wordings of "unknown"; its formulas are the same."""
    from lm_eval.tasks.bbq import utils

    rng = np.random.default_rng(4)
    n = 80
    gold = np.where(np.arange(n) % 2 == 0, 2, rng.integers(0, 2, n))
    questions = pl.DataFrame(
        {
            "context": ["who was it?"] * n,
            "options": [["the aunt", "the uncle", "Unknown"]] * n,
            "gold": gold,
            "biased": rng.integers(0, 2, n),
            "unknown": [2] * n,
            "condition": ["ambig", "disambig"] * (n // 2),
        }
    )
    scores = rng.normal(size=(n, 3))
    found = Likelihoods(scores.ravel(), np.ones(3 * n, dtype=np.int64), np.ones(3 * n, dtype=np.int64))
    monkeypatch.setattr(bbq, "continuation_likelihood", lambda *_: found)
    run = SimpleNamespace(lm=None, items={"bbq": questions}, bootstrap=BOOTSTRAP, batch_tokens=1)
    ours = {row.metric: row.interval.value for row in bbq.measure(run)}
    answer = scores.argmax(axis=1)
    right, biased, known = answer == gold, answer == questions["biased"].to_numpy(), answer != 2
    clear = (questions["condition"] == "disambig").to_numpy()
    asked = list(zip(right.astype(float), biased.astype(float), known.astype(float), clear, strict=True))
    assert ours["bias_score/ambig"] == pytest.approx(utils.agg_amb_bias_scores(asked))
    assert ours["bias_score/disambig"] == pytest.approx(utils.agg_disamb_bias_scores(asked))
    assert ours["accuracy/ambig"] == pytest.approx(utils.agg_accuracy_amb(zip(right, clear, strict=True)))
    assert ours["accuracy/disambig"] == pytest.approx(utils.agg_accuracy_disamb(zip(right, clear, strict=True)))


@pytest.mark.network
def test_a_pretrained_model_answers_as_the_harness_says(package_cache: Path, tmp_path: Path) -> None:
    """Published items of all three kinds, with the settings that the profile of SmolLM2 has.

    That answers are those of the harness's own command is tested above: it does not hang on the model.
    """
    profile = load_profile("smollm2")
    assert profile.training.model_id == MODEL_ID
    settings = profile.evaluation.harness.model_copy(update={"limit": 3})
    assert set(settings.tasks) == set(KINDS)
    model = Path(resolve_model(MODEL_ID, package_cache))
    folder = tmp_path / "tasks"
    write_tasks(folder, task_tables(settings.tasks, None, package_cache))
    found = run_harness(model, settings.tasks, folder, settings, profile.seed, BOOTSTRAP)
    assert found.not_applicable == {}
    mean = dict(
        found.items.group_by("task", "metric")
        .agg(pl.col("value").mean())
        .select(pl.concat_str("task", "metric", separator=" "), "value")
        .iter_rows()
    )
    assert mean["sciq acc"] == 1.0
    assert mean["lambada_openai acc"] > 0.3  # the exact last word of a passage: no model that has not read gets one
    answers = found.items.filter(task="gsm8k", filter="flexible-extract")["response"]
    assert answers.str.contains(r'^\["\d+"\]$').all()  # it answers with a number, right or wrong


@pytest.mark.network
def test_every_packaged_task_runs(checkpoint: Path, package_cache: Path, tmp_path: Path) -> None:
    names = tuple(PACKAGED)
    write_tasks(tmp_path, task_tables(names, None, package_cache))
    found = run_harness(checkpoint, names, tmp_path, HarnessSettings(tasks=names, limit=2), 1, BOOTSTRAP)
    assert set(found.items["task"]) | set(found.not_applicable) == set(names)
    assert "free text" in found.not_applicable["gsm8k"]


def test_what_is_missing_is_said(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not have"):
        write_tasks(tmp_path, {"no_such_task": {"test": pl.DataFrame({"a": [1]})}})
    with pytest.raises(ConfigError, match="is evaluated on"):
        write_tasks(tmp_path, {"sciq": {"somewhere": pl.DataFrame({"a": [1]})}})
    (tmp_path / "sciq").mkdir()
    (tmp_path / "sciq" / "validation.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match="write it again"):
        task_tables(("sciq",), tmp_path, tmp_path)
