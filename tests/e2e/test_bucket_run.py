"""The tiny loop with its lake and its logs on a real S3 server, next to the same run on a local folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import duckdb
import polars as pl
import pytest
import yaml

from curation_pipeline.config import load_profile
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.context import open_lake
from curation_pipeline.stages.state import MAIN, history
from tests.e2e.conftest import TINY, Project, deployed_instance
from tests.s3_server import KEYS, client, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(7200)]


@dataclass(frozen=True, slots=True)
class Remote(Project):
    """A project whose lake is in a bucket.

    Attributes:
        url: address of the server.
    """

    url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {
            **Project.environment.fget(self),  # type: ignore[attr-defined]
            "AWS_ACCESS_KEY_ID": "curator",
            "AWS_SECRET_ACCESS_KEY": KEYS["curator"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "CURATION_LOG_BUCKET": "logs",
        }


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory, package_cache: Path) -> Iterator[Remote]:
    """Two iterations and one arm, run by `curate run` with an empty state folder and a small cache."""
    folder = tmp_path_factory.mktemp("remote")
    with s3_server(folder / "s3") as url:
        client(url).create_bucket(Bucket="logs")
        profile = folder / "remote.toml"
        profile.write_text(f'{TINY.read_text()}\n[lake]\nroot = "s3://lake/tiny"\ncache_max_gb = 0.001\n')
        project = Remote(folder / "state", profile, url=url)
        instance = deployed_instance(project.state)
        settings = yaml.safe_load(instance.read_text())
        del settings["storage"]  # SQLite here; Postgres is tested elsewhere
        instance.write_text(yaml.safe_dump(settings))
        project.curate("run")
        with mock.patch.dict("os.environ", project.environment):
            yield project


@pytest.fixture
def lake(remote: Remote) -> Lake:
    return open_lake(load_profile(str(remote.profile)), remote.state)


def test_ids_and_bytes_are_those_of_a_local_lake(remote: Remote, lake: Lake, finished: Project) -> None:
    def hashes(made: Lake) -> dict[tuple[str, str], str]:
        files = {(manifest.id, entry.name): entry.sha256 for manifest in made.manifests() for entry in manifest.files}
        # These say how many seconds a fit took.
        timed = {(i, name) for i, name in files if name == "trainer.json" or i.startswith("probes-")}
        return {place: "" if place in timed else digest for place, digest in files.items()}

    assert hashes(lake) == hashes(Lake.open(finished.state / "lake"))
    assert not (remote.state / "lake").exists()
    for manifest in lake.manifests():
        lake.verify(manifest)
    reached = {entry.path for manifest in lake.manifests() for entry in manifest.files}
    assert {path for path, _ in lake.store.list("data")} == reached


def test_commands_dbt_and_the_report_read_the_bucket(remote: Remote, lake: Lake) -> None:
    assert "accepted" in remote.ask("status")
    assert history(lake, MAIN)[-1].checkpoint_id in remote.ask("lineage", "last")
    assert "random" in (remote.state / "report.html").read_text()
    with duckdb.connect(str(remote.state / "warehouse" / "serving.duckdb"), read_only=True) as connection:
        (documents,) = connection.execute("select sum(documents) from corpus_composition").fetchone() or (0,)
    assert documents == sum(manifest.n_rows for manifest in lake.heads("documents"))


def test_polars_and_duckdb_read_the_same_files(remote: Remote, lake: Lake) -> None:
    from obstore.fsspec import FsspecStore

    batch = lake.heads("batches")[-1]
    address = f"{lake.store.root}/{batch.file('data.parquet').path}"
    wanted = lake.frame(batch)
    options = {"aws_endpoint_url": remote.url, "aws_region": "us-east-1", "aws_allow_http": "true"}
    assert pl.read_parquet(address, storage_options=options).equals(wanted)
    with duckdb.connect() as connection:
        files = FsspecStore("s3", endpoint=remote.url, client_options={"allow_http": True})
        connection.register_filesystem(files)
        found = connection.execute(f"select count(*), sum(n_tokens) from read_parquet('{address}')").fetchone()
    assert found == (wanted.height, wanted["n_tokens"].sum())


def test_dagsters_own_resource_has_the_same_bucket_and_the_logs_are_there(remote: Remote, lake: Lake) -> None:
    (said,) = remote.python(
        "from assets.definitions import defs\n"
        "s3 = defs.resources['s3'].resource_fn(None).get_client()\n"
        "print(s3.get_object(Bucket='lake', Key='tiny/first_night')['Body'].read().decode())\n"
    )[-1:]
    assert said.encode() == lake.store.read("first_night")
    logs = client(remote.url).list_objects_v2(Bucket="logs", Prefix="dagster-logs/").get("Contents", [])
    assert logs
