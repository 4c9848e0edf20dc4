"""AiiDA: what its plug-in for a scheduler does with the jobs of a calculation."""

from __future__ import annotations

import os
import sys
import time

os.environ["AIIDA_PATH"] = os.getcwd()

from aiida.common.datastructures import CodeRunMode
from aiida.plugins import SchedulerFactory
from aiida.schedulers.datastructures import JobState, JobTemplate, JobTemplateCodeInfo
from aiida.transports.plugins.local import LocalTransport

PLUGIN = sys.argv[1]  # torque, pbspro, sge, lsf
RESOURCES = {
    "sge": {"parallel_env": "smp", "tot_num_mpiprocs": 2},
    "lsf": {"parallel_env": "", "tot_num_mpiprocs": 2},
}
LIMIT_S = 60.0
scheduler = SchedulerFactory(f"core.{PLUGIN}")()


def template(name: str, *argv: str) -> JobTemplate:
    made = JobTemplate()
    made.shebang, made.job_name = "#!/bin/bash", name
    made.sched_output_path, made.sched_error_path = f"{name}.out", f"{name}.err"
    made.submit_as_hold, made.sched_join_files, made.max_wallclock_seconds = False, False, 600
    made.job_environment, made.environment_variables_double_quotes = {"GREETING": "a b"}, False
    resources = RESOURCES.get(PLUGIN, {"num_machines": 1, "num_mpiprocs_per_machine": 2})
    made.job_resource = scheduler.create_job_resource(**resources)
    made.codes_run_mode, made.prepend_text, made.append_text = CodeRunMode.SERIAL, "", ""
    code = JobTemplateCodeInfo()
    code.prepend_cmdline_params, code.cmdline_params = [], list(argv)
    code.stdin_name, code.stdout_name, code.stderr_name = None, "said.txt", None
    code.join_files, code.use_double_quotes, code.wrap_cmdline_params = False, [False, False], False
    made.codes_info = [code]
    return made


def submit(name: str, *argv: str) -> str:
    os.makedirs(name)
    with open(f"{name}/job.sh", "w") as file:
        file.write(scheduler.get_submit_script(template(name, *argv)))
    id = scheduler.submit_job(os.path.abspath(name), "job.sh")
    assert isinstance(id, str), id
    return id


def state(id: str) -> JobState | None:
    by_user = scheduler.get_feature("can_query_by_user")
    asked = {"user": os.environ.get("USER", "root")} if by_user else {"jobs": [id]}
    return scheduler.get_jobs(as_dict=True, **asked).get(id, {}).get("job_state")


def until(id: str, *states: JobState | None) -> None:
    deadline = time.monotonic() + LIMIT_S
    while (found := state(id)) not in states:
        assert time.monotonic() < deadline, (id, found)
        time.sleep(0.2)


with LocalTransport() as transport:
    scheduler.set_transport(transport)
    one = submit("one", "printenv", "GREETING")
    two = submit("two", "sleep", "300")
    until(two, JobState.RUNNING)
    until(one, JobState.DONE, None)
    with open("one/said.txt") as file:
        assert file.read() == "a b\n"
    details = scheduler.get_detailed_job_info(one)
    assert details["retval"] == 0, details
    assert scheduler.kill_job(two)
    until(two, JobState.DONE, None)
print("CLIENT-OK")
