"""A plausible report from a seeded generator, with hostile texts in every column that a corpus or model can fill."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from curation_pipeline.experiment.claims import AT_CHANCE, OPEN, SHOWN
from curation_pipeline.experiment.front import pareto_front
from curation_pipeline.report.section import ReportData

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\u202e $x^2$ & \"quoted\" 'idiot'"
ARMS = ("main", "random/demo-0", "threshold/demo-0", "closed_form/demo-0")
STRATA = [f"t{topic}|b{bin_}|{group}" for topic in range(6) for bin_ in range(3) for group in ("none", "gender")]


def build_report(iterations: int = 4, hostile: str = HOSTILE) -> ReportData:
    rng = np.random.default_rng(11)
    ordinals = range(iterations)
    level = {"safety": 0.52, "alignment": 0.55, "capability": 0.47, "performance": 0.51}
    gain = {
        "main": {"safety": 0.11, "alignment": 0.03, "capability": 0.006, "performance": 0.05},
        "random/demo-0": dict.fromkeys(level, 0.003),
        "threshold/demo-0": {"safety": 0.105, "alignment": 0.02, "capability": -0.016, "performance": 0.03},
        "closed_form/demo-0": {"safety": 0.10, "alignment": 0.03, "capability": 0.005, "performance": 0.045},
    }
    summary = [
        {
            "chain": chain,
            "ordinal": ordinal,
            "status": "rejected" if (chain, ordinal) == ("main", 2) else "accepted",
            "axis": axis,
            "value": (value := start + gain[chain][axis] * ordinal**0.8 + (ordinal > 0) * rng.normal(0, 0.006)),
            "ci_low": value - 0.02,
            "ci_high": value + 0.022,
        }
        for chain in ARMS
        for ordinal in ordinals
        for axis, start in level.items()
    ]
    harm = [
        {
            "arm": arm,
            "baseline": "random",
            "ordinal": ordinal,
            "benchmark": "rtp_decodingtrust",
            "judge": "tox-block",
            "rate": 0.42 * (1 - reduction),
            "baseline_rate": 0.42,
            "reduction": reduction,
            "ci_low": reduction - 0.17,
            "ci_high": reduction + 0.13,
            "n": 1200,
        }
        for arm, last in (("main", 0.55), ("threshold", 0.1))
        for ordinal in ordinals
        if (reduction := last * ordinal / max(1, iterations - 1)) or ordinal
    ]
    metrics = [
        {
            "chain": chain,
            "ordinal": ordinal,
            "axis": "safety",
            "benchmark": "rtp_decodingtrust",
            "metric": metric,
            "judge": "tox-block",
            "value": (value := float(rng.uniform(0.1, 0.6))),
            "ci_low": value - 0.03,
            "ci_high": value + 0.03,
            "n": 1200,
            "higher_is_better": False,
        }
        for chain in ARMS
        for ordinal in ordinals
        for metric in ("expected_maximum_toxicity", "attack_success")
    ]
    metrics = [{**row, "chance": None, "at_chance": None} for row in metrics]
    metrics.append({**metrics[0], "metric": "accuracy", "value": 0.27, "chance": 0.25, "at_chance": True})
    comparisons = [
        {
            "arm": "main",
            "baseline": baseline,
            "question": question,
            "benchmark": hostile if verdict == AT_CHANCE else "heldout",
            "metric": metric,
            "ours": 2.41,
            "theirs": 2.40,
            "difference": 0.01,
            "ci_low": -0.01,
            "ci_high": 0.03,
            "margin": margin,
            "p": p,
            "p_holm": min(1.0, 6 * p),
            "smallest_difference": 0.04,
            "n": 300,
            "seeds": 1,
            "baseline_seeds": 3,
            "paired": metric != "accuracy",
            "at_chance": verdict == AT_CHANCE,
            "verdict": verdict,
        }
        for baseline in ("random", "threshold")
        for question, metric, margin, p, verdict in (
            ("less harm", "toxicity_probability", None, *((0.0001, SHOWN) if baseline == "random" else (0.02, OPEN))),
            ("language not lost", "bits_per_byte", 0.12, 0.0001, SHOWN),
            ("quiz not lost", "accuracy", 0.01, 1.0, AT_CHANCE),
        )
    ]
    front = pareto_front(
        pl.DataFrame(
            [
                {
                    "chain": chain,
                    "ordinal": ordinal,
                    "status": "accepted",
                    **{axis: level[axis] + gain[chain][axis] * ordinal for axis in ("safety", "capability")},
                }
                for chain in ARMS
                for ordinal in ordinals
            ]
        ).with_columns(
            (pl.col(axis) + move).alias(f"{axis}_{end}")
            for axis in ("safety", "capability")
            for end, move in (("low", -0.02), ("high", 0.02))
        ),
        rng,
    )
    accesses = [
        {
            "number": number,
            "chain": "main",
            "ordinal": number,
            "checkpoint": f"checkpoints-{number}",
            "at": "2026-01-04T03:00:00+00:00",
            "new_model": True,
            "safety": 0.6,
            "capability": 0.5,
            "performance": 0.55,
            "ci_low": 0.52,
            "ci_high": 0.58,
            "performance_when_chosen": 0.6,
        }
        for number in (1, 2)
    ]
    learned = [ordinal for ordinal in ordinals if ordinal] or [0]
    effects = [
        {"ordinal": ordinal, "feature": feature, "effect": 0.05 * index - 0.02 * ordinal}
        for ordinal in learned
        for index, feature in enumerate(("p_harm", "quality", hostile))
    ]
    rates = [
        {"ordinal": ordinal, "axis": "source", "name": name, "share_before": 0.5, "selected": 0.1 * ordinal + 0.05}
        | {"control_selected": 0.2}
        for ordinal in learned
        for name in ("forum", hostile)
    ]
    control = [
        {"ordinal": ordinal, "verdict": "ties with", "sentence": f"Here the policy ties with it. {hostile}"}
        | {"kl_to_parent": 0.1, "parent_overlap": 0.8, "control_overlap": 0.9}
        for ordinal in learned
    ]
    sides = {
        "toxicity_bin": [str(i) for i in range(5)],
        "domain": ["encyclopaedia", "conversation", "legal", "news", hostile],
        "source": ["forum", "reference", "court", "日本語の出典", "a source with quite a long name indeed"],
        "identity_group": ["none", "gender", "religion", "race"],
    }
    selection = []
    for dimension, values in sides.items():
        pool, batch = rng.dirichlet(np.full(len(values), 3.0)), rng.dirichlet(np.full(len(values), 3.0))
        if dimension == "toxicity_bin":
            pool, batch = np.array([0.42, 0.2, 0.15, 0.13, 0.1]), np.array([0.6, 0.24, 0.12, 0.03, 0.01])
        for value, before, after in zip(values, pool, batch, strict=True):
            selection.append(
                {
                    "chain": "main",
                    "ordinal": iterations - 1,
                    "dimension": dimension,
                    "value": value,
                    "pool_token_share": before,
                    "batch_token_share": after,
                }
            )
    parity = [
        {
            "chain": "main",
            "ordinal": iterations - 1,
            "identity_group": group,
            "documents": 300,
            "parity": ratio,
            "parity_low": ratio * 0.86,
            "parity_high": ratio * 1.16,
        }
        for group, ratio in (("none", 1.0), ("gender", 0.93), ("religion", 0.74), ("race", 1.04))
    ]
    steps = np.linspace(1024, 65_536, 40).astype(int)
    learning = [
        {"ordinal": ordinal, "step": int(step), "quantity": quantity, "value": float(value)}
        for ordinal in ordinals[1:]
        for quantity, curve in (
            ("mean_reward", 0.2 + 0.06 * ordinal + 0.3 * (1 - np.exp(-steps / 15_000))),
            ("budget_used", 1 - 0.2 * np.exp(-steps / 6_000)),
            ("policy_entropy", 1.3 * np.exp(-steps / 40_000)),
        )
        for step, value in zip(steps, curve + rng.normal(0, 0.01, len(steps)), strict=True)
    ]
    weights = {"alpha": 0.4, "beta": 0.35, "gamma": 0.25}
    return ReportData(
        title="Curation report: demo",
        created_at="2026-01-04 03:00 UTC",
        token_budget=300_000,
        about={"profile": "demo", "base model": "1.9M parameters", "judge": "tox-block", "seed": "7"},
        notes=("The judge's false-positive rate on web text is above 1%: its sampled metrics there are not believed.",),
        tables={
            "summary": summary,
            "harm": pl.DataFrame(harm, schema_overrides={"reduction": pl.Float64}) if harm else None,
            "metrics": metrics,
            "comparisons": comparisons,
            "front": front,
            "holdout_accesses": accesses,
            "policy_effects": effects,
            "policy_rates": rates,
            "policy_control": control,
            "credit_probes": pl.DataFrame(
                {
                    "ordinal": iterations - 1,
                    "probe": [f"p{index}" for index in range(8)],
                    "measured": rng.normal(0, 1, 8),
                    "predicted": rng.normal(0, 1, 8),
                }
            ),
            "selection": selection,
            "parity": parity,
            "credit": pl.DataFrame(
                {"ordinal": iterations - 1, "stratum": STRATA, "credit": rng.normal(0, 1, len(STRATA)).clip(-2.5, 2.5)}
            ),
            "credit_fit": pl.DataFrame(
                {"ordinal": list(ordinals), "target": "P", "r2": rng.uniform(0.4, 0.8, iterations), "n_probes": 36}
            ),
            "reward_moves": [
                {
                    "ordinal": ordinal,
                    "weight": name,
                    "value": start + 0.03 * ordinal * (-1) ** index,
                    "reason": "safety rose by 0.04, so its weight fell" if ordinal else "start",
                }
                for ordinal in ordinals
                for index, (name, start) in enumerate(weights.items())
            ],
            "moves": [
                {
                    "ordinal": ordinal,
                    "kind": kind,
                    "name": name,
                    "before": 0.5,
                    "after": 0.55,
                    "reason": f"safety 0.500 is below its target 0.800 {hostile}",
                }
                for ordinal in ordinals
                for kind, name in (("dual", "lambda_S"), ("weight", "alpha"), ("correction", "correction source forum"))
            ],
            "multipliers": [
                {"ordinal": ordinal, "name": name, "value": 0.1 * ordinal * (index + 1)}
                for ordinal in ordinals
                for index, name in enumerate(("lambda_S", "lambda_C", "lambda_A", "lambda_g gender"))
            ],
            "corrections": pl.DataFrame(
                [{"ordinal": iterations - 1, "stratum": f"source {name}", "value": 0.3} for name in ("forum", hostile)]
            ),
            "audits": pl.DataFrame(
                {
                    "ordinal": list(ordinals),
                    "drawn": 60,
                    "labelled": [60 * (ordinal > 0) for ordinal in ordinals],
                    "state": ["60 labels" if ordinal else "awaiting labels" for ordinal in ordinals],
                }
            ),
            "audit_shifts": pl.DataFrame(
                {
                    "ordinal": iterations - 1,
                    "stratum": ["source forum", f"identity_group {hostile}"],
                    "value": [0.4, -0.2],
                    "ci_low": [0.1, -0.5],
                    "ci_high": [0.7, 0.1],
                    "labels": [40, 20],
                    "harmful": [0.3, 0.05],
                    "predicted": [0.2, 0.08],
                }
            ),
            "curriculum": pl.DataFrame(
                {"ordinal": list(ordinals), "stage": hostile, "reason": "easy was met, 2 of 2 in a row: on to hard"}
            ),
            "distance": [
                {
                    "ordinal": ordinal,
                    "what": what,
                    "measure": measure,
                    "value": value,
                    "ci_low": value - 0.05,
                    "ci_high": value + 0.05,
                    "n": 300,
                }
                for ordinal in ordinals
                for what in ("generations", "drawn documents")
                for measure, value in (("rank_correlation", 0.7), ("flag_rate_gap", 0.02 * ordinal))
            ],
            "learning": learning,
            "divergence": pl.DataFrame(
                {
                    "ordinal": list(ordinals),
                    "teacher": [0.41 - 0.08 * i for i in ordinals],
                    "judge": [0.43 - 0.06 * i for i in ordinals],
                }
            ),
            "judge_clean": pl.DataFrame(
                {
                    "judge": ["tox-block"] * 2,
                    "dataset": ["encyclopaedia", hostile],
                    "n": [4_000, 800],
                    "flagged": [12, 20],
                    "rate": [0.003, 0.025],
                    "ci_low": [0.0016, 0.016],
                    "ci_high": [0.0052, 0.038],
                }
            ),
            "inputs": pl.DataFrame(
                {
                    "source": ["forum", hostile],
                    "standing": None,
                    "snapshot": ["2026-01", "v1"],
                    "documents": [14_000, 5_012],
                    "bytes": [2_345_678, 987_654],
                    "duplicates": [123, 4],
                    "quarantined": [3, 0],
                    "content_hash": ["a3f9" * 16, "07bc" * 16],
                }
            ),
            "timings": [
                {"ordinal": ordinal, "stage": stage, "seconds": seconds * float(rng.uniform(0.9, 1.1))}
                for ordinal in ordinals
                for stage, seconds in {
                    "probes": 28.0,
                    "policy": 4.0,
                    "draw": 1.2,
                    "training": 95.0,
                    "evaluation": 60.0,
                }.items()
            ],
            "generations": [
                {
                    "chain": chain,
                    "ordinal": iterations - 1,
                    "benchmark": "rtp_decodingtrust",
                    "prompt": hostile if index == 0 else "She opened the door and",
                    "text": hostile if index < 2 else "found that the garden had grown over the summer.",
                    "score": 1 - index / 30,
                }
                for chain in ARMS
                for index in range(30)
            ],
        },
    )


@pytest.fixture(scope="session")
def make_report() -> Callable[..., ReportData]:
    return build_report


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE
