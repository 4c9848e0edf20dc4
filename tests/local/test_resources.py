"""Vectors of resources, and the pool that hands out cpus and gpus."""

from __future__ import annotations

import pytest

from cluster.errors import Unsatisfiable
from cluster.local import resources
from cluster.local.resources import Pool

NAMES = resources.names(["license"])


def machine(cores=4, memory_mib=1000, gpus=0, license=0, **more):
    """A pool with one cpu id per core, unless `cpus` says otherwise."""
    over = resources.need(
        NAMES, cores=cores, memory_mib=memory_mib, gpus=gpus, resources={"license": license}
    )
    return Pool(NAMES, over, **{"cpus": range(cores), **more})


def need(cores=1, memory_mib=0, gpus=0, **others):
    return resources.need(NAMES, cores=cores, memory_mib=memory_mib, gpus=gpus, resources=others)


def test_the_named_consumables_follow_the_three_of_every_machine_in_order():
    assert resources.names(["z", "license", "z"]) == (
        "cores",
        "memory_mib",
        "gpus",
        "license",
        "z",
    )


def test_what_is_not_asked_for_is_zero():
    assert need(2, license=1) == (2, 0, 0, 1)
    assert resources.as_dict(NAMES, need(2)) == {
        "cores": 2,
        "memory_mib": 0,
        "gpus": 0,
        "license": 0,
    }


def test_a_resource_that_the_machine_lacks_is_named_with_those_it_has():
    with pytest.raises(Unsatisfiable, match=r"no 'tape'; it has cores, memory_mib, gpus, license"):
        need(tape=1)


def test_asking_for_none_of_an_unknown_resource_is_asking_for_nothing():
    assert need(1, tape=0) == (1, 0, 0, 0)


@pytest.mark.parametrize("amount", [-1, 1.5, True, "2"])
def test_an_amount_is_a_whole_number(amount):
    with pytest.raises(Unsatisfiable, match="license="):
        need(license=amount)


def test_what_is_short_is_told_with_what_is_free():
    wanted = need(4, memory_mib=2048, gpus=1, license=2)

    said = resources.short(NAMES, wanted, (1, 512, 0, 2))

    assert said == ["needs 4 cores, 1 free", "needs 2G memory, 512M free", "needs 1 gpu, 0 free"]


def test_what_is_overdrawn_counts_as_none_free():
    assert resources.short(NAMES, need(1), (-2, 0, 0, 0)) == ["needs 1 core, 0 free"]


def test_an_overdrawn_resource_stops_only_those_who_want_it():
    assert resources.fits(need(1), (1, -100, 0, 0))
    assert not resources.fits(need(1, memory_mib=1), (1, -100, 0, 0))


def test_the_lowest_cpus_and_gpus_are_handed_out():
    pool = machine(4, gpus=2)

    first, second = pool.take(need(2, gpus=1)), pool.take(need(1, gpus=1))

    assert (first.cpus, first.gpus) == ((0, 1), (0,))
    assert (second.cpus, second.gpus) == ((2,), (1,))
    assert pool.free == need(1, memory_mib=1000)


def test_the_cpus_of_one_job_are_neighbours_when_they_can_be():
    pool = machine(6)
    first, _second, third = pool.take(need(1)), pool.take(need(1)), pool.take(need(2))
    pool.give_back(first)
    pool.give_back(third)

    assert pool.take(need(2)).cpus == (2, 3)


def test_cpus_that_are_not_neighbours_serve_too():
    pool = machine(4)
    singles = [pool.take(need(1)) for _ in range(4)]
    pool.give_back(singles[0])
    pool.give_back(singles[2])

    assert pool.take(need(2)).cpus == (0, 2)


def test_the_machine_names_its_own_cpus():
    pool = machine(2, cpus=(5, 3))

    assert pool.take(need(1)).cpus == (3,)


def test_gpus_keep_the_indices_that_the_machine_gave_them():
    pool = Pool(NAMES, need(1, gpus=2), gpus=(3, 1))

    assert pool.take(need(1, gpus=2)).gpus == (1, 3)


def test_more_gpus_than_indices_are_refused():
    with pytest.raises(ValueError, match="2 gpus"):
        Pool(NAMES, need(1, gpus=2), gpus=(0,))


def test_more_cores_than_cpus_means_no_affinity():
    pool = machine(8, cpus=range(2))

    assert pool.take(need(3)).cpus == ()


def test_a_job_without_cores_gets_no_cpu():
    assert machine().take(need(0)).cpus == ()


def test_what_is_not_free_is_refused_and_nothing_is_taken():
    pool = machine(2)

    with pytest.raises(ValueError, match="not free"):
        pool.take(need(3))

    assert pool.free == pool.capacity


def test_what_was_given_back_is_free_again():
    pool = machine(2, gpus=1)

    pool.give_back(pool.take(need(2, memory_mib=1000, gpus=1)))

    assert pool.free == pool.capacity
    assert pool.take(need(2, gpus=1)).cpus == (0, 1)


def test_lent_cores_are_free_but_memory_is_not():
    pool = machine(2)
    lender = pool.lend(pool.take(need(2, memory_mib=600)))

    assert lender.lent
    assert lender.held == need(0, memory_mib=600)
    assert pool.free == need(2, memory_mib=400)
    assert pool.take(need(1)).cpus == (0,)


