"""What the modules of a folder declare, and what packages of other people add by entry points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

from curation_pipeline.errors import ConfigError


def of_folder(package: str, path: Iterable[str], attribute: str) -> Iterator[Any]:
    """What every module of a folder sets under one name, in order of module.

    Args:
        package: dotted name of the folder's package.
        path: the package's ``__path__``.
        attribute: the name that each module sets, such as ``BENCHMARK``.

    Raises:
        ConfigError: a module does not set it.
    """
    for module in iter_modules(path):
        name = f"{package}.{module.name}"
        loaded = import_module(name)
        if not hasattr(loaded, attribute):
            raise ConfigError(f"{loaded.__file__} declares no {attribute}: add it at the end (docs/how-to), or move it")
        yield getattr(loaded, attribute)


def of_packages(group: str, *kinds: type) -> Iterator[Any]:
    """What other installed packages name by the entry points of a group.

    Args:
        group: of entry points, such as ``curation_pipeline.benchmarks``.
        kinds: what may be named: an instance of one of these, or a class below it.

    Raises:
        ConfigError: one cannot be loaded, or is something else.
    """
    for point in entry_points(group=group):
        where = f"the entry point {point.name!r} ({point.value}) of {point.dist.name if point.dist else group}"
        try:
            loaded = point.load()
        except Exception as error:  # whatever a package of somebody else comes up with
            raise ConfigError(f"{where} cannot be loaded ({error}): correct or uninstall that package") from error
        if not (isinstance(loaded, kinds) or (isinstance(loaded, type) and issubclass(loaded, kinds))):
            raise ConfigError(f"{where} is no {' or '.join(kind.__name__ for kind in kinds)}")
        yield loaded
