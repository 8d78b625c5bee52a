"""The report of a whole run, opened in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from curation_pipeline.report.numbers import count, number
from tests.browser import (
    PHONE,
    WIDE,
    check_cells,
    check_contrast,
    check_figures,
    check_table,
    check_width,
    download_all,
    follow_links,
    open_folds,
    opened,
    rows_under,
)
from tests.e2e.conftest import Project

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.browser]


@pytest.fixture(scope="module")
def report(finished: Project) -> Path:
    return finished.state / "report.html"


def test_the_report_opens_and_its_links_lead_somewhere(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        assert page.title() == "Data curation, profile tiny"
        targets = follow_links(page)
        parts = {"#arms", "#trends", "#claims", "#front", "#reward", "#moves", "#policy", "#figures", "#samples"}
        assert parts <= set(targets)
        assert len(targets) == page.locator("h2").count()


def test_texts_are_hidden_until_they_are_asked_for(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        samples = page.locator(".sample")
        assert samples.count() > 4
        assert not any(sample.is_visible() for sample in samples.all())
        fold = page.locator("details", has=page.locator(".sample"))
        warning = fold.locator("summary")
        assert "Content warning" in warning.inner_text()
        assert warning.is_visible()
        warning.click()
        assert all(sample.is_visible() for sample in samples.all())
        warning.click()
        assert not samples.first.is_visible()


def test_the_data_behind_each_figure_is_what_it_shows(browser: Browser, report: Path, tmp_path: Path) -> None:
    with opened(browser, report) as page:
        open_folds(page)
        tables = download_all(page, tmp_path)
        check_figures(page, tables)
        check_cells(page)
        check_table(rows_under(page, "figures"), 6, tables["metrics"], "value")
        check_table(rows_under(page, "claims"), 4, tables["comparisons"], "difference", signed=True)
        check_table(rows_under(page, "reward"), 2, tables["reward-weights"], "value")
        inputs = [
            (row["source"], row["snapshot"], row["standing"], count(row["documents"]))
            for row in tables["inputs"].to_dicts()
        ]
        assert [tuple(row[:4]) for row in rows_under(page, "inputs")] == inputs
        best = tables["safety-capability"].filter("on_front")
        assert {(row[3], row[2]) for row in rows_under(page, "front")} == {
            (number(row["capability"]), number(row["safety"])) for row in best.iter_rows(named=True)
        }
        wide = tables["summary"].pivot("axis", index=["arm", "ordinal"], values="value")
        shown = {(re.sub(r"^\W+", "", row[0]), int(row[1])): row[2:6] for row in rows_under(page, "arms")}
        assert shown == {
            (row["arm"], row["ordinal"]): [number(row[axis]) for axis in ("safety", "alignment", "capability")]
            + [number(row["performance"])]
            for row in wide.iter_rows(named=True)
        }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_it_reads_on_a_desk_and_on_a_phone_by_day_and_night(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    with opened(browser, report, width, scheme) as page:
        open_folds(page)
        check_width(page, tables_fit=width == WIDE)
        check_contrast(page, 4.5)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(253, 253, 251)") == (scheme == "light")


def test_the_page_of_the_corpus_opens_too(browser: Browser, finished: Project, tmp_path: Path) -> None:
    finished.curate("profile")
    with opened(browser, finished.state / "corpus.html") as page:
        assert len(follow_links(page)) == page.locator("h2").count() > 5
        open_folds(page)
        check_figures(page, download_all(page, tmp_path))
        check_cells(page)
        check_width(page, tables_fit=True)
