"""Detoxify (Hanu and Unitary 2020) through its own class, with local weights or published ones.

Detoxify itself unpickles its checkpoint without restriction. Here the checkpoint is first read in torch's weights-only
mode, in which a pickle can hold nothing but tensors and plain values, the hub's name in it is replaced by a local
folder, and only that copy, in memory, is handed over. Published weights are downloaded once, from the address in the
package, and their hash is checked.

Its ``predict`` cuts a text at the model's length and pads each batch to its longest text. Here its network and its
tokenizer score long texts in windows, in batches of like length; short texts have the scores that ``predict`` gives.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from curation_pipeline.annotate.detectors.preflight import missing_package
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.registry import DetectorSpec, Missing, Opening, Preflight
from curation_pipeline.annotate.detectors.token_windows import (
    DEFAULT_STRIDE,
    TOKENS_OF_A_TEXT,
    TokenWindows,
    window_of,
)
from curation_pipeline.annotate.detectors.windows import mean_name
from curation_pipeline.datasets.packages import file_sha256
from curation_pipeline.errors import ConfigError, IntegrityError, MissingModelError
from curation_pipeline.pretrained import load_pretrained
from curation_pipeline.progress import Progress
from curation_pipeline.settings import Settings

NAME = "detoxify"
HEADLINE = "toxicity"


class DetoxifySettings(Settings):
    """Where the weights of Detoxify lie, or which published ones to download; without either it is not available."""

    variant: Literal["original", "unbiased", "multilingual"] | None = Field(
        default=None, description="published weights to download once, as the package does; or give local files below"
    )
    checkpoint: Path | None = Field(
        default=None, description="a checkpoint in Detoxify's own format (`config` and `state_dict`)"
    )
    huggingface_config_path: Path | None = Field(
        default=None, description="folder with the model's config.json and tokenizer files"
    )
    device: str = Field(default="cpu", description="torch device, such as cpu or cuda:0")
    batch_size: int = Field(default=32, ge=1, le=4096, description="texts of 128 tokens scored at once")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        """Weights come from one place.

        Raises:
            ConfigError: both a published variant and local files are named.
        """
        if self.variant is not None and (self.checkpoint or self.huggingface_config_path):
            raise ConfigError("annotate.detoxify names a variant to download and local files; give one of the two")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class DetoxifyDetector:
    """Detoxify, loaded.

    Attributes:
        network: the network and the tokenizer of the package's own ``Detoxify`` object, over windows.
        classes: the logit of each class of ``heads``.
        version: of the package, the windows and the checkpoint's content.
        heads: the checkpoint's classes, ``toxicity`` first, each a maximum over a text's windows; and the first one's
            mean over the windows.
    """

    network: TokenWindows
    classes: tuple[int, ...]
    version: str
    heads: tuple[str, ...]
    name: str = NAME

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """One Float32 column a class, and the headline's mean, a row a text."""
        highest, mean = self.network.pooled(
            texts, lambda logits: logits.sigmoid()[:, list(self.classes)], len(self.classes), self.name, progress
        )
        return score_frame(np.column_stack([highest, mean[:, 0]]), self.heads)


