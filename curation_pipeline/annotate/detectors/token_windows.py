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
from curation_pipeline.errors import ConfigError
from curation_pipeline.progress import Progress, silent

DEFAULT_WINDOW = 512
"""Tokens of a window where neither the profile nor the model names a length."""
NO_LENGTH = 10**6
"""A tokenizer that names no length says a number beyond this."""
PROBE = ["one two", "one two three four five six seven eight nine ten"]
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

    def settled(self, setting: str) -> TokenWindows:
        """This network, with its tokenizer padding on a side where padding changes nothing (``settle_padding``)."""
        labels = self.model.config.num_labels

        def read(texts: list[str]) -> np.ndarray:
            return self.pooled(texts, lambda logits: logits.sigmoid(), labels, "")[0]

        settle_padding(self.tokenizer, read, setting)
        return self


def window_of(model: Any, tokenizer: Any, wanted: int | None = None) -> int:
    """Tokens that a network reads at once, at most ``wanted``; ``DEFAULT_WINDOW`` where nothing names a length."""
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < NO_LENGTH else []
    if (positions := getattr(model.config, "max_position_embeddings", None) or 0) > 0:  # XLNet says -1
        limits.append(positions - _first_position(model))
    if wanted is not None:
        limits.append(wanted)
    return int(min(limits, default=DEFAULT_WINDOW))


def _first_position(model: Any) -> int:
    """The number that a network gives to its first token: RoBERTa and its kin count on from the padding's."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and hasattr(module, "position_embeddings"):
            return padding + 1
    return 0


def settle_padding(tokenizer: Any, read: Callable[[list[str]], np.ndarray], setting: str) -> None:
    """Make the tokenizer pad on a side where padding changes nothing, its own side first.

    A row depends on its own text alone. Networks that count positions from the left are disturbed by padding on the
    left, others, that read the last place of a row, by padding on the right; a saved tokenizer may name either side.

    Args:
        tokenizer: of the network; it is changed.
        read: what the network makes of some texts, one row each.
        setting: the profile's setting, for the message.

    Raises:
        ConfigError: the network cannot read a batch, or padding changes what it says on either side.
    """
    own = tokenizer.padding_side
    for side in (own, "left" if own == "right" else "right"):
        tokenizer.padding_side = side
        try:
            alone, padded = read(PROBE[:1])[0], read(PROBE)[0]
        except ValueError as error:
            raise ConfigError(f"{setting}: the model cannot read a batch of plain texts: {error}") from error
        if np.allclose(alone, padded, rtol=1e-3, atol=1e-3):
            return
    raise ConfigError(f"{setting}: padding changes what the model says of a text, on either side: choose another model")


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
