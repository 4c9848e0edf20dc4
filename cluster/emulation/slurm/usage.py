"""What `--help` and `--usage` print: the options that a command takes."""

from __future__ import annotations

from cluster.emulation.slurm.getopt import Options

__all__ = ["usage"]

_ARGUMENT = {"": "", "=": "=value", "?": "[=value]"}


def usage(command: str, rest: str, table: Options) -> str:
    """Write the usage of a command.

    Args:
        command: its name.
        rest: what stands behind the options.
        table: its options.
    """
    lines = [f"Usage: {command} [OPTIONS...] {rest}".rstrip(), ""]
    for option in table.all:
        letter = f"-{option.short}, " if option.short else "    "
        lines.append(f"  {letter}--{option.name}{_ARGUMENT[option.argument]}")
    return "\n".join(lines) + "\n"
