"""ReFrame: checks that run as jobs, two of them with two tasks, and one that fails."""

from __future__ import annotations

import os
import subprocess
import sys

import reframe as rfm
import reframe.utility.sanity as sn

CONFIGURATION = """\
site_configuration = {{
    "systems": [{{"name": "here", "hostnames": [".*"], "partitions": [{{
        "name": "all", "scheduler": "{kind}", "launcher": "local", "environs": ["plain"],
        "max_jobs": 4,
    }}]}}],
    "environments": [{{"name": "plain"}}],
}}
"""
TELLS_CODES = os.environ.get("CHECKED") in ("pbs", "torque")  # ReFrame does not ask others


class Job(rfm.RunOnlyRegressionTest):
    valid_systems = ["*"]  # noqa: RUF012
    valid_prog_environs = ["*"]  # noqa: RUF012
    time_limit = "5m"


@rfm.simple_test
class Greets(Job):
    number = parameter([1, 2])  # noqa: F821
    executable = "echo"
    executable_opts = ["hello"]  # noqa: RUF012
    num_tasks = num_tasks_per_node = 2

    @sanity_function  # noqa: F821
    def said(self):
        return sn.assert_found("^hello$", self.stdout)


@rfm.simple_test
class Fails(Job):
    executable = "ls absent; exit 3"

    @sanity_function  # noqa: F821
    def ended(self):
        told = sn.assert_found("absent", self.stderr)
        return sn.and_(told, sn.assert_eq(self.job.exitcode, 3 if TELLS_CODES else None))


if __name__ == "__main__":
    kind = sys.argv[1]  # pbs, torque, sge, lsf
    with open("settings.py", "w") as file:
        file.write(CONFIGURATION.format(kind=kind))
    argv = ["reframe", "-C", "settings.py", "-c", __file__, "--prefix", os.getcwd(), "-r"]
    subprocess.run(argv, env=os.environ | {"TMPDIR": os.getcwd(), "CHECKED": kind}, check=True)
    print("CLIENT-OK")