def load(
    checkpoint: Path, huggingface_config_path: Path, device: str = "cpu", batch_size: int = 32
) -> DetoxifyDetector:
    """Load Detoxify from local files only.

    Args:
        checkpoint: file in Detoxify's format: ``config`` (with ``arch.args`` and ``dataset.args.classes``) and
            ``state_dict``.
        huggingface_config_path: folder with config.json (its ``num_labels`` the number of classes) and the tokenizer.
        device: torch device.
        batch_size: texts of ``TOKENS_OF_A_TEXT`` tokens scored at once.

    Raises:
        MissingModelError: when a file or the package is missing.
        IntegrityError: when the checkpoint is damaged or holds more than tensors and plain values.
        ConfigError: when checkpoint and configuration do not fit each other.
    """
    for path in (checkpoint, huggingface_config_path / "config.json"):
        if not path.is_file():
            raise MissingModelError(
                f"Detoxify: {path} does not exist; set annotate.detoxify.checkpoint to a downloaded checkpoint and "
                "annotate.detoxify.huggingface_config_path to a folder with its config.json and tokenizer"
            )
    try:
        import torch
        from detoxify import Detoxify
    except ImportError as error:
        raise MissingModelError(f"Detoxify is not installed ({error}); install the package `detoxify`") from error
    raw = checkpoint.read_bytes()
    try:
        loaded = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        classes = list(loaded["config"]["dataset"]["args"]["classes"])
        arch = loaded["config"]["arch"]["args"]
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise IntegrityError(
            f"{checkpoint} is not a Detoxify checkpoint that can be read safely: {error}; download it again"
        ) from error
    # `num_labels` may be given directly or through its label names, whichever the model's publisher wrote.
    config = json.loads((huggingface_config_path / "config.json").read_text(encoding="utf-8"))
    labels = config.get("num_labels") or len(config.get("id2label") or {}) or 2
    if labels != len(classes) or arch.get("num_classes") != len(classes):
        raise ConfigError(
            f"{huggingface_config_path}/config.json describes {labels} labels, but {checkpoint} has {len(classes)} "
            f"classes ({', '.join(classes)}); set its num_labels to {len(classes)}"
        )
    # The package takes any name from transformers; the automatic classes would run code that the folder names.
    for name, end in (("model_name", "ForSequenceClassification"), ("tokenizer_name", "Tokenizer")):
        if not re.fullmatch(rf"(?!Auto)\w+{end}(Fast)?", str(arch.get(name))):
            raise IntegrityError(f"{checkpoint}: {name} {arch.get(name)!r} is no class of a network that Detoxify uses")
    arch["model_type"] = str(huggingface_config_path)
    local = io.BytesIO()
    torch.save(loaded, local)
    local.seek(0)
    model = Detoxify(checkpoint=local, device=device, huggingface_config_path=str(huggingface_config_path))
    tokenizer = model.tokenizer
    if not tokenizer.is_fast:
        raise ConfigError(f"Detoxify: {huggingface_config_path} has no fast tokenizer, which windows need")
    names = tuple(model.class_names)
    heads = (HEADLINE, *(name for name in names if name != HEADLINE)) if HEADLINE in names else names
    window = window_of(model.model, tokenizer)
    network = TokenWindows(
        model=model.model.eval(),
        tokenizer=tokenizer,
        window=window,
        stride=min(DEFAULT_STRIDE, window // 2),
        batch_tokens=batch_size * TOKENS_OF_A_TEXT,
    )
    return DetoxifyDetector(
        network=network.settled("annotate.detoxify.huggingface_config_path"),
        classes=tuple(names.index(head) for head in heads),
        version=f"0.5-2-{hashlib.sha256(raw).hexdigest()[:12]}",
        heads=(*heads, mean_name(heads)),
    )


def published(variant: str) -> str:
    """The file name of a variant's checkpoint, which ends in the first digits of its sha256.

    Raises:
        MissingModelError: the package is missing or knows no such variant.
    """
    return _url(variant).rpartition("/")[2]


def fetch_published(variant: str, cache: Path) -> tuple[Path, Path]:
    """The checkpoint of a published variant, and a folder with its network's configuration and tokenizer.

    The checkpoint comes from the address in the package, and its hash is checked against its name; configuration and
    tokenizer come from the hub id that the checkpoint names. What is in the cache is not downloaded again.

    Args:
        variant: ``original``, ``unbiased`` or ``multilingual``.
        cache: folder of downloads.

    Raises:
        MissingModelError: something could not be downloaded; says what to do without a network.
    """
    import torch

    url = _url(variant)
    folder = cache / "detoxify"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / published(variant)
    base = folder / f"{variant}-base"
    try:
        if not checkpoint.is_file():
            digits = re.search(r"-([0-9a-f]{8,})\.\w+$", checkpoint.name)
            part = folder / f".{checkpoint.name}.part"
            torch.hub.download_url_to_file(url, str(part), digits.group(1) if digits else None, progress=False)
            os.replace(part, checkpoint)
        if not (base / "config.json").is_file():
            # Weights only: a pickle that holds anything else is refused here, before it is used.
            arch: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)["config"]["arch"][
                "args"
            ]
            with tempfile.TemporaryDirectory(dir=folder, prefix=".base-") as name:
                known, labels = str(arch["model_type"]), arch["num_classes"]
                load_pretrained("AutoConfig", known, "its configuration", num_labels=labels).save_pretrained(name)
                load_pretrained("AutoTokenizer", known, "its tokenizer").save_pretrained(name)
                base.mkdir(exist_ok=True)
                # What says that the folder is whole comes last.
                for file in sorted(Path(name).iterdir(), key=lambda file: file.name == "config.json"):
                    os.replace(file, base / file.name)
    except Exception as error:
        # torch, pickle, urllib and the hub's client each raise their own kinds; the remedy is one.
        raise MissingModelError(
            f"Detoxify's published `{variant}` ({url}) cannot be had: {type(error).__name__}: {error}; without a "
            "network set annotate.detoxify.checkpoint and .huggingface_config_path to local copies instead"
        ) from error
    return checkpoint, base


