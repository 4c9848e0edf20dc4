"""What the machine offers: the smallest of all limits, and which one it was."""

from __future__ import annotations

import os

import pytest

from cluster.local.capacity import Facts, capacity, cgroup_dirs, decide, read

V2 = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def machine(cpus=4, **facts):
    return Facts(cpus=tuple(range(cpus)), memory_mib=8000, **facts)


def facts_of(files):
    return read(open_text=lambda path: files.get(path, ""))


def test_all_cpus_and_all_memory_are_offered_when_nothing_limits_them():
    offer = decide(machine(), {})

    assert (offer.cores, offer.cpus, offer.memory_mib) == (4, (0, 1, 2, 3), 8000)
    assert offer.why["cores"] == "the 4 CPUs this process may use"


def test_the_smallest_quota_decides_and_is_rounded_down():
    offer = decide(machine(quotas=(("/a/b", 3.9), ("/a", 2.5))), {})

    assert (offer.cores, offer.why["cores"]) == (2, "CPU quota of 2.5 in /a")


def test_half_a_core_of_quota_is_still_one_core():
    assert decide(machine(quotas=(("/a", 0.5),)), {}).cores == 1


def test_jobs_are_not_bound_to_cpus_when_a_quota_gives_fewer_cores():
    assert decide(machine(quotas=(("/a", 2.0),)), {}).cpus == ()


def test_configured_cores_only_lower_what_there_is():
    assert decide(machine(), {"cores": 3}).cpus == (0, 1, 2)
    assert decide(machine(), {"cores": 64}).cores == 4


def test_overcommit_offers_more_cores_than_there_are_and_binds_none():
    offer = decide(machine(), {"cores": 64, "memory_mib": 100_000, "overcommit": True})

    assert (offer.cores, offer.cpus, offer.memory_mib) == (64, (), 100_000)


def test_a_memory_limit_of_a_parent_group_counts():
    offer = decide(machine(limits=(("/a/b", 6000), ("/a", 4096))), {"memory_mib": 5000})

    assert (offer.memory_mib, offer.why["memory"]) == (4096, "memory limit of 4096 MiB in /a")


def test_named_resources_come_from_the_configuration():
    assert decide(machine(), {"resources": {"licence": 2}}).resources == {"licence": 2}


@pytest.mark.parametrize(
    ("visible", "configured", "gpus"),
    [
        (None, None, (0, 1, 2)),
        ("0,2", None, (0, 2)),
        ("", None, ()),
        ("-1", None, ()),
        ("1,-1,2", None, (1,)),
        ("GPU-5a1b,GPU-77", None, ()),
        ("0,2", 1, (0,)),
        (None, 5, (0, 1, 2, 3, 4)),
        (None, "1,2", (1, 2)),
        (None, 0, ()),
    ],
)
def test_gpus_are_the_visible_ones_unless_configured(visible, configured, gpus):
    facts = machine(devices=(0, 1, 2), visible=visible)

    assert decide(facts, {"gpus": configured}).gpus == gpus


def test_version_2_limits_are_read_from_the_group_and_all_its_parents():
    files = {
        "/proc/self/cgroup": "0::/user/me\n",
        "/proc/self/mountinfo": V2,
        "/sys/fs/cgroup/user/me/cpu.max": "max 100000\n",
        "/sys/fs/cgroup/user/cpu.max": "150000 100000\n",
        "/sys/fs/cgroup/user/me/memory.max": "1073741824\n",
        "/sys/fs/cgroup/user/memory.max": "max\n",
    }

    facts = facts_of(files)

    assert facts.quotas == (("/sys/fs/cgroup/user", 1.5),)
    assert facts.limits == (("/sys/fs/cgroup/user/me", 1024),)


def test_version_1_limits_are_read_and_its_way_of_saying_none_is_understood():
    files = {
        "/proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n",
        "/proc/self/mountinfo": V1,
        "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "200000\n",
        "/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": "536870912\n",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }

    facts = facts_of(files)

    assert facts.quotas == (("/sys/fs/cgroup/cpu,cpuacct/box", 2.0),)
    assert facts.limits == (("/sys/fs/cgroup/memory/box", 512),)


def test_a_container_that_sees_only_its_part_of_the_hierarchy_finds_its_group():
    mounted = "30 23 0:27 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n"

    found = cgroup_dirs("0::/docker/ab/job\n", mounted)

    assert found == {"": ["/sys/fs/cgroup/job", "/sys/fs/cgroup"]}


def test_the_cpus_of_another_process_can_be_asked_for():
    assert read(os.getpid()).cpus == tuple(sorted(os.sched_getaffinity(0)))


def test_this_machine_offers_something():
    offer = capacity()

    assert offer.cores >= 1
    assert offer.memory_mib > 0
