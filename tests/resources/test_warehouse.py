"""Publishing the serving file while others read it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from curation_pipeline.errors import DataError
from resources.warehouse import SOURCE_SCHEMAS, WarehouseResource

HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


def build(warehouse: WarehouseResource, value: int) -> None:
    with duckdb.connect(str(warehouse.path / "build.duckdb")) as connection:
        connection.execute(f"create table mart as select {value} as value")
        connection.execute("create view over_mart as select * from main.mart")


def test_readers_keep_what_they_opened_and_newcomers_see_the_new(tmp_path: Path) -> None:
    warehouse = WarehouseResource(folder=str(tmp_path))
    warehouse.prepare()
    build(warehouse, 1)
    serving = warehouse.publish()
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print('open', flush=True);"
            "sys.stdin.readline(); print(c.sql('from over_mart').fetchall(), flush=True)",
            str(serving),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    # A log left by a person who opened the file for writing must not reach the next one.
    serving.with_name("serving.duckdb.wal").write_bytes(b"stale")
    warehouse.prepare()
    build(warehouse, 2)
    warehouse.publish()
    with duckdb.connect(str(serving), read_only=True) as connection:
        assert connection.execute("from over_mart").fetchall() == [(2,)]
    out, _ = reader.communicate("go\n")
    assert out.strip() == "[(1,)]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["serving.duckdb", "sources"]


def test_raw_views_show_every_source_and_unlisted_columns(tmp_path: Path) -> None:
    warehouse = WarehouseResource(folder=str(tmp_path / "with 'quote [1] *"))
    warehouse.prepare()
    frame = pl.DataFrame({"doc_id": ["x"], "alt_profanity": [0.5]})
    frame.write_parquet(warehouse.source_folder("toxicity_teacher") / "a.parquet")
    build(warehouse, 1)
    with duckdb.connect(str(warehouse.publish()), read_only=True) as connection:
        assert connection.execute("select alt_profanity from raw.toxicity_teacher").fetchall() == [(0.5,)]
        for table, schema in SOURCE_SCHEMAS.items():
            described = connection.execute(f"describe raw.{table}").fetchall()
            assert set(schema) <= {row[0] for row in described}


def test_what_does_not_resolve_is_not_published(tmp_path: Path) -> None:
    warehouse = WarehouseResource(folder=str(tmp_path))
    with pytest.raises(DataError, match="nothing to publish"):
        warehouse.publish()
    warehouse.prepare()
    build(warehouse, 1)
    served = warehouse.publish().read_bytes()
    build(warehouse, 2)
    gone = tmp_path / "gone.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(gone)
    with duckdb.connect(str(tmp_path / "build.duckdb")) as connection:
        connection.execute(f"create view broken as from read_parquet('{gone}')")
    gone.unlink()
    with pytest.raises(DataError, match="broken"):
        warehouse.publish()
    assert (tmp_path / "serving.duckdb").read_bytes() == served


def test_a_build_in_use_is_left_alone(tmp_path: Path) -> None:
    warehouse = WarehouseResource(folder=str(tmp_path))
    warehouse.prepare()
    build_file = tmp_path / "build.duckdb"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(build_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    for call in (warehouse.prepare, warehouse.publish):
        with pytest.raises(DataError, match="another process"):
            call()
    holder.communicate("")
    build_file.write_bytes(b"torn")
    warehouse.prepare()
    assert not build_file.exists()
