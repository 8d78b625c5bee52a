"""datatrove's own steps from JSONL to Parquet, in the order of its FineWeb example; run by its environment's Python."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.stats import DocStats, WordStats
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from datatrove.utils.lid import FT176LID
from pipeline_meter import Meter, arguments


def main() -> None:
    given, meter = arguments(), Meter()
    out: Path = given["out"]
    FT176LID.MODEL_URL = given["language_model"]  # the same model as its own, which is fetched from a server
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)

    def run(name: str, steps: list[PipelineStep], tasks: int = 1) -> None:
        LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(out / "logs" / name)).run()
        meter.step(name)

    filters = [
        JsonlReader(str(given["documents"])),
        LanguageFilter("en"),
        DocStats(str(out / "statistics"), groups_to_compute=["summary"]),
        WordStats(str(out / "statistics"), groups_to_compute=["summary"]),
        GopherRepetitionFilter(),
        GopherQualityFilter(min_doc_words=given["min_words"]),
        C4QualityFilter(min_num_sentences=given["min_sentences"]),
        FineWebQualityFilter(),
        JsonlWriter(str(out / "passed"), compression=None),
    ]
    run("language, statistics, quality rules", filters)
    passed = JsonlReader(str(out / "passed"))
    run("signatures", [passed, MinhashDedupSignature(str(out / "signatures"), config)])
    run("buckets", [MinhashDedupBuckets(str(out / "signatures"), str(out / "buckets"), config=config)], 14)
    run("clusters", [MinhashDedupCluster(str(out / "buckets"), str(out / "remove"), config)])
    writer = ParquetWriter(str(out / "kept"), compression="zstd")
    run("duplicates, personal data, write", [passed, MinhashDedupFilter(str(out / "remove")), PIIFormatter(), writer])
    meter.report(given["target"], version=version("datatrove"))


if __name__ == "__main__":
    main()
