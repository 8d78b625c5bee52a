"""The package as others install it: a wheel in an empty environment outside of a checkout; and `dg` inside of one.

The wheel's own run, dbt build and web server are in tests/e2e/test_server.py.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from curation_pipeline.installation import PROJECT_ROOT
from tests.wheel import Installed

OURS = ("assets", "resources", "curation_pipeline")
CARRIED = ("assets", "resources", "dbt", "dagster.yaml", "workspace.yaml")


def tracked(name: str) -> list[Path]:
    """Files of the checkout that belong to the project, below a folder or the file itself."""
    said = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", name],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [PROJECT_ROOT / path for path in said.stdout.split("\0") if path and (PROJECT_ROOT / path).is_file()]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_every_package_that_the_code_imports_is_declared() -> None:
    """What only comes with something else goes with it, and an installation breaks that no change here has touched."""
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    extras = (line for name, lines in project["optional-dependencies"].items() if name != "test" for line in lines)
    declared = {canonicalize_name(Requirement(line).name) for line in (*project["dependencies"], *extras)}
    only_types = {"mypy_boto3_s3"}
    found = {name for folder in OURS for path in tracked(folder) if path.suffix == ".py" for name in imported(path)}
    providers = packages_distributions()
    for name in sorted(found - set(sys.stdlib_module_names) - set(OURS) - only_types):
        assert declared & {canonicalize_name(owner) for owner in providers.get(name, ())}, f"{name} is not declared"


slow = [pytest.mark.slow, pytest.mark.network]


class TestWheel:
    """A real wheel."""

    pytestmark = slow

    def test_it_holds_every_file_and_no_other_top_level_name(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
            assert {name.partition("/")[0] for name in names} == {"curation_pipeline"}
            expected = {path: str(path.relative_to(PROJECT_ROOT)) for path in tracked("curation_pipeline")}
            for name in CARRIED:
                expected |= {
                    path: f"curation_pipeline/_project/{path.relative_to(PROJECT_ROOT)}" for path in tracked(name)
                }
            assert names == set(expected.values())
            for path, name in expected.items():
                assert archive.read(name) == path.read_bytes(), name

    def test_it_says_that_it_has_types(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            assert "curation_pipeline/py.typed" in archive.namelist()

    def test_the_checkout_is_out_of_its_sight(self, installed: Installed) -> None:
        code = (
            "import importlib.util as u, sys, dbt, curation_pipeline, json;"
            "print(json.dumps([curation_pipeline.__file__, [u.find_spec(n) is None for n in ('assets', 'resources')],"
            "list(dbt.__path__), sys.path]))"
        )
        where, absent, dbt, path = json.loads(installed.run("python", "-P", "-c", code))
        assert Path(where).is_relative_to(installed.python.parents[1])
        assert absent == [True, True]
        assert not any(Path(folder).is_relative_to(PROJECT_ROOT / "dbt") for folder in dbt)
        assert str(PROJECT_ROOT) not in path

    def test_status_in_an_empty_folder(self, installed: Installed) -> None:
        assert "Raw corpus" in installed.run("curate", "status", "--state", "new")
        assert (installed.folder / "new" / "dagster" / "dagster.yaml").is_file()


OTHER_PYTHONS = ("3.12",)
IN_OTHERS = (
    "tests/lake/test_lake.py", "tests/lake/test_keyed.py", "tests/test_config.py", "tests/test_names.py",
    "tests/test_seeds.py",
)  # fmt: skip
"""Tests that need neither torch nor the packages of the tests' extra."""


def other_python(version: str) -> str:
    """An interpreter of a version, from the PATH or from pyenv; skips the test where there is none."""
    found = shutil.which(f"python{version}")
    for python in [*([found] if found else []), *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]:
        said = subprocess.run([str(python), "-c", "import venv"], capture_output=True, timeout=60, check=False)
        if said.returncode == 0:
            return str(python)
    pytest.skip(f"no Python {version} on this machine")


def without_torch(folder: Path) -> None:
    """A wheel of torch's pinned version with nothing in it: elsewhere than here torch takes gigabytes."""
    pins = (PROJECT_ROOT / "constraints.txt").read_text().splitlines()
    (version,) = (pin.partition("==")[2] for pin in pins if pin.startswith("torch=="))
    info = f"torch-{version}+nothing.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}+nothing-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}+nothing\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_the_wheel_under_another_python(version: str, wheel: Path, tmp_path: Path) -> None:
    """pip finds a pinned version of everything, and what needs no torch works."""
    python = other_python(version)
    home, elsewhere = tmp_path / "venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    without_torch(tmp_path)
    subprocess.run([python, "-m", "venv", str(home)], check=True, timeout=600)
    installed = Installed(home / "bin" / "python", elsewhere)
    options = ["--quiet", "--disable-pip-version-check", "--find-links", str(tmp_path)]
    pins = ["--constraint", str(PROJECT_ROOT / "constraints.txt")]
    tools = ["pytest", "pytest-timeout", "hypothesis", "packaging"]
    installed.run("python", "-m", "pip", "install", "--no-compile", *options, *pins, str(wheel), *tools, timeout=3000)
    assert "No broken requirements" in installed.run("python", "-m", "pip", "check")
    assert "Raw corpus" in installed.run("curate", "status", "--state", "new")
    code = (
        "import subprocess, sys; from curation_pipeline.installation import project_environment as environment;"
        "sys.exit(subprocess.run([sys.executable, '-c', 'import assets.definitions'], env=environment()).returncode)"
    )
    installed.run("python", "-c", code)
    shutil.copytree(PROJECT_ROOT / "tests", elsewhere / "tests")  # they test the installed package, not the checkout
    installed.run("python", "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *IN_OTHERS)


@pytest.mark.slow
def test_dg_lists_the_definitions_of_the_checkout(tmp_path: Path) -> None:
    """From a folder below its root, too."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), "list", "defs", "--json"],
        cwd=PROJECT_ROOT / "tests", capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "CURATION_STATE": str(tmp_path), "DAGSTER_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore",
             "DG_CLI_CONFIG": str(tmp_path / "dg.toml")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"curated_batch"' in done.stdout
