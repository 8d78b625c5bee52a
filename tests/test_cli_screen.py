"""What the command line prints: the data's text as it is, and progress that a file can hold."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from rich.table import Table

from curation_pipeline import cli_screen
from curation_pipeline.cli_screen import Screen, progress_of
from curation_pipeline.cli_tables import print_document, print_frame
from curation_pipeline.stages.lineage import DocumentLineage

URLS = ["https://example.org/[/b]", "https://example.org/?cat[id]=5&sort[x]=1", "https://e.org/\x1b[2J\u202e:smile:"]
SHOWN = [*URLS[:2], r"https://e.org/\x1b[2J\u202e:smile:"]


def printed(width: int = 200) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(file=out, width=width, highlight=False), out


def test_brackets_and_escapes_of_the_data_are_shown() -> None:
    console, out = printed()
    frame = pl.DataFrame({"url": URLS, "source[/x]": ["a", "b", "[red]c"]})
    print_document(console, DocumentLineage(frame, frame, frame))
    print_frame(console, "[/title]", frame)
    console.print(*URLS)
    console.print(Path("/tmp/[/b]\x1b"))
    text = out.getvalue()
    for url in SHOWN:
        assert text.count(url) == 5
    assert text.count("source[/x]") == 4
    assert "[/title]" in text
    assert r"/tmp/[/b]\x1b" in text
    assert "\x1b" not in text


def test_no_value_of_a_table_is_cut() -> None:
    console, out = printed(width=40)
    table = Table("arm", "id")
    table.add_row("threshold_within_each_source", "checkpoints-0123456789abcdef")
    console.print(table)
    assert "…" not in out.getvalue()


def test_progress_in_a_file_is_a_line_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 11.0, 70.0, 130.0])
    monkeypatch.setattr(cli_screen.time, "monotonic", lambda: next(clock))
    console, out = printed()
    with progress_of(console) as tell:
        tell("loop", "starting", 0.0)
        tell("loop", "pool", 0.05)  # too soon
        tell("loop", "pool", 0.1)
        tell("loop", "[/b]", 0.2)  # too soon
        tell("loop", "[/b]", 0.5)
        tell("loop", "done", 1.0)
    assert out.getvalue().splitlines() == [
        "   0:00   0%  loop: starting",
        "   0:10  10%  loop: pool, about 1:30 left",
        "   1:10  50%  loop: [/b], about 1:10 left",
        "   2:10 100%  loop: done",
    ]
