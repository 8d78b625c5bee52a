"""The candidate pool of an iteration: one row for each document that may be drawn, with what the policy sees of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.toxicity import HARM_THRESHOLD
from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.runs import SortedRuns, sorted_runs
from curation_pipeline.policy.pool import NO_GROUP
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.curriculum import admitted
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.removal import SCHEMA, removals
from curation_pipeline.stages.sampling import is_held_out
from curation_pipeline.stages.texts import POOLED, corpus_parts, table_parts
from curation_pipeline.steps.corpus_wide.duplicates import STEP as DUPLICATES
from curation_pipeline.steps.corpus_wide.takedown_requests import STEP as TAKEDOWN_REQUESTS
from curation_pipeline.steps.loop.iteration_gate import STEP as ITERATION_GATE
from curation_pipeline.steps.step import Partitioning, Step, Work
from curation_pipeline.steps.view import Plot, View

DIALECT = "dialect"
"""The identity group of text with markers of a minority dialect that mentions no group of people."""
HARM_EDGES = (0.1, HARM_THRESHOLD)
"""Upper edges of the toxicity bins 0 (clean) and 1 (doubtful) on P(harm); what is above is bin 2 (harmful)."""


def compute(work: Work, draft: Draft) -> None:
    """The documents that may be drawn, with the features that the policy sees.

    No duplicate, no held-out and no benchmark text is among them, and nothing of the judge.

    Raises:
        DataError: nothing is left to draw.
    """
    lake, gate, profile = work.lake, work.gate, work.profile
    corpus = profile.corpus
    reward = RewardModel.load(lake.folder(lake.get(work.parent.reward_model_id)))
    # What a pool joins by document comes in the order of files; here a span of ids is put together at a time.
    with ExitStack() as stack:

        def runs() -> SortedRuns:
            return stack.enter_context(sorted_runs(draft.folder))

        documents = runs().extend(corpus_parts(lake, gate.corpus, ("source", "snapshot", "domain"), POOLED))
        causes = runs().extend(removals(lake, gate.corpus, gate.references, profile.removal))
        copies = runs().extend(copies_of_held_out(lake, work.reference(DUPLICATES), corpus.holdout_share, profile.seed))
        draws = runs().extend(earlier_draws(lake, work.parent.batches))
        write_removed = stack.enter_context(draft.keyed_writer(SCHEMA, "removed"))
        write: Callable[[pl.DataFrame], None] | None = None
        tally = _Tally()
        for span in documents.spans():
            found = documents.read(span).unique("doc_id", keep="first", maintain_order=True)
            held_out = pl.Series(is_held_out(found["doc_id"], corpus.holdout_share, profile.seed))
            held_out |= found["doc_id"].is_in(copies.read(span)["doc_id"].implode())
            found = found.filter(~held_out)
            removed = causes.read(span).join(found.select("doc_id"), on="doc_id", how="semi")
            removed = removed.unique().sort(list(SCHEMA))
            write_removed(removed)
            found = found.join(removed, on="doc_id", how="anti", maintain_order="left")
            tally.left_out(int(held_out.sum()), removed)
            if found.is_empty():
                continue
            drawn = dict(draws.read(span).group_by("doc_id").len().iter_rows())
            every = candidates(found, profile.annotate.teachers, reward, drawn)
            frame = admitted(every, gate.max_p_harm)
            tally.add(frame, every.height)
            write = write or stack.enter_context(draft.keyed_writer(dict(frame.schema), compression="lz4"))
            write(frame)
    if not tally.eligible:
        raise DataError("nothing is left to draw: every document is held out or removed; see [removal]")
    if not tally.documents:
        raise DataError(f"curriculum stage {gate.stage['name']!r} lets no document in: raise its `max_p_harm`")
    draft.summary.update(tally.summary())
    if gate.stage:
        draft.summary.update(curriculum_stage=gate.stage["name"], kept_back_by_stage=tally.eligible - tally.documents)


@dataclass(slots=True)
class _Tally:
    """Figures of a pool, added up span by span.

    Attributes:
        eligible: documents that are neither held out nor removed; ``documents`` are those of the pool.
        p_harm: sum of the pool's.
    """

    eligible: int = 0
    documents: int = 0
    held_out: int = 0
    removed: int = 0
    p_harm: float = 0.0
    causes: Counter[str] = field(default_factory=Counter)
    tokens_by_bin: Counter[int] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    strata: set[str] = field(default_factory=set)

    def left_out(self, held_out: int, removed: pl.DataFrame) -> None:
        """Count what of a span is not in the pool."""
        self.held_out += held_out
        self.removed += removed["doc_id"].n_unique()
        self.causes.update(dict(removed["cause"].value_counts().iter_rows()))

    def add(self, frame: pl.DataFrame, eligible: int) -> None:
        """Count the pool's rows of a span."""
        self.eligible += eligible
        self.documents += frame.height
        self.p_harm += float(frame["p_harm"].cast(pl.Float64).sum())
        tokens = frame.group_by("toxicity_bin").agg(pl.col("n_tokens").cast(pl.Int64).sum())
        self.tokens_by_bin.update(dict(tokens.iter_rows()))
        self.sources.update(dict(frame["source"].value_counts().iter_rows()))
        self.strata.update(frame["stratum"].unique())

    def summary(self) -> dict[str, Any]:
        """The figures of the manifest."""
        tokens = sum(self.tokens_by_bin.values())
        return {
            "documents": self.documents,
            "tokens": tokens,
            "held_out": self.held_out,
            "removed": self.removed,
            "removed_by_cause": dict(sorted(self.causes.items())),
            "strata": len(self.strata),
            "mean_p_harm": round(self.p_harm / self.documents, 4),
            "token_share_by_toxicity_bin": {
                str(b): round(n / max(tokens, 1), 4) for b, n in sorted(self.tokens_by_bin.items())
            },
            "documents_by_source": dict(sorted(self.sources.items())),
        }


