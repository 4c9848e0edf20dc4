"""Slurm's states and reasons, and what we call them.  Pure data."""

from __future__ import annotations

__all__ = ["AT_START", "ENDED", "ENDS", "STARTED", "STATES", "STUCK", "WAITS"]

# Slurm's word -> ours.  COMPLETING is not an end yet: a requeued job passes through it.
STATES = {
    "PENDING": "PENDING",
    "CONFIGURING": "PENDING",
    "REQUEUED": "PENDING",
    "REQUEUE_FED": "PENDING",
    "POWER_UP_NODE": "PENDING",
    "REQUEUE_HOLD": "HELD",
    "SPECIAL_EXIT": "HELD",
    "RESV_DEL_HOLD": "HELD",
    "RUNNING": "RUNNING",
    "COMPLETING": "RUNNING",
    "RESIZING": "RUNNING",
    "SIGNALING": "RUNNING",
    "STAGE_OUT": "RUNNING",
    "SUSPENDED": "SUSPENDED",
    "STOPPED": "SUSPENDED",
    "COMPLETED": "COMPLETED",
    "FAILED": "FAILED",
    "CANCELLED": "CANCELLED",
    "PREEMPTED": "CANCELLED",
    "REVOKED": "CANCELLED",
    "TIMEOUT": "TIMEOUT",
    "DEADLINE": "TIMEOUT",
    "OUT_OF_MEMORY": "OUT_OF_MEMORY",
    "NODE_FAIL": "NODE_FAIL",
    "BOOT_FAIL": "NODE_FAIL",
    "LAUNCH_FAILED": "NODE_FAIL",
    "RECONFIG_FAIL": "NODE_FAIL",
}
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")
STARTED = ("RUNNING", "SUSPENDED", *ENDED)

# What keeps a job from starting, in the words that the local queue uses where it has them.
WAITS = {
    "Priority": "Priority: others are before it",
    "Resources": "Resources: too little is free",
    "BeginTime": "Begin: not before its time, or a pause after it was queued again",
    "JobArrayTaskLimit": "Array limit: as many elements are running as may",
    "DependencyNeverSatisfied": "Dependency: it can never hold",
    "JobHeldUser": "Held: `cluster release` lets it go",
    "JobHeldAdmin": "Held by the administrator (or by root)",
    "PartitionConfig": "Partition: no machine in it has what the job asks for; ask for less",
    "PartitionNodeLimit": "Partition: it allows fewer machines; ask for fewer nodes",
    "PartitionTimeLimit": "Partition: its time limit is shorter; ask for less time",
    "PartitionDown": "Partition: it is down",
    "PartitionInactive": "Partition: it is inactive",
    "ReqNodeNotAvail": "Resources: a machine it needs is down or reserved",
    "Nodes required for job are DOWN": "Resources: the machines it needs are down or reserved",
    "BadConstraints": "Resources: no machine has the features it asks for",
    "Licenses": "Resources: too few licenses are free",
}
# Slurm tried to start it, and will not try again before somebody releases it.
STUCK = {
    "launch_failed_requeued_held": "the launch failed",
    "JobHoldMaxRequeue": "it was put back as often as the site allows",
}
AT_START = (
    "it was ended as it started: by somebody, or by Slurm, as its machine could not be set up for "
    "it (a prolog failed); with requeue=True it would be held"
)
ENDS = {
    "TIMEOUT": "it ran longer than its walltime",
    "DEADLINE": "its deadline passed",
    "OUT_OF_MEMORY": "it used more memory than it asked for",
    "PREEMPTED": "preempted by a job with a higher priority",
    "REVOKED": "it runs in another cluster of the federation",
    "NODE_FAIL": "its machine failed",
    "BOOT_FAIL": "its machine did not start",
    "COMPLETING": "Ending: Slurm waits for the last of its processes",
    "CONFIGURING": "Resources: its machine is getting ready",
    "POWER_UP_NODE": "Resources: its machine is getting ready",
}