def _url(variant: str) -> str:
    try:
        from detoxify.detoxify import MODEL_URLS
    except ImportError as error:
        raise MissingModelError(f"Detoxify is not installed ({error}); install the package `detoxify`") from error
    if variant not in MODEL_URLS:
        raise MissingModelError(f"Detoxify publishes no `{variant}`; it has {', '.join(MODEL_URLS)}")
    return str(MODEL_URLS[variant])


def _missing(settings: DetoxifySettings, preflight: Preflight) -> Iterator[Missing]:
    yield from missing_package("detoxify", "detoxify")
    if settings.variant is not None:
        return
    checkpoint, folder = settings.checkpoint, settings.huggingface_config_path
    if checkpoint is None or not checkpoint.is_file():
        yield Missing(f"annotate.detoxify.checkpoint ({checkpoint}) is no file", model=True)
    if folder is None or not (folder / "config.json").is_file():
        what = f"annotate.detoxify.huggingface_config_path ({folder}) is no folder with a config.json"
        yield Missing(what, model=True)


def _identity(settings: DetoxifySettings) -> str:
    """The published file's name, or the checkpoint's hash: other weights are another annotation."""
    if settings.variant is not None:
        return f"published {published(settings.variant)}"
    checkpoint = settings.checkpoint
    if checkpoint is None or not checkpoint.is_file():
        raise MissingModelError(f"detoxify is asked for, but annotate.detoxify.checkpoint ({checkpoint}) is no file")
    return file_sha256(checkpoint)


def _open(settings: DetoxifySettings, opening: Opening) -> DetoxifyDetector:
    if settings.variant is not None and opening.cache is not None:
        return load(*fetch_published(settings.variant, opening.cache), settings.device, settings.batch_size)
    if settings.checkpoint is None or settings.huggingface_config_path is None:
        raise MissingModelError(
            "detoxify is asked for, but neither annotate.detoxify.variant nor .checkpoint and "
            ".huggingface_config_path are set; name a variant to download, give both paths, or use alt_profanity"
        )
    return load(settings.checkpoint, settings.huggingface_config_path, settings.device, settings.batch_size)


DETECTORS = (
    DetectorSpec(
        name=NAME,
        version="0.5-2",
        source="the package detoxify and its published checkpoints, Apache-2.0",
        settings=DetoxifySettings,
        section="detoxify",
        missing=_missing,
        identity=_identity,
        open=_open,
        cuts_windows=True,
    ),
)
