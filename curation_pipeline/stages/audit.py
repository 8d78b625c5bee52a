"""The audit batch of an iteration: drawn from the pool at known probability, labelled by an expert or by people."""

from __future__ import annotations

import hashlib

import polars as pl

from curation_pipeline.annotate import expert_people
from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.annotate.toxicity import toxicity_columns
from curation_pipeline.lake.keyed import lookup
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.audit_design import STRATA, draw_audit, thinned
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.texts import read_texts

TABLE, LABELS = "audits", "audit_labels"
CODE_VERSION = "2"
FOR_PEOPLE = "for_people.csv"
LABEL_COLUMNS: dict[str, pl.DataType] = {"doc_id": pl.Utf8(), "label": pl.Float64(), "labeller": pl.Utf8()}


def audit_batch(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Draw the iteration's audit batch, and write it once more as a CSV for people to fill in.

    The rows keep the teachers' scores and the vector, so that a later reward model can be recalibrated on them without
    scoring anything again.

    Raises:
        LakeError: the pool has not been built.
    """
    _, gate, _ = gate_and_parent(ctx.lake, chain, ordinal)
    pool_manifest = ctx.lake.require("pool", gate.partition)
    settings = ctx.profile.reward.audit
    # Detectors of other axes differ by what they mean, which is no disagreement.
    teachers = tuple(toxicity_columns(ctx.profile.annotate.teachers))
    parameters = {
        "teachers": list(teachers),
        "audit": settings.model_dump(mode="json", include={"documents", "disagreement", "floor"}),
        "redact_pii": ctx.profile.removal.redact_pii,
    }
    recipe = Recipe(TABLE, gate.partition, (pool_manifest.id,), parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        path = ctx.lake.path(pool_manifest, "data.parquet")
        there = pl.read_parquet_schema(path)
        columns = [name for name in ("doc_id", "p_harm", *STRATA, *teachers) if name in there]
        pool = pl.read_parquet(path, columns=columns, glob=False)
        drawn = draw_audit(pool, teachers, settings, derive(ctx.profile.seed, "audit", chain, ordinal))
        drawn = lookup(path, drawn["doc_id"].to_list()).join(
            drawn.select("doc_id", "probability"), on="doc_id", maintain_order="left"
        )
        draft.keyed(drawn)
        texts = read_texts(ctx.lake, gate.corpus, drawn["doc_id"], ctx.profile.removal.redact_pii)
        sheet = drawn.select("doc_id").with_columns(texts.alias("text"))
        expert_people.export_for_people(sheet, draft.folder / FOR_PEOPLE, ctx.profile.seed)
        draft.summary.update(
            documents=drawn.height,
            pool_documents=pool.height,
            least_probability=None if drawn.is_empty() else float(drawn["probability"].to_numpy().min()),
            documents_by_source=dict(drawn["source"].value_counts().sort("source").iter_rows()),
        )

    return ctx.lake.build(recipe, make)


def ask_about_audit(ctx: Context, audit: Manifest, expert: Detector) -> Manifest:
    """The hosted expert's labels of an audit batch, each asked for once.

    Where the batch is more than ``expert_share`` of the pool it is thinned at random, and the probabilities with it.

    Args:
        ctx: the surroundings.
        audit: a manifest of the table ``audits``.
        expert: the hosted judge.

    Raises:
        DetectorError: the expert failed; no label is made up for it.
    """
    from curation_pipeline.annotate.expert import ask_expert

    share = ctx.profile.reward.audit.expert_share
    chain, ordinal = audit.partition["chain"], int(audit.partition["iteration"])
    _, gate, _ = gate_and_parent(ctx.lake, chain, ordinal)
    parameters = {"expert": f"{expert.name} {expert.version}", "share": share}
    recipe = Recipe(LABELS, audit.partition, (audit.id,), parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        drawn = ctx.lake.frame(audit, columns=["doc_id", "probability"])
        most = int(share * audit.summary["pool_documents"])
        drawn = thinned(drawn, most, derive(ctx.profile.seed, "expert", chain, ordinal))
        texts = read_texts(ctx.lake, gate.corpus, drawn["doc_id"], ctx.profile.removal.redact_pii)
        answers = ask_expert(expert, drawn.with_columns(texts.alias("text")), progress=ctx.progress)
        draft.frame(answers)
        draft.summary.update(asked=drawn.height, answered=answers.height, expert=parameters["expert"])

    return ctx.lake.build(recipe, make)


def people_labels(ctx: Context) -> tuple[pl.DataFrame, str]:
    """What people filled in, and the sha256 of their file; no rows and ``none`` without one.

    Raises:
        DataError: the file lacks a column, or a label does not lie in [0, 1].
    """
    path = ctx.profile.reward.audit.labels
    # A sheet that lies there and waits to be filled in is no error: the loop runs without labels.
    if path is None or not path.is_file() or not expert_people.filled_rows(path):
        return pl.DataFrame(schema=LABEL_COLUMNS), "none"
    labels = expert_people.read_people(path).select(*LABEL_COLUMNS).cast(LABEL_COLUMNS)  # type: ignore[arg-type]
    return labels, hashlib.sha256(path.read_bytes()).hexdigest()


def labelled_audits(lake: Lake, audits: tuple[str, ...], people: pl.DataFrame) -> pl.DataFrame:
    """All audited documents that have a label: the audits' columns with label, labeller and probability.

    What people say goes before what the expert says, with the probability of the whole batch.

    Args:
        lake: the lake.
        audits: ids of audit batches.
        people: labels by doc_id.
    """
    frames = []
    for identity in audits:
        manifest = lake.get(identity)
        drawn = lake.frame(manifest)
        by_people = drawn.join(people, on="doc_id", how="inner", maintain_order="left")
        frames.append(by_people)
        asked = lake.head(LABELS, manifest.partition)
        if by_people.is_empty() and asked is not None and identity in asked.inputs:
            answers = lake.frame(asked).select("doc_id", "probability", pl.col("label").cast(pl.Float64), "labeller")
            frames.append(
                drawn.drop("probability")
                .join(answers, on="doc_id", how="inner", maintain_order="left")
                .select(by_people.columns)
            )
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
