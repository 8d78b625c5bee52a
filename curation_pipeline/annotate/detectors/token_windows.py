"""Windows of tokens through a transformers network: what ``classifier`` and ``detoxify`` share.

Each text is tokenised once and cut into overlapping windows of the network's length. Windows of many texts are sorted
by length and batched by the number of tokens: padding is computed like any token, so a batch costs its number of rows
times its longest.

Int8 weights (torch's dynamic quantisation) are deliberately not offered. The scale of the activations is taken over the
whole batch, so a text's score would depend on which texts happened to be scored with it: on 160 comments it moved by up
to .1, and 7% of the flags changed, for a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation_pipeline.annotate.detectors.windows import WindowPool
from curation_pipeline.progress import Progress, silent

DEFAULT_WINDOW = 512
"""Tokens of a window where neither the profile nor the tokenizer names a length."""
DEFAULT_STRIDE = 64
TOKENS_OF_A_TEXT = 128
"""A batch of b texts may hold b times this many tokens, padding included."""
CHUNK_CHARACTERS = 2_000_000
"""So much text is tokenised at once; its tokens take some 100 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenWindows:
    """A network with its tokenizer, over texts of any length.

    Attributes:
        model: a transformers model for sequence classification, in evaluation mode.
        tokenizer: its fast tokenizer.
        window: tokens of a window, special tokens included.
        stride: tokens that neighbouring windows share.
        batch_tokens: tokens scored at once, padding included; a single window may be more.
    """

    model: Any
    tokenizer: Any
    window: int
    stride: int
    batch_tokens: int

    def pooled(
        self, texts: Sequence[str], columns: Callable[[Any], Any], k: int, name: str, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Maximum and mean over each text's windows.

        Args:
            texts: n texts.
            columns: makes (b, k) scores of a tensor of (b, labels) logits.
            k: number of columns.
            name: of the detector, for progress.
            progress: told how far it is.

        Returns:
            Two float64 arrays (n, k).
        """
        import torch

        report = progress or silent
        pool = WindowPool(len(texts), k)
        for first, last in _chunks(texts):
            encoded = self.tokenizer(
                list(texts[first:last]),
                truncation=True,
                max_length=self.window,
                stride=self.stride,
                return_overflowing_tokens=True,
            )
            owners = np.asarray(encoded.pop("overflow_to_sample_mapping")) + first
            lengths = np.asarray([len(ids) for ids in encoded["input_ids"]])
            order = np.argsort(lengths, kind="stable")
            for begin, end in batches(lengths[order], self.batch_tokens):
                rows = order[begin:end]
                batch = self.tokenizer.pad(
                    {key: [value[i] for i in rows] for key, value in encoded.items()}, return_tensors="pt"
                )
                with torch.inference_mode():
                    scores = columns(self.model(**batch.to(self.model.device)).logits.float()).cpu().numpy()
                pool.add(owners[rows], scores)
                report(f"scoring with {name}", (first + (last - first) * end / len(order)) / len(texts))
        return pool.highest, pool.mean()


def window_of(model: Any, tokenizer: Any, wanted: int | None = None) -> int:
    """Tokens that a network reads at once, at most ``wanted``."""
    positions = getattr(model.config, "max_position_embeddings", None) or DEFAULT_WINDOW
    return int(min(wanted or DEFAULT_WINDOW, tokenizer.model_max_length, positions))


def batches(lengths: np.ndarray, tokens: int) -> Iterator[tuple[int, int]]:
    """Ranges of windows, sorted by ascending length, whose padded size is at most ``tokens``; one window at least."""
    start = 0
    while start < len(lengths):
        end = start + 1
        while end < len(lengths) and (end + 1 - start) * int(lengths[end]) <= tokens:
            end += 1
        yield start, end
        start = end


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of texts of about ``CHUNK_CHARACTERS`` each."""
    start = held = 0
    for i, text in enumerate(texts):
        if held and held + len(text) > CHUNK_CHARACTERS:
            yield start, i
            start, held = i, 0
        held += len(text)
    if start < len(texts):
        yield start, len(texts)
