"""From a weighted batch of documents to fixed rows of tokens.

The stream is ``eos d1 eos d2 eos ... dn eos`` in a shuffled order, cut into rows that overlap by one token, so that
every token after the first is the target of exactly one prediction. An eos closes the document before it and, as an
input, opens the one after it. Attention does NOT cross documents: `segment` numbers the document of each input, and
the trainer masks everything outside it (which costs nothing measurable at these sizes). So the first token of a
document is predicted from its eos alone, as in the evaluation, and never from the text of the document before.
A document longer than a row continues in the next row without its earlier tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from curation_pipeline.errors import DataError
from curation_pipeline.seeds import generator
from curation_pipeline.training.tokenizer import Tokenised, encode, load_tokenizer

Weighting = Literal["loss", "sampling"]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """m rows of L tokens.

    Attributes:
        tokens: int32 (m, L); position j predicts position j + 1 of its row.
        loss_weight: float32 (m, L), the weight of predicting the token at that position; column 0 and padding are 0,
            and the mean over the predicted tokens is 1.
        segment: int32 (m, L), the number of the document that a position belongs to as an INPUT.
        position: int32 (m, L), the position inside that document's part of the row.
        n_documents: different documents that are in it.
        n_tokens: tokens that are predicted: the documents' tokens and their closing eos.
    """

    tokens: np.ndarray
    loss_weight: np.ndarray
    segment: np.ndarray
    position: np.ndarray
    n_documents: int
    n_tokens: int


def pack(
    texts: Sequence[str],
    weights: np.ndarray,
    tokenizer_dir: Path | str,
    sequence_length: int,
    seed: int,
    weighting: Weighting = "loss",
) -> Packed:
    """Tokenise and pack a weighted batch.

    Args:
        texts: n documents.
        weights: (n,) non-negative document weights; a document of weight 0 is left out.
        tokenizer_dir: folder of the tokenizer.
        sequence_length: L, tokens of a row.
        seed: decides the order of the documents, and under ``sampling`` which of them are there.
        weighting: ``loss`` puts every document in once and weights its loss; ``sampling`` puts documents in as often
            as `copies` says and weights none.

    Raises:
        DataError: when nothing is left to pack, or a weight is negative or not finite.
    """
    tokenizer = load_tokenizer(tokenizer_dir)
    eos_id = int(tokenizer.eos_token_id)
    return pack_tokens(encode(texts, tokenizer), weights, eos_id, sequence_length, seed, weighting)


def copies(weights: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """How often each document is put in when weights act on sampling.

    Systematic sampling (Madow, 1949) over the documents in a shuffled order: document i is expected
    ``weights[i] * sum(counts) / sum(weights * counts)`` times, gets that number rounded down or up, and all of them
    together have as many tokens as the batch, give or take a few documents. So the expected gradient is that of loss
    weights, without a step that one heavy document rules.

    Args:
        weights: (n,) non-negative, not all zero.
        counts: (n,) tokens of each document.
        seed: decides the rounding.

    Returns:
        int64 (n,).
    """
    rng = generator(seed, "copies")
    order = rng.permutation(weights.size)
    expected = weights[order] * (counts.sum() / np.dot(weights, counts))
    edges = np.floor(np.cumsum(expected) + rng.random()).astype(np.int64)
    result = np.empty(weights.size, dtype=np.int64)
    result[order] = np.diff(edges, prepend=0)
    return result


def pack_tokens(
    documents: Tokenised,
    weights: np.ndarray,
    eos_id: int,
    sequence_length: int,
    seed: int,
    weighting: Weighting = "loss",
) -> Packed:
    """As `pack`, for documents that are tokenised already."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(documents),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(f"packing needs {len(documents)} finite weights of 0 or more, got an array of {weights.shape}")
    kept = np.flatnonzero(weights > 0)
    if kept.size == 0:
        raise DataError("there is nothing to train on: no document has a weight above zero")
    if weighting == "sampling":
        drawn = np.repeat(kept, copies(weights[kept], documents.counts[kept].astype(np.float64), seed))
        # A batch of one or two documents may round to nothing.
        kept = drawn if drawn.size else kept[[int(np.argmax(weights[kept]))]]
        weights = np.ones_like(weights)
    order = generator(seed, "pack").permutation(kept)
    chosen = documents.take(order)

    # Interleave: position 0 is the opening eos, then each document's tokens and its closing eos.
    lengths = np.diff(chosen.offsets)
    ends = np.cumsum(lengths + 1)
    total = int(ends[-1]) + 1
    stream = np.full(total, eos_id, dtype=np.int32)
    is_text = np.ones(total, dtype=bool)
    is_text[0] = False
    is_text[ends] = False
    stream[is_text] = chosen.tokens
    # As a target an eos belongs to the document it closes; as an input to the one that it opens.
    target_document = np.repeat(np.arange(order.size), lengths + 1)
    target_weight = np.concatenate([[0.0], weights[order][target_document]])
    target_weight *= (total - 1) / target_weight.sum()
    input_segment = np.concatenate([target_document, [order.size]]).astype(np.int32)

    step = sequence_length - 1
    rows = -(-(total - 1) // step)
    index = np.arange(rows)[:, None] * step + np.arange(sequence_length)[None, :]
    inside = index < total
    index = np.minimum(index, total - 1)
    loss_weight = np.where(inside, target_weight[index], 0.0).astype(np.float32)
    loss_weight[:, 0] = 0.0
    segment = np.where(inside, input_segment[index], order.size + 1).astype(np.int32)
    column = np.broadcast_to(np.arange(sequence_length), segment.shape)
    starts = np.ones(segment.shape, dtype=bool)
    starts[:, 1:] = segment[:, 1:] != segment[:, :-1]
    position = (column - np.maximum.accumulate(np.where(starts, column, 0), axis=1)).astype(np.int32)
    tokens = np.where(inside, stream[index], eos_id).astype(np.int32)
    return Packed(tokens, loss_weight, segment, position, int(np.unique(order).size), total - 1)
