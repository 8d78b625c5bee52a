"""Metadata of a curated batch for others: a Hugging Face dataset card, and Croissant 1.0 (MLCommons) in JSON-LD.

Both are pure functions of `DatasetFacts`. The published rows are ids, weights and lengths, not texts: each source keeps
its own licence, and who has the source can join the rows to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation_pipeline.escaping import markdown, markdown_table, one_line

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
_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
_SIZE_NAMES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "n>100M")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the published table.

    Attributes:
        name: as in the file.
        kind: Croissant's data type, such as ``sc:Text``, ``sc:Integer`` or ``sc:Float``.
        words: what it holds, with its unit.
    """

    name: str
    kind: str
    words: str


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
        file: name of the published file, a Parquet file.
        sha256: of that file, in hexadecimal.
        n_bytes: size of that file.
        documents: rows.
        tokens: tokens of all rows.
        columns: of the file.
        sources: source -> licence, as the profile states them; "not stated" where it does not.
        shares: axis -> name -> (share of the pool's tokens, share of the batch's).
        figures: other figures by name, such as mean P(harm) of pool and batch.
        made_from: ids of the artefacts that it was made from.
        languages: ISO 639-1 codes.
        licence: URL or name of the licence of these rows (not of the texts).
        url: where it is published; empty where it is not yet.
        creator: who publishes it.
    """

    name: str
    identity: str
    profile: str
    chain: str
    iteration: int
    created: str
    file: str
    sha256: str
    n_bytes: int
    documents: int
    tokens: int
    columns: Sequence[Column]
    sources: Mapping[str, str]
    shares: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    made_from: Sequence[str] = ()
    languages: Sequence[str] = ("en",)
    licence: str = "https://creativecommons.org/publicdomain/zero/1.0/"
    url: str = ""
    creator: str = "the publisher of this batch"


def description(facts: DatasetFacts) -> str:
    """One paragraph on what the rows are, how they were chosen, and what they are not."""
    return (
        f"Ids and loss weights of {facts.documents:,} documents ({facts.tokens:,} tokens) that a selection rule "
        f"({facts.chain}, iteration {facts.iteration}, profile {facts.profile}) drew from a raw corpus for fine-tuning "
        "a language model towards less harm. The texts are not included."
    )


def dataset_card(facts: DatasetFacts) -> str:
    """The card as Markdown with the YAML head that the Hugging Face hub reads.

    Args:
        facts: of the batch; names of sources and groups are folded into one line and escaped for tables.
    """
    head = [
        "---",
        f"pretty_name: {json.dumps(one_line(facts.name))}",
        "license: other",
        "license_name: per-source",
        f"language: [{', '.join(json.dumps(one_line(code)) for code in facts.languages)}]",
        f"size_categories: [{_SIZE_NAMES[sum(facts.documents >= edge for edge in _SIZES)]}]",
        "task_categories: [text-generation]",
        "tags: [data-curation, safety, data-selection]",
        "configs:",
        "- config_name: default",
        f"  data_files: {json.dumps(one_line(facts.file))}",
        "---",
    ]
    parts = [
        "\n".join(head),
        f"# {markdown(facts.name)}",
        markdown(description(facts)),
        "## Columns",
        markdown_table(("column", "holds"), [(column.name, column.words) for column in facts.columns]),
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
        parts += [
            "## Figures",
            markdown_table(("figure", "value"), [(n, _figure(v)) for n, v in facts.figures.items()]),
        ]
    parts += [
        "## Limits",
        "- Detectors of harm err more on dialect, on quoted and on reclaimed speech; a low P(harm) is an estimate and "
        "no promise, and single documents may be hateful, violent or sexual.\n"
        "- Shares of sources and of identity groups differ from the raw corpus; see the composition before use.\n"
        "- The selection was made for one model and one token budget. Personal data was looked for by patterns only.",
        "## Provenance",
        f"Artefact `{facts.identity}`, made {facts.created}, from "
        + (", ".join(f"`{identity}`" for identity in facts.made_from) or "nothing recorded")
        + ". The same recipe and seed give the same bytes.",
    ]
    return "\n\n".join(parts) + "\n"


def croissant(facts: DatasetFacts) -> dict[str, Any]:
    """Croissant 1.0 metadata, to be written as JSON.

    One file object with its checksum, and one record set whose fields are the columns of the Parquet file.

    Args:
        facts: of the batch.
    """
    file_id, records = facts.file, "documents"
    found: dict[str, Any] = {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "name": facts.name,
        "description": description(facts),
        "conformsTo": CONFORMS_TO,
        "license": facts.licence,
        "url": facts.url or f"urn:sha256:{facts.sha256}",
        "version": f"1.0.{facts.iteration}",
        "identifier": facts.identity,
        "datePublished": facts.created,
        "creator": {"@type": "sc:Organization", "name": facts.creator},
        "citeAs": f"{facts.name}, {facts.identity}, {facts.created}",
        "keywords": ["data curation", "language model", "safety"],
        "inLanguage": list(facts.languages),
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file_id,
                "name": facts.file,
                "description": "One row for each document of the batch.",
                "contentUrl": facts.file,
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
                "key": {"@id": f"{records}/{facts.columns[0].name}"},
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"{records}/{column.name}",
                        "name": column.name,
                        "description": column.words,
                        "dataType": column.kind,
                        "source": {"fileObject": {"@id": file_id}, "extract": {"column": column.name}},
                    }
                    for column in facts.columns
                ],
            }
        ],
    }
    return found


def _figure(value: float | int | str) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value
