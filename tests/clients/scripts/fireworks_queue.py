"""FireWorks: its adapter for queues, as `qlaunch` uses it."""

from __future__ import annotations

import os
import sys
import time

os.environ["HOME"] = os.getcwd()  # Grid Engine puts output there

from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

KIND = sys.argv[1]  # PBS, SGE, LoadSharingFacility
MORE = {
    "PBS": {"nnodes": 1, "ppnode": 2, "walltime": "00:10:00", "queue": "batch"},
    "SGE": {"queue": "all.q"},
    "LoadSharingFacility": {"ntasks": 2, "walltime": "10", "queue": "normal"},
}
USER = os.environ.get("USER", "root")
LIMIT_S = 60.0


def until(condition: object) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


adapter = CommonAdapter(
    KIND, "queue", rocket_launch="touch on; until [ -e go ]; do sleep 0.1; done; echo ran > ran",
    launch_dir=os.getcwd(), job_name="rocket", **MORE[KIND],
)  # fmt: skip
with open("job.sh", "w") as file:
    file.write(adapter.get_script_str(os.getcwd()))
assert adapter.get_njobs_in_queue(USER) == 0
assert all(adapter.submit_to_queue("job.sh") for _ in range(2))
until(lambda: os.path.exists("on"))
assert adapter.get_njobs_in_queue(USER) == 2
with open("go", "w"):
    pass
until(lambda: adapter.get_njobs_in_queue(USER) == 0)
assert os.path.exists("ran")
print("CLIENT-OK")
