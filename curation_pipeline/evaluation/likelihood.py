"""Batched log-likelihoods of texts and of continuations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.training.runtime import block_causal
from curation_pipeline.training.tokenizer import Tokenised, encode

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Likelihoods:
    """Of n continuations.

    Attributes:
        log_likelihood: float64 (n,), natural logarithm of the probability of the continuation's tokens.
        n_tokens: int64 (n,), tokens scored.
        n_bytes: int64 (n,), UTF-8 bytes of the continuations.
    """

    log_likelihood: np.ndarray
    n_tokens: np.ndarray
    n_bytes: np.ndarray

    @property
    def per_byte(self) -> np.ndarray:
        """float64 (n,): log-likelihood in nats per byte."""
        return np.asarray(self.log_likelihood / np.maximum(self.n_bytes, 1))


@dataclass(frozen=True, slots=True)
class _Window:
    item: int
    start: int
    first: int
    """index inside the item of the first token that this window predicts"""
    end: int
    """one past the last predicted token"""


@dataclass(slots=True)
class _Row:
    """Windows that predict from the same beginning, which is read once."""

    prefix: int
    """inputs that they share; the last one predicts the first token of each"""
    windows: list[_Window]

    @property
    def inputs(self) -> int:
        """The shared ones, and those of each window alone."""
        return self.prefix + sum(window.end - window.first - 1 for window in self.windows)


def text_likelihood(lm: LanguageModel, texts: Sequence[str], batch_tokens: int = 2_048) -> Likelihoods:
    """Log-likelihood of whole texts, each from its opening token on (end-of-text is not scored).

    A text longer than the model's window is read in windows side by side, each of which sees only its own tokens.

    Args:
        lm: the model.
        texts: n texts, none of them empty.
        batch_tokens: most tokens in a batch.
    """
    tokenised = encode(texts, lm.tokenizer)
    return score_tokens(lm, tokenised, np.zeros(len(texts), dtype=np.int64), _bytes(texts), batch_tokens)


def continuation_likelihood(
    lm: LanguageModel, contexts: Sequence[str], continuations: Sequence[str], batch_tokens: int = 2_048
) -> Likelihoods:
    """Log-likelihood of continuations given contexts.

    Context and continuation are tokenised together, so that the text is cut into tokens as in training; the tokens
    scored are those that do not lie wholly inside the context. Where both do not fit the window the context loses its
    beginning.

    Args:
        lm: the model.
        contexts: n texts, may be empty.
        continuations: n texts, none of them empty, with their leading space where there is one.
        batch_tokens: most tokens in a batch.
    """
    joined = [context + continuation for context, continuation in zip(contexts, continuations, strict=True)]
    tokenised = encode(joined, lm.tokenizer)
    backend = lm.tokenizer.backend_tokenizer
    skip = np.zeros(len(joined), dtype=np.int64)
    with_context = [index for index, context in enumerate(contexts) if context]
    if with_context:
        encodings = backend.encode_batch([joined[index] for index in with_context], add_special_tokens=False)
        for index, encoding in zip(with_context, encodings, strict=True):
            length = len(contexts[index])
            # Offsets count characters; a token that straddles the border belongs to the continuation.
            skip[index] = sum(1 for _, end in encoding.offsets if end <= length)
    return score_tokens(lm, tokenised, skip, _bytes(continuations), batch_tokens)


def heldout_scores(lm: LanguageModel, heldout: pl.DataFrame, max_chars: int, batch_tokens: int) -> pl.DataFrame:
    """Negative log-likelihood of each held-out text.

    Args:
        lm: the model.
        heldout: columns doc_id, source, text, kind (``benign`` or ``toxic``).
        max_chars: characters of each text that are scored, from its beginning.
        batch_tokens: most tokens in a batch.

    Returns:
        doc_id, source, kind, nll (nats, Float64), n_bytes (Int64, of the scored part).

    Raises:
        DataError: when a kind is unknown or either kind is absent.
    """
    found = set(heldout["kind"].unique().to_list())
    if found != {"benign", "toxic"}:
        raise DataError(f"held-out text must be of kinds 'benign' and 'toxic', found {sorted(map(str, found))}")
    texts = heldout["text"].str.slice(0, max_chars)
    scores = text_likelihood(lm, texts.to_list(), batch_tokens)
    return heldout.select("doc_id", "source", "kind").with_columns(
        pl.Series("nll", -scores.log_likelihood), pl.Series("n_bytes", scores.n_bytes)
    )


def join(context: str, continuation: str) -> str:
    """The continuation with the space that separates it from a context that has none at its end."""
    if not context or context[-1].isspace() or continuation[:1].isspace():
        return continuation
    return " " + continuation


def preference_shares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 where the first is larger, 0 where the second is, one half at a tie; float64 (n,)."""
    return np.asarray((first > second) + 0.5 * (first == second), dtype=np.float64)


