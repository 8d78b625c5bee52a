"""Packages that not every installation has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from curation_pipeline.errors import ConfigError


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Imports inside this block come from an extra of the installation.

    Args:
        name: of the extra in pyproject.toml.
        what: needs it, as the message begins.

    Raises:
        ConfigError: a package cannot be imported; the message names the command that installs it.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{what} needs a package that is not installed ({error}): pip install 'curation-pipeline[{name}]'"
        ) from error
