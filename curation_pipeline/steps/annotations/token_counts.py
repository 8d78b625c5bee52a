"""Length in the model's tokens."""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate import pii
from curation_pipeline.steps.annotations.pii import STEP as PII
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.reference.tokenizer import STEP as TOKENIZER
from curation_pipeline.steps.step import Work
from curation_pipeline.training.tokenizer import count_tokens, load_tokenizer


def prepare(work: Work) -> Annotate:
    """Tokens of each document as the model reads it: personal data redacted, its closing token included.

    They are what budgets count.
    """
    tokenizer = load_tokenizer(work.lake.folder(work[TOKENIZER]))

    def annotate(documents: pl.DataFrame) -> pl.DataFrame:
        texts = pii.redact(documents["text"], documents["spans"])
        counts = count_tokens(texts, tokenizer)
        return documents.select("doc_id").with_columns(pl.Series("n_tokens", counts, dtype=pl.Int32))

    return annotate


STEP = annotator(
    __name__,
    prepare,
    version=2,
    references=(TOKENIZER,),
    same_partition_inputs=(PII,),
    kinds=frozenset({"huggingface", "parquet"}),
    histogram=("n_tokens", "tokens"),
)
