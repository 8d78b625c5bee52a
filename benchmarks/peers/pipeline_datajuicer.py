"""Data-Juicer's operators from JSONL to Parquet, by its own executor; run by its environment's Python.

Filters that need word lists or models fetched from a server are not among them. Everything else has its defaults.
"""

from __future__ import annotations

import json
from importlib.metadata import version

from data_juicer.config import init_configs
from data_juicer.core import DefaultExecutor
from data_juicer.utils import model_utils
from pipeline_meter import Meter, arguments


def main() -> None:
    given, meter = arguments(), Meter()
    # The same model as its own, which is fetched from a server.
    model_utils.prepare_fasttext_model.__defaults__ = (given["language_model"],)
    process = [
        {"language_id_score_filter": {"lang": "en", "min_score": 0.3}},
        {"words_num_filter": {"min_num": given["min_words"], "max_num": 100_000}},
        {"alphanumeric_filter": {}},
        {"average_line_length_filter": {}},
        {"maximum_line_length_filter": {}},
        {"special_characters_filter": {}},
        {"character_repetition_filter": {}},
        {"word_repetition_filter": {}},
        {"text_length_filter": {}},
        {"pii_redaction_mapper": {}},
        {"document_minhash_deduplicator": {"num_permutations": 112, "num_bands": 14, "num_rows_per_band": 8}},
    ]
    recipe = given["out"] / "recipe.yaml"
    recipe.write_text(
        json.dumps(
            {
                "project_name": "pipeline",
                "dataset_path": str(given["documents"]),
                "export_path": str(given["out"] / "kept" / "documents.parquet"),
                "export_type": "parquet",
                "work_dir": str(given["out"] / "work"),
                "np": 1,
                "use_cache": False,
                "open_monitor": False,
                "process": process,
            }
        )
    )
    executor = DefaultExecutor(init_configs(["--config", str(recipe)]))
    meter.step("set up")
    executor.run()
    meter.step("run")
    meter.report(given["target"], version=version("py-data-juicer"))


if __name__ == "__main__":
    main()
