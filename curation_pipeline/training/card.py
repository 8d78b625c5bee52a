"""A checkpoint's model card: README.md in the format that model hubs read, made from facts alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from curation_pipeline.escaping import code, markdown, markdown_table

LIMITS = (
    "It was trained to measure data curation, not to be used by people.",
    "It has read toxic text and can repeat it; nothing filters what it writes.",
    "It is small, mostly English, and states falsehoods as fluently as facts.",
    "Its figures are measured on sampled benchmark items; read them with their intervals.",
)


@dataclass(frozen=True, slots=True)
class RawPartition:
    """A raw corpus partition behind a checkpoint.

    Attributes:
        key: ``source|snapshot``.
        artefact: id of its documents.
        rows: documents in it.
        used: documents of it that were trained on, through all parents; None where that is not counted yet.
        tokens: tokens of those.
    """

    key: str
    artefact: str
    rows: int
    used: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of a metrics table, with its bootstrap interval where it has one."""

    benchmark: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card states.

    Attributes:
        identity: id of the checkpoint in the lake.
        profile: name of the profile.
        arm: the arm or chain, for example ``main`` or ``random/demo-0``; ``base`` for the uncurated base.
        iteration: its number; 0 for the base.
        arm_seed: seed of an experiment's arm.
        started_from: id of the checkpoint whose weights it started from; None for random weights.
        start: in words, what that was.
        pretrained: hub id or name of the pretrained model at the root; None for random weights.
        batch: id of the curated batch; None for the base.
        data: figures of the batch, by name.
        composition: name of a grouping -> group -> share of the batch's tokens.
        partitions: raw corpus partitions that it was made from.
        training: figures of the training, by name.
        known: summary figures of the model it started from, by name (S, A, C, P), as known when it was trained.
        measured: its own metrics; empty where it has not been evaluated.
        performance: its own summary figures; empty where it has not been evaluated.
        metrics_artefact: id of the artefact with its own metrics; None where it has not been evaluated.
    """

    identity: str
    profile: str
    arm: str
    iteration: int
    arm_seed: int
    started_from: str | None
    start: str
    pretrained: str | None
    batch: str | None
    data: Mapping[str, object] = field(default_factory=dict)
    composition: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    partitions: Sequence[RawPartition] = ()
    training: Mapping[str, object] = field(default_factory=dict)
    known: Mapping[str, float] = field(default_factory=dict)
    measured: Sequence[Measured] = ()
    performance: Mapping[str, float] = field(default_factory=dict)
    metrics_artefact: str | None = None


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with a YAML front matter."""
    blocks = [
        _front_matter(facts),
        f"# {facts.identity}",
        f"A language model made by the data curation loop, profile {code(facts.profile)}: arm {code(facts.arm)}, "
        f"iteration {facts.iteration}, seed {facts.arm_seed}. It started from {markdown(facts.start)}"
        + (f" (`{facts.started_from}`)." if facts.started_from else "."),
        "## Data",
        f"Trained on the batch `{facts.batch}`." if facts.batch else "Trained on a random draw of the raw corpus.",
        _table(("figure", "value"), facts.data.items()),
        *(_composition(name, shares) for name, shares in facts.composition.items()),
        "Raw partitions that it was made from, directly or through its parents. "
        f"`curate lineage {facts.identity}` walks the same way.",
        _partitions(facts.partitions),
        "## Training",
        _table(("setting or figure", "value"), facts.training.items()),
        "## Metrics",
        *_metrics(facts),
        "## Limits",
        "\n".join(f"- {limit}" for limit in LIMITS),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _front_matter(facts: CardFacts) -> str:
    # JSON strings are YAML strings: names with colons or quotes need no thought.
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "language: en",
        "tags:",
        "- data-curation",
        f"- {json.dumps('arm:' + facts.arm)}",
    ]
    if facts.pretrained is not None and ":" not in facts.pretrained and not facts.pretrained.startswith(("/", ".")):
        lines.append(f"base_model: {json.dumps(facts.pretrained)}")
    # Hubs show these beside the card; rows of one group or source are left to the table below.
    whole = [row for row in facts.measured if "/" not in row.metric]
    if whole:
        lines += ["model-index:", f"- name: {json.dumps(facts.identity)}", "  results:"]
    for benchmark in dict.fromkeys(row.benchmark for row in whole):
        name = json.dumps(benchmark)
        lines += ["  - task: {type: text-generation}", f"    dataset: {{name: {name}, type: {name}}}", "    metrics:"]
        lines += [
            f"    - {{type: {json.dumps(row.metric)}, value: {row.value:.6g}}}"
            for row in whole
            if row.benchmark == benchmark
        ]
    return "\n".join([*lines, "---"])


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    listed = list(rows)
    return markdown_table(header, listed) if listed else ""


def _composition(name: str, shares: Mapping[str, float]) -> str:
    table = _table((name, "share"), shares.items())
    return f"Share of the batch's tokens by {markdown(name)}:\n\n{table}" if shares else ""


def _partitions(partitions: Sequence[RawPartition]) -> str:
    counted = any(partition.used is not None for partition in partitions)
    header = ("partition", "artefact", "documents", *(("trained on", "tokens trained on") if counted else ()))
    rows = [(p.key, code(p.artefact), p.rows, *((p.used, p.tokens) if counted else ())) for p in partitions]
    return _table(header, rows)


def _metrics(facts: CardFacts) -> list[str]:
    blocks = []
    if facts.known:
        blocks += ["Of the model that it started from, as known when it was trained:", _table(
            ("figure", "value"), facts.known.items()
        )]  # fmt: skip
    if facts.metrics_artefact is None:
        return [
            *blocks,
            "Its own evaluation comes after its training, and artefacts never change: it is the artefact of the table "
            "`metrics` (for the base `base_metrics`) with the same chain and iteration.",
        ]
    rows = [(m.benchmark, m.metric, m.value, m.low, m.high, m.n) for m in facts.measured]
    return [
        *blocks,
        f"Its own (`{facts.metrics_artefact}`):",
        _table(("figure", "value"), facts.performance.items()),
        _table(("benchmark", "metric", "value", "from", "to", "items"), rows),
    ]
