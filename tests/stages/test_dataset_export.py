"""The dataset card and its Croissant metadata: what the hub and the specification require, with hostile names."""

from __future__ import annotations

import dataclasses
import json
import re

import yaml

from curation_pipeline.stages.dataset_export import COLUMNS, CONFORMS_TO, DatasetFacts, croissant, dataset_card

FACTS = DatasetFacts(
    name="demo-main-3",
    identity="batches-0123456789abcdef",
    profile="demo",
    chain="main",
    iteration=3,
    created="2026-01-04",
    sha256="a" * 64,
    n_bytes=12_345,
    documents=2_476,
    tokens=299_685,
    sources={"forum": "MIT", "x | <script>alert(1)</script> [y](javascript:z)\n---\n": "not stated"},
    shares={"toxicity_bin": {"0": (0.85, 1.0), "1": (0.15, 0.0)}},
    figures={"mean p harm": 0.015912, "strata": 99},
    made_from=("pool-1", "policies-2"),
)


def test_the_card_has_the_head_that_the_hub_reads() -> None:
    card = dataset_card(FACTS)
    _, head, body = card.split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["size_categories"] == ["1K<n<10K"]
    assert said["configs"] == [{"config_name": "default", "data_files": "batch.parquet"}]
    for shown in ("2,476 documents", "| 0 | 85.0% | 100.0% |", "0.01591", "`pool-1`", "## Limits", "| forum | MIT |"):
        assert shown in body
    # A source's name stays one cell: no tag, no link, no end of the cell.
    row = next(line for line in body.splitlines() if "alert(1)" in line)
    assert row.count("|") - row.count("\\|") == 3
    assert "\\<script\\>" in row
    assert "\\[y\\]" in row


def test_sizes_have_the_hubs_names() -> None:
    for documents, name in ((999, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K"), (200_000_000, "n>100M")):
        head = dataset_card(dataclasses.replace(FACTS, documents=documents)).split("---\n")[1]
        assert yaml.safe_load(head)["size_categories"] == [name]


def test_croissant_has_what_the_specification_requires() -> None:
    found = json.loads(json.dumps(croissant(FACTS), allow_nan=False))
    assert found["@type"] == "sc:Dataset"
    assert found["conformsTo"] == CONFORMS_TO
    # "Required" and "recommended" of the 1.0 specification, dataset level.
    assert {"@context", "name", "description", "license", "url", "creator", "datePublished"} <= set(found)
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
    (file,) = found["distribution"]
    assert {"@type", "@id", "name", "contentUrl", "encodingFormat", "sha256"} <= set(file)
    (records,) = found["recordSet"]
    names = [field["name"] for field in records["field"]]
    assert names == list(COLUMNS)
    for field in records["field"]:
        assert field["source"] == {"fileObject": {"@id": file["@id"]}, "extract": {"column": field["name"]}}
        assert field["dataType"].startswith("sc:")
    ids = [file["@id"], records["@id"], *(field["@id"] for field in records["field"])]
    assert len(set(ids)) == len(ids)
    assert records["key"]["@id"] in ids
    # Every term that is not schema.org's own is in the context.
    assert {"conformsTo", "recordSet", "field", "source", "extract", "fileObject", "column", "dataType", "key"} <= set(
        found["@context"]
    )
