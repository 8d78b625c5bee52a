"""The table of peers that README and results show is the one that the committed figures give."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_table_shown_is_made_of_the_committed_figures(page: str) -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks/table.py")
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    shown = table.shown((ROOT / page).read_text(encoding="utf-8"))
    assert shown == table.table(), "run `python benchmarks/table.py --write`"
