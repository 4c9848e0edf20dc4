"""How a pretended cluster was asked to be: told once, carried in the environment.

`CLUSTER_EMULATION` holds it as JSON, so that every command of the pipeline, and
those of its jobs, see the same cluster.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from cluster.errors import OptionsError

__all__ = ["VARIABLE", "Partition", "Settings", "read_partition"]

VARIABLE = "CLUSTER_EMULATION"


class Partition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A partition (queue) of the pretended cluster.

    Attributes:
        name: as users write it.
        cores, memory_mib: of all its nodes; 0 is what the machine has.
        walltime_s: the longest a job may ask for; 0 is no limit.
        nodes: how many it pretends to have.
    """

    name: str
    cores: int = 0
    memory_mib: int = 0
    walltime_s: float = 0.0
    nodes: int = 1


class Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `cluster emulate` was told.

    Attributes:
        family: the scheduler.
        strict: what is not supported is an error, and requests beyond the
            machine are answered as the real scheduler would.
        partitions: empty: every partition exists on first use.
        faults: what goes wrong on purpose, see the pytest plug-in.
    """

    family: str = ""
    strict: bool = False
    partitions: tuple[Partition, ...] = ()
    faults: dict[str, Any] = {}

    @classmethod
    def of(cls, env: Mapping[bytes, bytes], family: str) -> Settings:
        """Read them from an environment; what is not there has its default."""
        text = env.get(VARIABLE.encode())
        if text is None:
            return cls(family=family)
        try:
            found = msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return cls(family=family)
        return msgspec.structs.replace(found, family=family)

    def text(self) -> str:
        """Write them for the environment."""
        return json.dumps(msgspec.to_builtins(self), separators=(",", ":"))


def read_partition(text: str) -> Partition:
    """Read `NAME[:cores=N][:memory=M][:time=T][:nodes=N]`.

    Raises:
        OptionsError: what is wrong with it.
    """
    from cluster.units import parse_memory, parse_seconds

    name, *words = text.split(":")
    fields: dict[str, Any] = {}
    for word in words:
        key, equal, value = word.partition("=")
        if key == "time" and equal:
            value = ":".join([value, *words[words.index(word) + 1 :]])  # 1:00:00 has colons
            fields["walltime_s"] = parse_seconds(value)
            break
        if key == "memory" and equal:
            fields["memory_mib"] = parse_memory(value)
        elif key in ("cores", "nodes") and value.isdigit() and int(value) > 0:
            fields[key] = int(value)
        else:
            raise OptionsError(
                f"{word!r} in --partition {text!r} is not understood: write "
                "NAME[:cores=N][:memory=4GB][:nodes=N][:time=2h]."
            )
    if not name:
        raise OptionsError(f"--partition {text!r} has no name. Write NAME:cores=N.")
    return Partition(name=name, **fields)
