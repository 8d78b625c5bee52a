"""Where the parts that lie outside this package are: at a checkout's root, or carried inside an installed package."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from curation_pipeline.errors import ConfigError

PACKAGE = Path(__file__).parent
CARRIED = PACKAGE / "_project"
"""A wheel's copy of what Dagster and dbt read; a checkout has the same at its root (`pyproject.toml` maps one to the
other)."""
PROJECT_ROOT = CARRIED if CARRIED.is_dir() else PACKAGE.parent
"""The folder of `assets`, `resources`, `dbt`, `dagster.yaml` and `workspace.yaml`."""


def project_environment() -> dict[str, str]:
    """This process's environment for one that imports `assets` and `resources`.

    Such a process stays in the user's folder, so that relative paths mean what they say; a folder `assets` there is
    not taken for ours.
    """
    path = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def program(name: str) -> str:
    """The path of a program that a dependency installs; the environment may not be active, or be the user's own.

    Raises:
        ConfigError: there is none.
    """
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    folders = [str(Path(sys.executable).parent), *(sysconfig.get_path("scripts", scheme) for scheme in schemes)]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)]))
    if found is None:
        raise ConfigError(
            f"the program {name} is not in {', '.join(dict.fromkeys(folders))} nor on the PATH: install it"
        )
    return found
