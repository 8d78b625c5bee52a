"""Personal data in text: where it is, and text without it (annotation ``pii@2``).

Kinds follow what training corpora usually remove (Soldaini et al. 2024, "Dolma", arXiv:2402.00159; FineWeb,
arXiv:2406.17557): e-mail and IP addresses and phone numbers, and credit card numbers, which carry a check digit. Text
is annotated and never rewritten; ``redact`` works when a batch is made. No pattern finds all: an address spelt "jo
at home dot net" or a bare ten-digit number is not found; names, street addresses and identity numbers are not looked
for.
"""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate.annotator_settings import PiiSettings
from curation_pipeline.annotate.pii_characters import Places, unusual
from curation_pipeline.annotate.pii_patterns import CANDIDATES, PLACEHOLDERS, Span, find, find_in_original
from curation_pipeline.errors import DataError

VERSION = 2
SPANS: pl.DataType = pl.List(pl.Struct({"start": pl.Int32(), "end": pl.Int32(), "kind": pl.Utf8()}))

SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "spans": SPANS,
    **{f"n_{kind}": pl.Int32() for kind in PLACEHOLDERS},
}


def pii(documents: pl.DataFrame, settings: PiiSettings | None = None) -> pl.DataFrame:
    """Spans of personal data in each document.

    Args:
        documents: columns ``doc_id`` and ``text``.
        settings: the kinds looked for, and whether addresses that no host on the internet has count.

    Returns:
        One row a document, in order, with the columns of ``SCHEMA``. Spans are half-open, in characters (code points),
        sorted and without overlap; ``n_<kind>`` counts them.
    """
    settings = settings or PiiSettings()
    wanted = list(dict.fromkeys(settings.kinds))
    texts = documents.select("text").with_row_index("row")
    variants = unusual(documents["text"])
    originals = dict(zip(variants.to_list(), documents["text"].gather(variants).to_list(), strict=True))
    if originals:
        plain = pl.Series([Places(text).plain for text in originals.values()], dtype=pl.Utf8)
        others = texts.filter(~pl.col("row").is_in(variants.implode()))
        texts = pl.concat([others, pl.DataFrame({"row": variants, "text": plain})])
    # One vectorised pass finds the few documents that can hold anything; only they are looked at closely.
    text = pl.col("text")
    candidates = texts.with_columns(text.str.contains(CANDIDATES[kind]).alias(kind) for kind in wanted)
    candidates = candidates.filter(pl.any_horizontal(wanted))
    rows: list[int] = []
    spans: list[Span] = []
    for row, value, *hits in candidates.select("row", "text", *wanted).iter_rows():
        kinds = [kind for kind, hit in zip(wanted, hits, strict=True) if hit]
        original = originals.get(row)
        found = (
            find(value, kinds, settings.private_ips)
            if original is None
            else find_in_original(original, kinds, settings.private_ips)
        )
        rows += [row] * len(found)
        spans += found
    flat = pl.DataFrame(spans, schema={"start": pl.Int32, "end": pl.Int32, "kind": pl.Utf8}, orient="row")
    flat = flat.with_columns(pl.Series("row", rows, dtype=pl.UInt32))
    grouped = flat.group_by("row", maintain_order=True).agg(
        pl.struct("start", "end", "kind").alias("spans"),
        *((pl.col("kind") == kind).sum().cast(pl.Int32).alias(f"n_{kind}") for kind in PLACEHOLDERS),
    )
    empty = pl.lit([], dtype=SPANS)
    return (
        documents.select("doc_id")
        .with_row_index("row")
        .join(grouped, on="row", how="left", maintain_order="left")
        .select(
            "doc_id",
            pl.col("spans").fill_null(empty).cast(SPANS),
            *(pl.col(f"n_{kind}").fill_null(0) for kind in PLACEHOLDERS),
        )
    )


def redact(texts: pl.Series, spans: pl.Series) -> pl.Series:
    """Texts with each span replaced by a placeholder such as ``<EMAIL>``.

    Args:
        texts: n strings.
        spans: n lists of spans as in ``SCHEMA``; where spans overlap their union is replaced, and named for the kind of
            the one that starts first (the longest of these).

    Returns:
        n strings under the name of ``texts``. Looking for personal data in them again finds none of the same kinds.

    Raises:
        DataError: when there is not one list a text, or a span is not inside of its text.
    """
    if len(texts) != len(spans):
        raise DataError(f"redact needs one list of spans a text, got {len(texts)} texts and {len(spans)} lists")
    frame = pl.DataFrame({"text": texts, "spans": spans}).with_row_index("row")
    touched = frame.filter(pl.col("spans").list.len() > 0)
    if touched.is_empty():
        return texts.clone()
    clean = [_redact(text, found) for text, found in touched.select("text", "spans").iter_rows()]
    out = frame.select("row", "text").update(touched.select("row").with_columns(pl.Series("text", clean)), on="row")
    return out["text"].alias(texts.name)


def _redact(text: str, spans: list[dict[str, object]]) -> str:
    merged: list[tuple[int, int, str]] = []
    ordered = sorted((_span(span) for span in spans), key=lambda span: (span[0], -span[1]))
    for start, end, kind in ordered:
        if not 0 <= start < end <= len(text):
            raise DataError(f"the span {start} to {end} is not inside of its text of {len(text)} characters")
        if merged and start < merged[-1][1]:
            first, last, name = merged[-1]
            merged[-1] = (first, max(last, end), name)
        else:
            merged.append((start, end, kind))
    parts, at = [], 0
    for start, end, kind in merged:
        parts += [text[at:start], PLACEHOLDERS[kind]]
        at = end
    return "".join([*parts, text[at:]])


def _span(span: dict[str, object]) -> Span:
    start, end, kind = span["start"], span["end"], span["kind"]
    if not isinstance(start, int) or not isinstance(end, int) or kind not in PLACEHOLDERS:
        raise DataError(f"{span} is no span; it needs start, end and a kind of {', '.join(PLACEHOLDERS)}")
    return start, end, str(kind)
