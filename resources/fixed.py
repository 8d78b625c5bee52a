"""Resources and an executor that a launch cannot configure.

Whoever may launch a run may fill in its configuration, and Dagster lets a launch set every field of a resource: dbt's
executable, a folder, another profile. Here only the process that loads the definitions decides them.
"""

from __future__ import annotations

from typing import Any

import dagster as dg


def fixed(resource: Any) -> dg.ResourceDefinition:
    """A definition that hands out this very object and takes no configuration."""
    kind = dg.IOManagerDefinition if isinstance(resource, dg.IOManager) else dg.ResourceDefinition
    return kind(lambda _context: resource, config_schema={}, description=type(resource).__doc__)


IN_PROCESS = dg.in_process_executor.configured(lambda _config: {}, name="in_process", config_schema={})
"""Steps of one run share a process: models and libraries are loaded once, and a step costs no process start."""
