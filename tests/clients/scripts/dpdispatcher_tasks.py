"""DPDispatcher: two tasks as jobs, their files brought there and back."""

from __future__ import annotations

import os
import sys

os.environ["HOME"] = os.getcwd()  # its notes, and output of Grid Engine

from dpdispatcher import Machine, Resources, Submission, Task

KIND = sys.argv[1]  # PBS, Torque, SGE, LSF
QUEUES = {"PBS": "workq", "Torque": "batch", "SGE": "all.q", "LSF": "normal"}
MORE = {
    "SGE": {"pe_name": "smp", "job_name": "tasks"},
    "LSF": {"gpu_usage": False, "gpu_new_syntax": False},
}

for name in ("one", "two"):
    os.makedirs(f"here/{name}")
    with open(f"here/{name}/in.txt", "w") as file:
        file.write(f"from {name}\n")
os.makedirs("there")
machine = Machine.load_from_dict({
    "batch_type": KIND, "context_type": "LocalContext", "local_root": "here",
    "remote_root": "there",
})  # fmt: skip
resources = Resources.load_from_dict({
    "number_node": 1, "cpu_per_node": 2, "gpu_per_node": 0, "queue_name": QUEUES[KIND],
    "group_size": 1, "kwargs": MORE.get(KIND, {}),
})  # fmt: skip
tasks = [
    Task(command="cp in.txt out.txt", task_work_path=f"{name}/", forward_files=["in.txt"],
         backward_files=["out.txt"])
    for name in ("one", "two")
]  # fmt: skip
work = Submission(work_base="./", machine=machine, resources=resources, task_list=tasks)
work.run_submission(check_interval=1)
for name in ("one", "two"):
    with open(f"here/{name}/out.txt") as file:
        assert file.read() == f"from {name}\n"
print("CLIENT-OK")
