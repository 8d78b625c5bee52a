"""Fixtures that every part's tests share."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from curation_pipeline.config import cache_folder
from curation_pipeline.lake.lake import Lake
from tests.wheel import Installed, build, install

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Shared machines pause at will: a property is judged by what it finds, not by how long an example took.
settings.register_profile("project", deadline=None, max_examples=60)
settings.load_profile("project")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):  # tests track in folders of their own
    os.environ.pop(name, None)


WHOLLY_SLOW = re.compile(r"^pytestmark = .*\bmark\.slow\b", re.MULTILINE)
SERVED = ("tests/e2e/test_server.py", "tests/e2e/test_web_attacks.py")
"""One web server serves them, so they go to one worker, and first: they wait more than they compute."""
RUN = ("tests/e2e/test_continued.py", "tests/e2e/test_run.py", "tests/e2e/test_report_browser.py")
"""They need the run that the ones before make, and so begin when it is there."""
BEFORE_RUN = ("tests/policy/", "tests/test_packaging.py", "tests/e2e/test_policy_kill.py")
"""Work for the other worker until then."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave modules alone that are slow as a whole where only the fast ones run: their imports alone take seconds."""
    fast = config.getoption("markexpr") == "not slow" and collection_path.suffix == ".py"
    return True if fast and WHOLLY_SLOW.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first: begun last, it would leave one worker alone with it."""

    def place(item: pytest.Item) -> int:
        starts = (SERVED, BEFORE_RUN, RUN)
        return next((place for place, start in enumerate(starts) if item.nodeid.startswith(start)), len(starts))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file together on one worker, since its tests share what they make.

    ``--dist loadgroup`` would say so by marks, but pytest-xdist 3.8 does not get them across with pytest 9.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return SERVED[0] if nodeid.startswith(SERVED) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(scope="session")
def package_cache() -> Path:
    """The folder of downloaded package archives, shared with the demo."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake in a folder of its own."""
    return Lake.open(tmp_path / "lake")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own."""
    return install(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, playwright's own or an installed one; closed after each module, since its event loop bars others."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[test]")
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        installed = [own] if Path(own).exists() else [path for path in map(shutil.which, BROWSERS) if path]
        if not installed:
            pytest.skip("no browser: install chromium or google-chrome, or run `playwright install chromium`")
        chromium = playwright.chromium.launch(executable_path=installed[0], args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a server of this machine; its address."""
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
