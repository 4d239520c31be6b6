"""A season on a SLURM cluster: python slurm.py CONFIG SEASON [JOBS] [--show]

The driver and Dask's scheduler run here, on the login node or in a small job; each worker job takes one
node's share. All need the store's folder at the same path. ``--show`` prints the job script and ends.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster

CORES, MEMORY, WALLTIME, PARTITION = 16, "64GB", "08:00:00", "compute"


def cluster() -> SLURMCluster:
    """Jobs of one process a core: blocks then share no lock, and a job's memory is told to the scheduler."""
    return SLURMCluster(
        queue=PARTITION,
        cores=CORES,
        processes=CORES,
        memory=MEMORY,
        walltime=WALLTIME,
        python=str(Path(sys.executable)),
        # Workers get the source's credentials at most, never the database's.
        job_extra_directives=["--export=NONE"],
        job_script_prologue=[
            "unset PHUSA_DSN PGPASSWORD PGPASSFILE PGSERVICE",
            "export OMP_NUM_THREADS=1 GDAL_NUM_THREADS=1",
        ],
        # A job ends before SLURM kills it, and its blocks go to the others.
        worker_extra_args=["--lifetime", "7h45m", "--lifetime-stagger", "10m"],
        local_directory="$TMPDIR",
    )


def main() -> None:
    arguments = [a for a in sys.argv[1:] if a != "--show"]
    if "--show" in sys.argv:
        print(cluster().job_script())
        return
    if len(arguments) < 2:
        sys.exit(__doc__)
    config, season = arguments[:2]
    jobs = int(arguments[2]) if len(arguments) > 2 else 4
    with cluster() as made:
        made.adapt(minimum_jobs=1, maximum_jobs=jobs)
        phusa = Path(sys.executable).with_name("phusa")
        command = [str(phusa), "run", config, "--season", season, "--scheduler", made.scheduler_address]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
