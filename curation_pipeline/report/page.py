"""The report of a loop and its experiment: one HTML file that needs nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from curation_pipeline.errors import LakeError
from curation_pipeline.lake.store import LocalStore
from curation_pipeline.report.html import render
from curation_pipeline.report.section import ReportData, ReportSource
from curation_pipeline.report.sections import sections
from curation_pipeline.stages.arms import reported_chains
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import MAIN, State, chains, history


def gather(ctx: Context, upto: int | None = None) -> ReportData:
    """Collect what is there; parts that have not been made yet are left out.

    Args:
        ctx: the surroundings.
        upto: the last iteration of each arm to look at; all of them if None.

    Raises:
        LakeError: nothing has been committed yet.
    """
    last = None if upto is None else upto + 1  # iteration 0 is the cold start
    states = {chain: history(ctx.lake, chain)[:last] for chain in reported_chains(ctx)}
    if MAIN not in states:
        raise LakeError("nothing has been committed yet: run `curate run` first")
    profile, main, source = ctx.profile, states[MAIN], ReportSource(ctx, states)
    return ReportData(
        tables={name: rows for section in sections() for name, rows in section.query(source).items()},
        title=f"Data curation, profile {profile.name}",
        created_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        baselines=profile.experiment.arms,
        token_budget=profile.loop.token_budget,
        about={
            "seed": str(profile.seed),
            "teachers": ", ".join(profile.annotate.teachers),
            "judge": profile.annotate.judge,
            "model in force": main[-1].checkpoint_id,
        },
        notes=_notes(main, sorted(set(chains(ctx.lake)) - states.keys())),
    )


def _notes(main: list[State], left_out: list[str]) -> tuple[str, ...]:
    rejected = [
        f"Iteration {state.ordinal} was rejected and its parent's model stays in force: {state.reason}."
        for state in main
        if state.status == "rejected"
    ]
    others = [f"Left out, as the profile no longer asks for them: {', '.join(left_out)}."] if left_out else []
    return (*rejected, *others)


def write_report(ctx: Context, path: Path, data: ReportData | None = None) -> Path:
    """Render the report into one HTML file, replaced whole.

    Raises:
        LakeError: nothing has been committed yet.
    """
    page = render_report(data or gather(ctx))
    LocalStore(path.parent).replace(path.name, page.encode())
    return path


def render_report(data: ReportData) -> str:
    """The whole report as one HTML file without outside links or scripts.

    Texts from corpora and models are escaped wherever they appear, and samples are folded away behind a warning.

    Args:
        data: what to show. Tables that are missing are named at the end of the page instead of shown.
    """
    names = dict.fromkeys(table for section in sections() for table in section.tables)
    missing = [table for table in names if data.table(table).is_empty()]
    shown = [section for section in sections() if not set(section.tables) <= set(missing)]
    return render(
        "report.html.j2",
        data=data,
        sections=[(section.anchor, section.title, section.show(data)) for section in shown],
        verdicts=[verdict for section in sections() for verdict in section.verdicts(data)],
        missing=[table.name.replace("_", " ") for table in missing],
    )
