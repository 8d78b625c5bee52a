"""Log importance weights of the package data-selection on given documents. Runs with that package's Python.

python dsir_weights.py POOL.jsonl TARGET.jsonl OUT.json [N-GRAMS] [BUCKETS]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from data_selection import HashedNgramDSIR


def main() -> None:
    """See the module's docstring."""
    pool, target, out = (Path(name) for name in sys.argv[1:4])
    ngrams, buckets = int(sys.argv[4]), int(sys.argv[5])
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        dsir = HashedNgramDSIR([str(pool)], [str(target)], folder, num_proc=1, ngrams=ngrams, num_buckets=buckets)
        dsir.fit_importance_estimator(num_tokens_to_fit="all")
        dsir.compute_importance_weights()
        seconds = time.process_time() - start
        weights = np.load(Path(folder) / "log_importance_weights" / "0.npy")
    result = {"version": version("data-selection"), "seconds": seconds, "log_weights": weights.tolist()}
    out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
