"""Detoxify's published weights by name, downloaded once from where the package itself would take them."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from curation_pipeline.errors import MissingModelError
from curation_pipeline.pretrained import load_pretrained


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