def copies_of_held_out(lake: Lake, duplicates: Manifest, share: float, seed: int) -> Iterator[pl.DataFrame]:
    """The documents with a near copy that is held out: a model that has read the copy has read the text.

    Args:
        lake: the lake.
        duplicates: the clusters.
        share: share of documents that are held out.
        seed: the profile's seed.

    Yields:
        Frames with the column doc_id, those held out themselves among them; the first is empty.
    """

    def near() -> Iterator[pl.DataFrame]:
        for part in table_parts(lake, duplicates, ["doc_id", "cluster_id", "kind"]):
            yield part.filter(pl.col("kind") == "near")

    leaking = [
        part.filter(pl.Series(is_held_out(part["doc_id"], share, seed)))["cluster_id"].unique() for part in near()
    ]
    clusters = pl.concat(leaking).unique().implode()
    yield pl.DataFrame(schema={"doc_id": pl.Utf8})
    for part in near():
        yield part.filter(pl.col("cluster_id").is_in(clusters)).select("doc_id")


def earlier_draws(lake: Lake, batches: Iterable[str]) -> Iterator[pl.DataFrame]:
    """The doc_ids of batches, once for each that holds them; the first frame is empty."""
    yield pl.DataFrame(schema={"doc_id": pl.Utf8})
    for identity in batches:
        yield from table_parts(lake, lake.get(identity), ["doc_id"])


def with_protected_group(corpus: pl.DataFrame) -> pl.DataFrame:
    """The documents with text in dialect as an identity group of its own, where ``aae_score`` says which that is.

    Detectors call dialect harmful far more often than people do, and an axis that is missing can be neither credited
    nor floored: as a value of ``identity_group`` it enters strata, cells of coverage, floors and corrections. One
    marker is enough: the group is held up, never down, so that a document too many costs little.
    """
    if "aae_score" not in corpus.columns:
        return corpus
    marked = (pl.col("aae_score") > 0) & (pl.col("identity_group") == NO_GROUP)
    group = pl.when(marked).then(pl.lit(DIALECT)).otherwise("identity_group").alias("identity_group")
    return corpus.with_columns(group).drop("aae_score")


def candidates(
    corpus: pl.DataFrame, teachers: tuple[str, ...], reward: RewardModel, drawn: dict[str, int]
) -> pl.DataFrame:
    """Add what the reward model says, the stratum and the selection history to annotated documents.

    Args:
        corpus: rows of `texts.corpus_parts` with the tables `texts.POOLED`, each document once.
        teachers: names of the teacher detectors' columns.
        reward: the reward model in force.
        drawn: doc_id to number of earlier draws in this chain.

    Returns:
        The frame of the table ``pool``, sorted by doc_id.
    """
    corpus = with_protected_group(corpus)
    vectors = corpus["vector"].to_numpy()
    found = reward.annotate(corpus, vectors)
    bins = np.digitize(found["p_harm"].to_numpy(), HARM_EDGES).astype(np.int8)
    optional = tuple(name for name in ("obfuscation", "register") if name in corpus.columns)
    return (
        corpus.with_columns(
            found["p_harm"],
            found["alignment"],
            pl.Series("toxicity_bin", bins),
            pl.Series("n_drawn", [drawn.get(doc_id, 0) for doc_id in corpus["doc_id"]], dtype=pl.Int32),
        )
        .with_columns(
            pl.format("t{}|b{}|{}", pl.col("topic"), pl.col("toxicity_bin"), pl.col("identity_group")).alias("stratum")
        )
        .select(
            "doc_id", "source", "snapshot", "domain", "n_tokens", "topic", "toxicity_bin", "identity_group", "stratum",
            "vector", *teachers, *optional, "p_harm", "alignment", "quality", "n_drawn",
        )
        .sort("doc_id")
    )  # fmt: skip


def view(ctx: Context, manifest: Manifest) -> View:
    """How P(harm) and alignment are distributed."""
    edges = np.linspace(0.0, 1.0, 51)
    counts = {"p_harm": np.zeros(50, np.int64), "alignment": np.zeros(50, np.int64)}
    for part in table_parts(ctx.lake, manifest, list(counts)):
        for name in counts:
            counts[name] += np.histogram(part[name].to_numpy(), edges)[0]

    def draw(axes: Any) -> None:
        axes.stairs(counts["p_harm"], edges, fill=True, alpha=0.6, label="P(harm)")
        axes.stairs(counts["alignment"], edges, fill=True, alpha=0.6, label="alignment")
        axes.set(ylabel="documents", yscale="log")
        axes.legend(frameon=False)

    return View({"scores": Plot(draw)})


def _parameters(work: Work) -> dict[str, Any]:
    return {
        "teachers": list(work.profile.annotate.teachers),
        "holdout_share": work.profile.corpus.holdout_share,
        "harm_edges": list(HARM_EDGES),
        "removal": work.profile.removal.model_dump(mode="json"),
    }


STEP = Step(
    module=__name__,
    table="pool",
    version="4",
    compute=compute,
    partitioning=Partitioning.ITERATION,
    inputs=(ITERATION_GATE,),
    reads=(DUPLICATES, TAKEDOWN_REQUESTS),
    also=lambda work: [work.parent.reward_model_id],
    parameters=_parameters,
    kinds=frozenset({"polars", "parquet"}),
    view=view,
)
