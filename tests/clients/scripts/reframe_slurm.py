"""reframe: three checks, by its scheduler `slurm` (asks sacct) or `squeue`.

This file is the site's configuration, the checks, and what runs them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import reframe as rfm
import reframe.utility.sanity as sn
from reframe.core.builtins import run_before, sanity_function


def _partition(scheduler: str) -> dict[str, Any]:
    return {
        "name": scheduler, "scheduler": scheduler, "launcher": "srun", "environs": ["plain"],
        "time_limit": "5m", "max_jobs": 4,
    }  # fmt: skip


site_configuration = {
    "systems": [{
        "name": "here", "hostnames": [".*"],
        "partitions": [_partition("slurm"), _partition("squeue")],
    }],
    "environments": [{"name": "plain"}],
}  # fmt: skip


class _Check(rfm.RunOnlyRegressionTest):
    valid_systems = ["*"]  # noqa: RUF012
    valid_prog_environs = ["*"]  # noqa: RUF012


@rfm.simple_test
class TwoTasks(_Check):
    executable = "echo"
    executable_opts = ["rank", "$SLURM_JOB_ID"]  # noqa: RUF012
    num_tasks = 2

    @sanity_function
    def both_spoke(self) -> Any:
        return sn.assert_eq(sn.count(sn.findall(r"^rank \d+$", self.stdout)), 2)


@rfm.simple_test
class AllNodes(_Check):
    """As many tasks as `scontrol show nodes` says there are nodes."""

    executable = "hostname"
    num_tasks = 0

    @sanity_function
    def one_spoke(self) -> Any:
        return sn.assert_eq(sn.count(sn.extractall(r"\S+", self.stdout)), 1)


@rfm.simple_test
class TooLong(_Check):
    executable = "sleep"
    executable_opts = ["60"]  # noqa: RUF012

    @run_before("run")
    def limit(self) -> None:
        self.time_limit = "1s"

    @sanity_function
    def was_ended(self) -> Any:
        return sn.assert_found("DUE TO TIME LIMIT", self.stderr)


def main() -> None:
    here = os.path.abspath(__file__)
    argv = ["reframe", "-C", here, "-c", here, "--system", f"here:{sys.argv[1]}", "-r"]
    argv += ["--flex-alloc-nodes", "all"]  # its default is idle ones, and other checks run
    env = os.environ | {
        "RFM_REPORT_FILE": "report.json", "RFM_ENABLE_RESULTS_STORAGE": "no", "TMPDIR": os.getcwd()
    }  # fmt: skip
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    assert "Ran 3/3 test case(s)" in done.stdout, done.stdout
    print("CLIENT-OK")


if __name__ == "__main__":
    main()
