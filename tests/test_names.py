from __future__ import annotations

import os

from dagster._core.definitions.partitions.utils import raise_error_on_invalid_partition_key_substring
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.lake.manifest import partition_path
from curation_pipeline.names import partition_value, unicode_name

ODD = [
    "\u6570" * 29,
    "\u6570" * 85,
    "new\nline",
    "nul\0",
    "a...b",
    "a....b",
    "bar|",
    "x" * 255,
    "%0A",
    "-",
    "CON",
    "'\"` ",
]


def test_a_name_that_serves_stays_as_it_is() -> None:
    for name in ("2024-01", "caf\u00e9", "per%20cent", "a\u200db", "..", "~", "\\xe9"):
        assert unicode_name(name) == partition_value(name) == name
    assert partition_path({"source": "web", "snapshot": "CC 2024|a%"}) == "source=web/snapshot=CC%202024%7Ca%25"
    assert partition_path({"snapshot": "\u6570" * 25}) == "snapshot=" + "%E6%95%B0" * 25


def test_odd_names_become_keys_and_paths_that_are_told_apart() -> None:
    values = [partition_value(name) for name in ODD]
    raise_error_on_invalid_partition_key_substring(values)
    assert not any("|" in value for value in values)
    paths = [partition_path({"source": "s" * 300, "snapshot": value}) for value in values]
    assert len(set(paths)) == len(paths)
    assert max(len(part) for path in paths for part in path.split("/")) <= 240


@given(st.lists(st.binary(min_size=1, max_size=8).filter(lambda raw: not {0, 47} & set(raw)), unique=True, max_size=9))
def test_any_bytes_become_unicode_and_no_two_names_one(raw: list[bytes]) -> None:
    names = [unicode_name(os.fsdecode(name)) for name in raw]
    assert len({name.encode() for name in names}) == len(raw)


def test_the_ending_of_a_bad_name_stays() -> None:
    name = unicode_name(os.fsdecode(b"d\xff/caf\xe9.jsonl.gz"))
    assert name.startswith("d\\xff~")
    assert name.endswith(".jsonl.gz")
