"""NeMo Curator's CPU stages from JSONL to Parquet; run by its environment's Python.

The stages are called one after the other in this process, a file at a time, and not by Ray, which would only add to
their cost. Thresholds are those of Gopher where its filters have them.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from nemo_curator.stages.text.filters import DocumentFilter, ScoreFilter
from nemo_curator.stages.text.filters.fasttext import FastTextLangId
from nemo_curator.stages.text.filters.heuristic import (
    BoilerPlateStringFilter,
    BulletsFilter,
    CommonEnglishWordsFilter,
    EllipsisFilter,
    LongWordFilter,
    MeanWordLengthFilter,
    PunctuationFilter,
    SymbolsToWordsFilter,
    WordCountFilter,
    WordsWithoutAlphabetsFilter,
)
from nemo_curator.stages.text.filters.heuristic.repetition import (
    RepeatedLinesByCharFilter,
    RepeatedLinesFilter,
    RepeatedParagraphsByCharFilter,
    RepeatedParagraphsFilter,
    RepeatingDuplicateNGramsFilter,
    RepeatingTopNGramsFilter,
)
from nemo_curator.stages.text.io.reader.jsonl import JsonlReaderStage
from nemo_curator.stages.text.io.writer import ParquetWriter
from nemo_curator.tasks import FileGroupTask
from pipeline_meter import Meter, arguments


def quality_filters(min_words: int) -> list[DocumentFilter]:
    """Its filters of the kinds that Gopher's, C4's and FineWeb's rules are of."""
    return [
        WordCountFilter(min_words=min_words),
        MeanWordLengthFilter(),
        SymbolsToWordsFilter(),
        BulletsFilter(),
        EllipsisFilter(),
        WordsWithoutAlphabetsFilter(),
        CommonEnglishWordsFilter(),
        LongWordFilter(),
        PunctuationFilter(),
        BoilerPlateStringFilter(),
        RepeatedLinesFilter(),
        RepeatedParagraphsFilter(),
        RepeatedLinesByCharFilter(),
        RepeatedParagraphsByCharFilter(),
        *(RepeatingTopNGramsFilter(n, share) for n, share in ((2, 0.20), (3, 0.18), (4, 0.16))),
        *(RepeatingDuplicateNGramsFilter(n, 0.20 - n / 100) for n in range(5, 11)),
    ]


def main() -> None:
    given, meter = arguments(), Meter()
    language = ScoreFilter(FastTextLangId(given["language_model"], lang="en"), score_field="language")
    language.setup()
    quality = [ScoreFilter(found, score_field=found.name) for found in quality_filters(given["min_words"])]
    reader, writer = JsonlReaderStage(), ParquetWriter(path=str(given["out"] / "kept"))
    meter.step("models")
    for file in sorted(Path(given["documents"]).glob("*.jsonl")):
        batch = reader.process(FileGroupTask(dataset_name="documents", data=[str(file)]))
        meter.step("read")
        batch = language.process(batch)
        meter.step("language")
        for stage in quality:
            if batch is None:
                break
            batch = stage.process(batch)
        meter.step("statistics, quality rules")
        if batch is not None:
            writer.process(batch)
        meter.step("write")
    meter.report(given["target"], version=version("nemo-curator"))


if __name__ == "__main__":
    main()
