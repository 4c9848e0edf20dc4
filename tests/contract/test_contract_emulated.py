"""The contract, kept by each emulated scheduler through our own dialect of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster
from cluster import schedulers
from cluster.emulation import families
from cluster.testing.contract import *  # noqa: F403
from cluster.testing.contract import Site

pytestmark = [pytest.mark.emulation, pytest.mark.slow]

# Slurm's memory limit is soft unless it is strict; LSF counts walltime in minutes, and its own
# tests have a queue whose limit is a second.
STRICT = {"slurm"}
WALLTIME_S = {"slurm": 60.0}
MISSING = {"lsf": {"walltime": "a limit in LSF is whole minutes, too long to wait for here"}}


# A family is one worker's.
FAMILIES = [
    pytest.param(name, marks=pytest.mark.xdist_group(name))
    for name in ("slurm", "pbs", "torque", "sge", "lsf")
]


@pytest.fixture(scope="module", params=FAMILIES)
def site(
    request: pytest.FixtureRequest, module_state: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A private cluster of each family."""
    saved = dict(os.environ)
    qtype = families.get(request.param).qtype
    try:
        strict = request.param in STRICT
        with cluster.emulate(request.param, private=True, cores=8, strict=strict) as env:
            os.environ.update(env)
            for cached in (schedulers.probe, schedulers.words_of, schedulers.get):
                cached.cache_clear()  # another family's, or another flavour's
            found = schedulers.probe(qtype)
            assert found.version, found.problem
            missing = {**schedulers.words_of(qtype).missing, **MISSING.get(request.param, {})}
            folder = tmp_path_factory.mktemp("jobs")
            walltime_s = WALLTIME_S.get(request.param, 2.0)
            # The other tests of the family may be over in less than its walltime.
            late_s = walltime_s + 60.0
            yield Site(qtype, folder, missing=missing, walltime_s=walltime_s, over_time_s=late_s)
    finally:
        os.environ.clear()
        os.environ.update(saved)
        for cached in (schedulers.probe, schedulers.words_of, schedulers.get):
            cached.cache_clear()
