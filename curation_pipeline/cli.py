"""The command line: runs the loop through Dagster, and reads what the assets read.

Commands that run something launch the Dagster job of that name on the instance that the web UI shows; commands that
read call the functions that the assets call.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from curation_pipeline.cli_run import open_ui, run_dagster, show_results
from curation_pipeline.cli_screen import screen
from curation_pipeline.errors import CurationError, disk_problem
from curation_pipeline.escaping import visible
from curation_pipeline.installation import PROJECT_ROOT

if TYPE_CHECKING:
    from curation_pipeline.stages.context import Context

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""
Curate training data with a learned policy, and ask what made what.

Start with `curate run`: it fetches the demo corpus, runs the loop and prints a table. Then `curate ui` opens the same
state in the Dagster web UI. Every command takes `--profile` (a shipped name, or your own TOML file) and `--state` (the
folder where everything is kept).
""",
)
console = screen()

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="demo, local, or a TOML file; default: $CURATION_PROFILE, else demo"),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="folder of all local state; default: $CURATION_STATE, else ./state"),
]


def _environment(profile: str | None, state: Path | None) -> Path:
    """Point every part of the project, and Dagster, at one profile and one state folder."""
    from curation_pipeline.config import PROFILES, active_profile, profile_path, state_folder
    from curation_pipeline.lake.store import LocalStore

    if profile is not None:
        os.environ["CURATION_PROFILE"] = profile
    named = profile_path(active_profile())
    if named.parent != PROFILES:  # a relative path must survive a change of folder
        os.environ["CURATION_PROFILE"] = str(named.absolute())
    if state is not None:
        os.environ["CURATION_STATE"] = str(state)
    folder = state_folder()
    os.environ["CURATION_STATE"] = str(folder)
    home = folder / "dagster"
    os.environ["DAGSTER_HOME"] = str(home)
    shipped = PROJECT_ROOT / "dagster.yaml"
    if not (home / "dagster.yaml").is_file():
        LocalStore(home).put_if_absent("dagster.yaml", shipped.read_bytes())  # whole or not at all
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return folder


