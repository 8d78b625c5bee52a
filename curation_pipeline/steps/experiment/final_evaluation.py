"""The end: one model is chosen among all iterations and arms, and evaluated on items that none of them was.

The choice is made on reported figures, so the chosen model's own are better than it is: the highest of many noisy
numbers. The figures of this evaluation are free of that as long as it is made once. Every further one is a look, which
is allowed, counted and shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import polars as pl

from curation_pipeline.errors import DataError, LakeError
from curation_pipeline.evaluation.benchmark import FINAL
from curation_pipeline.evaluation.benchmarks.heldout import summary
from curation_pipeline.evaluation.composite import composite, composite_intervals, metric_value
from curation_pipeline.evaluation.items import unseen_items, with_items
from curation_pipeline.evaluation.likelihood import heldout_scores
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.suite import evaluate
from curation_pipeline.experiment.front import pareto_front
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.seeds import derive, generator
from curation_pipeline.stages.arms import reported_chains
from curation_pipeline.stages.benchmarks import read_benchmarks
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import judge_parameters
from curation_pipeline.stages.evaluation import EVALUATION_INPUTS, judge_with, performances
from curation_pipeline.stages.state import MAIN, State, history
from curation_pipeline.steps.experiment.experiment_cell import STEP as EXPERIMENT_CELL
from curation_pipeline.steps.figures import metrics_table
from curation_pipeline.steps.loop.iteration_commit import STEP as ITERATION_COMMIT
from curation_pipeline.steps.step import Place, Step
from curation_pipeline.steps.view import View
from curation_pipeline.training.runtime import torch_runtime

TABLE = "final_evaluation"
VERSION = "2"
_ALL = 2**31
"""More items than any benchmark has."""


@dataclass(frozen=True, slots=True)
class HoldoutAccess:
    """One final evaluation.

    Attributes:
        number: from 1.
        manifest_id: its artefact.
        checkpoint: the model that it looked at.
        chain: the model's chain.
        ordinal: its iteration.
        at: when, ISO 8601.
        new_model: whether no earlier access was to this model.
    """

    number: int
    manifest_id: str
    checkpoint: str
    chain: str
    ordinal: int
    at: str
    new_model: bool


def candidates(lake: Lake, states: dict[str, list[State]]) -> pl.DataFrame:
    """Every model of every chain once, rejected ones included: what ``front.pareto_front`` takes.

    Columns: chain, arm, ordinal, status, checkpoint, metrics, then value, ``_low`` and ``_high`` of safety and
    capability, from the reported figures. All chains start from one base, which is here once.

    Args:
        lake: holds the evaluations.
        states: the committed states of each chain.
    """
    rows: dict[str, dict[str, object]] = {}
    for chain, entries in sorted(states.items(), key=lambda item: (item[0] != MAIN, item[0])):
        for state in entries:
            metrics = lake.get(state.own["metrics"])
            reference = lake.json(metrics, "performance")["reference_bits_per_byte"]["reported"]
            ends = composite_intervals(lake.frame(metrics), reference)
            row = {
                "chain": chain,
                "arm": chain.split("/")[0],
                "ordinal": state.ordinal,
                "status": state.status,
                "checkpoint": state.own["checkpoints"],
                "metrics": metrics.id,
            }
            for axis in ("safety", "capability"):
                row |= {
                    axis: getattr(state.own_performance, axis),
                    f"{axis}_low": ends[axis][0],
                    f"{axis}_high": ends[axis][1],
                }
            rows.setdefault(state.own["checkpoints"], row)
    return pl.DataFrame(list(rows.values()))


def front(ctx: Context, states: dict[str, list[State]]) -> pl.DataFrame:
    """The candidates with the front and the choice marked, see ``front.pareto_front``."""
    return pareto_front(candidates(ctx.lake, states), generator(ctx.profile.seed, "front"))


def run(ctx: Context, place: Place) -> Manifest:
    """The model that is chosen among all iterations and arms, evaluated on items that none of them was.

    The choice is made on the front of safety against capability. Made by hand: each access to these items is counted,
    and the report shows how many there were.

    Prompts and held-out texts have the role ``final``; of benchmarks without one, the items that the iterations left
    over are used. Capability's reference is the base on those same texts.

    Tables: the metrics, ``generations``, ``front``; ``performance`` has the composite here and when chosen. The
    summary has the choice and the number of this access.

    Raises:
        LakeError: nothing has been committed yet.
        DataError: there are no texts of role ``final``, or nothing is left over of a benchmark.
    """
    lake = ctx.lake
    states = {chain: history(lake, chain) for chain in reported_chains(ctx)}
    if not states:
        raise LakeError("nothing has been committed yet: run `curate run` first")
    marked = front(ctx, states)
    chosen = marked.filter("chosen").row(0, named=True)
    checkpoint, metrics = lake.get(chosen["checkpoint"]), lake.get(chosen["metrics"])
    base = lake.require("base_checkpoint")
    # The items, judge and held-out roles that the choice was made on; what was current then is what must be unseen.
    made_from = {found.table: found for found in map(lake.get, metrics.inputs)}
    references = {table: made_from[table] for table in EVALUATION_INPUTS}
    settings = ctx.profile.evaluation
    parameters = {
        "evaluation": settings.model_dump(mode="json", exclude={"harness", "folder"}),
        **judge_parameters(ctx.profile.annotate),
        "window": ctx.profile.training.sequence_length,
    }
    inputs = (checkpoint.id, base.id, metrics.id, *(manifest.id for manifest in references.values()))
    recipe = Recipe(TABLE, {}, tuple(dict.fromkeys(inputs)), parameters, ctx.profile.seed, VERSION)
    before = [access for access in holdout_accesses(lake) if access.manifest_id != recipe.manifest_id]

    def make(draft: Draft) -> None:
        used = _largest_sizes([lake.get(identity) for identity in marked["metrics"]])
        seed = derive(ctx.profile.seed, "evaluation")
        items = unseen_items(read_benchmarks(lake, references["benchmarks"]), settings, used, seed)
        heldout = final_texts(lake.frame(references["heldout_texts"]))
        found = evaluate(
            lake.folder(checkpoint), items, heldout, judge_with(ctx, references),
            settings.model_copy(update={"roles": (FINAL,)}), derive(ctx.profile.seed, "final evaluation"),
            ctx.progress, ctx.profile.annotate.judge, ctx.profile.training.sequence_length,
        )  # fmt: skip
        reference = metric_value(found.metrics, "heldout", "bits_per_byte")
        if checkpoint.id != base.id:
            with torch_runtime(settings.threads):
                lm = LanguageModel.load(lake.folder(base), ctx.profile.training.sequence_length)
                reference, _ = summary(heldout_scores(lm, heldout, settings.max_heldout_chars, settings.batch_tokens))
        figures = composite(found.metrics, reference)
        chosen_on, _ = performances(lake, metrics)
        draft.frame(found.metrics)
        draft.frame(found.generations, "generations")
        draft.frame(marked, "front")
        draft.json(
            {
                "final": asdict(figures),
                "intervals": composite_intervals(found.metrics, reference),
                "chosen_on": asdict(chosen_on),
                "reference_bits_per_byte": reference,
            },
            "performance",
        )
        draft.summary.update(
            checkpoint=checkpoint.id,
            chain=chosen["chain"],
            ordinal=chosen["ordinal"],
            chosen_share=round(chosen["chosen_share"], 3),
            on_the_front=int(marked["on_front"].to_numpy().sum()),
            candidates=marked.height,
            **{name: round(value, 4) for name, value in asdict(figures).items()},
            performance_when_chosen=round(chosen_on.performance, 4),
            look=len(before) + 1,
            models_looked_at=len({access.checkpoint for access in before} | {checkpoint.id}),
        )

    return lake.build(recipe, make)


def _largest_sizes(evaluations: list[Manifest]) -> dict[str, int]:
    """The most items that any evaluation used, by benchmark; all where an evaluation does not say."""
    made_with = [manifest.parameters["evaluation"] for manifest in evaluations]
    return {
        benchmark.name: max(int(settings.get(benchmark.name, {}).get("used", _ALL)) for settings in made_with)
        for benchmark, _ in with_items()
    }


def holdout_accesses(lake: Lake) -> list[HoldoutAccess]:
    """Every access to the holdout, the first one first.

    A second evaluation of one model (after a change of settings, or of the corpus) is an access as well: what the first
    one showed was known.
    """
    record = lake.head_record(TABLE)
    found = [] if record is None else sorted(map(lake.get, record.history), key=lambda m: m.created_at)
    seen: set[str] = set()
    out = []
    for number, manifest in enumerate(found, 1):
        said = manifest.summary
        new = said["checkpoint"] not in seen
        seen.add(said["checkpoint"])
        out.append(
            HoldoutAccess(
                number, manifest.id, said["checkpoint"], said["chain"], said["ordinal"], manifest.created_at, new
            )
        )
    return out


def final_texts(heldout: pl.DataFrame) -> pl.DataFrame:
    """The held-out texts of role ``final``.

    What the caps of the other roles left over will not do: a text of role ``credit`` that was left over is one that the
    teacher could not place, and a model looks far less safe on those.

    Args:
        heldout: the table ``heldout_texts``.

    Raises:
        DataError: there is no clean or no toxic one.
    """
    found = heldout.filter(pl.col("role") == FINAL).drop("role")
    if found["kind"].n_unique() < 2:
        raise DataError(
            f"the held-out texts have {found.height} of role {FINAL!r}, and a final evaluation needs clean and toxic "
            "ones; raise corpus.holdout_share in the profile, and run from `heldout_texts` on"
        )
    return found


def view(ctx: Context, manifest: Manifest) -> View:
    """All metrics."""
    return View({"metrics": metrics_table(ctx.lake, manifest)})


STEP = Step(
    module=__name__,
    table=TABLE,
    version=VERSION,
    run=run,
    inputs=(ITERATION_COMMIT, EXPERIMENT_CELL),
    kinds=frozenset({"pytorch"}),
    view=view,
)
