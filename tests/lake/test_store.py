"""The store's promises, for a folder and for a bucket."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest

from curation_pipeline.errors import ConfigError, LakeError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.store import Store, open_store


@pytest.fixture(params=["folder", "bucket", "bucket and prefix"])
def store(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "lake"), tmp_path / "work")
    import boto3

    boto3.client("s3", endpoint_url=bucket).create_bucket(Bucket="lake")
    root = "s3://lake" if request.param == "bucket" else "s3://lake/a/prefix"
    return open_store(root, tmp_path / "work", bucket)


def test_a_store_keeps_its_promises(store: Store, tmp_path: Path) -> None:
    assert store.read("heads/a.json") is None
    assert store.put_if_absent("heads/a.json", b"1")
    assert not store.put_if_absent("heads/a.json", b"2")
    assert store.read("heads/a.json") == b"1"
    for path in ("heads/a.json", "heads/new.json"):
        store.update(path, lambda before: (before or b"none") + b", more")
    assert store.read("heads/a.json") == b"1, more"
    assert store.read("heads/new.json") == b"none, more"
    (tmp_path / "file").write_bytes(b"data")
    store.upload(tmp_path / "file", "data/x/file.bin")
    another = pickle.loads(pickle.dumps(store))
    assert another.root == store.root
    assert another.fetch("data/x/file.bin").read_bytes() == b"data"
    assert another.sha256("data/x/file.bin") == hashlib.sha256(b"data").hexdigest()
    assert [path for path, _ in store.list("heads")] == ["heads/a.json", "heads/new.json"]
    assert list(store.list("nothing")) == []
    with pytest.raises(LakeError, match=r"data/none"):
        store.fetch("data/none")
    for _ in range(2):
        store.delete("heads/a.json")
    assert store.read("heads/a.json") is None
    Lake(store, tmp_path / "work").check()
    assert list(store.list("checks")) == []


def test_an_update_loses_nothing_of_another_writer(store: Store) -> None:
    """The other one writes between the reading and the writing, each of the first three times."""
    theirs = iter((b"a", b"b", b"c"))

    def change(before: bytes | None) -> bytes:
        if store.root.startswith("s3://") and (more := next(theirs, b"")):
            with_more = (before or b"") + more
            type(store).update(store, "heads/x.json", lambda _: with_more)
        return (before or b"") + b"!"

    store.update("heads/x.json", change)
    assert store.read("heads/x.json") == (b"abc!" if store.root.startswith("s3://") else b"!")


def test_a_service_that_lets_two_writers_commit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.open(tmp_path / "lake")
    monkeypatch.setattr(lake.store, "put_if_absent", lambda path, data: True)
    with pytest.raises(ConfigError, match="If-None-Match"):
        lake.check()
