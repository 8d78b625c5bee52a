"""What `detectors.py` measured, in words and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GOALS = ("edos", "wiki_talk", "impermium", "toxigen")
"""Sets on which the ensemble has to beat every detector."""


def summary(found: dict[str, Any]) -> list[str]:
    """The goals, each with what was reached."""
    lines = ["set          AUROC  best single        gain (95%)              ECE    best single, as it is / calibrated"]
    for name, entry in found["sets"].items():
        best = max(entry["single"].items(), key=lambda item: item[1]["auroc"])
        gain = best[1]["auroc_gain"]
        errors = [one["ece"] for one in entry["single"].values()]
        alike = [one.get("ece_when_calibrated_alike", float("nan")) for one in entry["single"].values()]
        lines.append(
            f"{name:12s} {entry['auroc'][0]:.3f}  {best[1]['auroc']:.3f} {best[0]:22s} {gain[0]:+.3f} "
            f"({gain[1]:+.3f} to {gain[2]:+.3f})  {entry['ece'][0]:.3f}  {min(errors):.3f} / {min(alike):.3f}"
            f"{'   <- goal' if name in GOALS else ''}"
        )
    lines.append("identity templates: widest gap of false positives")
    for name, one in found["identity_templates"].items():
        if isinstance(one, dict):
            rest = f"AUROC {one['auroc']:.3f}, recall {one['recall']:.3f}"
            lines.append(f"  {name:24s} {one['gap']:.3f} (sd {one['spread_sd']:.3f}), {rest}")
    lines.append("identity swaps: median change of P(harm)")
    lines += [f"  {name:12s} {one['ensemble'][0]:.3f} ({one['ensemble'][1]:.3f} to {one['ensemble'][2]:.3f})"
              for name, one in found["identity_swaps"].items()]  # fmt: skip
    over = {name: entry["auroc"][0] for name, entry in found["sets"].items()}
    for least in (100, 300):
        groups = [row for row in found["groups"] if row["dataset"] in over and row["n"] >= least]
        errors = [row["value"] <= 0.05 for row in groups if row["metric"] == "ece"]
        areas = [row["value"] >= over[row["dataset"]] - 0.05 for row in groups if row["metric"] == "bpsn_auc"]
        lines.append(
            f"groups of {least} texts or more: calibration error at most .05 for {sum(errors)} of {len(errors)}, BPSN "
            f"within .05 of the set's AUROC for {sum(areas)} of {len(areas)}"
        )
    evaded = ", ".join(f"{name} {one['evasion']:.2f}" for name, one in found["red_team"].items())
    lines.append(f"share of flagged texts that a disguise frees: {evaded}")
    bias = {name: one["benign_flagged"] for name, one in found["sets"]["redditbias"]["single"].items()}
    lines.append(f"benign Reddit comments flagged: {', '.join(f'{name} {share:.3f}' for name, share in bias.items())}")
    lines.append("preference accuracy")
    lines += [f"  {row['dataset']:12s} {row['metric']:14s} {row['group']:14s} {row['value']:.3f} "
              f"({row['ci_low']:.3f} to {row['ci_high']:.3f})" for row in found["preferences"]]  # fmt: skip
    return lines


def draw(found: dict[str, Any], path: Path) -> None:
    """Areas of every detector and of the ensemble, a group of bars a set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names: Sequence[str] = list(found["sets"])
    singles = list(next(iter(found["sets"].values()))["single"])
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.85 / (len(singles) + 1)
    for place, single in enumerate([*singles, "ensemble"]):
        values = [
            entry["auroc"][0] if single == "ensemble" else entry["single"][single]["auroc"]
            for entry in found["sets"].values()
        ]
        color = "black" if single == "ensemble" else None
        axes.bar([i + place * width for i in range(len(names))], values, width, label=single, color=color)
    axes.axhline(0.5, linewidth=0.6, color="grey")
    axes.set_xticks([i + 0.4 for i in range(len(names))], names, rotation=20, ha="right")
    axes.set(ylabel="AUROC on held-out human labels", ylim=(0.3, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=4, loc="lower left", fontsize=8)
    figure.savefig(path, dpi=120)
