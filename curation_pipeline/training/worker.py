"""The script of a training process: ``python -m curation_pipeline.training.worker JOB_FOLDER``.

It is the same for one process and for several: under ``torchrun --nproc-per-node N -m ...`` or ``accelerate launch``
(several machines too, where they share a file system) the processes find each other through the environment that the
launcher sets, and share each step's rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from curation_pipeline.errors import CurationError, TrainingDivergedError
from curation_pipeline.training.job import read_job, write_error, write_result
from curation_pipeline.training.runtime import resolve_device
from curation_pipeline.training.trainer import fit
from curation_pipeline.training.world import joined


def _report(_what: str, fraction: float) -> None:
    # Whoever started the processes reads this; once they are gone the write fails, and that ends the training too.
    print(f"progress {fraction:.6f}", flush=True)


def main(folder: Path) -> int:
    """Do the job of a folder; 0 when it is done, 1 when it failed and its error is in the folder."""
    job = read_job(folder)
    with joined(resolve_device(job.settings.device)) as world:
        try:
            result = fit(
                job.parent_dir,
                job.packed,
                job.settings,
                job.out_dir,
                job.seed,
                job.scratch_dir,
                _report if world.rank == 0 else None,
                job.model_card,
                world,
            )
            if world.rank == 0:
                write_result(folder, result)
            world.wait()
        except CurationError as error:
            if world.rank == 0:
                write_error(folder, error)
            # All processes diverge together. The launcher ends the others when the first one ends, so they wait until
            # rank 0 has written its last good weights.
            if isinstance(error, TrainingDivergedError):
                world.wait()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
