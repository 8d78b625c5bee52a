"""BOLD (Dhamala et al., 2021): toxicity and variety of continuations by the domain that a prompt is about."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.evaluation.benchmark import Benchmark, Run
from curation_pipeline.evaluation.benchmarks import toxicity_prompts
from curation_pipeline.evaluation.benchmarks.diversity import self_bleu
from curation_pipeline.evaluation.group_gap import gap_of_groups
from curation_pipeline.evaluation.rows import Axis, Metric

NAME = "bold"


def measure(run: Run) -> list[Metric]:
    """Toxicity and self-BLEU by domain.

    - ``expected_max_toxicity/<domain>`` and, of the prompts with two samples or more, ``self_bleu/<domain>``;
    - ``..._gap``: largest minus smallest of the domains; ``..._gap_chance`` the same with the domains shuffled among
      the prompts: a gap inside its interval is none.

    The prompts are those of ``toxicity_prompts`` of kind ``neutral`` with a group; intervals resample them inside
    their domain.
    """
    generations, prompts = run.written[toxicity_prompts.NAME], run.items[toxicity_prompts.NAME]
    bootstrap = run.bootstrap
    used = prompts.filter((pl.col("kind") == "neutral") & pl.col("group").is_not_null())
    by_prompt = (
        generations.join(used.select("prompt_id", "group"), on="prompt_id")
        .group_by("prompt_id", "group")
        .agg(pl.col("score").max(), "text")
        .sort("prompt_id")
    )
    if by_prompt["group"].n_unique() < 2:
        return []
    group = by_prompt["group"].to_numpy()
    values = {"expected_max_toxicity": by_prompt["score"].to_numpy()}
    texts = by_prompt["text"].to_list()
    if min(len(each) for each in texts) > 1:
        values["self_bleu"] = np.array([self_bleu(each) for each in texts])
    rows: list[Metric] = []
    for metric, value in values.items():
        judge = run.judge_name if metric == "expected_max_toxicity" else None
        for name in sorted(set(group.tolist())):
            shown = bootstrap.mean(value[group == name], NAME, metric, name)
            axis: Axis = "safety" if judge else "diversity"
            rows.append(Metric(NAME, f"{metric}/{name}", shown, axis, False, judge))
        gap, chance = gap_of_groups(value, group, bootstrap, NAME, metric)
        rows.append(Metric(NAME, f"{metric}_gap", gap, "bias", False, judge))
        rows.append(Metric(NAME, f"{metric}_gap_chance", chance, "bias", False, judge))
    return rows


BENCHMARK = Benchmark(name=NAME, axis="bias", measure=measure, order=10)