def test_a_lender_gets_the_same_cpus_back_if_they_are_free():
    pool = machine(4)
    pool.take(need(1))
    lender = pool.lend(pool.take(need(2)))
    pool.give_back(pool.take(need(1)))

    back = pool.reclaim(lender)

    assert (back.cpus, back.lent) == ((1, 2), False)
    assert pool.free == need(1, memory_mib=1000)


def test_a_lender_gets_other_cpus_if_its_own_are_taken():
    pool = machine(4)
    lender = pool.lend(pool.take(need(2)))
    pool.take(need(1))

    assert pool.reclaim(lender).cpus == (1, 2)


def test_a_lender_waits_for_cores_that_are_taken():
    pool = machine(2)
    lender = pool.lend(pool.take(need(2)))
    pool.take(need(1))

    with pytest.raises(ValueError, match="2 cores are not free"):
        pool.reclaim(lender)


def test_lending_twice_and_reclaiming_twice_change_nothing():
    pool = machine(2)
    job = pool.take(need(2))

    lender = pool.lend(pool.lend(job))
    back = pool.reclaim(pool.reclaim(lender))

    assert back == job
    assert pool.free == need(0, memory_mib=1000)


def test_a_lender_that_ends_gives_back_only_what_it_holds():
    pool = machine(2)
    lender = pool.lend(pool.take(need(2, memory_mib=10)))
    other = pool.take(need(2))

    pool.give_back(lender)

    assert pool.free == need(0, memory_mib=1000)
    assert other.cpus == (0, 1)
    pool.give_back(other)
    assert pool.free == pool.capacity


def test_a_lender_that_ends_does_not_free_the_cpus_of_who_took_them():
    pool = machine(4)
    lender = pool.lend(pool.take(need(2)))
    assert pool.take(need(2)).cpus == (0, 1)

    pool.give_back(lender)

    assert pool.take(need(1)).cpus == (2,)


def test_a_lender_found_running_holds_neither_cores_nor_cpus():
    pool = machine(2)

    found = pool.adopt(need(2, memory_mib=10), cpus=(0, 1), lent=True)

    assert pool.free == need(2, memory_mib=990)
    assert pool.take(need(1)).cpus == (0,)
    pool.give_back(found)
    assert pool.free == need(1, memory_mib=1000)


def test_a_lender_larger_than_the_shrunken_machine_goes_on_once_nothing_runs():
    pool = machine(4)
    lender = pool.lend(pool.take(need(4)))
    other = pool.take(need(1))
    pool.resize(need(2, memory_mib=1000), cpus=range(2))

    with pytest.raises(ValueError, match="not free"):
        pool.reclaim(lender)
    pool.give_back(other)

    assert pool.reclaim(lender).cpus == (0, 1)
    assert pool.free[0] == -2


def test_a_shrunken_pool_owes_and_hands_out_nothing_until_it_has_some_again():
    pool = machine(4)
    jobs = [pool.take(need(1)) for _ in range(4)]
    pool.resize(need(2, memory_mib=1000), cpus=(0, 1))

    assert pool.free[0] == -2
    pool.give_back(jobs[3])
    pool.give_back(jobs[2])
    assert pool.free[0] == 0
    pool.give_back(jobs[1])

    assert pool.take(need(1)).cpus == (1,)


def test_a_removed_cpu_is_not_handed_out_when_its_job_ends():
    pool = machine(2)
    low, high = pool.take(need(1)), pool.take(need(1))
    pool.resize(need(1, memory_mib=1000), cpus=(1,))
    pool.give_back(low)
    pool.give_back(high)

    assert pool.take(need(1)).cpus == (1,)


def test_a_grown_pool_hands_out_the_new_cpus():
    pool = machine(1)
    pool.take(need(1))

    pool.resize(need(3, memory_mib=1000), cpus=range(3))

    assert pool.take(need(2)).cpus == (1, 2)


def test_a_change_of_the_number_alone_keeps_the_cpus():
    pool = machine(4)

    pool.resize(need(2, memory_mib=1000))

    assert pool.take(need(2)).cpus == (0, 1)


def test_a_job_found_running_is_booked_with_what_it_holds():
    pool = machine(2)

    found = pool.adopt(need(1, memory_mib=2000), cpus=(0,))

    assert pool.free == (1, -1000, 0, 0)
    assert pool.take(need(1)).cpus == (1,)
    pool.give_back(found)
    assert pool.free == need(1, memory_mib=1000)


def test_a_cpu_held_twice_is_free_only_when_both_gave_it_back():
    pool = machine(2)
    first, second = pool.adopt(need(0), cpus=(0,)), pool.adopt(need(0), cpus=(0,))

    pool.give_back(first)

    assert pool.take(need(1)).cpus == (1,)
    pool.give_back(second)
    assert pool.take(need(1)).cpus == (0,)


def test_a_capacity_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="one amount for each"):
        machine().resize((1, 2))


def test_what_there_is_is_told_in_the_units_of_people():
    over = resources.names(["license"])

    assert resources.told(over, (1, 2048, 0, 0)) == ["1 core", "2G memory", "0 license"]