def score_tokens(
    lm: LanguageModel, tokenised: Tokenised, skip: np.ndarray, n_bytes: np.ndarray, batch_tokens: int = 2_048
) -> Likelihoods:
    """Log-likelihood of the tokens of each item after its first `skip`.

    Items with the same context, such as the options of a question, are read in one row: the context once, then what
    follows it, each seeing the context and itself. The output layer is computed where a token is scored only.

    Args:
        lm: the model.
        tokenised: n items.
        skip: int64 (n,), tokens of each item that are context.
        n_bytes: int64 (n,), bytes that the scored tokens spell; passed through.
        batch_tokens: most tokens in a batch.

    Raises:
        DataError: when an item has nothing to score.
    """
    import torch

    lengths = np.diff(tokenised.offsets)
    if (lengths <= skip).any():
        bad = int(np.flatnonzero(lengths <= skip)[0])
        raise DataError(f"text {bad} has no token to score; drop empty texts before the evaluation")
    # With the opening token in front, token t of an item is predicted from inputs that end at place t.
    windows = [
        w for item in range(len(tokenised)) for w in _windows(item, int(skip[item]), int(lengths[item]), lm.window)
    ]
    opened = {w.item: np.concatenate([[lm.bos_id], tokenised[w.item]]) for w in windows}
    rows = _rows(windows, opened, 2 * lm.window if lm.takes_any_mask else 0)
    rows.sort(key=lambda row: (row.inputs, row.windows[0].item, row.windows[0].start))
    totals = np.zeros(len(tokenised))
    device = next(lm.model.parameters()).device
    with torch.inference_mode():
        for batch in _batches(rows, batch_tokens):
            packed, item = _packed(batch, opened, lm.eos_id)
            tokens, segment, position, place, target = (torch.from_numpy(array).to(device) for array in packed)
            # Padding is at the right, where causal attention never looks: rows of one window need no mask.
            shared = any(len(row.windows) > 1 for row in batch)
            mask = {"attention_mask": block_causal(segment, 0), "position_ids": position} if shared else {}
            with _output_at(lm.model, place):
                logits = lm.model(input_ids=tokens, use_cache=False, **mask).logits.float()
            chosen = logits.gather(1, target[:, None]).squeeze(1) - torch.logsumexp(logits, dim=1)
            np.add.at(totals, item, chosen.double().cpu().numpy())
    return Likelihoods(totals, lengths - skip, n_bytes)


@contextmanager
def _output_at(model: Any, place: torch.Tensor) -> Iterator[None]:
    """Inside the block the model computes logits (N, V) of N places only, not (B, L, V) of all.

    Args:
        model: a causal language model.
        place: int64 (N,), places in the flattened batch.
    """

    def chosen(_head: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return inputs[0].flatten(0, 1)[place]

    hook = model.get_output_embeddings().register_forward_pre_hook(chosen)
    try:
        yield
    finally:
        hook.remove()


def _packed(
    batch: list[_Row], opened: Mapping[int, np.ndarray], padding: int
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """A batch as arrays.

    Returns:
        int64 arrays: tokens, segment and position (B, L), where segment 0 is what the windows of a row share; place in
        the flattened batch and token of each of N predictions (N,); and apart from them the item of each (N,).
    """
    width = max(row.inputs for row in batch)
    tokens = np.full((len(batch), width), padding, dtype=np.int64)
    segment, position = np.zeros((2, len(batch), width), dtype=np.int64)
    places, targets, items = [], [], []
    for index, row in enumerate(batch):
        end = row.prefix
        first = row.windows[0]
        tokens[index, :end] = opened[first.item][first.start : first.first + 1]
        position[index, :end] = np.arange(end)
        for number, window in enumerate(row.windows, start=1):
            wanted = opened[window.item][window.first + 1 : window.end + 1]
            own = np.arange(end, end + wanted.size - 1)
            tokens[index, own], segment[index, own], position[index, own] = wanted[:-1], number, own - end + row.prefix
            places += [np.array([row.prefix - 1]) + index * width, own + index * width]
            targets.append(wanted)
            items.append(np.full(wanted.size, window.item))
            end += wanted.size - 1
    arrays = tokens, segment, position, np.concatenate(places), np.concatenate(targets).astype(np.int64)
    return arrays, np.concatenate(items)


def _rows(windows: list[_Window], opened: Mapping[int, np.ndarray], most: int) -> list[_Row]:
    """Put windows that predict from the same beginning into common rows of at most `most` inputs, 0 for no sharing."""
    rows: list[_Row] = []
    open_rows: dict[bytes, _Row] = {}
    for window in windows:
        prefix = window.first - window.start + 1
        key = opened[window.item][window.start : window.first + 1].tobytes() if prefix > 1 else b""
        row = open_rows.get(key)
        if not key or row is None or row.inputs + window.end - window.first - 1 > most:
            row = open_rows[key] = _Row(prefix, [])
            rows.append(row)
        row.windows.append(window)
    return rows


def _windows(item: int, skip: int, length: int, size: int) -> list[_Window]:
    """Windows that predict tokens skip..length-1 of an item once each, with `size` inputs at most."""
    if length - skip <= size:
        return [_Window(item, max(0, length - size), skip, length)]
    return [_Window(item, start, start, min(start + size, length)) for start in range(skip, length, size)]


def _batches(rows: list[_Row], batch_tokens: int) -> list[list[_Row]]:
    """Cut rows that are sorted by length into batches of at most `batch_tokens` with padding."""
    batches: list[list[_Row]] = []
    for row in rows:
        if not batches or (len(batches[-1]) + 1) * row.inputs > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


def _bytes(texts: Sequence[str]) -> np.ndarray:
    return np.array([len(text.encode()) for text in texts], dtype=np.int64)
