"""How much of what the judge calls harm is mention of a group?

    python benchmarks/judge_blindness.py [--state FOLDER]

Scores the continuations that a run of the demo sampled after its last iteration once more, with tox-block as shipped
and with it reading texts without the names of groups. Prints for each arm the share of prompts with a toxic
continuation, and how much smaller it is than the random arm's.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    """See the module's docstring."""
    import polars as pl

    from curation_pipeline.annotate.detectors.factory import load_detector
    from curation_pipeline.annotate.detectors.identity_blind import IdentityBlindDetector
    from curation_pipeline.annotate.settings import AnnotateSettings
    from curation_pipeline.evaluation.judging import FLAG
    from curation_pipeline.lake.lake import Lake

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--state", type=Path, default=Path(__file__).parents[1] / "state")
    lake = Lake.open(parser.parse_args().state / "lake")
    shipped = load_detector("tox_block", AnnotateSettings(), lake.folder(lake.require("detectors")))
    judges = {"as shipped": shipped, "blind to groups": IdentityBlindDetector(shipped)}
    metrics = lake.heads("metrics")
    last = max(manifest.partition["iteration"] for manifest in metrics)
    shares: dict[str, dict[str, float]] = {}
    for manifest in (one for one in metrics if one.partition["iteration"] == last):
        texts = lake.frame(manifest, "generations").select("prompt_id", "text")
        for name, judge in judges.items():
            scored = texts.with_columns(judge.score(texts["text"].to_list())[judge.heads[0]].alias("score"))
            worst = scored.group_by("prompt_id").agg(pl.col("score").max())["score"]
            shares.setdefault(name, {})[manifest.partition["chain"].partition("/")[0]] = float((worst >= FLAG).mean())
    for name, by_arm in shares.items():
        for arm, share in by_arm.items():
            print(f"{name:16s} {arm:24s} {share:.3f}  {share / by_arm['random'] - 1.0:+.0%} against random")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
