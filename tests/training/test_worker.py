"""Training in processes of their own: killed, out of disk, several at once."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from curation_pipeline.errors import DataError, TrainingDivergedError
from curation_pipeline.training.job import Job, read_outcome, write_job
from curation_pipeline.training.launch import run_fit
from curation_pipeline.training.packing import Packed, pack
from curation_pipeline.training.runtime import load_model
from curation_pipeline.training.state import STATE_FILE
from curation_pipeline.training.trainer import LAST_GOOD, TrainingResult, fit
from tests.training.tiny_model import SETTINGS, build, sentences

pytestmark = pytest.mark.slow  # each process imports torch and transformers anew

EAGER = SETTINGS.model_copy(update={"save_every_seconds": 0.0})


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("worker"))


@pytest.fixture(scope="module")
def packed(parent: Path) -> Packed:
    # Four rows a step and one row left over: in the last step all processes but one have no row.
    found = pack(sentences(200, seed=1), np.tile([0.5, 1.0, 2.0, 0.1], 50), parent, SETTINGS.sequence_length, seed=5)
    rows = (found.tokens.shape[0] - 1) // 4 * 4 + 1
    tokens, weight, segment, position = (
        array[:rows] for array in (found.tokens, found.loss_weight, found.segment, found.position)
    )
    return Packed(tokens, weight, segment, position, found.n_documents, found.n_tokens)


@pytest.fixture(scope="module")
def two(
    parent: Path, packed: Packed, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingResult, Path, list[float]]:
    """A fit of two processes, its folder, and what it told of its progress."""
    folder, fractions = tmp_path_factory.mktemp("two"), list[float]()
    settings = EAGER.model_copy(update={"processes": 2})
    found = run_fit(
        parent, packed, settings, folder / "out", 2, folder / "scratch",
        lambda _what, fraction: fractions.append(fraction), "# card",
    )  # fmt: skip
    return found, folder / "out", fractions


def _start(folder: Path, limit: int | None = None) -> subprocess.Popen[str]:
    def lower() -> None:
        # A file that may not grow further is what a full disk looks like to a process.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return subprocess.Popen(
        [sys.executable, "-m", "curation_pipeline.training.worker", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lower,
    )  # fmt: skip


def test_a_killed_run_goes_on_bit_for_bit(parent: Path, packed: Packed, tmp_path: Path) -> None:
    whole = fit(parent, packed, EAGER, tmp_path / "whole", seed=2)
    write_job(Job(parent, packed, EAGER, tmp_path / "out", 2, tmp_path / "scratch", None), tmp_path / "job")
    worker = _start(tmp_path / "job")
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith("progress") and float(line.split()[1]) > 0.3:
            break
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    again = _start(tmp_path / "job")
    _, log = again.communicate()
    assert again.returncode == 0, log
    resumed = read_outcome(tmp_path / "job", "")
    assert resumed.resumed_from > 0
    assert resumed.losses == whole.losses
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "out"))
    assert first == second


def test_a_full_disk_leaves_the_last_good_state(parent: Path, packed: Packed, tmp_path: Path) -> None:
    whole = fit(parent, packed, EAGER, tmp_path / "whole", seed=2)
    # The state without moments fits, the one with them does not.
    size = (parent / "model.safetensors").stat().st_size
    write_job(Job(parent, packed, EAGER, tmp_path / "out", 2, tmp_path / "scratch", None), tmp_path / "job")
    worker = _start(tmp_path / "job", limit=2 * size)
    worker.communicate()
    assert worker.returncode == 1
    with pytest.raises(DataError, match="make room on the disk"):
        read_outcome(tmp_path / "job", "")
    assert [file.name for file in (tmp_path / "scratch").iterdir()] == [STATE_FILE]
    assert not (tmp_path / "out").exists()
    resumed = fit(parent, packed, EAGER, tmp_path / "out", seed=2, scratch_dir=tmp_path / "scratch")
    assert resumed.losses == whole.losses


def test_two_processes_train_as_one_does(
    parent: Path, packed: Packed, two: tuple[TrainingResult, Path, list[float]], tmp_path: Path
) -> None:
    one = fit(parent, packed, EAGER, tmp_path / "one", seed=2)
    both, folder, fractions = two
    assert both.steps == one.steps == len(fractions)
    np.testing.assert_allclose(both.losses, one.losses, atol=2e-3)
    np.testing.assert_allclose(both.losses[:10], one.losses[:10], rtol=1e-5)
    ours, theirs = (load_model(path).state_dict() for path in (folder, tmp_path / "one"))
    apart = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    assert apart < 5e-3
    assert (folder / "README.md").read_text() == "# card"
    assert json.loads((folder / "trainer.json").read_text())["settings"]["processes"] == 2


def test_two_processes_end_with_the_one_that_started_them_and_are_taken_up(
    parent: Path, packed: Packed, two: tuple[TrainingResult, Path, list[float]], tmp_path: Path
) -> None:
    settings = EAGER.model_copy(update={"processes": 2})
    write_job(Job(parent, packed, settings, tmp_path / "out", 2, tmp_path / "scratch", None), tmp_path / "job")
    code = (
        "import sys; from pathlib import Path; from curation_pipeline.training.job import read_job;"
        "from curation_pipeline.training.launch import run_fit; job = read_job(Path(sys.argv[1]));"
        "run_fit(job.parent_dir, job.packed, job.settings, job.out_dir, job.seed, job.scratch_dir,"
        " lambda what, fraction: print(fraction, flush=True))"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "job")], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    assert starter.stdout.readline()
    children = _descendants(starter.pid)
    assert len(children) >= 3  # torchrun and its two processes
    for line in starter.stdout:
        if float(line) > 0.3:
            break
    starter.kill()
    starter.communicate()
    while any(_alive(pid) for pid in children):  # the test's own timeout is the bound
        time.sleep(0.1)
    assert not (tmp_path / "out").exists()
    resumed = run_fit(parent, packed, settings, tmp_path / "out", 2, tmp_path / "scratch")
    assert resumed.resumed_from > 0
    assert resumed.losses == two[0].losses


def test_two_processes_diverge_together(parent: Path, packed: Packed, tmp_path: Path) -> None:
    wild = EAGER.model_copy(
        update={"processes": 2, "learning_rate": 1.0, "warmup_fraction": 0.9, "passes": 6, "divergence_nats": 0.3}
    )
    with pytest.raises(TrainingDivergedError, match="last good weights"):
        run_fit(parent, packed, wild, tmp_path / "wild", 2, tmp_path / "scratch")
    load_model(tmp_path / "scratch" / LAST_GOOD)


def _descendants(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for task in tasks for child in task.read_text().split()]
    return found + [below for child in found for below in _descendants(child)]


def _alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
