"""What the report shows of the policy, its control and its credit: read from what their stages wrote."""

from __future__ import annotations

import polars as pl

from curation_pipeline.lake.lake import Lake
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.stages.credit_report import credit_section
from curation_pipeline.stages.policy_report import policy_section
from curation_pipeline.stages.state import State


def policy_parts(lake: Lake, main: list[State]) -> dict[str, pl.DataFrame | None]:
    """The report's parts on the policies of a chain; None where none has a card with a control.

    Args:
        lake: holds them.
        main: the committed states of the chain, the cold start first.
    """
    effects, rates, control = [], [], []
    for state in main:
        manifest = lake.get(state.own["policies"]) if "policies" in state.own else None
        section = None if manifest is None else policy_section(lake, manifest)
        if section is None:
            continue
        ordinal = pl.lit(state.ordinal, pl.Int64).alias("ordinal")
        effects.append(section.effects.filter(pl.col("axis") == "all").select(ordinal, "feature", "effect"))
        rates.append(section.rates.with_columns(ordinal))
        said = section.summary
        control.append(
            {
                "ordinal": state.ordinal,
                "verdict": said["control_verdict"],
                "sentence": said["against_the_closed_form"],
                "control_overlap": said["control_overlap"],
                "kl_to_parent": said.get("kl_to_parent"),
                "parent_overlap": said["parent_overlap"],
            }
        )
    return {
        "policy_effects": pl.concat(effects) if effects else None,
        "policy_rates": pl.concat(rates) if rates else None,
        "policy_control": pl.DataFrame(control, infer_schema_length=None) if control else None,
        **_credit(lake, main),
    }


def _credit(lake: Lake, main: list[State]) -> dict[str, pl.DataFrame | None]:
    found = [(state.ordinal, lake.get(state.own["probes"])) for state in main if "probes" in state.own]
    if not found:
        return dict.fromkeys(("credit", "credit_fit", "credit_probes"))
    fits = [(ordinal, DownstreamCredit.from_json(lake.json(probes, "credit"))) for ordinal, probes in found]
    credit = [
        pl.DataFrame({"stratum": fit.strata, "credit": fit.at()}).with_columns(
            pl.lit(ordinal, pl.Int64).alias("ordinal")
        )
        for ordinal, fit in fits
    ]
    # Leaving out every probe in turn costs as many fits: of the last iteration alone.
    ordinal, probes = found[-1]
    section = credit_section(lake, probes)
    return {
        "credit": pl.concat(credit),
        "credit_fit": pl.DataFrame(
            [{"ordinal": at, "target": fit.metric, "r2": fit.r2, "n_probes": fit.n_probes} for at, fit in fits]
        ),
        "credit_probes": section.probes.select(
            pl.lit(ordinal, pl.Int64).alias("ordinal"), "probe", "measured", "predicted"
        ),
    }
