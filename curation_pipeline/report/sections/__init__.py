"""The sections of the report, one module each. A module that defines `SECTION` is found by walking this package."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from curation_pipeline.report.section import Section


@cache
def sections() -> tuple[Section, ...]:
    """All sections in the order of the page."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return tuple(sorted((module.SECTION for module in modules), key=lambda section: section.place))
