"""ipyparallel: two engines as jobs, a call on each, and their end."""

from __future__ import annotations

import os
import subprocess
import sys
import time

os.environ["IPYTHONDIR"] = os.path.abspath("ipython")

import ipyparallel
from traitlets.config import Config

KIND, COMMAND = sys.argv[1:]  # pbs qstat, sge qstat, ...
config = Config()
# Torque calls an array 7[], and knows it by no other name.
config.PBSLauncher.job_id_regexp = r"\d+(\[\])?"
config.PBSEngineSetLauncher.job_id_regexp = r"\d+(\[\])?"


def where() -> list[str]:
    import os  # on an engine

    names = ("PBS_JOBID", "SGE_TASK_ID")
    return [os.environ[name] for name in names if name in os.environ]


cluster = ipyparallel.Cluster(
    n=2, engines=KIND, controller="local", profile_dir=os.path.abspath("profile"), config=config
)
with cluster as client:
    places = client[:].apply_sync(where)
    assert len({tuple(place) for place in places}) == 2, places
    assert sorted(client[:].map_sync(lambda number: number**2, range(4))) == [0, 1, 4, 9]
deadline = time.monotonic() + 30
while " R " in (said := subprocess.check_output([COMMAND], text=True)) or " r " in said:
    assert time.monotonic() < deadline, said
    time.sleep(0.1)
print("CLIENT-OK")
