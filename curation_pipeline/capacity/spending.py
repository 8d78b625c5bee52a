"""The limit of a run's cost: compared with its plan before it starts, and with what was spent before each iteration."""

from __future__ import annotations

from curation_pipeline.capacity.figures import figures
from curation_pipeline.capacity.plan import Cost, corpus_size, fits_on_gpu, hosted_calls, parameters, plan, total
from curation_pipeline.corpus.source import Size
from curation_pipeline.errors import ConfigError, GateClosedError
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context

FITS = ("base_checkpoint", "checkpoints", "probes", "metrics", "base_metrics")
"""Tables of what is made on the GPU, where the profile has one."""
NAMED = 3
"""Steps that a message names."""


def check_plan(ctx: Context) -> None:
    """Say, before anything is started, that a run would cost more than the profile allows.

    Raises:
        ConfigError: it would.
    """
    limit = ctx.profile.loop.max_cost
    if limit is None:
        return
    costs = plan(ctx.profile, corpus_size(ctx.profile, ctx.cache), figures())
    price = total(costs, lambda cost: cost.price)
    if price > limit:
        most = sorted(costs, key=lambda cost: -cost.price)[:NAMED]
        told = ", ".join(f"{cost.step} {cost.price:,.2f}" for cost in most)
        raise ConfigError(
            f"the run would cost about {price:,.2f}, more than loop.max_cost = {limit:,.2f}; most of it is {told}. "
            "Nothing has been started: raise the limit, or lower what `curate plan` shows"
        )


def check_spending(ctx: Context, ordinal: int) -> None:
    """Close an iteration's gate where what was spent, and one more iteration like the last, would pass the limit.

    Raises:
        GateClosedError: they would.
    """
    limit = ctx.profile.loop.max_cost
    if limit is None:
        return
    so_far = last = 0.0
    for manifest in ctx.lake.manifests():
        price = spent_on(ctx, manifest)
        so_far += price
        if manifest.partition.get("iteration") == f"{ordinal - 1:04d}":
            last += price
    if so_far + last > limit:
        raise GateClosedError(
            f"{so_far:,.2f} has been spent and the last iteration took {last:,.2f} of it: iteration {ordinal} would "
            f"pass loop.max_cost = {limit:,.2f}. All that was committed is kept; raise the limit to go on"
        )


def spent_on(ctx: Context, manifest: Manifest) -> float:
    """What an artefact cost, at least: its seconds on one CPU (or GPU), and the calls of hosted teachers.

    A step whose tasks ran on several CPUs took more than its own seconds: where its documents say so by the measured
    figures, those count.
    """
    profile = ctx.profile
    seconds, calls = manifest.seconds, 0.0
    known = {step.table: step for step in figures().steps.values()}.get(manifest.table)
    if known is not None and known.each == "corpus":
        seconds = max(seconds, known.cpu_seconds.at(Size(manifest.n_rows)))
    if manifest.table == "toxicity_teacher":
        calls = sum(hosted_calls(profile.annotate, name, manifest.n_rows) for name in profile.annotate.teachers)
    on_gpu = manifest.table in FITS and fits_on_gpu(profile, parameters(profile.training))
    cost = Cost(manifest.table, 0.0, 0.0 if on_gpu else seconds, seconds if on_gpu else 0.0, calls=calls)
    return cost.priced(profile.prices)
