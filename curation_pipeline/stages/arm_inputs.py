"""What some arms read besides the pool: flags of rules (manual_filters) and credit of the first probes (regmix)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.annotate.quality import rule_names
from curation_pipeline.errors import ConfigError, LakeError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.selection.bad_words import WORD_LIST, bad_words, passes_word_list
from curation_pipeline.selection.baselines import declared
from curation_pipeline.selection.inputs import PREFIX
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import Gate
from curation_pipeline.stages.state import MAIN, state_partition
from curation_pipeline.stages.texts import corpus_parts, corpus_texts


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


def manual_flags(ctx: Context, gate: Gate, rules: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Whether each document passes each rule, by partition and a part at a time.

    Args:
        ctx: the surroundings.
        gate: with the corpus that is asked about.
        rules: names of quality rules or families, or ``word_list``.

    Yields:
        Frames with doc_id and a column ``pass_<rule>`` for each rule.
    """
    flags = [f"{PREFIX}{rule}" for rule in rules if rule != WORD_LIST]
    if WORD_LIST not in rules:
        yield from corpus_parts(ctx.lake, gate.corpus, (), {"quality_rules": flags})
        return
    phrases = bad_words(ctx.cache)
    for part in corpus_texts(ctx.lake, gate.corpus, ctx.profile.removal.redact_pii, {"quality_rules": flags}):
        passes = pl.Series(f"{PREFIX}{WORD_LIST}", passes_word_list(part["text"], phrases))
        yield part.drop("text").with_columns(passes)


def flags_of(passed: pl.DataFrame, rules: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """For each rule whether each document (n,) passes it: one without an annotation does, nothing speaks against it."""
    return {rule: passed[f"{PREFIX}{rule}"].fill_null(True).to_numpy() for rule in rules}
