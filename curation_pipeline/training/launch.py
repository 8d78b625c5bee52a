"""Training in as many processes as the settings ask for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from curation_pipeline.progress import Progress, silent
from curation_pipeline.training.job import Job, read_outcome, write_job
from curation_pipeline.training.packing import Packed
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.trainer import TrainingResult, fit

_LOG_LINES = 60


def run_fit(
    parent_dir: Path,
    packed: Packed,
    settings: TrainingSettings,
    out_dir: Path,
    seed: int,
    scratch_dir: Path | None = None,
    progress: Progress | None = None,
    model_card: str | None = None,
) -> TrainingResult:
    """`fit` in this process, or in ``settings.processes`` of their own under torchrun.

    A step has the same rows either way, so the losses agree up to the order in which floats are added. The processes
    end with this one.

    Raises:
        CurationError: as `fit` does, whichever process it happened in.
        DataError: the processes ended without a word.
    """
    if settings.processes == 1:
        return fit(parent_dir, packed, settings, out_dir, seed, scratch_dir, progress, model_card)
    with tempfile.TemporaryDirectory(prefix="training-job-") as name:
        folder = Path(name)
        write_job(Job(parent_dir, packed, settings, out_dir, seed, scratch_dir, model_card), folder)
        return read_outcome(folder, _torchrun(folder, settings.processes, progress or silent))


def _torchrun(folder: Path, processes: int, progress: Progress) -> str:
    """Run the worker under torchrun until it ends; the last lines of its log."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "curation_pipeline.training.worker", str(folder)]
    log: deque[str] = deque(maxlen=_LOG_LINES)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", bufsize=1
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stderr is not None
        # A second reader, because a pipe that nobody empties would stop the processes.
        reader = threading.Thread(target=_keep, args=(launcher.stderr, log), daemon=True)
        reader.start()
        try:
            for line in launcher.stdout:
                word, _, fraction = line.partition(" ")
                if word == "progress":
                    progress("training", float(fraction))
        except BaseException:
            launcher.terminate()  # torchrun passes it on
            raise
        finally:
            reader.join()
    return " | ".join(log)


def _keep(stream: Iterable[str], log: deque[str]) -> None:
    log.extend(line.strip() for line in stream if line.strip())