@app.command()
def run(
    iterations: Annotated[
        int | None, typer.Option(min=1, help="how many iterations the chain shall have; default: the profile's")
    ] = None,
    arms: Annotated[bool, typer.Option(help="also run the profile's baseline arms")] = True,
    only_prepare: Annotated[bool, typer.Option("--only-prepare", help="stop before the first iteration")] = False,
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Run the loop: corpus, annotations, base model, iterations, baseline arms, report.

    Finished work is found and not done again, so a second call returns at once and an interrupted one continues.
    """
    _environment(profile, state)
    from curation_pipeline.config import active_profile
    from curation_pipeline.stages.arms import cells
    from curation_pipeline.stages.context import open_context

    keys = [cell.key for cell in cells(open_context(active_profile()))] if arms else []
    options = [] if iterations is None else ["--iterations", str(iterations)]
    if only_prepare:
        options.append("--only-prepare")
    run_dagster(console, ["run", *options, *keys])
    if not only_prepare:
        show_results(console)


@app.command("plan")
def plan_run(
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs at work; default: engine.workers")] = None,
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Say what a run of the profile takes, step by step, before anything is spent: hours, memory, disk, calls, price.

    The corpus is measured by samples of its files; each step's cost was measured on other corpora, see the page "What
    it costs". Nothing is written.
    """
    ctx = _context(profile, state)
    from curation_pipeline.capacity.figures import figures
    from curation_pipeline.capacity.plan import corpus_size, parameters, plan
    from curation_pipeline.cli_tables import print_plan

    known, size = figures(), corpus_size(ctx.profile, ctx.cache)
    model = parameters(ctx.profile.training)
    tokens = size.text_bytes / known.bytes_per_token
    console.print(
        f"Corpus: about {size.documents:,.0f} documents, {size.text_bytes / 1e9:,.3g} GB of text, {tokens / 1e6:,.3g} "
        f"million tokens. Model: {model / 1e6:,.3g} million parameters.",
        soft_wrap=True,
    )
    costs = plan(ctx.profile, size, known)
    print_plan(console, costs, cpus or ctx.profile.engine.workers, ctx.profile.loop.max_cost)


@app.command()
def cell(
    key: Annotated[str, typer.Argument(help="experiment|arm|seed")],
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Run one cell of an experiment: one baseline arm with one seed."""
    _environment(profile, state)
    run_dagster(console, ["cells", key])


@app.command()
def status(profile: ProfileOption = None, state: StateOption = None) -> None:
    """Show the corpus with what is retired or in quarantine, iterations with their checkpoints, and arms."""
    ctx = _context(profile, state)
    from curation_pipeline.cli_tables import print_frame
    from curation_pipeline.report.corpus_status import corpus_notes, corpus_status
    from curation_pipeline.stages.arms import reported_chains
    from curation_pipeline.stages.state import chains, history
    from curation_pipeline.steps.registry import check_names
    from curation_pipeline.steps.status import stale_steps, step_status

    check_names(ctx.profile)
    print_frame(console, "Raw corpus", corpus_status(ctx))
    for line in corpus_notes(ctx):
        console.print(line, soft_wrap=True)
    if stale := stale_steps(step_status(ctx.lake)):
        console.print(f"Stale, and made again by the next `curate run`: {', '.join(stale)}", soft_wrap=True)
    reported = reported_chains(ctx)
    for chain in chains(ctx.lake):
        title = f"Chain {chain}" if chain in reported else f"Chain {chain} (the profile no longer asks for it)"
        table = Table("iteration", "status", "S", "A", "C", "P", "checkpoint in force", title=title)
        for entry in history(ctx.lake, chain):
            p = entry.performance
            figures = [f"{value:.3f}" for value in (p.safety, p.alignment, p.capability, p.performance)]
            table.add_row(entry.key, entry.status, *figures, entry.checkpoint_id)
        console.print(table)


@app.command()
def steps(profile: ProfileOption = None, state: StateOption = None) -> None:
    """Show every step of the graph: what it reads, its version, and what has been made of it."""
    ctx = _context(profile, state)
    from curation_pipeline.cli_tables import print_frame
    from curation_pipeline.steps.status import step_status

    print_frame(console, "Steps", step_status(ctx.lake))


@app.command()
def lineage(
    name: Annotated[str, typer.Argument(help="checkpoint id, `last`, `<chain>/<ordinal>`, doc_id, or url")],
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Show which raw data made a checkpoint, or which batches and checkpoints used a document."""
    ctx = _context(profile, state)
    from curation_pipeline.cli_tables import print_checkpoint, print_document
    from curation_pipeline.stages import lineage as walk
    from curation_pipeline.stages.document_index import DOC_ID

    name = _doc_id(name)
    if DOC_ID.match(name) or "://" in name:
        print_document(console, walk.document_lineage(ctx.lake, name))
    else:
        print_checkpoint(console, walk.checkpoint_lineage(ctx.lake, walk.resolve_checkpoint(ctx.lake, name)))


@app.command()
def why(
    name: Annotated[str, typer.Argument(help="doc_id (32 hexadecimal digits) or url")],
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Say everything about a document: origin, annotations, what removes it, what each iteration decided."""
    ctx = _context(profile, state)
    from curation_pipeline.cli_tables import print_explanation
    from curation_pipeline.report.explain import explain

    for found in explain(ctx, _doc_id(name)):
        print_explanation(console, found)


@app.command()
def pool(
    where: Annotated[str, typer.Option(help='SQL condition over the pool\'s columns, e.g. "p_harm < 0.1"')] = "true",
    sample: Annotated[int, typer.Option(min=0, help="documents of each stratum; 0: no sample, all that match")] = 0,
    by: Annotated[str, typer.Option(help="column that stratifies the sample")] = "stratum",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="rows shown")] = 20,
    out: Annotated[Path | None, typer.Option(help="write all rows to this .parquet, .csv or .jsonl file")] = None,
    chain: Annotated[str, typer.Option(help="chain of the pool")] = "main",
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Query the last candidate pool: by condition, or a stratified sample."""
    ctx = _context(profile, state)
    from curation_pipeline.cli_tables import print_frame, write_frame
    from curation_pipeline.report.corpus_status import retired_since
    from curation_pipeline.stages.queries import PoolQuery

    pools = ctx.lake.heads("pool", {"chain": chain})
    if not pools:
        raise CurationError(f"chain {chain!r} has no pool yet: run `curate run` first")
    if told := retired_since(ctx, pools[-1]):
        console.print(told, soft_wrap=True)
    query = PoolQuery(ctx.lake, pools[-1])
    rows = query.sample(sample, by, where) if sample else query.where(where)
    if out is not None:
        write_frame(rows, out)
        console.print(f"{rows.height:,} documents written to {out}")
        return
    shown = rows.head(limit).select("doc_id", "source", "n_tokens", "stratum", "p_harm", "quality", "n_drawn")
    print_frame(console, f"{rows.height:,} of {query.rows:,} documents of {pools[-1].partition_text}", shown)


@app.command("profile")
def profile_corpus(profile: ProfileOption = None, state: StateOption = None) -> None:
    """Describe the corpus on an HTML page: sizes, languages, topics, scores, duplicates, removal by group."""
    ctx = _context(profile, state)
    import polars as pl

    from curation_pipeline.cli_tables import print_frame
    from curation_pipeline.config import state_folder
    from curation_pipeline.report.corpus_page import write_page
    from curation_pipeline.steps.corpus_wide.corpus_profile import STEP

    manifest = STEP.make(ctx)
    print_frame(console, "Deliveries", ctx.lake.frame(manifest, "partitions"))
    print_frame(console, "What never enters the pool", ctx.lake.frame(manifest, "removal"))
    print_frame(console, "Removal requests, and the documents that each removes", ctx.lake.frame(manifest, "requests"))
    flagged = ctx.lake.frame(manifest, "parity").filter("flagged")
    shown = flagged.select("rule", "group", "n", *(pl.col(name).round(3) for name in ("rate", "average_rate", "ratio")))
    print_frame(console, "Groups that a rule or detector removes too often", shown)
    path = write_page(ctx, manifest, state_folder() / "corpus.html")
    console.print(f"Page     {path}", soft_wrap=True)


@app.command()
def report(profile: ProfileOption = None, state: StateOption = None) -> None:
    """Print the results table and write the HTML report."""
    _environment(profile, state)
    show_results(console, write=True)


@app.command()
def card(
    name: Annotated[str, typer.Argument(help="checkpoint id, `last`, or `<chain>/<ordinal>`")] = "last",
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Print a checkpoint's model card: its data, arm, iteration, metrics and limits."""
    ctx = _context(profile, state)
    from curation_pipeline.stages.lineage import resolve_checkpoint
    from curation_pipeline.stages.model_card import checkpoint_card

    console.print(checkpoint_card(ctx, resolve_checkpoint(ctx.lake, name)), soft_wrap=True)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="where to write `model` and `dataset`")],
    name: Annotated[str, typer.Argument(help="checkpoint id, `last`, or `<chain>/<ordinal>`")] = "last",
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Copy a checkpoint and its batch out of the lake, as folders with cards and Croissant metadata."""
    ctx = _context(profile, state)
    from curation_pipeline.report.corpus_status import retired_since
    from curation_pipeline.stages.dataset_export import export_batch
    from curation_pipeline.stages.lineage import resolve_checkpoint
    from curation_pipeline.stages.model_card import export_checkpoint

    checkpoint = resolve_checkpoint(ctx.lake, name)
    console.print(f"{export_checkpoint(ctx, checkpoint, folder / 'model')}")
    for batch in (found for found in map(ctx.lake.get, checkpoint.inputs) if found.table == "batches"):
        console.print(f"{export_batch(ctx, batch, folder / 'dataset')}")
        pool = next(found for found in map(ctx.lake.get, batch.inputs) if found.table == "pool")
        if told := retired_since(ctx, pool):
            console.print(told, soft_wrap=True)


@app.command()
def final(profile: ProfileOption = None, state: StateOption = None) -> None:
    """Choose a model among all iterations and arms, and evaluate it once on items that none of them saw.

    Every further choice that is evaluated so is a look at the holdout, counted and shown in the report.
    """
    ctx = _context(profile, state)
    from curation_pipeline.steps.experiment.final_evaluation import STEP

    for what, value in STEP.make(ctx).summary.items():
        console.print(f"{what}: {value}")


@app.command()
def harness(
    folder: Annotated[Path, typer.Argument(help="where to write the task files and their items")],
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Write the profile's tasks of the lm-evaluation-harness, and say how its own command is run on them."""
    ctx = _context(profile, state)
    from curation_pipeline.stages.harness import harness_command, write_harness_tasks

    write_harness_tasks(ctx, folder)
    console.print(harness_command(ctx, folder), soft_wrap=True)


@app.command()
def gc(
    remove: Annotated[bool, typer.Option("--remove", help="remove the files; without it they are only listed")] = False,
    older_than_hours: Annotated[float, typer.Option(min=0, help="leave younger files to their writers")] = 24.0,
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """List, and with --remove delete, what crashed writers left: files that no manifest reaches, abandoned drafts.

    The state of work that was interrupted is among it where nothing has taken it up in that time.
    """
    ctx = _context(profile, state)
    from curation_pipeline.lake.garbage import collect, find_garbage

    garbage = find_garbage(ctx.lake, older_than_hours * 3600)
    found = (*garbage.paths, *garbage.folders)
    for path in found:
        console.print(path)
    if remove:
        console.print(f"{collect(ctx.lake, garbage)} files and folders removed")
    else:
        console.print(f"{len(found)} files and folders would go; add --remove")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="port of the web server")] = 3000,
    host: Annotated[
        str, typer.Option(help="address to listen on; one that other machines reach asks for a token, see SECURITY.md")
    ] = "127.0.0.1",
    workspace: Annotated[
        Path | None,
        typer.Option(help="workspace file of a code server that runs elsewhere, with its daemon; none is started here"),
    ] = None,
    profile: ProfileOption = None,
    state: StateOption = None,
) -> None:
    """Open the Dagster web UI with its daemon (sensors, schedule, backfills) on the same state."""
    _environment(profile, state)
    open_ui(host, port, workspace)


def _doc_id(name: str) -> str:
    """An id in the case that the lake has; other names as they are."""
    return name.lower() if re.fullmatch("[0-9A-Fa-f]{32}", name) else name


def _context(profile: str | None, state: Path | None) -> Context:
    _environment(profile, state)
    from curation_pipeline.config import active_profile
    from curation_pipeline.stages.context import open_context

    return open_context(active_profile())


def main() -> None:
    """The entry point: an error made on purpose is one clear message and exit code 1, not a traceback."""
    try:
        app()
    except (CurationError, OSError) as error:
        from curation_pipeline.config import state_folder

        message = str(error) if isinstance(error, CurationError) else disk_problem(error, state_folder())
        if message is None and isinstance(error, OSError) and error.filename:
            message = f"{error.filename}: {error.strerror}; give another path, or make this one what it should be"
        if message is None:
            raise
        named = Text.assemble((type(error).__name__, "bold red"), ": ", visible(message, lines=True))
        screen(stderr=True).print(named, soft_wrap=True)
        raise SystemExit(1) from None
