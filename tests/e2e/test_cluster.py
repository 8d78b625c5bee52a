"""A whole run on a Ray cluster of two nodes, one of which is killed: the artefacts are those of one machine."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from curation_pipeline.lake.lake import Lake
from curation_pipeline.steps.loop.probes import STEP as PROBES
from tests.e2e.conftest import TINY, Project, wait_for

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = [pytest.mark.slow, pytest.mark.network]


TIMED = {"trainer.json"}
"""Files that say how long work took."""


def contents(state: Path) -> dict[str, list[tuple[str, str]]]:
    """The files of every artefact by its id, with what they hold but for the seconds that it took."""
    lake, found = Lake.open(state / "lake"), {}
    for manifest in lake.manifests():
        hashes = {file.name: file.sha256 for file in manifest.files if file.name not in TIMED}
        if manifest.table == PROBES.table:
            hashes["data.parquet"] = str(lake.frame(manifest).drop("seconds").to_dicts())
        found[manifest.id] = sorted(hashes.items())
    return found


def made(state: Path, table: str) -> int:
    return len(list((state / "lake" / "manifests").glob(f"{table}-*.json")))


def test_a_killed_node_changes_no_artefact(finished: Project, tmp_path: Path) -> None:
    profile = tmp_path / "cluster.toml"
    text = TINY.read_text().replace("[engine]\nworkers = 1\n", '[engine]\nkind = "ray"\n')
    assert 'kind = "ray"' in text
    profile.write_text(text)
    project = Project(tmp_path / "state", profile)
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        environment = {**project.environment, "RAY_ADDRESS": cluster.address}
        with (tmp_path / "out").open("w") as output:
            run = subprocess.Popen([project.program, "run"], env=environment, stdout=output, stderr=output)
        # In the middle of the corpus, and once more among the probes of the first iteration.
        for table in ("documents", "pool"):
            wait_for(table, lambda table=table: run.poll() is not None or made(project.state, table), 1800)
            time.sleep(1)
            cluster.remove_node(node, allow_graceful=False)
            node = cluster.add_node(num_cpus=1)
        assert run.wait(3600) == 0, (tmp_path / "out").read_text()[-3000:]
    finally:
        cluster.shutdown()
    assert contents(project.state) == contents(finished.state)
