"""A page of ours in a real browser, read as a person reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from curation_pipeline.report.numbers import number

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Locator, Page

WIDE, PHONE = 1280, 390
EMPTY = re.compile(r"\b(nan|NaN|None|NaT|null|undefined|[Ii]nf|Infinity)\b")
"""What a missing figure looks like where nobody thought of it; texts of corpora are not searched for it."""
_LINES = ("trend-", "reward-weights", "multipliers", "judge-and-teacher")
"""Figures with a mark for every row of their data."""
_LUMINANCE = """selector => [...document.querySelectorAll(selector)].map(element => {
    const levels = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const light = colour => levels(colour).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0.05);
    const style = getComputedStyle(element);
    const ink = light(element instanceof SVGElement ? style.fill : style.color);
    const paper = light(getComputedStyle(document.body).backgroundColor);
    return Math.max(ink, paper) / Math.min(ink, paper);
})"""


@contextmanager
def opened(browser: Browser, path: Path, width: int = WIDE, scheme: Any = "light") -> Iterator[Page]:
    """The page; on leaving, fails on any error of it and on any request beside the file itself."""
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:
        page = context.new_page()
        wrong: list[str] = []

        def dismiss(dialog: Dialog) -> None:
            wrong.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        address = path.resolve().as_uri()
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda said: wrong.append(f"console, {said.type}: {said.text}"))
        page.on("dialog", dismiss)
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url[:80]}"))
        page.on(
            "request",
            lambda request: None if request.url.partition("#")[0] == address else wrong.append(request.url[:80]),
        )
        page.set_default_timeout(300_000)
        page.goto(address)
        yield page
        assert wrong == []


def open_folds(page: Page) -> None:
    """Click every fold open; all are closed at first."""
    assert page.locator("details[open]").count() == 0
    for summary in page.locator("details > summary").all():
        summary.click()
    assert page.locator("details:not([open])").count() == 0


def follow_links(page: Page) -> list[str]:
    """Click every link inside the page; each must bring its target into view."""
    links = page.locator("a[href^='#']")
    targets = []
    for link in links.all():
        target = str(link.get_attribute("href"))
        link.click()
        box = page.locator(target).bounding_box()
        assert box is not None, target
        assert -1 <= box["y"] < 900, f"{target} is not in view"
        targets.append(target)
    return targets


def download_all(page: Page, folder: Path) -> dict[str, pl.DataFrame]:
    """Click every download and read it as CSV, by file name without its ending."""
    tables: dict[str, pl.DataFrame] = {}
    for link in page.locator("a[download]").all():
        page.wait_for_timeout(100)  # Chromium drops what exceeds ten downloads a second
        with page.expect_download() as waited:
            link.click()
        name = waited.value.suggested_filename
        assert name not in tables, f"two downloads are called {name}"
        waited.value.save_as(folder / name)
        tables[name] = pl.read_csv(folder / name, infer_schema_length=None)
        assert tables[name].width > 1, name
    return {name.removesuffix(".csv"): table for name, table in tables.items()}


def rows_under(page: Page, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading, the first line of each."""
    table = page.locator(f"xpath=//h2[@id='{heading}']/following::table[1]")
    cells: list[list[str]] = table.evaluate(
        "t => [...t.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText.trim().split('\\n')[0]))"
    )
    return cells


def figures(page: Page) -> dict[str, Locator]:
    """Every figure, by the name of its download."""
    found = page.locator("figure")
    names = [str(figure.locator("a[download]").get_attribute("download")) for figure in found.all()]
    return {name.removesuffix(".csv"): found.nth(index) for index, name in enumerate(names)}


def check_figures(page: Page, tables: dict[str, pl.DataFrame]) -> None:
    """Each figure is drawn, and what it draws is what its download holds."""
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    for name, figure in figures(page).items():
        table = tables[name]
        assert table.height, name
        box = figure.locator("svg").bounding_box()
        assert box is not None, name
        assert min(box["width"], box["height"]) > 80, name
        texts = figure.locator("svg text").all_text_contents()
        assert not any(EMPTY.search(text) for text in texts), name
        label = next((column for column in ("name", "value") if table.schema.get(column) == pl.Utf8), None)
        if label is not None and "ordinal" not in table.columns:
            shown = [str(value)[:20] for value in table[label]]
            assert all(any(text.startswith(value) for text in texts) for value in shown), (name, shown, texts)
        if name.startswith(_LINES):
            marks = figure.locator("xpath=.//*[local-name()='use'][not(ancestor::*[contains(@id, 'tick')])]")
            assert marks.count() == table.height, name


def check_table(rows: list[list[str]], column: int, table: pl.DataFrame, value: str, signed: bool = False) -> None:
    """A table shows every row of its download, in order, by one column of numbers."""
    assert [row[column] for row in rows] == [number(found, signed) for found in table[value].cast(pl.Float64)]


def check_cells(page: Page) -> None:
    """No cell shows a missing number."""
    cells = page.locator("td").all_text_contents()
    assert cells
    assert [cell for cell in cells if EMPTY.search(cell)] == []


def check_width(page: Page, tables_fit: bool) -> None:
    """The page is no wider than its window; on a wide one no table has to be scrolled either."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if tables_fit:
        cut = page.locator(".scroll").evaluate_all(
            "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 80))"
        )
        assert cut == []


def check_contrast(page: Page, least: float) -> None:
    """Text stands out from the paper, in the page and in its figures."""
    for selector in ("p", "td", "a", "svg text", "small"):
        found = page.evaluate(_LUMINANCE, selector)
        assert min(found) >= least, (selector, min(found))
