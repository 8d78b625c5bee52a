"""The table of peers that README and results show is the one that the committed figures give."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tables_shown_are_made_of_the_committed_figures() -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks/table.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for page, made in module.tables().items():
        shown = module.shown(page.read_text(encoding="utf-8"))
        assert shown == made, f"{page.name}: run `python benchmarks/table.py --write`"
