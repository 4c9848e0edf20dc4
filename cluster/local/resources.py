"""What a machine has and what jobs take of it: vectors of ints, and who holds which cpu.

Pure.  A need, a capacity and what is free are tuples of ints over one ordered
tuple of names: `("cores", "memory_mib", "gpus", *named consumables sorted)`.
`Pool` keeps the account and hands out the indices.  It never decides who gets
something (`policy` does) and never looks at the machine (its caller did).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cluster.errors import Unsatisfiable
from cluster.units import format_memory

__all__ = [
    "BASE",
    "Allocation",
    "Pool",
    "Vector",
    "add",
    "as_dict",
    "fits",
    "names",
    "need",
    "short",
    "subtract",
    "told",
    "vector",
]

Vector = tuple[int, ...]

BASE = ("cores", "memory_mib", "gpus")
_CORES = BASE.index("cores")
_GPUS = BASE.index("gpus")


def names(consumables: Iterable[str] = ()) -> tuple[str, ...]:
    """Give the order of every vector on a machine with these named consumables."""
    return (*BASE, *sorted(set(consumables) - set(BASE)))


def vector(over: Sequence[str], amounts: Mapping[str, int]) -> Vector:
    """Make a vector; what `amounts` does not name is 0.

    Args:
        over: the names, in order, as from `names`.
        amounts: how much of each; whole numbers, memory in MiB.

    Raises:
        Unsatisfiable: it names something that this machine does not have, or an
            amount is negative or not whole.
    """
    for name, amount in amounts.items():
        if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
            raise Unsatisfiable(
                f"{name}={amount!r} is not an amount: give a whole number, 0 or more."
            )
        if amount and name not in over:
            raise Unsatisfiable(
                f"this machine has no {name!r}; it has {', '.join(over)}. Add it with "
                f"`cluster config set local.resources {name}={amount}`; a new server reads that."
            )
    return tuple(amounts.get(name, 0) for name in over)


def need(
    over: Sequence[str],
    *,
    cores: int = 1,
    memory_mib: int = 0,
    gpus: int = 0,
    resources: Mapping[str, int] | None = None,
) -> Vector:
    """Make the vector of a job's request; arguments and errors as in `vector`."""
    own = {"cores": cores, "memory_mib": memory_mib, "gpus": gpus}
    return vector(over, {**(resources or {}), **own})


def as_dict(over: Sequence[str], amounts: Vector) -> dict[str, int]:
    """Give each amount its name."""
    return dict(zip(over, amounts, strict=True))


def fits(wanted: Vector, free: Vector) -> bool:
    """Tell whether `free` has everything that is wanted.

    Something that is overdrawn (negative, after the capacity shrank) is missing
    only to those who want some of it.
    """
    for amount, spare in zip(wanted, free, strict=True):  # noqa: SIM110 (all() takes twice as long)
        if amount > spare and amount:
            return False
    return True


def add(left: Vector, right: Vector) -> Vector:
    """Add name by name."""
    return tuple([a + b for a, b in zip(left, right, strict=True)])


def subtract(left: Vector, right: Vector) -> Vector:
    """Subtract name by name; the result may be negative."""
    return tuple([a - b for a, b in zip(left, right, strict=True)])


def short(over: Sequence[str], wanted: Vector, free: Vector) -> list[str]:
    """Say for people what is missing: `["needs 4 cores, 1 free"]`; empty when all fits."""
    return [
        f"needs {_amount(name, amount)}, {_bare(name, max(spare, 0))} free"
        for name, amount, spare in zip(over, wanted, free, strict=True)
        if amount > spare and amount
    ]


def told(over: Sequence[str], amounts: Vector) -> list[str]:
    """Say for people what there is: `["2 cores", "24105M memory", "1 license"]`."""
    return [
        _amount(name, amount)
        for name, amount in zip(over, amounts, strict=True)
        if amount or name not in BASE
    ]


def _amount(name: str, amount: int) -> str:
    label = "memory" if name == "memory_mib" else name
    if amount == 1 and name in ("cores", "gpus"):
        label = name[:-1]
    return f"{_bare(name, amount)} {label}"


def _bare(name: str, amount: int) -> str:
    return format_memory(amount) if name == "memory_mib" else str(amount)


class Allocation(msgspec.Struct, frozen=True):
    """What one job holds.

    Attributes:
        need: what it asked for.
        cpus: the cpus its processes are pinned to; empty: no affinity.
        gpus: the gpus it sees.
        lent: its cores, and those cpus, are with the pool while it waits.
    """

    need: Vector
    cpus: tuple[int, ...] = ()
    gpus: tuple[int, ...] = ()
    lent: bool = False

    @property
    def held(self) -> Vector:
        """What it takes from the pool now."""
        return _without_cores(self.need) if self.lent else self.need


def _without_cores(amounts: Vector) -> Vector:
    return (*amounts[:_CORES], 0, *amounts[_CORES + 1 :])


