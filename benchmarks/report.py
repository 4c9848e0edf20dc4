"""Figures with their goals, as a table.  Pure, but for the printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

PROCESSES = ("server", "node", "warm parents", "children", "client")
_DIGITS = {"S": 3, "F": 3, "x": 2, "s": 3, "ms": 2, "/s": 0}


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        what: for people.
        value: the median.
        unit: "S" and "x" are ratios.
        goal: what it is to become; None: nothing was promised.
        floor: what this version must reach.
        at_least: more is better; else goal and floor are upper limits.
        note: the range, or the rate behind a ratio.
    """

    what: str
    value: float
    unit: str
    goal: float | None = None
    floor: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Say which of its two limits it keeps."""
        if self.goal is None:
            return ""
        if self._keeps(self.goal):
            return "goal"
        if self.floor is None:
            return "below goal"
        return "pass" if self._keeps(self.floor) else "BELOW FLOOR"

    def _keeps(self, limit: float) -> bool:
        return self.value >= limit if self.at_least else self.value <= limit

    def limit(self, value: float | None) -> str:
        """Write a goal or floor."""
        if value is None:
            return ""
        return f"{'>=' if self.at_least else '<='} {value:,g} {self.unit}"

    def as_dict(self) -> dict[str, Any]:
        """Give it for JSON."""
        return asdict(self) | {"verdict": self.verdict}


@dataclass(frozen=True)
class Cost:
    """Processor time of one job (or submit), in milliseconds, by process."""

    what: str
    ms: Mapping[str, float]


def span(values: Sequence[float], digits: int = 0) -> str:
    """Write the range of what was measured."""
    return f"[{min(values):,.{digits}f}..{max(values):,.{digits}f}]"


def print_report(
    where: Mapping[str, Any],
    figures: Sequence[Figure],
    costs: Sequence[Cost],
    rss: Mapping[str, float],
) -> None:
    """Print everything for people."""
    print(
        f"{where['date']}, version {where['version']}, {where['cpu']}, {where['cores']} cores, "
        f"{where['system']}, Python {where['python']}, {where['file_system']}, "
        f"load {where['load_1m']}\n$ {where['command']}\n"
    )
    rows: list[tuple[str, ...]] = [("", "median", "floor", "goal", "", "")]
    for figure in figures:
        value = f"{figure.value:,.{_DIGITS[figure.unit]}f} {figure.unit}"
        limits = figure.limit(figure.floor), figure.limit(figure.goal)
        rows.append((figure.what, value, *limits, figure.verdict, figure.note))
    print_columns(rows, right=(1, 2, 3))
    print("\nProcessor time, ms each:")
    table: list[tuple[str, ...]] = [("", *PROCESSES, "sum")]
    for cost in costs:
        cells = [f"{cost.ms[name]:.3f}" if name in cost.ms else "" for name in PROCESSES]
        table.append((cost.what, *cells, f"{sum(cost.ms.values()):.3f}"))
    print_columns(table, right=range(1, len(PROCESSES) + 2))
    memory = ", ".join(f"{name} {mib:.1f} MiB" for name, mib in rss.items())
    print(f"\nMemory at the end (RSS): {memory}")


def print_columns(rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    """Print rows of cells, one under the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
