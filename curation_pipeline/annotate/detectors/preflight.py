"""Before anything runs: is all there that the detectors of a profile need?

A run that stops after an hour for want of a key has cost an hour; all that is missing is said at once, and first.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from curation_pipeline.annotate.detectors.hosted_perspective import perspective_closed
from curation_pipeline.annotate.detectors.http_client import read_key
from curation_pipeline.annotate.encoder import MINILM
from curation_pipeline.annotate.head_settings import HEADS, HeadSettings
from curation_pipeline.annotate.hosted_settings import HOSTED, HostedSettings
from curation_pipeline.errors import ConfigError, MissingModelError
from curation_pipeline.pretrained import unsafe_weights

if TYPE_CHECKING:
    from curation_pipeline.annotate.settings import ClassifierSettings, DetoxifySettings

_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that a detector lacks.

    Attributes:
        detector: whose.
        what: what is missing, where, and what to do.
        model: it is a model or a package rather than a setting.
    """

    detector: str
    what: str
    model: bool = False


def preflight(
    detectors: Collection[str],
    *,
    detoxify: DetoxifySettings | None = None,
    classifier: ClassifierSettings | None = None,
    hosted: HostedSettings | None = None,
    heads: HeadSettings | None = None,
    labelled: Collection[str] | None = None,
    environ: Mapping[str, str] | None = None,
    today: date | None = None,
    hub_cache: Path | None = None,
    installed: Callable[[str], bool] | None = None,
) -> None:
    """Say everything that the detectors of a profile lack, in one message. Nothing is loaded, sent or downloaded.

    Args:
        detectors: names of the teachers, the judge, the expert, and of those that a cascade runs.
        detoxify: the profile's section; needed if it is named.
        classifier: the same.
        hosted: the same.
        heads: the same.
        labelled: names of the labelled sets that the profile makes; None leaves the heads' sets unchecked.
        environ: environment variables; the process's own if absent.
        today: the day; the present one if absent.
        hub_cache: the model hub's cache folder; where ``environ`` puts it if absent.
        installed: whether a package can be imported.

    Raises:
        ConfigError: settings, keys or labelled sets are missing, and no model is.
        MissingModelError: a model, folder or package is missing, whatever else is.
    """
    environment = os.environ if environ is None else environ
    found = [
        *_services(detectors, hosted or HostedSettings(), environment, today or datetime.now(UTC).date(), installed),
        *_local(detectors, detoxify, classifier, heads, environment, hub_cache, installed),
        *_labels(detectors, heads or HeadSettings(), labelled),
    ]
    if not found:
        return
    lines = "\n".join(f"- {item.detector}: {item.what}" for item in found)
    message = f"the profile names detectors that cannot run here; nothing has been started:\n{lines}"
    raise MissingModelError(message) if any(item.model for item in found) else ConfigError(message)


def _services(
    names: Collection[str],
    hosted: HostedSettings,
    environ: Mapping[str, str],
    today: date,
    installed: Callable[[str], bool] | None,
) -> list[Missing]:
    found = []
    for name in (name for name in HOSTED if name in names):
        closed = perspective_closed(today) if name == "perspective" else None
        if closed is not None:
            found.append(Missing(name, closed))
            continue
        try:
            read_key(hosted.of(name), environ)
        except ConfigError as error:
            found.append(Missing(name, str(error)))
        if not (installed or _importable)("httpx"):
            found.append(Missing(name, "the package httpx is not installed; run `pip install httpx`", model=True))
    return found


def _local(
    names: Collection[str],
    detoxify: DetoxifySettings | None,
    classifier: ClassifierSettings | None,
    heads: HeadSettings | None,
    environ: Mapping[str, str],
    hub_cache: Path | None,
    installed: Callable[[str], bool] | None,
) -> list[Missing]:
    found, has = [], installed or _importable
    if "detoxify" in names:
        if not has("detoxify"):
            found.append(Missing("detoxify", "the package detoxify is not installed; run `pip install detoxify`", True))
        checkpoint = detoxify.checkpoint if detoxify else None
        folder = detoxify.huggingface_config_path if detoxify else None
        downloads = detoxify is not None and detoxify.variant is not None
        if not downloads and (checkpoint is None or not checkpoint.is_file()):
            found.append(Missing("detoxify", f"annotate.detoxify.checkpoint ({checkpoint}) is no file", True))
        if not downloads and (folder is None or not (folder / "config.json").is_file()):
            what = f"annotate.detoxify.huggingface_config_path ({folder}) is no folder with a config.json"
            found.append(Missing("detoxify", what, True))
    wanted: list[tuple[str, str, str, str | None]] = []
    if "classifier" in names:
        given = classifier.model if classifier else None
        if given is None:
            what = "annotate.classifier.model is not set; give a local folder or a hub id"
            found.append(Missing("classifier", what))
        else:
            revision = classifier.revision if classifier else None
            wanted.append(("classifier", "annotate.classifier.model", given, revision))
    if heads and heads.encoder and heads.encoder != MINILM and any(head in names for head in HEADS):
        wanted.append(("heads", "annotate.heads.encoder", heads.encoder, heads.encoder_revision))
    for detector, setting, name, revision in wanted:
        if not has("transformers"):
            found.append(Missing(detector, "the package transformers is not installed", True))
        if (problem := model_problem(name, revision, environ, hub_cache)) is not None:
            found.append(Missing(detector, f"{setting}: {problem}", True))
    return found


def _labels(names: Collection[str], heads: HeadSettings, labelled: Collection[str] | None) -> list[Missing]:
    """Heads of whose labelled sets the profile makes none."""
    if labelled is None:
        return []
    return [
        Missing(
            head,
            f"no labelled set to fit it on: annotate.heads.{head} names {', '.join(heads.datasets_of(head))}, and the "
            f"profile makes {', '.join(sorted(labelled)) or 'none'}",
        )
        for head in HEADS
        if head in names and not set(heads.datasets_of(head)) & set(labelled)
    ]


def model_problem(model: str, revision: str | None, environ: Mapping[str, str], hub_cache: Path | None) -> str | None:
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
    cache = hub_cache or _hub_cache(environ)
    repository = cache / f"models--{model.replace('/', '--')}"
    name = revision or "main"
    reference = repository / "refs" / name
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else name
    if (repository / "snapshots" / commit / "config.json").exists():
        return None
    return (
        f"{model}@{name} is no local folder and not in the hub's cache {cache}, and the hub is switched off; download "
        "it where there is a network, or give a local folder"
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


def _importable(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
