"""Memory of what joins the whole corpus, at sizes that need no text: pool, index, profile and draws on repeated tables.

    python benchmarks/scale_tiled.py FOLDER [--copies N ...] [--out FILE]

FOLDER is what ``scale.py --keep`` left of one size. Its documents (without their texts) and annotations are written
again under other ids, as N times as many documents, and the steps' own functions read them: each in a process of its
own with one thread, which reports processor seconds and its peak resident memory. Ten million documents are so made of
the tables of a million in minutes, where annotating them takes hours and shows no more: annotators read 20,000
documents at a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import scale

from curation_pipeline.annotate.quality import rule_names
from curation_pipeline.lake.draft import Draft
from curation_pipeline.lake.keyed import shards_of
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import derive
from curation_pipeline.selection.baselines import baseline
from curation_pipeline.selection.draw import BATCH, DECISIONS
from curation_pipeline.selection.parts import InParts
from curation_pipeline.selection.policy_selector import PolicySelector
from curation_pipeline.selection.protocol import Drawer, PoolFile
from curation_pipeline.selection.stream_tables import DrawTables
from curation_pipeline.stages.context import Context, open_context
from curation_pipeline.stages.corpus_figures import corpus_figures
from curation_pipeline.stages.document_index import CORPUS
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.objective import objective_of
from curation_pipeline.stages.pool_sample import pool_sample
from curation_pipeline.stages.state import MAIN
from curation_pipeline.steps.corpus_wide.document_index import write_index
from curation_pipeline.steps.loop.candidate_pool import STEP as POOL
from curation_pipeline.steps.step import Work, of_iteration

COPIES = (1, 10)
DRAWS = ("draw of the policy", "draw of top_k", "sample for the policy")
MEASURED = ("document_index", "corpus_profile", "candidate_pool", *DRAWS)
Corpus = dict[str, dict[str, str]]


def tiled(lake: Lake, corpus: Corpus, copies: int) -> Corpus:
    """The corpus with its tables so many times, the first time as they are."""
    found = dict(corpus)
    for copy in range(1, copies):
        for key, ids in corpus.items():
            source, _, snapshot = key.partition("|")
            place = {"source": source, "snapshot": f"{snapshot}-{copy:02d}"}
            found["|".join(place.values())] = {
                table: _copied(lake, lake.get(identity), place, copy).id for table, identity in ids.items()
            }
    return found


def _copied(lake: Lake, manifest: Manifest, place: dict[str, str], copy: int) -> Manifest:
    recipe = Recipe(manifest.table, place, (manifest.id,), dict(manifest.parameters), copy, manifest.code_version)

    def rows() -> Iterator[pl.DataFrame]:
        for shard in shards_of([lake.path(manifest, "data.parquet")], 100_000):
            columns = [name for name in pl.read_parquet_schema(shard.path) if name not in ("text", "signature")]
            turned = pl.col("doc_id").str.slice(copy) + pl.col("doc_id").str.slice(0, copy)
            yield shard.frame(columns).with_columns(turned)

    def make(draft: Draft) -> None:
        first = next(rows())
        with draft.writer(dict(first.schema), compression="lz4") as write:
            for part in rows():
                for start in range(0, part.height, 20_000):
                    write(part.slice(start, 20_000))
        draft.summary.update(manifest.summary)

    return lake.build(recipe, make)


def work_of(ctx: Context, corpus: Corpus) -> Work:
    """The work of the pool on a corpus, whatever the gate froze."""
    work, _ = POOL.recipe(ctx, of_iteration(MAIN, 1))
    return replace(work, iteration=(replace(work.gate, corpus=corpus), work.parent))


def make(name: str, folder: Path, scratch: Path) -> dict[str, float]:
    """Do one thing in this process."""
    ctx = open_context(str(folder / "scale.toml"), folder / "state")
    corpus: Corpus = json.loads((scratch / "corpus.json").read_text())
    draft = Draft(Path(tempfile.mkdtemp(dir=scratch)), Path(tempfile.mkdtemp(dir=scratch)))
    pool = scratch / "pool.parquet"
    cpu, started = scale.cpu_seconds(), time.monotonic()
    if name == "candidate_pool":
        assert POOL.compute is not None
        POOL.compute(work_of(ctx, corpus), draft)
        (draft.folder / "data.parquet").replace(pool)
    elif name == "document_index":
        documents = tuple(ctx.lake.get(ids["documents"]) for ids in corpus.values())
        write_index(ctx.lake, documents, draft, CORPUS)
    elif name == "corpus_profile":
        names = ("takedown_requests", "sentence_embedding", "duplicates")
        references = {table: ctx.lake.require(table).id for table in names}
        rules = rule_names(ctx.profile.annotate.quality)
        corpus_figures(ctx.lake, corpus, references, ctx.profile.removal, rules, draft.folder)
    elif name == "sample for the policy":
        pool_sample(pool)
    else:
        _draw(name, ctx, work_of(ctx, corpus), pool, draft)
    return scale.cost(cpu, started)


def _draw(name: str, ctx: Context, work: Work, pool: Path, draft: Draft) -> None:
    lake, parent = ctx.lake, work.parent
    place = of_iteration(MAIN, 1).partition
    drawer: Drawer = InParts(lambda doc_ids: baseline("top_k", ctx.profile.baselines))
    if name == "draw of the policy":
        reward = RewardModel.load(lake.folder(lake.get(parent.reward_model_id)))
        credit = DownstreamCredit.from_json(lake.json(lake.require("probes", place), "credit"))
        drawer = PolicySelector(lake.folder(lake.require("policies", place)), objective_of(ctx, parent, reward, credit))
    tokens = int(pl.scan_parquet(pool).select(pl.col("n_tokens").cast(pl.Int64).sum()).collect().item())
    with draft.keyed_writer(DECISIONS, "decisions") as decisions, draft.keyed_writer(BATCH) as batch:
        tables = DrawTables(decisions, batch)
        tables.extend(drawer.decisions(PoolFile(pool, draft.scratch), tokens // 5, derive(1, "draw")))
    tables.summary(tokens // 5)


def run(folder: Path, copies: int) -> dict[str, Any]:
    """Everything with the tables so many times."""
    ctx = open_context(str(folder / "scale.toml"), folder / "state")
    _, gate, _ = gate_and_parent(ctx.lake, MAIN, 1)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        corpus = tiled(ctx.lake, gate.corpus, copies)
        (scratch / "corpus.json").write_text(json.dumps(corpus))
        documents = sum(ctx.lake.get(ids["documents"]).n_rows for ids in corpus.values())
        found = {}
        for what in MEASURED:
            command = [sys.executable, __file__, str(folder), "--child", what, str(scratch)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{what} of {documents} documents failed:\n{done.stderr[-3000:]}")
            found[what] = json.loads(done.stdout.splitlines()[-1])
            print(f"{documents:>9} {what:<34} {found[what]}", flush=True)
    return {"documents": documents, "copies": copies, "steps": found}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copies", type=int, nargs="+", default=list(COPIES))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--child", nargs=2, metavar=("NAME", "SCRATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, scratch = options.child
        print(json.dumps(make(name, options.folder, Path(scratch))))
        return
    runs = [run(options.folder, copies) for copies in options.copies]
    options.out.write_text(json.dumps({"machine": scale.machine(), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