class Pool:
    """The account of one machine: how much is free, and which indices.

    An `Allocation` is immutable: hold the one that was returned last.  `free` is
    negative where the capacity was made smaller than what runs; then nothing of
    it is handed out until enough came back.

    Args:
        over: the names, in order, as from `names`.
        capacity: how much there is of each.
        cpus: ids of the cpus that jobs may use.  If there are fewer than cores
            (configured so, or unknown), no job is pinned.
        gpus: indices of the gpus; None: 0, 1, ... as many as the capacity says.
    """

    def __init__(
        self,
        over: Sequence[str],
        capacity: Vector,
        *,
        cpus: Sequence[int] = (),
        gpus: Sequence[int] | None = None,
    ) -> None:
        self.names = tuple(over)
        self._used: Vector = (0,) * len(self.names)
        self._busy_cpus: Counter[int] = Counter()
        self._busy_gpus: Counter[int] = Counter()
        self.resize(capacity, cpus=cpus, gpus=gpus)

    def resize(
        self,
        capacity: Vector,
        *,
        cpus: Sequence[int] | None = None,
        gpus: Sequence[int] | None = None,
    ) -> None:
        """Change what there is; running jobs keep what they hold.

        Args:
            capacity: how much there is of each from now on.
            cpus: as in the constructor; None: the same ids as before.
            gpus: as in the constructor.
        """
        if len(capacity) != len(self.names):
            raise ValueError(f"capacity {capacity} is not one amount for each of {self.names}")
        self.capacity = capacity
        self.free = subtract(capacity, self._used)
        if cpus is not None:
            self._cpus = tuple(sorted(set(cpus)))
        self._gpus = tuple(range(capacity[_GPUS]) if gpus is None else sorted(set(gpus)))
        if len(self._gpus) < capacity[_GPUS]:
            raise ValueError(f"{capacity[_GPUS]} gpus, but indices only for {self._gpus}")

    def take(self, wanted: Vector) -> Allocation:
        """Take what a job needs.

        Raises:
            ValueError: it is not free; `fits(wanted, pool.free)` tells before.
        """
        if not fits(wanted, self.free):
            raise ValueError(f"{wanted} of {self.names} is not free: {self.free}")
        gpus = _lowest_free(self._gpus, self._busy_gpus, wanted[_GPUS])
        return self.adopt(wanted, self._choose_cpus(wanted[_CORES]), gpus)

    def adopt(
        self,
        wanted: Vector,
        cpus: Sequence[int] = (),
        gpus: Sequence[int] = (),
        lent: bool = False,
    ) -> Allocation:
        """Book what a job was found to hold already, even beyond what is free."""
        allocation = Allocation(wanted, tuple(cpus), tuple(gpus), lent)
        self._book(allocation.held, 1)
        self._busy_gpus.update(allocation.gpus)
        if not lent:
            self._busy_cpus.update(allocation.cpus)
        return allocation

    def give_back(self, allocation: Allocation) -> None:
        """Take everything back, whether its cores were lent or not."""
        self._book(allocation.held, -1)
        _release(self._busy_gpus, allocation.gpus)
        if not allocation.lent:
            _release(self._busy_cpus, allocation.cpus)

    def lend(self, allocation: Allocation) -> Allocation:
        """Put the cores of a job that waits for others back into the pool.

        Memory, gpus and the rest stay with it: its processes live on.
        """
        if allocation.lent:
            return allocation
        lent = msgspec.structs.replace(allocation, lent=True)
        self._book(subtract(allocation.need, lent.held), -1)
        _release(self._busy_cpus, allocation.cpus)
        return lent

    def reclaim(self, allocation: Allocation) -> Allocation:
        """Give a lender its cores again: the same cpus if all are free, else others.

        A job larger than a capacity that shrank meanwhile comes back when no
        core is taken; it was running before, so it is not kept from going on.

        Raises:
            ValueError: the cores are not free.
        """
        if not allocation.lent:
            return allocation
        cores = allocation.need[_CORES]
        if cores and min(cores, self.capacity[_CORES]) > self.free[_CORES]:
            raise ValueError(f"{cores} cores are not free: {self.free[_CORES]}")
        cpus = allocation.cpus
        if not cpus or not all(cpu in self._cpus and not self._busy_cpus.get(cpu) for cpu in cpus):
            cpus = self._choose_cpus(cores)
        back = Allocation(allocation.need, cpus, allocation.gpus)
        self._book(subtract(back.need, allocation.held), 1)
        self._busy_cpus.update(cpus)
        return back

    def _choose_cpus(self, count: int) -> tuple[int, ...]:
        """The lowest free neighbours, else the lowest free ones."""
        if self.capacity[_CORES] > len(self._cpus):
            return ()
        free = [cpu for cpu in self._cpus if not self._busy_cpus.get(cpu)]
        for at in range(len(free) - count + 1):
            if count and free[at + count - 1] - free[at] == count - 1:
                return tuple(free[at : at + count])
        return tuple(free[:count])

    def _book(self, amounts: Vector, sign: int) -> None:
        self._used = (add if sign > 0 else subtract)(self._used, amounts)
        self.free = subtract(self.capacity, self._used)


def _lowest_free(ids: Sequence[int], busy: Counter[int], count: int) -> tuple[int, ...]:
    return tuple([index for index in ids if not busy.get(index)][:count])


def _release(busy: Counter[int], ids: Sequence[int]) -> None:
    for index in ids:
        busy[index] -= 1
        if busy[index] <= 0:
            del busy[index]
