"""The report with every part and with hostile texts in all of them, opened in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from curation_pipeline.report.page import render_report
from curation_pipeline.report.section import ReportData
from tests.browser import PHONE, check_cells, check_figures, check_width, download_all, follow_links, open_folds, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_hostile_texts_run_nothing_and_break_nothing(
    browser: Browser, make_report: Callable[..., ReportData], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_report(make_report()), encoding="utf-8")
    with opened(browser, path) as page:
        assert len(follow_links(page)) == page.locator("h2").count() == 17
        open_folds(page)
        tables = download_all(page, tmp_path)
        check_figures(page, tables)
        check_cells(page)
        assert {"curriculum", "audits", "audit-shifts", "holdout-accesses", "judge-distance"} <= set(tables)
    with opened(browser, path, PHONE) as page:
        open_folds(page)
        check_width(page, tables_fit=False)
