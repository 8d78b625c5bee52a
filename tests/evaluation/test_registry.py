"""A benchmark of another package is one declaration: its items, settings, figures and texts follow from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from curation_pipeline.evaluation.benchmarks import challenges
from curation_pipeline.evaluation.registry import GROUP, all_benchmarks
from tests.training.tiny_model import build

PLUGIN = '''
import numpy as np
import polars as pl

from curation_pipeline.evaluation.benchmark import Benchmark, Items, ItemSettings, Term, labelled_texts
from curation_pipeline.evaluation.likelihood import text_likelihood
from curation_pipeline.evaluation.rows import Metric


class RiverSettings(ItemSettings):
    """Sentences about rivers."""

    kept: int = 4
    used: int = 2


def load(sources, settings):
    texts = [f"the river number {i} runs to the old mill" for i in range(settings.kept)]
    return pl.DataFrame({"item_id": [f"{i:032x}" for i in range(settings.kept)], "text": texts, "role": "report"})


def measure(run):
    texts = run.items["rivers"]["text"].to_list()
    scores = text_likelihood(run.lm, texts, run.batch_tokens).per_byte
    return [Metric("rivers", "accuracy", run.bootstrap.mean(scores, "rivers"), "capability", True)]


BENCHMARK = Benchmark(
    name="rivers", axis="capability", measure=measure, settings=RiverSettings, chance={"accuracy": 0.0},
    items=Items(load=load, texts=lambda frame: labelled_texts(frame, "rivers", "text")),
)
'''

USE = """
import sys
from pathlib import Path
from curation_pipeline.evaluation.benchmark import Run
from curation_pipeline.evaluation.chance import with_chance
from curation_pipeline.evaluation.items import contamination_keys, overlap_texts, unseen_items, with_items
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.registry import all_benchmarks
from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.evaluation.rows import metrics_frame
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.evaluation import items

rivers = all_benchmarks()[-1]
assert rivers.name == "rivers"
settings = EvaluationSettings(rivers={"kept": 5, "used": 3})
items.with_items = lambda: [(rivers, rivers.items)]
frames = items.load_items(Path("nowhere"), 1, settings)
assert frames["rivers"].height == 5
assert items.item_parameters(settings)["sizes"] == {"rivers": {"kept": 5}}
chosen = items.choose_items(frames, settings, 7)
assert chosen["rivers"].height == 3
unseen = unseen_items(frames, settings, {"rivers": 3}, 7)["rivers"]
assert unseen.height == 2 and set(unseen["item_id"]).isdisjoint(chosen["rivers"]["item_id"])
assert set(overlap_texts(frames)["benchmark"]) == {"rivers"}
assert contamination_keys(frames).len() == 5
lm = LanguageModel.load(sys.argv[1], 64)
bootstrap = Bootstrap(1, 20, 0.95)
rows = rivers.measure(Run(lm, chosen, None, None, "judge", settings, bootstrap))
found = with_chance(metrics_frame(rows, 1)).row(0, named=True)
assert (found["n"], found["chance"], found["at_chance"]) == (3, 0.0, True)
"""


@pytest.mark.slow
def test_a_benchmark_of_another_package_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "rivers.py").write_text(PLUGIN)
    installed = tmp_path / "rivers-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: rivers\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[{GROUP}]\nrivers = rivers:BENCHMARK\n")
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    checkpoint = build(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", start + USE, str(checkpoint)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_built_in_benchmark_is_found_once() -> None:
    names = [benchmark.name for benchmark in all_benchmarks()]
    assert len(names) == len(set(names))
    assert challenges.BENCHMARK in all_benchmarks()


@pytest.mark.parametrize("name", [benchmark.name for benchmark in all_benchmarks()])
def test_what_leans_on_another_metric_names_one_with_a_chance_level(name: str) -> None:
    (found,) = (benchmark for benchmark in all_benchmarks() if benchmark.name == name)
    assert {on.split("/")[0] for on in found.understood_by.values()} <= set(found.chance)
