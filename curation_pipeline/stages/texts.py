"""Documents of a frozen corpus with their annotations, and their texts as a model reads them."""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate.pii import redact
from curation_pipeline.lake.lake import Lake


def read_corpus(lake: Lake, corpus: dict[str, dict[str, str]]) -> pl.DataFrame:
    """Documents of the frozen partitions joined with their annotations, without texts and duplicates.

    A text that is in several partitions is taken from the first in order of key.
    """
    frames = []
    for _, ids in sorted(corpus.items()):
        documents = lake.frame(
            lake.get(ids["documents"]), columns=["doc_id", "source", "snapshot", "domain", "duplicate"]
        )
        frame = documents.filter(~pl.col("duplicate")).drop("duplicate")
        for table in ("text_statistics", "toxicity_teacher", "sentence_vectors", "token_counts", "register", "dialect"):
            annotation = lake.frame(lake.get(ids[table]))
            if table == "register":
                annotation = annotation.select("doc_id", "register")
            if table == "dialect":
                annotation = annotation.select("doc_id", "aae_score")
            if table == "text_statistics":
                annotation = annotation.select("doc_id", "quality", "identity_group")
            frame = frame.join(annotation, on="doc_id", how="inner")
        frames.append(frame)
    return pl.concat(frames).unique("doc_id", keep="first", maintain_order=True)


def read_texts(lake: Lake, corpus: dict[str, dict[str, str]], doc_ids: pl.Series, redact_pii: bool = True) -> pl.Series:
    """The texts of some documents as a model reads them, in the order of ``doc_ids``.

    Args:
        lake: the lake.
        corpus: ids of each partition's documents and annotations.
        doc_ids: which documents.
        redact_pii: put placeholders in the place of personal data.
    """
    wanted = doc_ids.unique().implode()

    def rows(identity: str, *columns: str) -> pl.DataFrame:
        table = pl.scan_parquet(lake.path(lake.get(identity), "data.parquet"), glob=False)
        return table.filter(pl.col("doc_id").is_in(wanted)).select("doc_id", *columns).collect()

    found = []
    for _, ids in sorted(corpus.items()):
        texts = rows(ids["documents"], "text").unique("doc_id", keep="first", maintain_order=True)
        if redact_pii and texts.height:
            texts = texts.join(rows(ids["pii"], "spans"), on="doc_id", how="left", maintain_order="left")
            texts = texts.with_columns(redact(texts["text"], texts["spans"]).alias("text")).drop("spans")
        found.append(texts)
    every = pl.concat(found).unique("doc_id", keep="first", maintain_order=True)
    return doc_ids.to_frame("doc_id").join(every, on="doc_id", how="left", maintain_order="left")["text"]
