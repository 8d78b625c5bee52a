"""Batched log-likelihoods of texts and of continuations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.training.tokenizer import Tokenised, encode


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
    windows.sort(key=lambda w: (w.end - w.start, w.item, w.start))
    totals = np.zeros(len(tokenised))
    device = next(lm.model.parameters()).device
    with torch.inference_mode():
        for batch in _batches(windows, batch_tokens):
            width = batch[-1].end - batch[-1].start
            tokens = np.full((len(batch), width + 1), lm.eos_id, dtype=np.int64)
            scored = np.zeros((len(batch), width), dtype=bool)
            for row, w in enumerate(batch):
                opened = np.concatenate([[lm.bos_id], tokenised[w.item][: w.end]])[w.start :]
                tokens[row, : opened.size] = opened
                scored[row, w.first - w.start : w.end - w.start] = True
            # Padding is at the right, where causal attention never looks: no mask is needed.
            inputs = torch.from_numpy(tokens).to(device)
            mask = torch.from_numpy(scored).to(device)
            logits = lm.model(input_ids=inputs[:, :-1], use_cache=False).logits[mask].float()
            target = inputs[:, 1:][mask]
            chosen = logits.gather(1, target[:, None]).squeeze(1) - torch.logsumexp(logits, dim=1)
            rows = np.nonzero(scored)[0]
            items = np.array([w.item for w in batch])[rows]
            np.add.at(totals, items, chosen.double().cpu().numpy())
    return Likelihoods(totals, lengths - skip, n_bytes)


def _windows(item: int, skip: int, length: int, size: int) -> list[_Window]:
    """Windows that predict tokens skip..length-1 of an item once each, with `size` inputs at most."""
    if length - skip <= size:
        return [_Window(item, max(0, length - size), skip, length)]
    return [_Window(item, start, start, min(start + size, length)) for start in range(skip, length, size)]


def _batches(windows: list[_Window], batch_tokens: int) -> list[list[_Window]]:
    """Cut windows that are sorted by length into batches of at most `batch_tokens` with padding."""
    batches: list[list[_Window]] = []
    for window in windows:
        width = window.end - window.start
        if not batches or (len(batches[-1]) + 1) * width > batch_tokens:
            batches.append([])
        batches[-1].append(window)
    return batches


def _bytes(texts: Sequence[str]) -> np.ndarray:
    return np.array([len(text.encode()) for text in texts], dtype=np.int64)
