"""Sources as they come: crawl archives, hub data sets, buckets, and the real files of other publishers."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from curation_pipeline.corpus.digests import DigestSet
from curation_pipeline.corpus.ingest import everything, fingerprint, partitions
from curation_pipeline.corpus.payload import MAX_DEPTH, nesting
from curation_pipeline.corpus.settings import FolderSource, HubSource
from curation_pipeline.corpus.sources import hub
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.errors import DataError, DownloadError
from curation_pipeline.seeds import unit_hash
from tests.corpus.formats import ingest, read, settings
from tests.corpus.test_archives import archive

SHARED = Path(__file__).parents[2] / "../shared/data/corpus"


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the project")
    return path


def page(body: str, mime: str = "text/html; charset=utf-8", status: str = "200 OK", **more: str) -> tuple[str, bytes]:
    headers = "".join(f"{name}: {value}\r\n" for name, value in {"Content-Type": mime, **more}.items())
    return "response", f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body.encode()


def warc(records: list[tuple[str, bytes]], packed: bool = False) -> bytes:
    """Records by hand, so that nothing but the standard decides what they look like."""
    out = b""
    for i, (kind, block) in enumerate(records):
        mime = {"response": "application/http; msgtype=response", "conversion": "text/plain"}.get(kind, "text/html")
        head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://example.org/{i}\r\n"
        head += (
            f"WARC-Date: 2024-05-0{i % 9 + 1}T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{i}>\r\nContent-Type: {mime}\r\n"
        )
        raw = head.encode() + f"Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"
        out += gzip.compress(raw) if packed else raw
    return out


HTML = "<html><body><nav>menu</nav><main><p>The main text of page {}.</p></main></body></html>"


@pytest.mark.parametrize("packed", [False, True])
def test_every_record_of_a_crawl_is_accounted_for(packed: bool) -> None:
    chunked = "5\r\n<p>in\r\n9\r\n chunks</\r\n2\r\np>\r\n0\r\n\r\n"
    records = [
        ("warcinfo", b"software: x\r\n"),
        ("request", b"GET / HTTP/1.1\r\n\r\n"),
        page(HTML.format(2)),
        page("gone", status="404 Not Found"),
        page("%PDF", mime="application/pdf"),
        page("<html><body></body></html>"),
        page(chunked, **{"Transfer-Encoding": "chunked"}),
        page("plain words", mime="text/plain"),
        ("revisit", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("response", b"not http at all"),
        page("<p>" + "long " * 1_000),
        ("resource", HTML.format(11).encode()),
        ("conversion", "Text of a caf\u00e9.".encode()),
        ("conversion", b"caf\xe9"),
        page("<div>" * (MAX_DEPTH + 4_000) + "deep"),
    ]
    name = "a.warc.gz" if packed else "a.warc"
    found = read(name, warc(records, packed), settings(max_document_bytes=40_000))
    texts = dict(found.rows.select("position", "text").iter_rows())
    assert texts[2] == "The main text of page 2."
    assert texts[6].split() == ["in", "chunks"]
    assert (texts[7], texts[11], texts[12]) == ("plain words", "The main text of page 11.", "Text of a caf\u00e9.")
    row = found.rows.row(0, named=True)
    assert (row["url"], row["created_at"]) == ("http://example.org/2", "2024-05-03T00:00:00Z")
    assert json.loads(row["metadata"]) == {"content_type": "text/html", "http_status": 200, "record_id": "<urn:uuid:2>"}
    reasons = dict(found.failures.select("position", "reason").iter_rows())
    assert set(texts) | set(reasons) == set(range(2, 15))
    assert not set(texts) & set(reasons)
    wanted = {3: "HTTP status 404", 4: "application/pdf", 5: "no main text", 8: "revisit", 13: "UTF-8", 14: "deep"}
    assert all(part in reasons[position] for position, part in wanted.items())


def test_a_false_length_costs_its_record_only() -> None:
    records = [page(HTML.format(i)) for i in range(6)]
    sound = warc(records)
    length = f"Content-Length: {len(records[2][1])}\r\n".encode()
    start = sound.index(b"http://example.org/2")
    at = sound.index(length, start)
    for false in (b"99999999999", b"3", b"1500", b"x"):
        raw = sound[:at] + b"Content-Length: " + false + b"\r\n" + sound[at + len(length) :]
        found = read("a.warc", raw)
        urls = found.rows["url"].to_list()
        assert urls == [f"http://example.org/{i}" for i in (0, 1, 3, 4, 5)], false
        assert found.failures.height == 1


def test_depth_is_that_of_open_block_elements() -> None:
    assert nesting("<div>" * 10) == 0  # too few tags to matter
    assert nesting("<div><p>a</div>" * 5_000) == 1
    assert nesting("<div><b>" * 5_000) == 5_000


def test_real_crawl_files_are_read_like_fastwarc_does() -> None:
    for path in sorted(shared("common_crawl_samples/warc").glob("*.warc.gz")):
        with path.open("rb") as stream:
            wanted = [
                (record.headers["WARC-Target-URI"].strip("<>"), record.http_headers.status_code)
                for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True)
            ]
        found = read(path.name, path.read_bytes())
        assert found.rows["url"].to_list() + found.failures["excerpt"].to_list() == [url for url, _ in wanted]
        assert found.rows["text"].str.len_chars().median() > 500  # type: ignore[operator]
        plain = gzip.decompress(path.read_bytes())
        assert read("a.warc", plain).rows.equals(found.rows)


@pytest.mark.parametrize(
    ("folder", "settings", "kept"),
    [
        ("edos", {}, 20_000),
        ("davidson", {"text_column": "tweet"}, 24_783),
        ("paradetox", {"text_column": "toxic"}, 11_927),
        ("ewt_web", {}, 1_173),
        ("gutenberg", {"text_split": "file"}, 24),
        ("gutenberg", {"text_split": "paragraphs", "include": ["Alice*.txt"]}, 871),
        ("wikitext2", {"text_split": "regex", "text_separator": r"\n = [^=]+ = \n"}, 120),
    ],
)
def test_real_files(folder: str, settings: dict[str, object], kept: int, tmp_path: Path) -> None:
    source = FolderSource.model_validate({"name": "s", "path": shared(folder), **settings})
    counts = ingest(source, "all", tmp_path).counts
    assert counts.quarantined == 0
    assert counts.kept == pytest.approx(kept, rel=0.05 if "text_split" in settings else 0)
    assert counts.read == counts.kept + counts.duplicate


def test_saved_hugging_face_datasets(tmp_path: Path) -> None:
    import datasets

    texts = [f"text number {i}" for i in range(3_000)]
    whole = datasets.Dataset.from_dict({"text": texts, "label": list(range(3_000))})
    datasets.DatasetDict({"train": whole, "test": whole.select(range(5))}).save_to_disk(
        tmp_path / "dict", num_proc=None
    )
    source = FolderSource(name="s", path=tmp_path / "dict")
    assert partitions(source, tmp_path) == ["test", "train"]
    done = ingest(source, "train", tmp_path)
    assert done.documents["text"].to_list() == texts
    assert done.documents["metadata"][7] == '{"label":7}'
    whole.save_to_disk(tmp_path / "single", max_shard_size="20KB")
    # A cache beside the data is not the data.
    (tmp_path / "single" / "cache-1.arrow").write_bytes(b"something else")
    done = ingest(FolderSource(name="s", path=tmp_path / "single"), "all", tmp_path)
    assert done.documents["text"].to_list() == texts
    assert done.quarantine.is_empty()


def test_hub_dataset_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The loader of `datasets` takes a folder where it takes an id: the same code, without a hub.
    pl.DataFrame({"text": [f"text {i}" for i in range(2_500)], "n": range(2_500)}).write_parquet(
        tmp_path / "train.parquet"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "revision", lambda source: "0" * 40)
    source = HubSource(name="s", dataset=str(tmp_path), snapshots=("train",))
    done = ingest(source, "train", tmp_path)
    assert done.counts.kept == 2_500
    assert done.documents.row(3, named=True)["metadata"] == '{"n":3}'
    assert fingerprint(source, "train", tmp_path) == {f"hub:{tmp_path}": "0" * 40}


def test_a_hub_that_cannot_be_reached_is_named() -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from curation_pipeline.corpus.ingest import fingerprint, partitions\n"
        "from curation_pipeline.corpus.settings import HubSource\n"
        "from curation_pipeline.errors import DownloadError\n"
        "source = HubSource(name='web', dataset='someone/something')\n"
        "try: fingerprint(source, 'train', Path()) if sys.argv[1] == 'fingerprint' else partitions(source, Path())\n"
        "except DownloadError as error: assert 'HF_ENDPOINT' in str(error), error\n"
        "else: raise SystemExit(1)\n"
    )
    # The loader of `datasets` would try for half a minute; offline it answers at once.
    for call, offline in (("fingerprint", "0"), ("partitions", "1")):
        environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": offline}
        subprocess.run([sys.executable, "-c", code, call], env=environment, check=True)


def test_files_of_a_bucket_are_read_like_files_of_a_folder(bucket: str, tmp_path: Path) -> None:
    import boto3

    folder = tmp_path / "in"
    for snapshot, count in (("2024-01", 300), ("2024-02", 50)):
        (folder / snapshot).mkdir(parents=True)
        rows = [{"text": f"text {i}", "n": i} for i in range(count)]
        (folder / snapshot / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        pl.DataFrame(rows).write_parquet(folder / snapshot / "b.parquet")
        (folder / snapshot / "d.zip").write_bytes(
            archive({"deep/d.json": json.dumps(rows[:3]).encode(), "e.docx": b"x"})
        )
        (folder / snapshot / "c.warc.gz").write_bytes(warc([page(HTML.format(i)) for i in range(5)], True))
    client = boto3.client("s3", endpoint_url=bucket)
    client.create_bucket(Bucket="corpus")
    for path in folder.rglob("*.*"):
        if path.is_file():
            client.upload_file(str(path), "corpus", f"web/{path.relative_to(folder).as_posix()}")
    local = FolderSource(name="s", path=folder)
    remote = FolderSource(name="s", path="s3://corpus/web", endpoint_url=bucket)
    assert partitions(remote, tmp_path) == partitions(local, tmp_path) == ["2024-01", "2024-02"]
    for snapshot in partitions(local, tmp_path):
        assert ingest(remote, snapshot, tmp_path).documents.equals(ingest(local, snapshot, tmp_path).documents)
        assert fingerprint(remote, snapshot, tmp_path / "cache") == fingerprint(local, snapshot, tmp_path)
    # Known content is not fetched again: the hash is found for the ETag.
    files = list((tmp_path / "cache").rglob("*.json"))
    assert len(files) == 8
    assert (
        everything(remote).told()
        == everything(local).told()
        == ["2 left alone (nothing reads .docx): 2024-01/d.zip/e.docx, 2024-02/d.zip/e.docx"]
    )
    with pytest.raises(DataError, match="s3://missing/web: there is no such bucket"):
        partitions(FolderSource(name="s", path="s3://missing/web", endpoint_url=bucket), tmp_path)


def test_a_limit_is_the_sample_of_the_smallest_hashes(tmp_path: Path) -> None:
    texts = [f"text number {i % 900} of them" for i in range(1_000)]
    for part in range(2):
        rows = [json.dumps({"text": text}) for text in texts[part::2]]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(rows))
    done = ingest(FolderSource(name="s", path=tmp_path, limit=100), "all", tmp_path)
    ids = text_ids(pl.Series(sorted(set(texts))))
    units = pl.DataFrame({"doc_id": ids, "unit": unit_hash(ids, 11)})
    wanted = set(units.sort("unit").head(100)["doc_id"].to_list())
    kept = done.documents.filter(~pl.col("duplicate"))
    assert set(kept["doc_id"].to_list()) == wanted
    assert done.counts.kept == 100
    assert done.counts.read + done.counts.beyond_limit == 1_000
    assert done.documents.select("file", "position").equals(done.documents.select("file", "position").sort(pl.all()))


def test_renamed_files_give_the_same_documents(tmp_path: Path) -> None:
    raw = "\n".join(json.dumps({"text": f"text {i}"}) for i in range(50))
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jsonl").write_text(raw)
        found.append(ingest(FolderSource(name="s", path=tmp_path), name, tmp_path).documents["doc_id"])
    assert found[0].equals(found[1])


def test_digest_set_agrees_with_a_set() -> None:
    import numpy as np

    rng = np.random.default_rng(3)
    seen: set[str] = set()
    digests = DigestSet()
    for size in (0, 1, 500, 20, 3_000, 3_000, 1):
        # Few upper halves, so that ids with equal ones meet, which hashes never do.
        ids = [f"{rng.integers(40):016x}{rng.integers(60):016x}" for _ in range(size)]
        wanted = []
        for value in ids:
            wanted.append(value in seen)
            seen.add(value)
        assert digests.add(pl.Series("doc_id", ids, dtype=pl.Utf8)).to_list() == wanted
    assert len(digests) == len(seen)


def test_an_unknown_stream_is_quarantined_whole() -> None:
    for name in ("a.parquet", "a.arrow", "a.warc", "a.jsonl.gz", "a.jsonl.zst"):
        found = read(name, b"this is none of these formats, whatever its name says")
        assert found.rows.is_empty()
        assert found.failures.height == 1


def test_download_error_is_a_curation_error() -> None:
    with pytest.raises(DownloadError, match="save_to_disk"):
        raise hub._unreachable(HubSource(name="a", dataset="b"), OSError("down"))
