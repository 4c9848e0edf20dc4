"""simple-slurm: an array, a job that waits for it, and a line through srun."""

from __future__ import annotations

import time
from pathlib import Path

from simple_slurm import Slurm

array = Slurm(
    array=range(1, 4),
    job_name="many",
    output=f"{Slurm.JOB_ARRAY_MASTER_ID}_{Slurm.JOB_ARRAY_ID}.out",
    time="00:05:00",
)
first = array.sbatch(f"echo {Slurm.SLURM_ARRAY_TASK_ID}")
Slurm(dependency={"afterok": first}, output="after.out", time="0:05:00").sbatch("echo after")

end = time.monotonic() + 30
while not (Path("after.out").exists() and Path("after.out").read_text()):
    assert time.monotonic() < end, "the second job did not run"
    time.sleep(0.1)
assert [Path(f"{first}_{index}.out").read_text() for index in (1, 2, 3)] == ["1\n", "2\n", "3\n"]
assert Slurm(time="0:05:00").srun("true") == 0
print("CLIENT-OK")
