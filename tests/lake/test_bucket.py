"""A lake on a real S3 server: faults on the way lose and double nothing, and a refusal is one clear message."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation_pipeline.errors import ConfigError, CurationError, LakeError
from curation_pipeline.lake import bucket as bucket_module
from curation_pipeline.lake.bucket import Bucket
from curation_pipeline.lake.draft import Draft
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Recipe
from curation_pipeline.lake.store import open_store
from tests.s3_server import KEYS, client, free_ports, s3_server, spoiling

pytestmark = pytest.mark.slow
WRITERS, RECIPES = 4, 12
FAULTS = {"refused": 0.05, "lost": 0.08, "busy": 0.05, "cut": 0.05, "short": 0.05, "slow": 0.05}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "curator")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def use(monkeypatch: pytest.MonkeyPatch, key: str, secret: str | None = None) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret or KEYS[key])


def lake_at(url: str, root: str, work: Path) -> Lake:
    return Lake(open_store(root, work, url), work)


@pytest.mark.parametrize("seed", [1, 2])
def test_faults_on_the_way_lose_and_double_nothing(server: str, tmp_path: Path, seed: int) -> None:
    """Four machines make the same twelve artefacts, all current ones of one partition in turn."""
    root, errors = f"s3://lake/faults-{seed}", list[Exception]()
    recipes = [Recipe("t", {"source": "a"}, seed=number) for number in range(RECIPES)]

    def make(draft: Draft) -> None:
        draft.json(os.urandom(20_000).hex(), "some")
        draft.json(1, "other")

    def machine(url: str, number: int) -> None:
        lake = lake_at(url, root, tmp_path / f"machine-{number}")
        try:
            for recipe in recipes[number:] + recipes[:number]:
                made = lake.build(recipe, make, set_head=recipe.seed % WRITERS == number)
                assert len(lake.json(made, "some")) == 40_000
        except Exception as error:
            errors.append(error)

    with spoiling(server, seed, **FAULTS) as (url, faults):
        machines = [threading.Thread(target=machine, args=(url, number)) for number in range(WRITERS)]
        for thread in machines:
            thread.start()
        for thread in machines:
            thread.join()
    assert errors == []
    assert faults.happened.keys() == FAULTS.keys()
    lake = lake_at(server, root, tmp_path / "after")
    made = {manifest.id: manifest for manifest in lake.manifests()}
    assert made.keys() == {recipe.manifest_id for recipe in recipes}
    for manifest in made.values():
        lake.verify(manifest)
    kept = [path for path, _ in lake.store.list("data")]
    assert sorted(kept) == sorted(entry.path for manifest in made.values() for entry in manifest.files)
    head = lake.head_record("t", {"source": "a"})
    assert head is not None
    assert sorted(head.history) == sorted(made)


def test_a_commit_whose_answer_is_lost_is_known_as_our_own(server: str, tmp_path: Path) -> None:
    with spoiling(server, 0, lost=1.0) as (url, faults):
        store = open_store("s3://lake/own", tmp_path, url)

        def faults_end() -> None:
            while not faults.happened["lost"]:
                pass
            faults.shares = {}

        threading.Thread(target=faults_end, daemon=True).start()
        assert store.put_if_absent("manifests/a.json", b"mine")
        assert not store.put_if_absent("manifests/a.json", b"another's")
    assert client(server).get_object(Bucket="lake", Key="own/manifests/a.json")["Body"].read() == b"mine"


def test_a_large_file_goes_and_comes_in_parts_through_faults(server: str, tmp_path: Path) -> None:
    content = os.urandom(40 * 2**20 + 17)
    (tmp_path / "file").write_bytes(content)
    with spoiling(server, 3, lost=0.1, cut=0.1, short=0.1) as (url, faults):
        open_store("s3://lake/large", tmp_path / "here", url).upload(tmp_path / "file", "data/x")
        copy = open_store("s3://lake/large", tmp_path / "there", url).fetch("data/x")
        assert copy.read_bytes() == content
        assert sum(faults.happened.values()) > 0


def test_a_file_that_is_replaced_while_it_is_read_is_told(server: str) -> None:
    bucket = Bucket("s3://lake/corpus", server)
    bucket.put("a.jsonl", b"first")
    (entry,) = bucket.list()
    assert bucket.part("a.jsonl", 1, 3, entry.etag) == b"irs"
    bucket.put("a.jsonl", b"other")
    with pytest.raises(LakeError, match="replaced while it was read"):
        bucket.part("a.jsonl", 1, 3, entry.etag)


def said(url: str, root: str, tmp_path: Path) -> str:
    """The message with which a lake is refused before a run, which tells no library's own words."""
    with pytest.raises(CurationError) as refused:
        lake_at(url, root, tmp_path).check()
    message = str(refused.value)
    assert message.startswith(root)
    assert "\n" not in message
    assert not any(secret in message for secret in KEYS.values())
    return message


def test_every_refusal_is_one_clear_message(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such bucket; make it" in said(server, "s3://missing/a", tmp_path)
    with pytest.raises(ConfigError, match="no such bucket"):
        lake_at(server, "s3://missing/a", tmp_path).head("t")
    with pytest.raises(ConfigError, match="no such bucket"):
        list(lake_at(server, "s3://missing/a", tmp_path).manifests())
    use(monkeypatch, "reader")
    assert "give no right to write" in said(server, "s3://lake/a", tmp_path)
    assert lake_at(server, "s3://lake/a", tmp_path).head("t") is None  # who may only read can look
    use(monkeypatch, "curator", "not-the-secret")
    assert "refuses the credentials (SignatureDoesNotMatch); check AWS_" in said(server, "s3://lake/a", tmp_path)
    use(monkeypatch, "nobody", "not-the-secret")
    assert "refuses the credentials (InvalidAccessKeyId)" in said(server, "s3://lake/a", tmp_path)
    monkeypatch.setattr(bucket_module, "PAUSES", (0.1,))
    (port,) = free_ports(1)
    assert "check the address and the network" in said(f"http://127.0.0.1:{port}", "s3://lake/a", tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert "no credentials" in said(server, "s3://lake/a", tmp_path)


def test_a_profile_of_aws_gives_the_credentials(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        f"[team]\naws_access_key_id = curator\naws_secret_access_key = {KEYS['curator']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    lake_at(server, "s3://lake/profile", tmp_path).check()
