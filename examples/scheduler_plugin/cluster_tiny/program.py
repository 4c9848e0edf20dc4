"""A tiny scheduler: one machine, no daemon.  It knows nothing of the package `cluster`.

    tiny submit FILE       print the id; lines of FILE like `#TINY --cores=2` say what it needs
    tiny list [ID...]      a line of JSON for each job
    tiny hold|release|cancel ID...
    tiny signal NUMBER ID...
    tiny info              cores of the machine

All jobs are in one file, and whoever reads or writes it holds a lock.  Each job
that runs has a process that waits for its end, and then starts who comes next.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

GRACE_S = 2.0  # from SIGTERM to SIGKILL
Job = dict[str, Any]


def folder() -> str:
    """Give the directory of the queue, made if need be."""
    path = os.environ.get("TINY_DIR") or os.path.expanduser("~/.tiny")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


@contextmanager
def the_queue() -> Iterator[dict[str, Job]]:
    """Lock the queue and read it; write it when the block is done, and start who can start."""
    path = os.path.join(folder(), "jobs.json")
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jobs: dict[str, Job] = {}
        with suppress(FileNotFoundError), open(path) as file:
            jobs = json.load(file)
        yield jobs
        start_who_can(jobs)
        with open(f"{path}.new", "w") as file:
            json.dump(jobs, file)
        os.replace(f"{path}.new", path)


# ---------------------------------------------------------------- scheduling


def start_who_can(jobs: dict[str, Job]) -> None:
    """Start jobs in the order of their ids while there are cores for them."""
    free = cores() - sum(job["cores"] for job in jobs.values() if job["takes"])
    for id, job in jobs.items():
        if job["state"] != "PENDING" or not all(met(wish, jobs) for wish in job["after"]):
            continue
        if job["cores"] > free:
            return
        free -= job["cores"]
        job.update(state="RUNNING", takes=True, started=time.time())
        subprocess.Popen(
            [sys.executable, "-m", "cluster_tiny.program", "_run", id],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", start_new_session=True,
        )  # fmt: skip


def met(wish: str, jobs: dict[str, Job]) -> bool:
    """Tell whether `started:ID` or `ended:ID` is true by now."""
    kind, _, id = wish.partition(":")
    job = jobs.get(id)
    return job is None or bool(job["ended"]) or (kind == "started" and bool(job["started"]))


def cores() -> int:
    """Count the cores of this machine."""
    return os.cpu_count() or 1


class Cancelled(BaseException):
    """SIGTERM: the job that we wait for shall end."""


def run(id: str) -> None:
    """Run a job to its end, and write down how it ended."""

    def cancelled(number: int, frame: object) -> None:
        raise Cancelled

    with the_queue() as jobs:
        job = jobs[id]
        if job["state"] != "RUNNING":
            job.update(takes=False, ended=time.time())
            return
        process = subprocess.Popen(
            ["/bin/bash", job["script"]], env=job["env"] | {"TINY_ID": id}, cwd="/",
            start_new_session=True, preexec_fn=lambda: limit(job["mem"]),
        )  # fmt: skip
        job.update(runner=os.getpid(), group=process.pid)
        signal.signal(signal.SIGTERM, cancelled)
    state = ""
    try:
        code = process.wait(job["time"] or None)
    except subprocess.TimeoutExpired:
        state, code = "TIMEOUT", end(process)
    except Cancelled:
        code = end(process)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with the_queue() as jobs:
        job = jobs[id]
        if job["state"] == "RUNNING":
            job["state"] = state or ("FAILED" if code else "COMPLETED")
        job.update(takes=False, ended=time.time(), code=code)


def limit(mib: int) -> None:
    """Let a process fail that wants more memory than it asked for."""
    if mib:
        resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))


def end(process: subprocess.Popen[bytes]) -> int:
    """End a job's processes, first politely."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        return process.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


# ---------------------------------------------------------------- the command


def submit(path: str) -> str:
    """Queue a script; give its id."""
    wishes: Job = {"name": "", "cores": 1, "mem": 0, "time": 0.0, "hold": False, "mark": ""}
    after: list[str] = []
    with open(path, errors="surrogateescape") as file:
        for line in file:
            if line.startswith("#TINY --"):
                key, _, value = line.removeprefix("#TINY --").rstrip("\n").partition("=")
                if key == "after":
                    after.append(value)
                elif key not in wishes:
                    sys.exit(f"tiny: unknown option --{key}")
                else:
                    wishes[key] = type(wishes[key])(value or True)
    if wishes["cores"] > cores():
        sys.exit(f"tiny: {wishes['cores']} cores are wanted, the machine has {cores()}")
    with the_queue() as jobs:
        id = str(len(jobs) + 1)
        jobs[id] = wishes | {
            "script": os.path.abspath(path), "env": dict(os.environ), "after": after,
            "state": "HELD" if wishes["hold"] else "PENDING", "takes": False, "code": None,
            "submitted": time.time(), "started": 0.0, "ended": 0.0, "runner": 0, "group": 0,
        }  # fmt: skip
    return id


def cancel(job: Job) -> str:
    """End a job, whether it runs or waits."""
    if job["runner"]:
        with suppress(ProcessLookupError):
            os.kill(job["runner"], signal.SIGTERM)
    job.update(state="CANCELLED", ended=0.0 if job["takes"] else time.time())
    return ""


def hold(job: Job) -> str:
    """Keep a waiting job from starting."""
    if job["state"] != "PENDING":
        return f"it is {job['state']}"
    job["state"] = "HELD"
    return ""


def release(job: Job) -> str:
    """Let a held job start."""
    if job["state"] == "HELD":
        job["state"] = "PENDING"
    return ""


def steer(verb: str, ids: list[str], number: int) -> None:
    """Do something to jobs; say what went wrong."""
    with the_queue() as jobs:
        for id in ids:
            job = jobs.get(id)
            if job is None or job["ended"]:
                continue
            wrong = ""
            if verb == "signal":
                with suppress(ProcessLookupError):
                    os.killpg(job["group"], number)
            else:
                wrong = {"cancel": cancel, "hold": hold, "release": release}[verb](job)
            if wrong:
                print(id, wrong)


def show(ids: list[str]) -> None:
    """Print jobs; those that have ended only if they are named."""
    with the_queue() as jobs:
        for id, job in jobs.items():
            if id in ids or (not ids and not job["ended"]):
                shown = {key: value for key, value in job.items() if key != "env"}
                print(json.dumps({"id": id} | shown))


def main() -> None:
    """Read the command line."""
    match sys.argv[1:]:
        case ["submit", path]:
            print(submit(path))
        case ["list", *ids]:
            show(ids)
        case ["signal", number, *ids]:
            steer("signal", ids, int(number))
        case ["cancel" | "hold" | "release" as verb, *ids]:
            steer(verb, ids, 0)
        case ["info"]:
            print(json.dumps({"version": 1, "cores": cores()}))
        case ["_run", id]:
            run(id)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
