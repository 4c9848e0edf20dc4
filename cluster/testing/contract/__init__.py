"""What every scheduler does alike: one suite of tests for all of them.

A test module takes all of it and says which scheduler is meant:

    from cluster.testing.contract import *

    @pytest.fixture(scope="module")
    def site(tmp_path_factory):
        return Site("slurm", tmp_path_factory.mktemp("jobs"), missing=Slurm().missing)

`pytest.register_assert_rewrite("cluster.testing.contract")` in its conftest.py
makes failures tell more.  What a scheduler cannot do is in its `missing`: then
the suite checks that the user is told that sentence.
"""

# ruff: noqa: F403  a table of contents
from cluster.testing.contract.arrays import *
from cluster.testing.contract.dependencies import *
from cluster.testing.contract.helping import *
from cluster.testing.contract.job_arrays import *
from cluster.testing.contract.launching import *
from cluster.testing.contract.limits import *
from cluster.testing.contract.many import *
from cluster.testing.contract.pipelines import *
from cluster.testing.contract.results import *
from cluster.testing.contract.site import *
from cluster.testing.contract.steering import *
from cluster.testing.contract.surroundings import *
from cluster.testing.contract.sweeps import *
from cluster.testing.contract.telling import *
