"""What people open: the serving DuckDB file with its dbt marts, and the HTML report."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, dbt_assets

from assets.steps import OWNERS
from assets.views import metadata
from curation_pipeline.config import state_folder
from curation_pipeline.installation import program
from curation_pipeline.report.page import write_report
from curation_pipeline.report.serving import export_sources
from curation_pipeline.steps.view import Table
from resources.project import ProjectResource
from resources.warehouse import WarehouseResource

DBT = program("dbt")
DBT_FOLDER = Path(__file__).parents[1] / "dbt"
WAREHOUSE = WarehouseResource(folder=str(state_folder() / "warehouse"))


def dbt_manifest() -> Path:
    """Dbt's description of its models, parsed again where a model is newer than it.

    Raises:
        RuntimeError: dbt cannot parse the project; its own message is in the error.
    """
    # A file of its own and whole at every moment: dbt writes to the one of its target while others read.
    manifest = WAREHOUSE.path / "dbt" / "parsed" / "manifest.json"
    sources = [path for path in DBT_FOLDER.rglob("*") if path.suffix in {".sql", ".yml"}]
    if not manifest.is_file() or manifest.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        manifest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=manifest.parent) as target:
            command = [DBT, "parse", "--project-dir", str(DBT_FOLDER), "--profiles-dir", str(DBT_FOLDER), "--quiet"]
            done = subprocess.run(
                command, env={**os.environ, **WAREHOUSE.dbt_environment(), "DBT_TARGET_PATH": target},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"dbt cannot parse {DBT_FOLDER}:\n{done.stdout}{done.stderr}")
            os.replace(Path(target) / "manifest.json", manifest)
    return manifest


@dg.asset(
    group_name="serving",
    owners=OWNERS,
    kinds={"parquet"},
    code_version="1",
    deps=[
        dg.AssetDep("iteration_commit", partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep("experiment_cell", partition_mapping=dg.AllPartitionMapping()),
    ],
    description="The current tables of the lake as plain Parquet folders, linked and not copied, for dbt and people.",
)
def warehouse_sources(
    context: dg.AssetExecutionContext, project: ProjectResource, warehouse: WarehouseResource
) -> dg.MaterializeResult:
    """Bring the served tables up to date."""
    warehouse.prepare()
    counts = export_sources(project.context(context.log), warehouse.source_folder)
    return dg.MaterializeResult(metadata=metadata({"files": Table(["table", "files"], list(counts.items()))}))


class Translator(DagsterDbtTranslator):
    """Places dbt's models in the graph: their sources are one asset of ours, and their group is `serving`."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Every source table is served by `warehouse_sources`."""
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey("warehouse_sources")
        return dg.AssetKey(str(dbt_resource_props["name"]))

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """All in one group."""
        return "serving"

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """The owners of everything else."""
        return OWNERS


@dbt_assets(
    manifest=dbt_manifest(),
    dagster_dbt_translator=Translator(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True)),
    name="marts",
    pool="serving_database",
)
def marts(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """Build and test the marts; dbt's tests show as asset checks."""
    yield from dbt.cli(["build"], context=context).stream()


@dg.asset(
    group_name="serving",
    owners=OWNERS,
    kinds={"duckdb"},
    code_version="1",
    pool="serving_database",
    deps=[marts],
    description="`serving.duckdb`: the marts and views over the raw tables in one file, replaced whole by a rename, so "
    "that a reader never waits and never sees half of it.",
)
def serving_database(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult:
    """Publish the built database."""
    path = warehouse.publish()
    return dg.MaterializeResult(
        metadata={"file": dg.MetadataValue.path(str(path)), "size_mib": round(path.stat().st_size / 2**20, 2)}
    )


@dg.asset(
    group_name="serving",
    owners=OWNERS,
    kinds={"html"},
    code_version="1",
    deps=[
        dg.AssetDep("iteration_commit", partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep("experiment_cell", partition_mapping=dg.AllPartitionMapping()),
    ],
    description="One self-contained HTML page: every arm and iteration with intervals, what was selected, and why the "
    "reward and the policy moved.",
)
def report(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Render the report."""
    path = write_report(project.context(context.log), Path(project.state) / "report.html")
    return dg.MaterializeResult(
        metadata={"file": dg.MetadataValue.path(str(path)), "open": dg.MetadataValue.url(path.as_uri())}
    )
