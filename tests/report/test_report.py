"""The report: complete in itself, safe with hostile texts, honest about intervals, and whole with parts missing."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser

import polars as pl
import pytest
from rich.console import Console

from curation_pipeline.cli_screen import Screen
from curation_pipeline.errors import DataError
from curation_pipeline.report.html import csv_link
from curation_pipeline.report.page import render_report
from curation_pipeline.report.section import ReportData, ReportTable
from curation_pipeline.report.sections import sections
from curation_pipeline.report.sections.arms import SUMMARY, arms, by_arm, terminal_table, verdicts
from curation_pipeline.report.sections.timings import TIMINGS

MakeReport = Callable[..., ReportData]
TABLES = list(dict.fromkeys(table for section in sections() for table in section.tables))
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and visible text of a page; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def html(make_report: MakeReport) -> str:
    return render_report(make_report())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    assert {"script", "img", "iframe", "object", "link", "base", "form", "foreignobject"}.isdisjoint(
        tag for tag, _ in page.tags
    )
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _tag, attrs in page.tags:
        assert not any(name.startswith("on") or name in {"src", "srcset", "xlink:href"} for name in attrs)
        href = attrs.get("href")
        assert href is None or href.startswith("data:text/csv") or href[1:] in ids


def test_hostile_texts_are_shown_as_text(page: Page, html: str, hostile: str) -> None:
    # Folded into one line, without the character that turns the writing direction.
    shown = hostile.replace("\u202e", "")
    assert shown in page.text
    assert "\u202e" not in page.text
    folded = next(index for index, (tag, _) in enumerate(page.tags) if tag == "details")
    assert folded > 0
    summaries = [index for index, (tag, _) in enumerate(page.tags) if tag == "summary"]
    assert len(summaries) == 4
    assert "Content warning" in page.text
    # Every sample is inside <details>.
    for found in re.finditer('class="sample"', html):
        before = html[: found.start()]
        assert before.count("<details>") == before.count("</details>") + 1


def test_downloads_hold_the_data_and_no_formula(page: Page) -> None:
    files = {
        str(attrs["download"]): base64.b64decode(str(attrs["href"]).partition("base64,")[2])
        for tag, attrs in page.tags
        if tag == "a" and "download" in attrs
    }
    assert {"trend-safety.csv", "safety-capability.csv", "inputs.csv", "metrics.csv", "credit.csv"} | {
        "comparisons.csv",
        "holdout-accesses.csv",
        "policy-rates.csv",
        "policy-effects.csv",
        "policy-moves.csv",
        "credit-probes.csv",
    } <= set(files)
    inputs = pl.read_csv(io.BytesIO(files["inputs.csv"]))
    assert inputs["documents"].to_list() == [14_000, 5_012]
    frame = pl.DataFrame({"a": ["=HYPERLINK(1)", "plain", None], "b": [-1.0, 2.0, 3.0]})
    cells = pl.read_csv(io.BytesIO(base64.b64decode(csv_link(frame).partition("base64,")[2])))
    assert cells.rows() == [("'=HYPERLINK(1)", -1.0), ("plain", 2.0), (None, 3.0)]
    trend = pl.read_csv(io.BytesIO(files["trend-safety.csv"]))
    assert trend.height == 16


def test_what_moved_is_told_with_its_reason(page: Page, html: str) -> None:
    assert "What moved and why" in page.text
    section = html[html.index('<h2 id="moves">') : html.index('<h2 id="learning">')]
    for shown in ("lambda_S", "correction source forum", "below its target", "on to hard", "awaiting labels"):
        assert shown in section
    assert "moves.csv" in section
    assert "the gap of the flag rates changes by +0.020 an iteration" in page.text
    assert "0.060 apart" in page.text


def test_claims_are_corrected_and_chance_is_grey(page: Page, html: str) -> None:
    section = html[html.index('<h2 id="claims">') : html.index('<h2 id="front">')]
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', section, flags=re.S)
    assert [tone for tone, _ in rows] == ["good", "good", "chance", "open", "good", "chance"]
    assert all("at chance" in row for tone, row in rows if tone == "chance")
    figures = html[html.index('<h2 id="figures">') :]
    assert len(re.findall(r'<tr class="chance">', figures)) == 1
    assert "at chance, 0.250" in figures
    assert "It is shown not to reach a loss of 0.120, 5% of the baseline" in page.text


def test_the_front_rings_one_model_and_uses_of_the_holdout_are_counted(page: Page, html: str) -> None:
    section = html[html.index('<h2 id="front">') : html.index('<h2 id="holdout">')]
    assert section.count("<b>chosen</b>") == 1
    assert "used 2 times, for 2 models" in page.text


def test_what_the_evaluation_changed_in_the_policy_is_told(page: Page) -> None:
    assert "After the evaluation of iteration 2: lambda_S went from 0.500 to 0.550" in page.text
    assert "The policy of iteration 3 changed the selected share of tokens most for" in page.text
    assert "Here the policy ties with it." in page.text


@pytest.mark.parametrize("part", [None, *TABLES], ids=lambda part: part and part.name)
def test_any_part_may_be_missing(part: ReportTable | None, make_report: MakeReport) -> None:
    whole = make_report(iterations=1)
    data = ReportData({} if part is None else {part.name: whole.tables[part.name]})
    page = Page(render_report(data))
    missing = re.search(r"Not in this report yet: (.*)\.", page.text)
    assert missing is not None
    assert len(missing[1].split(", ")) == len(TABLES) - (part is not None and not data.table(part).is_empty())
    Console(file=io.StringIO()).print(terminal_table(data))


def test_an_interval_with_zero_is_called_undecided() -> None:
    def tone(reduction: float | None, low: float | None, high: float | None) -> tuple[str, str]:
        row = {"arm": "main", "baseline": "random", "ordinal": 1, "benchmark": "prompts", "rate": 0.2}
        row |= {"baseline_rate": 0.3, "reduction": reduction, "ci_low": low, "ci_high": high}
        (verdict,) = verdicts(ReportData({"harm": [row]}))
        return verdict.tone, verdict.text

    assert tone(0.33, 0.1, 0.5)[0] == "good"
    assert tone(-0.33, -0.5, -0.1)[0] == "bad"
    verdict, text = tone(0.33, -0.1, 0.5)
    assert verdict == "open"
    assert "includes zero" in text
    assert tone(0.33, None, None)[0] == "open"
    row = {"arm": "main", "baseline": "random", "ordinal": 1, "benchmark": "prompts", "rate": 0.2}
    row |= {"baseline_rate": 0.3, "reduction": 0.33, "ci_low": 0.1, "ci_high": 0.5}
    compared = {"baseline": "random", "metric": "toxicity_probability", "p_holm": 0.12, "verdict": "not decided"}
    (open_verdict,) = verdicts(ReportData({"harm": [row], "comparisons": [compared]}))
    assert open_verdict.tone == "open"
    assert "chance is not ruled out (p 0.120)" in open_verdict.text
    assert "fewer" in text
    assert "more harmful" in tone(-0.33, -0.5, -0.1)[1]


def test_seeds_of_an_arm_are_averaged_under_an_enveloping_interval() -> None:
    rows = [
        {"chain": f"random/x-{seed}", "ordinal": 1, "axis": "safety", "value": value, "ci_low": value - 0.1}
        | {"ci_high": value + 0.1}
        for seed, value in enumerate((0.4, 0.6))
    ]
    (row,) = by_arm(ReportData({"summary": rows})).to_dicts()
    assert row["n_chains"] == 2
    assert [row["value"], row["ci_low"], row["ci_high"]] == pytest.approx([0.5, 0.3, 0.7])


def test_a_part_with_other_columns_is_refused() -> None:
    with pytest.raises(DataError, match=r"'timings' lacks the columns seconds, stage"):
        ReportData({"timings": pl.DataFrame({"ordinal": [1]})}).table(TIMINGS)


def test_the_terminal_table_has_a_row_for_each_arm_and_whole_names_in_80_columns(make_report: MakeReport) -> None:
    data = make_report()
    long = {"main": "threshold_within_each_source", "random": "threshold_within_each_stratum"}
    summary = data.table(SUMMARY).with_columns(pl.col("chain").str.replace_many(list(long), list(long.values())))
    renamed = dataclasses.replace(data, tables={**data.tables, "summary": summary})
    for report in (data, renamed):
        table = terminal_table(report)
        assert table.row_count == len(arms(report))
        out = io.StringIO()
        Screen(file=out, width=80).print(table)
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= 80
        first = "".join(line.split(" ")[0] for line in lines)
        for arm in arms(report):
            assert arm in first, first
