"""Readers, kinds of source and selectors of other packages, found by their entry points."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MODULE = """
from typing import Literal

import numpy as np
from pydantic import Field

from curation_pipeline.corpus.readers import FileReader
from curation_pipeline.corpus.rows import RowBuilder
from curation_pipeline.corpus.source import FileSettings, ReadSettings
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.choosing import chosen


class PipeSettings(FileSettings):
    pipe_mark: str = Field(default="|", description="what parts two texts")


def read_pipes(stream, settings):
    rows = RowBuilder(settings)
    for position, text in enumerate(b"".join(stream).decode().split(settings.pipe_mark)):
        rows.text(position, text)
    yield from rows.drain()


PIPES = FileReader((".pipes",), read_pipes, settings=PipeSettings)


class EchoSource(ReadSettings):
    kind: Literal["echo"] = "echo"
    text: str

    def partitions(self, cache):
        return ["once"]

    def fingerprint(self, snapshot, cache):
        return {"text": self.text}

    def batches(self, snapshot, found, cache):
        rows = RowBuilder(self)
        rows.text(0, self.text)
        for batch in rows.drain():
            yield "echo", batch


class LastSettings(SharedSettings):
    last_documents: int = Field(default=2, ge=1, description="how many")


def last(pool, budget_tokens, seed, settings, inputs):
    return chosen(len(pool), np.arange(len(pool))[-settings.last_documents :], "not among the last")


LAST = Baseline("last", "the last documents", last, settings=LastSettings)
"""
ENTRY_POINTS = """
[curation_pipeline.readers]
pipes = plug:PIPES
echo = plug:EchoSource
[curation_pipeline.selectors]
last = plug:LAST
"""
USE = """
import sys
from pathlib import Path
from curation_pipeline.config import CorpusSettings
from curation_pipeline.selection.baselines import baseline
from curation_pipeline.selection.settings import BaselineSettings
from research.synthetic_pool import synthetic_pool
from tests.corpus.formats import ingest

folder = {"kind": "folder", "name": "own", "path": sys.argv[1], "pipe_mark": "/"}
echo = {"kind": "echo", "name": "mine", "text": "an echo"}
for source in CorpusSettings(sources=[folder, echo]).sources:
    (snapshot,) = source.partitions(Path())
    print(ingest(source, snapshot, Path()).documents["text"].to_list())
pool = synthetic_pool(1, 500).pool
print(sum(baseline("last", BaselineSettings(last_documents=3)).scores(pool, 1_000, 0).probability == 1))
"""


def test_other_packages_add_readers_sources_and_selectors(tmp_path: Path) -> None:
    site, data = tmp_path / "site", tmp_path / "data"
    (site / "plug-1.0.dist-info").mkdir(parents=True)
    (site / "plug-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (site / "plug-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "plug.py").write_text(MODULE)
    data.mkdir()
    (data / "a.pipes").write_text("one/two")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    command = [sys.executable, "-c", USE, str(data)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == ["['one', 'two']", "['an echo']", "3"]
