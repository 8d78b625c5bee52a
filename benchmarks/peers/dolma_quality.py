"""CPU seconds of one of dolma's quality taggers (such as gopher_v1) on given documents. Runs with dolma's Python.

python dolma_quality.py TAGGER DOCUMENTS.jsonl OUT.json
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from dolma.core.data_types import Document
from dolma.core.registry import TaggerRegistry


def main() -> None:
    """See the module's docstring."""
    import dolma.taggers  # noqa: F401 - fills the registry

    name, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    texts = [json.loads(line)["text"] for line in source.read_text(encoding="utf-8").splitlines()]
    tagger = TaggerRegistry.get(name)()
    for text in texts[:20]:
        tagger.predict(Document(source="", id="", text=text))
    documents = [Document(source="", id="", text=text) for text in texts]
    start = time.process_time()
    for document in documents:
        tagger.predict(document)
    target.write_text(json.dumps({"version": version("dolma"), "seconds": time.process_time() - start}))


if __name__ == "__main__":
    main()
