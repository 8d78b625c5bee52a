from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
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
    lake.store.put_if_absent("data/pool/all/pool-dead.beef/data.parquet", b"left by a crash")
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


BUILDER = """
import sys, time
from pathlib import Path
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Recipe
root, name = Path(sys.argv[1]), sys.argv[2]
def make(draft):
    with (root / "order").open("a") as order:
        order.write(f"{name} finds {sorted(path.name for path in draft.scratch.iterdir())}\\n")
    (draft.scratch / name).touch()
    (root / f"{name} works").touch()
    while not (root / f"{name} may end").exists():
        time.sleep(0.01)
    draft.json(name, "who")
lake = Lake.open(root / "lake")
print(lake.json(lake.build(Recipe("policies", {}), make, resumes=True), "who"))
"""


def builder(root: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(root), name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)


def test_a_second_builder_of_resumable_work_waits_and_finds_it(tmp_path: Path) -> None:
    first = builder(tmp_path, "first")
    wait_for((tmp_path / "first works").exists)
    second = builder(tmp_path, "second")
    assert second.stderr is not None
    assert f"process {first.pid} on" in second.stderr.readline()
    (tmp_path / "first may end").touch()
    assert [process.communicate()[0].strip() for process in (first, second)] == ["first", "first"]
    assert (tmp_path / "order").read_text() == "first finds []\n"
    left = [path for path in (tmp_path / "lake" / ".work").rglob("*") if path.is_file()]
    assert left == []


def test_a_killed_builder_blocks_nobody_and_its_draft_is_garbage(tmp_path: Path) -> None:
    first = builder(tmp_path, "first")
    wait_for((tmp_path / "first works").exists)
    lake = Lake.open(tmp_path / "lake")
    assert find_garbage(lake, 0).folders == ()  # a living process makes it
    first.kill()
    first.wait()
    found = find_garbage(lake, 0)
    assert sorted(folder.parent.name for folder in found.folders) == ["drafts", "scratch"]
    assert find_garbage(lake).folders == ()  # young enough to be taken up again
    (tmp_path / "second may end").touch()
    assert builder(tmp_path, "second").communicate()[0].strip() == "second"
    assert (tmp_path / "order").read_text().splitlines()[1] == "second finds ['first']"
    assert collect(lake, find_garbage(lake, 0)) == 1  # the draft of the first
    assert not any((lake.work / "drafts").iterdir())


@pytest.mark.parametrize("content", [b"", b'{"history": ["po', b"[]", b'{"history": []}', b"\xff\xfe", b"null"])
def test_a_damaged_head_is_named_with_its_remedy(lake: Lake, content: bytes) -> None:
    made = lake.build(Recipe("pool", {}), write(1))
    path = Path(lake.store.root) / "heads" / "pool" / "all.json"
    path.write_bytes(content)
    again = partial(lake.build, Recipe("pool", {}), write(1))
    for read in (partial(lake.head, "pool"), partial(lake.heads, "pool"), again):
        with pytest.raises(LakeError, match=re.escape(str(path)) + ".*delete it"):
            read()
    path.unlink()
    assert lake.build(Recipe("pool", {}), write(2)) == made
    assert lake.require("pool") == made


def test_a_file_cut_short_is_named_whoever_reads_it(lake: Lake) -> None:
    manifest = lake.build(Recipe("pool", {}), write(1))
    path = lake.path(manifest, "data.parquet")
    os.truncate(path, 10)
    for read in (lake.frame, lake.folder):
        with pytest.raises(IntegrityError, match=r"data\.parquet: 10 bytes, recorded \d+; restore"):
            read(manifest)


def test_what_a_killed_writer_left_under_a_temporary_name_is_passed_over(lake: Lake) -> None:
    made = lake.build(Recipe("pool", {}), write(1))
    for name in (f"manifests/.{made.id}.json.0badcafe", "heads/pool/.all.json.0badcafe"):
        (Path(lake.store.root) / name).write_bytes(b'{"hist')
    assert list(lake.manifests()) == lake.heads("pool") == [made]
    assert collect(lake, find_garbage(lake, 0)) == 2


def test_what_is_pinned_is_found_again_when_a_setting_goes_back(lake: Lake) -> None:
    def found(inputs: tuple[str, ...], size: int) -> str:
        return lake.build(Recipe("tokenizer", {}, inputs, {"size": size}), write(size), pinned=True).id

    first = found(("documents-1",), 3)
    assert found(("documents-1", "documents-2"), 3) == first
    assert found(("documents-1", "documents-2"), 4) != first
    assert found(("documents-1", "documents-2"), 3) == first
    assert lake.require("tokenizer").id == first
