from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import IntegrityError, LakeError
from curation_pipeline.lake.garbage import collect, find_garbage
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Recipe, partition_path


def frame(value: int) -> pl.DataFrame:
    return pl.DataFrame({"doc_id": ["a", "b"], "value": [value, value]})


def write(value: int):
    def make(draft: Draft) -> None:
        draft.frame(frame(value))
        draft.summary["value"] = value

    return make


def test_finished_work_is_found_and_not_made_again(lake: Lake) -> None:
    recipe = Recipe("pool", {"chain": "main", "iteration": "0001"}, ("x-1",), {"budget": 3}, 7)
    first = lake.build(recipe, write(1))

    def never(_: Draft) -> None:
        raise AssertionError("made again")

    again = lake.build(recipe, never)
    assert again == first
    assert lake.frame(again).equals(frame(1))
    assert again.n_rows == 2
    assert again.summary == {"value": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": ("x-2",)},
        {"parameters": {"budget": 4}},
        {"seed": 8},
        {"code_version": "2"},
        {"partition": {"chain": "main", "iteration": "0002"}},
        {"table": "batches"},
    ],
)
def test_every_ingredient_changes_the_key(change: dict) -> None:
    base = {"table": "pool", "partition": {"chain": "main", "iteration": "0001"}, "inputs": ("x-1",),
            "parameters": {"budget": 3}, "seed": 7, "code_version": "1"}  # fmt: skip
    assert Recipe(**base).key != Recipe(**{**base, **change}).key


@given(st.permutations(["a-1", "b-2", "c-3"]))
def test_order_of_inputs_does_not_change_the_key(order: list[str]) -> None:
    assert Recipe("t", {}, tuple(order)).key == Recipe("t", {}, ("a-1", "b-2", "c-3")).key


def test_a_crash_leaves_nothing_behind_that_can_be_read(lake: Lake) -> None:
    recipe = Recipe("pool", {})

    def crash(draft: Draft) -> None:
        draft.frame(frame(1))
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        lake.build(recipe, crash)
    assert lake.find(recipe) is None
    assert lake.head("pool") is None
    assert lake.build(recipe, write(2)).summary["value"] == 2


def test_two_writers_of_one_recipe_leave_one_winner(lake: Lake) -> None:
    recipe = Recipe("pool", {})
    barrier = threading.Barrier(4)
    found = []

    def work(value: int) -> None:
        def make(draft: Draft) -> None:
            draft.frame(frame(value))
            draft.summary["value"] = value
            barrier.wait()

        found.append(lake.build(recipe, make))

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({manifest.content_hash for manifest in found}) == 1
    winner = found[0]
    assert lake.frame(winner)["value"].unique().to_list() == [winner.summary["value"]]
    # The losers took their files away again.
    assert len(list(lake.store.list("data"))) == 1


def test_heads_remember_attempts_and_never_overwrite(lake: Lake) -> None:
    place = {"chain": "main", "iteration": "0001"}
    first = lake.build(Recipe("pool", place, seed=1), write(1))
    second = lake.build(Recipe("pool", place, seed=2), write(2))
    record = lake.head_record("pool", place)
    assert record is not None
    assert record.history == (first.id, second.id)
    assert record.attempt == 1
    assert lake.frame(lake.get(first.id))["value"][0] == 1
    assert lake.require("pool", place).id == second.id


def test_lineage_walks_both_ways(lake: Lake) -> None:
    a = lake.build(Recipe("documents", {"source": "a", "snapshot": "1"}), write(1))
    b = lake.build(Recipe("pool", {}, (a.id,)), write(2))
    c = lake.build(Recipe("checkpoints", {}, (b.id,)), write(3))
    other = lake.build(Recipe("documents", {"source": "b", "snapshot": "1"}), write(4))
    assert [m.id for m in lake.ancestors(c.id)] == [c.id, b.id, a.id]
    assert {m.id for m in lake.descendants({a.id})} == {b.id, c.id}
    assert lake.descendants({other.id}) == []
    assert {m.id for m in lake.heads("documents")} == {a.id, other.id}
    assert [m.id for m in lake.heads("documents", {"source": "b"})] == [other.id]


def test_damage_is_named(lake: Lake) -> None:
    manifest = lake.build(Recipe("pool", {}), write(1))
    lake.verify(manifest)
    path = lake.path(manifest, "data.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"data\.parquet: sha256"):
        lake.verify(manifest)
    path.unlink()
    with pytest.raises(LakeError, match="restore it from a backup"):
        lake.path(manifest, "data.parquet")


def test_unknown_ids_and_tables_say_what_to_do(lake: Lake) -> None:
    with pytest.raises(LakeError, match="curate status"):
        lake.get("pool-0000000000000000")
    with pytest.raises(LakeError, match="materialise the asset"):
        lake.require("pool")


def test_garbage_is_what_no_manifest_reaches(lake: Lake) -> None:
    kept = lake.build(Recipe("pool", {}), write(1))
    lake.store.replace("data/pool/all/pool-dead.beef/data.parquet", b"left by a crash")
    assert find_garbage(lake).paths == ()  # its writer may still be running
    garbage = find_garbage(lake, lease_seconds=0)
    assert garbage.paths == ("data/pool/all/pool-dead.beef/data.parquet",)
    assert collect(lake, garbage) == 1
    lake.verify(kept)


def test_partition_values_cannot_escape_the_lake() -> None:
    assert "/../" not in f"/{partition_path({'source': '../../etc', 'snapshot': 'a/b'})}/"
    assert partition_path({}) == "all"


def test_a_folder_of_many_files_is_one_artefact(lake: Lake, tmp_path: Path) -> None:
    def make(draft: Draft) -> None:
        (draft.folder / "vectors").mkdir()
        (draft.folder / "vectors" / "model.json").write_text("{}")
        draft.json({"a": 1}, "summary")

    folder = lake.folder(lake.build(Recipe("sentence_embedding", {}), make))
    assert (folder / "vectors" / "model.json").read_text() == "{}"
    assert (folder / "summary.json").is_file()
