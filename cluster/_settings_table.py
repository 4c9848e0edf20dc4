"""Every setting of the configuration file: its default, its type, what it means.

Data only; `config_file.py` reads and writes the files.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["SETTINGS", "Setting"]


class Setting(NamedTuple):
    """One setting.

    Attributes:
        kind: how its text is read, a key of `config_file.KINDS`.
        default: what holds when it is set nowhere; None is "decided elsewhere".
        help: one sentence for people.
        choices: the only values, where there are few.
    """

    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()


_QTYPES = ("auto", "slurm", "torque", "sge", "lsf", "local", "normal")

SETTINGS: dict[tuple[str, str], Setting] = {
    ("queue", "qtype"): Setting("qtype", "auto", "Which scheduler; auto looks for one.", _QTYPES),
    ("queue", "max_jobs"): Setting(
        "count0", 0, "Submit only while fewer jobs are queued; 0 is no limit."
    ),
    ("queue", "max_array"): Setting(
        "count0", 0, "Largest index of one submitted array; 0 asks the scheduler."
    ),
    ("queue", "sge_parallel_environment"): Setting(
        "word", "smp", "Grid Engine parallel environment for jobs of several cores."
    ),
    ("queue", "sge_memory_resource"): Setting(
        "word", "h_vmem", "Grid Engine resource that limits memory, per slot."
    ),
    ("queue", "sge_gpu_resource"): Setting("word", "gpu", "Grid Engine resource that counts gpus."),
    ("local", "cores"): Setting("count", None, "Cores the local queue uses; all when not set."),
    ("local", "memory"): Setting("memory", None, "Memory the local queue uses; all when not set."),
    ("local", "gpus"): Setting("count0", None, "Gpus the local queue uses; all when not set."),
    ("local", "resources"): Setting(
        "resources", {}, "Named consumables of this machine: license=2, scratch=10."
    ),
    ("local", "idle_s"): Setting("seconds", 600.0, "The server leaves after so long without work."),
    ("local", "warm_idle_s"): Setting("seconds", 60.0, "A warm parent leaves after so long."),
    ("local", "grace_s"): Setting("seconds", 5.0, "From SIGTERM to SIGKILL."),
    ("local", "default_expect_s"): Setting(
        "seconds", 3600.0, "Believed run time of a job nobody knows anything about."
    ),
    ("local", "overtake"): Setting(
        "count0",
        0,
        "Shorter jobs that come within so many times a job's run time go before it;"
        " 0 keeps the order, 4 makes the mean wait shortest.",
    ),
    ("local", "request_timeout_s"): Setting(
        "seconds", 30.0, "How long a client waits for the server's answer."
    ),
    ("local", "fsync"): Setting("bool", True, "Acknowledged jobs survive a power failure."),
    ("scheduler", "timeout_s"): Setting(
        "seconds", 60.0, "How long a cluster's own command may take to answer."
    ),
    ("scheduler", "poll_s"): Setting(
        "seconds", 1.0, "Shortest time between two questions to a cluster about its jobs."
    ),
    ("scheduler", "poll_longest_s"): Setting(
        "seconds", 15.0, "Longest time between two; it grows while nothing changes."
    ),
    ("scheduler", "grace_s"): Setting(
        "seconds", 60.0, "A job that nobody knows any more is LOST after so long."
    ),
    ("scheduler", "give_up_s"): Setting(
        "seconds", 3600.0, "A wait fails when the cluster has not answered for so long."
    ),
    ("scheduler", "probe_s"): Setting(
        "seconds", 5.0, "A scheduler that does not answer within this is not there."
    ),
    ("jobs", "filedir"): Setting("path", None, "Where scripts are written; here when not set."),
    ("jobs", "suffix"): Setting("word", "cluster", "Part of the names of written scripts."),
    ("notify", "smtp_host"): Setting("word", None, "Mail server that notify= uses here."),
    ("notify", "smtp_port"): Setting("count", 25, "Its port; 587 and 465 are usual, too."),
    ("notify", "smtp_security"): Setting(
        "choice", "none", "How the connection is made safe.", ("none", "starttls", "ssl")
    ),
    ("notify", "smtp_user"): Setting("line", None, "Name to log in with; none when not set."),
    ("notify", "smtp_password_file"): Setting(
        "path", None, "File with the password in its first line."
    ),
    ("notify", "sender"): Setting("line", None, "From whom the mail is; the receiver if not set."),
    ("retention", "outputs_days"): Setting("seconds", 30.0, "Days to keep what a job wrote."),
    ("retention", "records_days"): Setting("seconds", 90.0, "Days to keep the record of a job."),
}
