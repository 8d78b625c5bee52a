"""The documentation builds, says all that the code has, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from curation_pipeline.cli import app
from curation_pipeline.config import load_profile
from curation_pipeline.installation import PROJECT_ROOT
from curation_pipeline.settings import Settings

PAGES = sorted((*PROJECT_ROOT.glob("*.md"), *(PROJECT_ROOT / "docs").rglob("*.md")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a broken link, anchor or page fails the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=900, check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


def settings_of(model: Settings) -> Iterator[str]:
    """The names of all settings that a profile holds."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Settings):
            yield from settings_of(value)
        else:
            yield name


@pytest.mark.slow
class TestSite:
    def test_every_setting_is_documented(self, site: Path) -> None:
        page = (site / "reference" / "settings.html").read_text()
        missing = [
            name for name in settings_of(load_profile("demo")) if not re.search(rf"[>.]{name}(?:\.NAME)?<", page)
        ]
        assert not missing

    def test_every_command_and_step_is_documented(self, site: Path) -> None:
        commands = (site / "reference" / "command_line.html").read_text()
        for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
            assert f"<code>curate {name}</code>" in commands
        steps = (site / "reference" / "steps.html").read_text()
        assert {"documents", "curated_batch", "checkpoint"} <= set(re.findall(r'<h3 id="(\w+)"', steps))

    def test_it_is_read_without_a_network(self, site: Path) -> None:
        loads = re.compile(r'<(?:script|img|iframe|link)\b[^>]*\s(?:src|href)="(?:https?:)?//')
        assert not [page for page in site.rglob("*.html") if loads.search(page.read_text())]


def test_links_between_files_of_the_repository_lead_somewhere() -> None:
    """On a code host the same files are read without the site."""
    generated = {"settings.md", "steps.md", "command_line.md"}  # pages that only the site has
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target and Path(target).name not in generated:
                assert (page.parent / target).exists(), f"{page.relative_to(PROJECT_ROOT)} links to {target}"


def test_the_readme_is_short() -> None:
    assert len((PROJECT_ROOT / "README.md").read_text().splitlines()) <= 160


def test_readme_and_makefile_say_how_many_arms_the_demo_has() -> None:
    words = {1: "one", 2: "two", 3: "three", 4: "four"}
    said = f"{words[len(load_profile('demo').experiment.arms)]} baseline arms"
    assert said in (PROJECT_ROOT / "README.md").read_text()
    assert said in (PROJECT_ROOT / "Makefile").read_text()
