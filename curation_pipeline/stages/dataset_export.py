"""A curated batch for others: ids and weights as Parquet, a Hugging Face dataset card, and Croissant 1.0 (MLCommons).

The published rows are ids, weights and lengths, not texts: each source keeps its own licence, and who has the source
can join the rows to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from huggingface_hub import DatasetCardData

from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.escaping import markdown, markdown_table, one_line
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.store import file_sha256
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_of

FILE = "batch.parquet"
COLUMNS: Mapping[str, tuple[str, str]] = {
    "doc_id": ("sc:Text", "content id of the document: 32 hexadecimal digits of a hash of its text"),
    "source": ("sc:Text", "the source that the document came from"),
    "snapshot": ("sc:Text", "the delivery of that source"),
    "domain": ("sc:Text", "register of the source"),
    "weight": ("sc:Float", "weight of the document in the training loss; 1 is the usual one"),
    "n_tokens": ("sc:Integer", "length in tokens of the pipeline's tokenizer"),
    "p_harm": ("sc:Float", "estimated probability that the text is harmful, in [0, 1]"),
}
"""Columns of the published file: Croissant's data type, and what a column holds, with its unit."""
_FIGURES = ("token_budget", "budget_use", "effective_sample_size", "mean_p_harm", "pool_mean_p_harm", "strata")
_PREFIX = "token_share_by_"
_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
_SIZE_NAMES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "n>100M")
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the Croissant 1.0 specification gives."""
CONFORMS_TO = "http://mlcommons.org/croissant/1.0"


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What is known of a curated batch.

    Attributes:
        name: of the dataset: letters, digits, ``-`` and ``_``.
        identity: id of the batch in the lake, its version for others.
        profile: the profile's name.
        chain: the chain that drew it.
        iteration: its number.
        created: ISO 8601 date.
        sha256: of the published file, in hexadecimal.
        n_bytes: size of that file.
        documents: rows.
        tokens: tokens of all rows.
        sources: source -> licence, as far as the project knows it; "not stated" where it does not.
        shares: axis -> name -> (share of the pool's tokens, share of the batch's).
        figures: other figures by name, such as mean P(harm) of pool and batch.
        made_from: ids of the artefacts that it was made from.
    """

    name: str
    identity: str
    profile: str
    chain: str
    iteration: int
    created: str
    sha256: str
    n_bytes: int
    documents: int
    tokens: int
    sources: Mapping[str, str]
    shares: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    made_from: Sequence[str] = ()

    @property
    def description(self) -> str:
        """One sentence on what the rows are and how they were chosen, and one on what they are not."""
        return (
            f"Ids and loss weights of {self.documents:,} documents ({self.tokens:,} tokens) that a selection rule "
            f"({self.chain}, iteration {self.iteration}, profile {self.profile}) drew from a raw corpus for "
            "fine-tuning a language model towards less harm. The texts are not included."
        )


def export_batch(ctx: Context, batch: Manifest, out_dir: Path) -> Path:
    """Write a batch as a folder that can be published: ``batch.parquet``, ``README.md`` and ``croissant.json``.

    Args:
        ctx: the surroundings; the profile gives the card its name.
        batch: an artefact of the table ``batches``.
        out_dir: folder to write to; made if absent.

    Returns:
        ``out_dir``.

    Raises:
        LakeError: the batch or its pool is gone.
    """
    lake = ctx.lake
    out_dir.mkdir(parents=True, exist_ok=True)
    pool = next(found for found in map(lake.get, batch.inputs) if found.table == "pool")
    drawn = ["doc_id", "weight", "n_tokens"]
    known = lake.frame(pool, columns=[name for name in COLUMNS if name == "doc_id" or name not in drawn])
    rows = lake.frame(batch, columns=drawn).join(known, on="doc_id", how="left", maintain_order="left")
    temporary = out_dir / f"{FILE}.part"
    rows.select(list(COLUMNS)).write_parquet(temporary)
    temporary.replace(out_dir / FILE)
    facts = _facts(ctx, batch, pool, rows, out_dir / FILE)
    (out_dir / "README.md").write_text(dataset_card(facts), encoding="utf-8")
    text = json.dumps(croissant(facts), indent=2, ensure_ascii=False)
    (out_dir / "croissant.json").write_text(text + "\n", encoding="utf-8")
    return out_dir


def _facts(ctx: Context, batch: Manifest, pool: Manifest, rows: pl.DataFrame, path: Path) -> DatasetFacts:
    chain, iteration = batch.partition["chain"], int(batch.partition["iteration"])
    summary, licences = batch.summary, _licences(ctx.lake, pool)
    return DatasetFacts(
        name=f"{ctx.profile.name}-{chain.replace('/', '-')}-{iteration}",
        identity=batch.id,
        profile=ctx.profile.name,
        chain=chain,
        iteration=iteration,
        created=batch.created_at[:10],
        sha256=file_sha256(path),
        n_bytes=path.stat().st_size,
        documents=rows.height,
        tokens=int(rows["n_tokens"].sum()),
        sources={str(name): licences.get(str(name), "not stated") for name in rows["source"].unique().sort()},
        shares={
            axis.removeprefix(_PREFIX): {
                name: (shares["pool"].get(name, 0.0), shares["batch"].get(name, 0.0)) for name in shares["pool"]
            }
            for axis, shares in summary.items()
            if axis.startswith(_PREFIX)
        },
        figures={name.replace("_", " "): summary[name] for name in _FIGURES if name in summary},
        made_from=batch.inputs,
    )


