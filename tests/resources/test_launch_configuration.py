"""What whoever may launch a run can configure: nothing that names a program, a file or code."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WALK = """
import json
from dagster._config import ConfigTypeKind as Kind
from dagster._config.validate import validate_config
from assets.definitions import defs

def walk(kind, path):
    if Kind.has_fields(kind.kind):
        for name, field in kind.fields.items():
            yield from walk(field.config_type, (*path, name))
    elif kind.kind in (Kind.NONEABLE, Kind.ARRAY, Kind.MAP):
        yield from walk(kind.inner_type, path)
    else:
        yield ".".join(path), kind.kind.name

jobs = {job.name: job.run_config_schema.run_config_schema_type for job in defs.resolve_all_job_defs()}
attacks = [
    {"resources": {"dbt": {"config": {"dbt_executable": "/tmp/evil"}}}},
    {"resources": {"project": {"config": {"profile": "/tmp/evil.toml"}}}},
    {"resources": {"tracking": {"config": {"folder": {"env": "HOME"}}}}},
    {"resources": {"io_manager": {"config": {"base_dir": "/tmp/evil"}}}},
    {"execution": {"config": {"marker_to_close": "/tmp/evil"}}},
]
print(json.dumps({
    "values": {name: dict(walk(schema, ())) for name, schema in jobs.items()},
    "refused": [not validate_config(jobs["__ASSET_JOB"], attack).success for attack in attacks],
}))
"""
HARMLESS = {
    "loggers.console.config.log_level": "SCALAR",
    "loggers.console.config.name": "SCALAR",
    "ops.iteration_commit.config.max_performance_drop": "SCALAR",
}


@pytest.mark.slow
def test_no_launch_names_a_program_a_file_or_code(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "CURATION_STATE": str(tmp_path),
        "CURATION_PROFILE": str(ROOT / "tests" / "tiny.toml"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", WALK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert {"__ASSET_JOB", "serving", "iteration"} <= set(said["values"])
    assert all(said["refused"])
    for job, values in said["values"].items():
        for path, kind in values.items():
            # Dagster lets a launch put anything under an op without configuration; none of them looks at it (below).
            ignored = path.startswith("ops.") and path.count(".") == 2 and kind == "ANY"
            assert ignored or HARMLESS.get(path) == kind, f"{job}: {path} ({kind})"


def test_no_asset_reads_configuration_that_has_no_schema() -> None:
    for path in [*(ROOT / "assets").glob("*.py"), *(ROOT / "resources").glob("*.py")]:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"op_config", "op_execution_context", "run_config", "resource_config"}, path
