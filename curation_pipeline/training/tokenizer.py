"""Byte-level BPE tokenizer of the scratch model, and fast tokenisation of many texts.

Byte-level BPE (Radford et al., 2019) has no unknown token: any text can be written, so likelihoods per byte compare
across vocabularies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError, MissingModelError
from curation_pipeline.pretrained import load_pretrained
from curation_pipeline.training.byte_pairs import Pieces, byte_pairs

EOS = "<|endoftext|>"
PAD = "<|pad|>"
_BATCH = 1_024
"""Texts encoded at once: bounds the memory that the encodings take."""
_FEW = 1_024
"""So many texts are encoded sooner than the compiled loops are loaded."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokenised:
    """Token ids of n texts end to end, without any end-of-text token.

    Attributes:
        tokens: int32 (sum of lengths,).
        offsets: int64 (n + 1,); text i is ``tokens[offsets[i]:offsets[i + 1]]``.
    """

    tokens: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        """How many texts."""
        return int(self.offsets.size) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """Tokens of one text."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def counts(self) -> np.ndarray:
        """int32 (n,): tokens of each text with its closing end-of-text token, as budgets count them."""
        return (np.diff(self.offsets) + 1).astype(np.int32)

    def take(self, index: np.ndarray) -> Tokenised:
        """The texts at ``index``, in that order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # One gather instead of a loop over texts: position inside the text plus the text's start.
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths) + np.repeat(self.offsets[index], lengths)
        return Tokenised(self.tokens[place], offsets)


def train_tokenizer(texts: Iterable[str], vocab_size: int, out_dir: Path) -> Path:
    """Fit a byte-level BPE vocabulary and save it as a transformers tokenizer folder.

    The fit is a deterministic function of the texts in their order.

    Args:
        texts: the texts to count pairs in; one pass is made.
        vocab_size: entries, with the 256 bytes and the end-of-text and padding tokens among them.
        out_dir: folder to write ``tokenizer.json`` and its configuration to; made if absent.

    Returns:
        ``out_dir``.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    make: Any = PreTrainedTokenizerFast  # its constructor is not typed
    fast = make(tokenizer_object=tokenizer, eos_token=EOS, bos_token=EOS, pad_token=PAD)
    out_dir.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(str(out_dir))
    return out_dir


def load_tokenizer(source: Path | str) -> Any:
    """The fast tokenizer of a folder (or hub id), with an end-of-text token.

    Raises:
        MissingModelError: when there is no tokenizer, or it has no end-of-text token or no fast form.
    """
    tokenizer = load_pretrained("AutoTokenizer", source, f"no tokenizer at {source}; train one or give its folder")
    if not tokenizer.is_fast or tokenizer.eos_token_id is None:
        raise MissingModelError(f"the tokenizer at {source} must be a fast one with an eos token; choose another model")
    return tokenizer


def tokenise(texts: Sequence[str], tokenizer_dir: Path | str) -> Tokenised:
    """Token ids of texts, without special tokens.

    A text that spells a special token is encoded as plain characters where the tokenizer allows it and would else be
    an end of text in the middle of a document.

    Args:
        texts: n texts; an empty one has no tokens.
        tokenizer_dir: folder of a fast tokenizer.

    Raises:
        DataError: when a text is None.
    """
    tokenizer = load_tokenizer(tokenizer_dir)
    return encode(texts, tokenizer)


def encode(texts: Sequence[str] | pl.Series, tokenizer: Any) -> Tokenised:
    """As `tokenise`, with a tokenizer that is already loaded."""
    found = _pieces(texts, tokenizer)
    if isinstance(found, Tokenised):
        return found
    parts = [Tokenised(part.tokens, part.ends).take(part.codes).tokens for part in found]
    return Tokenised(np.concatenate(parts), _offsets(np.concatenate([part.lengths for part in found])))


def count_tokens(texts: Sequence[str] | pl.Series, tokenizer: Any) -> np.ndarray:
    """Tokens of each text, its closing end-of-text token included.

    Args:
        texts: n texts.
        tokenizer: a loaded tokenizer.

    Returns:
        int32 (n,).

    Raises:
        DataError: when a text is None.
    """
    found = _pieces(texts, tokenizer)
    if isinstance(found, Tokenised):
        return found.counts
    return (np.concatenate([part.lengths for part in found]) + 1).astype(np.int32)


def _pieces(texts: Sequence[str] | pl.Series, tokenizer: Any) -> list[Pieces] | Tokenised:
    """Texts as pieces where there are many and the tokenizer has them, else encoded by the library."""
    series = texts if isinstance(texts, pl.Series) else pl.Series(texts, dtype=pl.Utf8)
    if series.null_count():
        raise DataError("a text to tokenise is null; drop rows without text first")
    backend = tokenizer.backend_tokenizer
    # The vocabulary's special tokens inside a text are data, not structure.
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    pairs = byte_pairs(backend) if len(series) > _FEW else None
    return _encode_each(series, backend) if pairs is None else list(pairs.pieces(series))


def _encode_each(texts: pl.Series, backend: Any) -> Tokenised:
    """Each text by the library."""
    parts: list[np.ndarray] = []
    lengths = np.zeros(len(texts), dtype=np.int64)
    for start in range(0, len(texts), _BATCH):
        encodings = backend.encode_batch_fast(texts[start : start + _BATCH].to_list(), add_special_tokens=False)
        for offset, encoding in enumerate(encodings):
            ids = encoding.ids
            lengths[start + offset] = len(ids)
            parts.append(np.asarray(ids, dtype=np.int32))
    tokens = np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
    return Tokenised(tokens, _offsets(lengths))


def _offsets(lengths: np.ndarray) -> np.ndarray:
    """Where each of n runs of these lengths begins, and where the last one ends; int64 (n + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
