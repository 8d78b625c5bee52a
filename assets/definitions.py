"""The Dagster project: every asset, check, job, sensor and schedule, and the resources they share."""

from __future__ import annotations

import os
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource

from assets import automation, serving
from assets.steps import ASSETS, committed_state
from curation_pipeline.config import active_profile, load_profile, state_folder
from resources.fixed import IN_PROCESS, fixed
from resources.project import ProjectResource
from resources.tracking import TrackingResource
from resources.warehouse import WarehouseResource


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
        assets=[*ASSETS.values(), committed_state, *dg.load_assets_from_modules([serving])],
        jobs=automation.JOBS,
        sensors=automation.SENSORS,
        schedules=[automation.nightly],
        resources={name: fixed(resource) for name, resource in resources.items()}
        | {"s3": dg.ResourceDefinition(_s3, config_schema={}, description=_s3.__doc__)},
        executor=IN_PROCESS,
    )


def _s3(_context: dg.InitResourceContext) -> Any:
    """`S3Resource` with the lake's address and credentials, for assets of others that read a bucket with boto3."""
    from dagster_aws.s3 import S3Resource  # a tenth of the time that all else here takes to import

    return S3Resource(endpoint_url=load_profile(active_profile()).lake.endpoint_url)


defs = definitions()
