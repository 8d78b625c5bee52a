"""The wheel, and an environment outside of the checkout that it is installed in."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from curation_pipeline.installation import PROJECT_ROOT


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and an empty folder outside of the checkout."""

    python: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        names = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CURATION"))}
        scripts = sysconfig.get_path("scripts")  # those of the dependencies, which this environment lends
        return {**names, "PATH": f"{self.python.parent}:{scripts}:{os.environ['PATH']}", "COLUMNS": "200"}

    @property
    def files(self) -> set[Path]:
        """All that lies in the environment, except compiled code."""
        return {path for path in self.python.parents[1].rglob("*") if "__pycache__" not in path.parts}

    def run(self, *command: str, timeout: float = 900) -> str:
        done = subprocess.run(
            [str(self.python.with_name(command[0])), *command[1:]],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        logs = "".join(path.read_text()[-3000:] for path in self.folder.rglob("*.log"))
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
        return done.stdout


def build(folder: Path) -> Path:
    """The wheel of the checkout."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(PROJECT_ROOT)], check=True, timeout=600)
    (made,) = folder.glob("*.whl")
    return made


def install(wheel: Path, folder: Path) -> Installed:
    """The wheel in an environment of its own, with the packages of this one below it, but not its link to the checkout.

    The link is a `.pth` file, and Python reads none in a folder that is itself named by one.
    """
    home = folder / "venv"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-compile"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)]
    subprocess.run(command, check=True, timeout=600)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    empty = folder / "elsewhere"
    (empty / "assets").mkdir(parents=True)
    (empty / "assets" / "__init__.py").write_text("raise SystemExit('not ours')")  # as in another Dagster project
    return Installed(python, empty)
