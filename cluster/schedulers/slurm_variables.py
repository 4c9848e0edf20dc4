"""Variables of the environment that Slurm's programs heed, and which of them must not reach them.

Pure data, and the one prefix that uses it.
"""

from __future__ import annotations

__all__ = ["OVERRIDING", "SCRUBBED", "quiet"]

# What users set for their own eyes must not hide jobs from us, nor make scancel ask back.
_FILTERS = {
    "squeue": (
        "SQUEUE_ACCOUNT", "SQUEUE_FORMAT", "SQUEUE_FORMAT2", "SQUEUE_LICENSES", "SQUEUE_NAMES",
        "SQUEUE_PARTITION", "SQUEUE_QOS", "SQUEUE_SORT", "SQUEUE_STATES", "SQUEUE_USERS",
    ),
    "scancel": (
        "SCANCEL_ACCOUNT", "SCANCEL_BATCH", "SCANCEL_FULL", "SCANCEL_INTERACTIVE", "SCANCEL_NAME",
        "SCANCEL_PARTITION", "SCANCEL_QOS", "SCANCEL_STATE", "SCANCEL_USER", "SCANCEL_VERBOSE",
        "SCANCEL_WCKEY",
    ),
    "sinfo": ("SINFO_FORMAT", "SINFO_PARTITION", "SINFO_SORT"),
}  # fmt: skip


def quiet(program: str, *arguments: str) -> tuple[str, ...]:
    """Run a program with times as numbers, indices in full, and no filter but ours."""
    unset = [word for name in _FILTERS.get(program, ()) for word in ("-u", name)]
    return ("env", *unset, "SLURM_TIME_FORMAT=%s", "SLURM_BITSTR_LEN=0", program, *arguments)


# A directive, and the variable that sbatch prefers to it.
OVERRIDING = {
    "--account": ("SBATCH_ACCOUNT",),
    "--array": ("SBATCH_ARRAY_INX",),
    "--constraint": ("SBATCH_CONSTRAINT",),
    "--error": ("SBATCH_ERROR",),
    "--exclusive": ("SBATCH_EXCLUSIVE",),
    "--export": ("SBATCH_EXPORT", "SBATCH_GET_USER_ENV"),
    "--gres": ("SBATCH_GRES", "SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GPUS_PER_TASK"),
    "--job-name": ("SBATCH_JOB_NAME",),
    "--mem": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
    "--no-requeue": ("SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"),
    "--open-mode": ("SBATCH_OPEN_MODE",),
    "--output": ("SBATCH_OUTPUT", "SBATCH_ERROR"),
    "--partition": ("SBATCH_PARTITION",),
    "--qos": ("SBATCH_QOS",),
    "--requeue": ("SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"),
    "--signal": ("SBATCH_SIGNAL",),
    "--time": ("SBATCH_TIMELIMIT",),
}

# What a job finds set, and must not hand on to the jobs that it submits.
# Not all of SLURM_*: SLURM_CONF and SLURM_CLUSTERS say which cluster is meant.
SCRUBBED = (
    "SLURM_ARRAY_*", "SLURM_CPU_BIND*", "SLURM_CPUS_*", "SLURM_CPU_FREQ*", "SLURM_DISTRIBUTION",
    "SLURM_EXPORT_ENV", "SLURM_GET_USER_ENV", "SLURM_GPU*", "SLURM_GTIDS", "SLURM_HET_*",
    "SLURM_HINT", "SLURM_JOB*", "SLURM_LAUNCH_*", "SLURM_LOCALID", "SLURM_MEM_*",
    "SLURM_NNODES", "SLURM_NODE*", "SLURM_NPROCS", "SLURM_NTASKS*", "SLURM_PRIO_PROCESS",
    "SLURM_PROCID", "SLURM_RESTART_COUNT", "SLURM_SRUN_*", "SLURM_STEP*", "SLURM_SUBMIT_*",
    "SLURM_TASK*", "SLURM_THREADS_PER_CORE", "SLURM_TOPOLOGY_*", "SLURM_TRES_*",
    "SLURM_WORKING_CLUSTER", "SLURMD_*", "SBATCH_WAIT", "SBATCH_ARRAY_INX", "SBATCH_IGNORE_PBS",
)  # fmt: skip
