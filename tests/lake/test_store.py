"""The store's promises, for a folder and for a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation_pipeline.errors import LakeError
from curation_pipeline.lake.store import Store, open_store


@pytest.fixture(params=["folder", "bucket", "bucket and prefix"])
def store(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "lake"), tmp_path / "cache")
    import boto3

    boto3.client("s3", endpoint_url=bucket).create_bucket(Bucket="lake")
    root = "s3://lake" if request.param == "bucket" else "s3://lake/a/prefix"
    return open_store(root, tmp_path / "cache", bucket)


def test_a_store_keeps_its_promises(store: Store, tmp_path: Path) -> None:
    assert store.read("heads/a.json") is None
    assert store.put_if_absent("heads/a.json", b"1")
    assert not store.put_if_absent("heads/a.json", b"2")
    assert store.read("heads/a.json") == b"1"
    store.replace("heads/a.json", b"3")
    assert store.read("heads/a.json") == b"3"
    (tmp_path / "file").write_bytes(b"data")
    store.upload(tmp_path / "file", "data/x/file.bin")
    assert store.fetch("data/x/file.bin").read_bytes() == b"data"
    assert [path for path, _ in store.list("heads")] == ["heads/a.json"]
    assert list(store.list("nothing")) == []
    with pytest.raises(LakeError, match=r"data/none"):
        store.fetch("data/none")
    for _ in range(2):
        store.delete("heads/a.json")
    assert store.read("heads/a.json") is None
