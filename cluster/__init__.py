"""Submit functions and commands to this machine, or to a cluster, and get their results.

    job = cluster.submit(func, args, cores=4)
    cluster.wait(job)
    job.get()

Every public name is loaded when it is first used: `import cluster` reads no
setting, starts no process and writes no file.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing has it; importing that costs as much as all the rest here
if TYPE_CHECKING:
    from typing import Any

    # One line each: names that are given on are known by `as`.
    from cluster import aio as aio
    from cluster import config_file as config_file
    from cluster import errors as errors
    from cluster import helpers as helpers
    from cluster import job as job
    from cluster import jobqueue as jobqueue
    from cluster import logme as logme
    from cluster import options as options
    from cluster import queue as queue
    from cluster import run as run
    from cluster import script as script
    from cluster._mapping import imap_unordered as imap_unordered
    from cluster._mapping import map as map
    from cluster._mapping import starmap as starmap
    from cluster.array import JobArray as JobArray
    from cluster.array import submit_array as submit_array
    from cluster.emulation import emulate as emulate
    from cluster.errors import ClusterError as ClusterError
    from cluster.errors import ConfigError as ConfigError
    from cluster.errors import JobCancelled as JobCancelled
    from cluster.errors import JobFailed as JobFailed
    from cluster.errors import JobLost as JobLost
    from cluster.errors import JobNodeFail as JobNodeFail
    from cluster.errors import JobOutOfMemory as JobOutOfMemory
    from cluster.errors import JobStuck as JobStuck
    from cluster.errors import JobTimeout as JobTimeout
    from cluster.errors import OptionsError as OptionsError
    from cluster.errors import PayloadError as PayloadError
    from cluster.errors import QueueError as QueueError
    from cluster.errors import UnitsError as UnitsError
    from cluster.errors import UnknownDependency as UnknownDependency
    from cluster.errors import UnknownJob as UnknownJob
    from cluster.errors import Unsatisfiable as Unsatisfiable
    from cluster.errors import WaitTimeout as WaitTimeout
    from cluster.executor import Executor as Executor
    from cluster.job import Job as Job
    from cluster.job import clean as clean
    from cluster.job import clean_dir as clean_dir
    from cluster.job import function as function
    from cluster.job import make_job as make_job
    from cluster.job import make_job_file as make_job_file
    from cluster.job import submit as submit
    from cluster.job import submit_file as submit_file
    from cluster.job import submit_many as submit_many
    from cluster.outcome import CommandResult as CommandResult
    from cluster.outcome import Usage as Usage
    from cluster.pipeline import Pipeline as Pipeline
    from cluster.queue import Queue as Queue
    from cluster.queue import as_completed as as_completed
    from cluster.queue import cancel as cancel
    from cluster.queue import get_cluster_environment as get_cluster_environment
    from cluster.queue import wait as wait
    from cluster.sweep import Sweep as Sweep

_MODULES = (
    "aio",
    "config_file",
    "errors",
    "helpers",
    "job",
    "jobqueue",
    "logme",
    "options",
    "queue",
    "run",
    "script",
)
_NAMES = {
    "_mapping": "imap_unordered map starmap",
    "array": "JobArray submit_array",
    "emulation": "emulate",
    "errors": (
        "ClusterError ConfigError JobCancelled JobFailed JobLost JobNodeFail JobOutOfMemory "
        "JobStuck JobTimeout OptionsError PayloadError QueueError UnitsError UnknownDependency "
        "UnknownJob Unsatisfiable WaitTimeout"
    ),
    "executor": "Executor",
    "job": ("Job clean clean_dir function make_job make_job_file submit submit_file submit_many"),
    "outcome": "CommandResult Usage",
    "pipeline": "Pipeline",
    "queue": "Queue as_completed cancel get_cluster_environment wait",
    "sweep": "Sweep",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted([*_MODULES, *_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"cluster.{name}")
    if name in _HOME:
        value = getattr(import_module(f"cluster.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cluster' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
