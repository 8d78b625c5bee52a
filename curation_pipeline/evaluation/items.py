"""The items of all benchmarks: loading them, choosing those of an evaluation, and what is kept out of the pool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curation_pipeline.datasets.packages import file_sha256
from curation_pipeline.datasets.text import normalised_keys
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.benchmark import Benchmark, Items, Sources
from curation_pipeline.evaluation.registry import all_benchmarks, versions
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.names import unicode_name

ItemFrames = Mapping[str, pl.DataFrame]
"""Items by the benchmark's name."""


def with_items() -> list[tuple[Benchmark, Items]]:
    """The benchmarks that have items of their own."""
    return [(benchmark, benchmark.items) for benchmark in all_benchmarks() if benchmark.items is not None]


def load_items(cache: Path, seed: int, settings: EvaluationSettings) -> dict[str, pl.DataFrame]:
    """The items of every benchmark at the given sizes.

    Which items are taken depends on ``seed`` when a size is below what there is; the role of an item never does.

    Raises:
        DownloadError: an archive is not in ``cache`` and cannot be downloaded.
        IntegrityError: an archive differs from its recorded hash.
        ConfigError: ``evaluation.folder`` lacks a benchmark that the settings name.
    """
    sources = Sources(cache, settings.folder, seed)
    return {benchmark.name: items.load(sources, settings.of(benchmark)) for benchmark, items in with_items()}


def item_parameters(settings: EvaluationSettings) -> dict[str, Any]:
    """What the items depend on apart from the seed: settings, and sha256 of the files of ``evaluation.folder``."""
    sizes: dict[str, Any] = {}
    paths: set[Path] = set()
    for benchmark, items in with_items():
        own = settings.of(benchmark)
        sizes[benchmark.name] = own.model_dump(mode="json", exclude={"used"})
        if settings.folder is not None:
            found = (path for name in items.folders(own) for path in (settings.folder / name).glob("*"))
            paths.update(path for path in found if path.is_file())
    content = {unicode_name(str(path.relative_to(settings.folder or ""))): file_sha256(path) for path in sorted(paths)}
    changed = versions()
    return {"sizes": sizes, "content": content} | ({"versions": changed} if changed else {})


def choose_items(frames: ItemFrames, settings: EvaluationSettings, seed: int) -> dict[str, pl.DataFrame]:
    """The items that an evaluation uses; benchmarks whose items come from elsewhere keep theirs whole.

    Raises:
        DataError: a benchmark that the composite needs has no item of the wanted roles.
    """
    chosen = dict(frames)
    for benchmark, items in with_items():
        frame = frames[benchmark.name]
        chosen[benchmark.name] = items.chosen(frame, settings.roles, settings.used(benchmark), seed)
        if benchmark.terms and chosen[benchmark.name].is_empty():
            there = sorted(set(frame["role"].to_list())) if "role" in frame.columns else []
            raise DataError(f"no items of {benchmark.name} have a role in {list(settings.roles)}; there are {there}")
    return chosen


def unseen_items(
    frames: ItemFrames, settings: EvaluationSettings, used: Mapping[str, int], seed: int
) -> dict[str, pl.DataFrame]:
    """The items that no evaluation of the iterations used, all in the role ``final``.

    Items that have the role ``final`` are taken as they are. A benchmark without that role gives what the iterations
    left over; it is empty where they used everything.

    Args:
        frames: all items.
        settings: of the iterations' evaluations.
        used: the largest size that any of them had, by benchmark.
        seed: of the iterations' evaluations.
    """
    return {
        benchmark.name: items.unseen(frames[benchmark.name], settings.roles, used[benchmark.name], seed)
        for benchmark, items in with_items()
    }


def overlap_texts(frames: ItemFrames) -> pl.DataFrame:
    """Every text of every benchmark as the model reads it: columns benchmark and text, unique, for overlap checks."""
    found = [items.texts(frames[benchmark.name]).select("benchmark", "text") for benchmark, items in with_items()]
    return pl.concat(found).unique(maintain_order=True)


def contamination_keys(frames: ItemFrames, labels: pl.DataFrame | None = None) -> pl.Series:
    """Normalised keys of every text that must not be in the pool.

    Args:
        frames: all items.
        labels: labelled texts; all roles but pool are kept out.

    Returns:
        Unique keys, sorted, without the empty one.
    """
    texts: list[pl.Series] = []
    for benchmark, items in with_items():
        frame = frames[benchmark.name]
        texts += [items.texts(frame)["text"]] if items.pieces is None else items.pieces(frame)
    if labels is not None:
        texts.append(labels.filter(pl.col("role") != "pool")["text"])
    keys = normalised_keys(pl.concat([text.alias("text") for text in texts])).unique().sort()
    return keys.filter(keys != "")
