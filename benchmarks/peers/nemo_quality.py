"""CPU seconds of NeMo Curator's heuristic filters on given documents; run by the python of its environment.

python nemo_quality.py DOCUMENTS.jsonl OUT.json
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from pipeline_nemo import quality_filters


def main(source: Path, target: Path) -> None:
    texts = [json.loads(line)["text"] for line in source.read_text(encoding="utf-8").splitlines()]
    filters = quality_filters(50)

    def judge(some: list[str]) -> None:
        for found in filters:
            for text in some:
                found.keep_document(found.score_document(text))

    judge(texts[:20])
    start = time.process_time()
    judge(texts)
    facts = {"version": version("nemo-curator"), "filters": len(filters)}
    target.write_text(json.dumps(facts | {"seconds": time.process_time() - start}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
