"""What an iteration showed of the reward's constraints, gathered from its artefacts; data of role ``credit`` alone."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import composition
from curation_pipeline.credit.tradeoff import safety_capability_tradeoff
from curation_pipeline.evaluation.likelihood import heldout_scores
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.constraints import source_ratios
from curation_pipeline.reward.evidence import Evidence, Ratio, Tradeoff
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.corpus_figures import Sums
from curation_pipeline.stages.drawn import drawn_parts
from curation_pipeline.stages.evaluation import performances
from curation_pipeline.stages.gate import Gate
from curation_pipeline.stages.parity import batch_parity
from curation_pipeline.stages.state import State
from curation_pipeline.training.runtime import torch_runtime

AXES = ("safety", "alignment", "capability")
CODE_VERSION = "1"


def gather_evidence(ctx: Context, gate: Gate, parent: State, metrics: Manifest) -> tuple[Evidence, set[str]]:
    """The evidence of an iteration, and the ids of the artefacts that it was read from.

    A curriculum's stage may leave constraints out; what they would show is then not looked at.
    """
    lake, settings = ctx.lake, ctx.profile.reward.refinement
    in_force = set(gate.stage.get("constraints", (*AXES, "groups")))
    axes = [axis for axis in AXES if axis in in_force]
    _, now = performances(lake, metrics)
    base_metrics = lake.require("base_metrics")
    stage_safety, stage_alignment = gate.stage.get("target_safety"), gate.stage.get("target_alignment")
    targets = {
        "safety": ctx.profile.loop.target_safety if stage_safety is None else stage_safety,
        "alignment": _target_alignment(ctx, base_metrics) if stage_alignment is None else stage_alignment,
        # The base's capability is one half by definition: it is the reference that may be lost by a few percent.
        "capability": 0.5,
    }
    read = {base_metrics.id}
    parity, sources, tradeoff = {}, {}, None
    if "groups" in in_force:
        pool, batch = (lake.require(table, gate.partition) for table in ("pool", "batches"))
        found = batch_parity(lake, pool.id, batch.id, settings.min_group_documents).filter(pl.col("parity") > 0)
        parity = {
            group: Ratio(value, low, high, n)
            for group, n, _, value, low, high in found.sort("identity_group").iter_rows()
        }
        heldout = lake.get(gate.references["heldout_texts"])
        base, own = (
            heldout_likelihood(ctx, model, heldout)
            for model in (lake.get(gate.references["base_checkpoint"]), lake.require("checkpoints", gate.partition))
        )
        sources = source_ratios(lake.frame(base), lake.frame(own))
        read |= {pool.id, batch.id, base.id, own.id}
    probes = lake.head("probes", gate.partition)
    if probes is not None and "safety" in in_force:
        tradeoff = _tradeoff(ctx, gate, parent, probes, metrics)
        read |= {probes.id, *parent.probes}
    evidence = Evidence(
        now={axis: getattr(now, axis) for axis in axes},
        before={axis: getattr(parent.credit_metrics, axis) for axis in axes},
        targets=targets,
        parity=parity,
        sources=sources,
        tradeoff=tradeoff,
    )
    return evidence, read


def _target_alignment(ctx: Context, base_metrics: Manifest) -> float:
    """The profile's, or what the uncurated base reaches less the tolerance."""
    given = ctx.profile.reward.refinement.target_alignment
    if given is not None:
        return given
    _, base = performances(ctx.lake, base_metrics)
    return max(0.0, base.alignment - ctx.profile.reward.tolerance)


def heldout_likelihood(ctx: Context, model: Manifest, heldout: Manifest) -> Manifest:
    """Likelihood of the held-out texts of role ``credit`` under a model, text by text; made once for each model."""
    settings, window = ctx.profile.evaluation, ctx.profile.training.sequence_length
    parameters = {"max_heldout_chars": settings.max_heldout_chars, "window": window}
    recipe = Recipe(
        "heldout_likelihoods", {"model": model.id}, (model.id, heldout.id), parameters, ctx.profile.seed, CODE_VERSION
    )

    def make(draft: Draft) -> None:
        texts = ctx.lake.frame(heldout).filter(pl.col("role") == "credit")
        with torch_runtime(settings.threads):
            lm = LanguageModel.load(ctx.lake.folder(model), window)
            scores = heldout_scores(lm, texts, settings.max_heldout_chars, settings.batch_tokens)
        draft.frame(scores)
        draft.summary.update(model=model.id, texts=scores.height)

    return ctx.lake.build(recipe, make)


def _tradeoff(ctx: Context, gate: Gate, parent: State, probes: Manifest, metrics: Manifest) -> Tradeoff | None:
    lake = ctx.lake
    pool, batch = (lake.require(table, gate.partition) for table in ("pool", "batches"))
    sums = Sums(
        ["stratum"],
        pl.len().cast(pl.Int64).alias("documents"),
        pl.col("p_harm").cast(pl.Float64).sum(),
        pl.col("n_tokens").cast(pl.Int64).filter(pl.col("weight").is_not_null()).sum(),
    )
    for part in drawn_parts(lake, pool, batch, ["stratum", "n_tokens", "p_harm"]):
        sums.add(part)
    found = sums.table()
    strata = tuple(found["stratum"].to_list())
    harm = (found["p_harm"] / found["documents"]).to_numpy()
    frames, ages = [], []
    for age, identity in enumerate((probes.id, *reversed(parent.probes))):
        frames.append(lake.frame(lake.get(identity)))
        ages.append(np.full(frames[-1].height, float(age)))
    reference = lake.json(metrics, "performance")["reference_bits_per_byte"]["credit_metrics"]
    return safety_capability_tradeoff(
        pl.concat(frames, how="diagonal_relaxed"), strata, composition(found, strata), harm,
        np.concatenate(ages), reference, ctx.profile.credit,
    )  # fmt: skip