def _licences(lake: Lake, pool: Manifest) -> dict[str, str]:
    """Licences of a pool's sources, as far as the project knows them.

    They are those of what was read then: the profile may have dropped a source since, or given its name to another.
    """
    packaged = {entry.name: entry.licence for entry in PACKAGED}
    read = [lake.get(ids["documents"]) for ids in gate_of(lake, pool).corpus.values()]
    datasets = {m.partition["source"]: m.parameters["source"].get("dataset") for m in read}
    return {name: packaged.get(dataset, "not stated") for name, dataset in datasets.items()}


def dataset_card(facts: DatasetFacts) -> str:
    """The card as Markdown with the YAML head that the Hugging Face hub reads.

    Args:
        facts: of the batch; names of sources and groups are folded into one line and escaped for tables.
    """
    head = DatasetCardData(
        pretty_name=one_line(facts.name),
        license="other",
        license_name="per-source",
        language=["en"],
        size_categories=[_SIZE_NAMES[sum(facts.documents >= edge for edge in _SIZES)]],
        task_categories=["text-generation"],
        tags=["data-curation", "safety", "data-selection"],
        configs=[{"config_name": "default", "data_files": FILE}],
    )
    parts = [
        f"---\n{head.to_yaml()}\n---",
        f"# {markdown(facts.name)}",
        markdown(facts.description),
        "## Columns",
        markdown_table(("column", "holds"), [(name, words) for name, (_, words) in COLUMNS.items()]),
        "## Where the documents come from",
        "The rows say which documents; each document keeps the licence of its source.",
        markdown_table(("source", "licence"), sorted(facts.sources.items())),
    ]
    if facts.shares:
        parts.append("## Composition\n\nShares of tokens, of the pool that could be drawn from and of this batch.")
    for axis, names in facts.shares.items():
        rows = [(name, f"{pool:.1%}", f"{batch:.1%}") for name, (pool, batch) in names.items()]
        parts.append(markdown_table((axis.replace("_", " "), "pool", "batch"), rows))
    if facts.figures:
        figures = [(name, f"{value:,}" if isinstance(value, int) else value) for name, value in facts.figures.items()]
        parts += ["## Figures", markdown_table(("figure", "value"), figures)]
    made_from = ", ".join(f"`{identity}`" for identity in facts.made_from) or "nothing recorded"
    parts += [
        "## Limits",
        "- Detectors of harm err more on dialect, on quoted and on reclaimed speech; a low P(harm) is an estimate and "
        "no promise, and single documents may be hateful, violent or sexual.\n"
        "- Shares of sources and of identity groups differ from the raw corpus; see the composition before use.\n"
        "- The selection was made for one model and one token budget. Personal data was looked for by patterns only.",
        "## Provenance",
        f"Artefact `{facts.identity}`, made {facts.created}, from {made_from}. The same recipe and seed give the same "
        "bytes.",
    ]
    return "\n\n".join(parts) + "\n"


def croissant(facts: DatasetFacts) -> dict[str, Any]:
    """Croissant 1.0 metadata, to be written as JSON.

    One file object with its checksum, and one record set whose fields are the columns of the Parquet file. The licence
    is that of these rows, not of the texts.

    Args:
        facts: of the batch.
    """
    records = "documents"
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "name": facts.name,
        "description": facts.description,
        "conformsTo": CONFORMS_TO,
        "license": "https://creativecommons.org/publicdomain/zero/1.0/",
        "url": f"urn:sha256:{facts.sha256}",
        "version": f"1.0.{facts.iteration}",
        "identifier": facts.identity,
        "datePublished": facts.created,
        "creator": {"@type": "sc:Organization", "name": "the publisher of this batch"},
        "citeAs": f"{facts.name}, {facts.identity}, {facts.created}",
        "keywords": ["data curation", "language model", "safety"],
        "inLanguage": ["en"],
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": FILE,
                "name": FILE,
                "description": "One row for each document of the batch.",
                "contentUrl": FILE,
                "contentSize": f"{facts.n_bytes} B",
                "encodingFormat": "application/x-parquet",
                "sha256": facts.sha256,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": records,
                "name": records,
                "description": "Documents of the batch with their weights.",
                "key": {"@id": f"{records}/doc_id"},
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"{records}/{name}",
                        "name": name,
                        "description": words,
                        "dataType": kind,
                        "source": {"fileObject": {"@id": FILE}, "extract": {"column": name}},
                    }
                    for name, (kind, words) in COLUMNS.items()
                ],
            }
        ],
    }
