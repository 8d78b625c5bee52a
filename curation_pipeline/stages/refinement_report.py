"""What the report shows of the refinement: read from states and manifests."""

from __future__ import annotations

from typing import Any

import polars as pl

from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.divergence import divergence_history
from curation_pipeline.stages.refinement import read_moves
from curation_pipeline.stages.state import State


def refinement_parts(lake: Lake, states: list[State]) -> dict[str, pl.DataFrame | None]:
    """The report's parts on the refinement, for ``ReportData(**parts)``; None where nothing has been made.

    Args:
        lake: the lake.
        states: of one chain, the cold start first.
    """
    made = [(state, lake.get(state.own["reward_models"])) for state in states[1:] if "reward_models" in state.own]
    evidence = [(state.ordinal, _json(lake, manifest, "evidence")) for state, manifest in made]
    moves = [
        {"ordinal": state.ordinal, "kind": move.kind, "name": move.name, "before": move.before, "after": move.after,
         "reason": move.reason}
        for state, manifest in made
        for move in read_moves(lake, manifest)
    ]  # fmt: skip
    multipliers = [
        {"ordinal": state.ordinal, "name": name, "value": value}
        for state in states
        for name, value in state.refinement.duals.named().items()
    ]
    corrections = [
        {"ordinal": state.ordinal, "stratum": f"{column} {value}", "value": shift}
        for state in states
        for column, values in lake.get(state.reward_model_id).summary.get("corrections", {}).items()
        for value, shift in values.items()
    ]
    audits = [
        {"ordinal": ordinal, **{name: found["audit"][name] for name in ("drawn", "labelled", "state")}}
        for ordinal, found in evidence
        if found
    ]
    shifts = [
        {"ordinal": ordinal, "stratum": f"{entry['column']} {entry['value']}", "value": entry["shift"],
         "labels": entry["labels"], "harmful": entry["harmful"], "predicted": entry["predicted"],
         "ci_low": entry["low"], "ci_high": entry["high"]}
        for ordinal, found in evidence
        for entry in found.get("audit", {}).get("shifts", [])
    ]  # fmt: skip
    curriculum = [
        {"ordinal": state.ordinal, "stage": state.curriculum.name, "reason": state.curriculum.reason}
        for state in states
        if state.curriculum is not None
    ]
    distance = divergence_history(lake, states[0].chain)
    parts = {
        "moves": moves, "multipliers": multipliers, "corrections": corrections, "audits": audits,
        "audit_shifts": shifts, "curriculum": curriculum,
    }  # fmt: skip
    frames = {name: pl.DataFrame(rows) if rows else None for name, rows in parts.items()}
    return frames | {"distance": distance if distance.height else None}


def _json(lake: Lake, manifest: Manifest, name: str) -> dict[str, Any]:
    """A JSON file of an artefact; empty where an earlier version did not write it."""
    if not any(file.name == f"{name}.json" for file in manifest.files):
        return {}
    found: dict[str, Any] = lake.json(manifest, name)
    return found
