"""Before anything runs: is all there that the detectors of a profile need?

A run that stops after an hour for want of a key has cost an hour, so everything that is missing is reported first.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from curation_pipeline.annotate.detectors.registry import Missing, Preflight, find_detector
from curation_pipeline.errors import ConfigError, MissingModelError
from curation_pipeline.pretrained import unsafe_weights

if TYPE_CHECKING:
    from curation_pipeline.annotate.settings import AnnotateSettings

_TRUE = {"1", "true", "yes", "on"}


def preflight(
    detectors: Collection[str],
    settings: AnnotateSettings,
    labelled: Collection[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Report everything that the detectors of a profile lack, in one message.

    Args:
        detectors: names of the teachers, the judge, the expert, and of those that a cascade runs.
        settings: the profile's annotation settings.
        labelled: names of the labelled sets that the profile makes; None leaves the heads' sets unchecked.
        environ: environment variables; those of the process if absent.

    Raises:
        ConfigError: settings, keys or labelled sets are missing, and no model is.
        MissingModelError: a model, folder or package is missing, whatever else is.
    """
    environment = os.environ if environ is None else environ
    found = []
    for name in detectors:
        spec = find_detector(name)
        found += [(name, item) for item in spec.missing(spec.options(settings), Preflight(name, labelled, environment))]
    if not found:
        return
    lines = "\n".join(f"- {name}: {item.what}" for name, item in found)
    message = f"the profile names detectors that cannot run here; nothing has been started:\n{lines}"
    raise MissingModelError(message) if any(item.model for _, item in found) else ConfigError(message)


def missing_package(package: str, install: str) -> Iterator[Missing]:
    """That a package is not installed, and what to run."""
    if importlib.util.find_spec(package) is None:
        yield Missing(f"the package {package} is not installed; run `pip install {install}`", model=True)


def missing_model(setting: str, model: str, revision: str | None, environ: Mapping[str, str]) -> Iterator[Missing]:
    """That a model of transformers cannot be loaded; ``setting`` is where the profile names it."""
    if (problem := model_problem(model, revision, environ)) is not None:
        yield Missing(f"{setting}: {problem}", model=True)


def model_problem(model: str, revision: str | None, environ: Mapping[str, str]) -> str | None:
    """Why a model given as a local folder or a hub id cannot be loaded; None when nothing speaks against it.

    A hub id is looked for in the hub's cache where the hub is switched off (``HF_HUB_OFFLINE`` or
    ``TRANSFORMERS_OFFLINE``); where it is not, it can still be downloaded.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _folder_problem(folder)
    if model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1:
        return f"the folder {model} does not exist"
    if not any(environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
        return None
    from huggingface_hub import try_to_load_from_cache

    cache = _hub_cache(environ)
    if isinstance(try_to_load_from_cache(model, "config.json", cache, revision), str):
        return None
    return (
        f"{model}@{revision or 'main'} is no local folder and not in the hub's cache {cache}, and the hub is switched "
        "off; download it where there is a network, or give a local folder"
    )


def _folder_problem(folder: Path) -> str | None:
    if not (folder / "config.json").is_file() and (inner := folder / "0_Transformer").is_dir():
        folder = inner  # where older encoders of sentence-transformers have their network
    lacking = [] if (folder / "config.json").is_file() else ["config.json"]
    if problem := unsafe_weights(folder):
        return problem
    if not any(folder.glob("*.safetensors")):
        lacking.append("weights as .safetensors")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")):
        lacking.append("a tokenizer")
    return f"the folder {folder} lacks {' and '.join(lacking)}" if lacking else None


def _hub_cache(environ: Mapping[str, str]) -> Path:
    """Where the hub's client keeps models, by its documented variables."""
    if cache := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    home = environ.get("HF_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"
