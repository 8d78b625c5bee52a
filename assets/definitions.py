"""The Dagster project: every asset, check, job, sensor and schedule, and the resources they share."""

from __future__ import annotations

import os
from types import ModuleType

import dagster as dg
from dagster_dbt import DbtCliResource

import assets.annotations
from assets import automation, corpus, corpus_wide, experiment, loop, models, references, serving
from curation_pipeline.config import state_folder
from resources.fixed import IN_PROCESS, fixed
from resources.project import ProjectResource
from resources.tracking import TrackingResource
from resources.warehouse import WarehouseResource

MODULES: list[ModuleType] = [corpus, models, assets.annotations, corpus_wide, references, loop, experiment, serving]


def definitions() -> dg.Definitions:
    """Everything that the UI shows."""
    state = state_folder()
    os.environ.update(serving.WAREHOUSE.dbt_environment())  # dbt runs in a process of its own and reads it there
    resources = {
        "project": ProjectResource(),
        "tracking": TrackingResource(folder=str(state)),
        "warehouse": WarehouseResource(folder=str(state / "warehouse")),
        "dbt": DbtCliResource(
            project_dir=str(serving.DBT_FOLDER),
            profiles_dir=str(serving.DBT_FOLDER),
            dbt_executable=serving.DBT,
        ),
        # No asset hands a value to another; Dagster's default would unpickle files of a folder that a launch names.
        "io_manager": dg.InMemoryIOManager(),  # type: ignore[no-untyped-call]
    }
    return dg.Definitions(
        assets=[*dg.load_assets_from_modules(MODULES), loop.committed_state],
        jobs=automation.JOBS,
        sensors=automation.SENSORS,
        schedules=[automation.nightly],
        resources={name: fixed(resource) for name, resource in resources.items()},
        executor=IN_PROCESS,
    )


defs = definitions()
