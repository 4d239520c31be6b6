"""A season on a SLURM cluster: python slurm.py CONFIG SEASON [JOBS] [OPTIONS of `phusa run`] | --show

The driver and Dask's scheduler run here, on the login node or in a small job; each worker job takes one
node's share. All need the store's folder at the same path. ``--show`` prints the job script and ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster

CORES, MEMORY, WALLTIME, PARTITION = 16, "64GB", "08:00:00", "compute"
#: How long jobs may stand in SLURM's queue before the driver gives up; what is stored is done.
QUEUE = "24h"


def cluster() -> SLURMCluster:
    """Jobs of one process a core: blocks then share no lock, and a job's memory is told to the scheduler."""
    return SLURMCluster(
        queue=PARTITION,
        cores=CORES,
        processes=CORES,
        memory=MEMORY,
        walltime=WALLTIME,
        python=str(Path(sys.executable)),
        # Jobs see nothing of this environment: not the database's address, nor the keys of the store's bucket.
        # What the images' source asks for is exported in the prologue.
        job_extra_directives=["--export=NONE"],
        job_script_prologue=["export OMP_NUM_THREADS=1 GDAL_NUM_THREADS=1"],
        # A job ends before SLURM kills it, and its blocks go to the others.
        worker_extra_args=["--lifetime", "465m", "--lifetime-stagger", "10m"],
        local_directory="${TMPDIR:-/tmp}",
    )


def main() -> None:
    arguments = [a for a in sys.argv[1:] if a != "--show"]
    if "--show" in sys.argv:
        print(cluster().job_script())
        return
    if len(arguments) < 2:
        sys.exit(__doc__)
    config, season, jobs, *options = [*arguments, "4"] if len(arguments) == 2 else arguments
    with cluster() as made:
        made.adapt(minimum_jobs=1, maximum_jobs=int(jobs))
        where = ["--scheduler", made.scheduler_address, "--wait-for-workers", QUEUE]
        program = [sys.executable, "-c", "from pipeline.cli import main; main()"]
        driver = subprocess.Popen([*program, "run", config, "--season", season, *options, *where])
        # The driver puts away what it began. Ctrl-C on a terminal reaches it by itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: driver.terminate())
        code = driver.wait()
    sys.exit(code)


if __name__ == "__main__":
    main()
