"""The Slurm script, with `srun` and `scontrol` that run its commands on this machine: a real Ray of two nodes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from curation_pipeline.installation import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "deploy" / "slurm" / "curate.sbatch"
NODES = ("127.0.0.2", "127.0.0.3")

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do
    if [[ $1 == --nodelist=* ]]; then export FAKE_NODE=${1#--nodelist=}; fi
    shift
done
exec "$@"
"""
SCONTROL = f"""#!/bin/bash
[[ "$*" == "show hostnames nodes[2-3]" ]] || exit 1
printf '%s\\n' {" ".join(NODES)}
"""
HOSTNAME = """#!/bin/bash
[[ $1 == --ip-address ]] || exit 1
echo "$FAKE_NODE 10.0.0.1"
"""
CURATE = f"""#!{sys.executable}
import sys
import ray
ray.init(log_to_driver=False)  # the address and the token come from the environment

@ray.remote(num_cpus=2)
def where():
    return ray.util.get_node_ip_address()

nodes = {{node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}}
print("nodes", *sorted(nodes), "task on", ray.get(where.remote()) in nodes, "arguments", *sys.argv[1:])
sys.exit(7)
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for the PATH with what a node of a Slurm cluster has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("hostname", HOSTNAME), ("curate", CURATE)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def run(programs: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind((NODES[0], 0))
        port = free.getsockname()[1]
    scratch = tempfile.TemporaryDirectory(prefix="ray-")  # the paths of its sockets must be short
    environment = {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(programs.parent),
        "RAY_TMPDIR": scratch.name,
        "RAY_PORT": str(port),
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_JOB_NODELIST": "nodes[2-3]",
        **variables,
    }
    command = ["bash", str(SCRIPT), "--iterations", "3"]
    with scratch:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)


@pytest.mark.slow
def test_the_run_begins_when_all_nodes_have_joined_and_its_end_is_the_job_s(programs: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e .[ray]")
    done = run(programs, CURATION_PROFILE="mine.toml", CURATION_STATE="mine")
    assert done.returncode == 7, done.stdout + done.stderr
    assert f"nodes {' '.join(NODES)} task on True arguments run --iterations 3" in done.stdout


def test_what_is_missing_is_said_before_anything_starts(programs: Path) -> None:
    done = run(programs, CURATION_STATE="mine")
    assert done.returncode != 0
    assert "CURATION_PROFILE: names the profile" in done.stderr
