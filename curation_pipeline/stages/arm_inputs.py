"""What some arms read besides the pool: flags of rules (manual_filters) and credit of the first probes (regmix)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.annotate.quality import rule_names
from curation_pipeline.errors import ConfigError, LakeError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.selection.bad_words import WORD_LIST, bad_words, passes_word_list
from curation_pipeline.selection.baselines import declared
from curation_pipeline.selection.inputs import PREFIX, Texts
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import Gate
from curation_pipeline.stages.state import MAIN, state_partition

CHUNK = 20_000
"""Texts that are held at once."""

Flags = dict[str, npt.NDArray[np.bool_]]


def check_arms(ctx: Context, arms: Sequence[str]) -> None:
    """Say, before anything is started, what arms lack that no run can give them.

    Args:
        ctx: the surroundings.
        arms: names of arms; those of ``experiment.arms`` or of one cell.

    Raises:
        ConfigError: an arm does not exist, or manual_filters is to ask for a rule that does not exist.
        DownloadError: the list of bad words that manual_filters asks for cannot be had.
    """
    if not any(declared(arm).needs == "flags" for arm in arms):
        return
    rules = ctx.profile.baselines.manual_rules
    known = {*rule_names(ctx.profile.annotate.quality), WORD_LIST}
    if unknown := [rule for rule in rules if rule not in known]:
        raise ConfigError(
            f"baselines.manual_rules: no quality rule or family {', '.join(unknown)}; allowed: "
            f"{', '.join(sorted(known))}"
        )
    if WORD_LIST in rules:
        bad_words(ctx.cache)


def needs_loop(arm: str) -> bool:
    """Whether an arm can start only when the loop's first probes have been run."""
    return declared(arm).needs == "credit"


def first_probes(lake: Lake, chain: str, base: str) -> Manifest:
    """The probes that a one-shot arm learns from: its own chain's first where it has any, else the loop's first.

    Args:
        lake: the lake.
        chain: the arm's chain.
        base: id of the base checkpoint in force.

    Raises:
        LakeError: there are none, or they fine-tuned another base than the arm starts from.
    """
    found = lake.head("probes", state_partition(chain, 1)) or lake.head("probes", state_partition(MAIN, 1))
    arm = chain.split("/")[0]
    if found is None:
        raise LakeError(
            f"arm {arm!r} learns from the probes of the loop's first iteration, and they have not been run; run the "
            "loop's first iteration (`curate run`), then this arm; nothing was started"
        )
    if base not in found.inputs:
        raise LakeError(
            f"arm {arm!r} learns from the probes {found.id}, which fine-tuned another base than {base}; run the loop's "
            "first iteration on the base in force, then this arm; nothing was started"
        )
    return found


def rule_tables(lake: Lake, corpus: Mapping[str, Mapping[str, str]]) -> tuple[Manifest, ...]:
    """The quality rules of every partition that a gate froze, in order of key."""
    return tuple(lake.get(ids["quality_rules"]) for _, ids in sorted(corpus.items()))


def manual_flags(ctx: Context, gate: Gate, rules: Sequence[str], doc_ids: pl.Series, texts: Texts) -> Flags:
    """Whether each document of a pool passes each rule.

    Args:
        ctx: the surroundings.
        gate: whose corpus the pool was built from.
        rules: names of quality rules or families, or ``word_list``.
        doc_ids: (n,) the pool's documents.
        texts: reads their texts.

    Returns:
        For each rule (n,) in the order of ``doc_ids``. A document without an annotation passes, as nothing speaks
        against it.
    """
    flags: Flags = {}
    columns = [f"{PREFIX}{rule}" for rule in rules if rule != WORD_LIST]
    if columns:
        wanted = doc_ids.unique().implode()
        parts = [
            pl.scan_parquet(ctx.lake.path(table, "data.parquet"), glob=False)
            .filter(pl.col("doc_id").is_in(wanted))
            .select("doc_id", *columns)
            .collect()
            for table in rule_tables(ctx.lake, gate.corpus)
        ]
        every = pl.concat(parts).unique("doc_id", keep="first", maintain_order=True)
        mine = doc_ids.to_frame("doc_id").join(every, on="doc_id", how="left", maintain_order="left")
        flags = {name.removeprefix(PREFIX): mine[name].fill_null(True).to_numpy() for name in columns}
    if WORD_LIST in rules:
        phrases = bad_words(ctx.cache)
        starts = range(0, len(doc_ids), CHUNK)
        parts_passed = [passes_word_list(texts(doc_ids.slice(start, CHUNK)), phrases) for start in starts]
        flags[WORD_LIST] = np.concatenate(parts_passed) if parts_passed else np.zeros(0, np.bool_)
    return flags
