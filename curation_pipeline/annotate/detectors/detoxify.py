"""Detoxify (Hanu and Unitary 2020) through its own class, for users who have its weights on disk.

Detoxify itself downloads weights, asks a hub for the base model's configuration and unpickles its checkpoint without
restriction. Here nothing is downloaded: the checkpoint is first read in torch's weights-only mode, in which a pickle
can hold nothing but tensors and plain values, the hub's name in it is replaced by the local folder, and only that copy,
in memory, is handed over.

Its ``predict`` cuts a text at the model's length and pads each batch to its longest text. Here its network and its
tokenizer score long texts in windows, in batches of like length; short texts have the scores that ``predict`` gives.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.token_windows import (
    DEFAULT_STRIDE,
    TOKENS_OF_A_TEXT,
    TokenWindows,
    window_of,
)
from curation_pipeline.annotate.detectors.windows import mean_name
from curation_pipeline.errors import ConfigError, IntegrityError, MissingModelError
from curation_pipeline.progress import Progress

NAME = "detoxify"
HEADLINE = "toxicity"


@dataclass(frozen=True, slots=True, eq=False)
class DetoxifyDetector:
    """Detoxify, loaded.

    Attributes:
        network: the network and the tokenizer of the package's own ``Detoxify`` object, over windows.
        classes: where each class of ``heads`` stands among the logits.
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
        """One Float32 column a class, and the headline's mean; see ``Detector.score``."""
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
