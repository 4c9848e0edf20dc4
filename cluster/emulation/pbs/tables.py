"""The tables of qstat, column by column, as each flavour prints them.

Pure.  An id is never cut, unlike in the real ones: its host is part of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.emulation.pbs.attributes import View
from cluster.emulation.pbs.resources import clock, kilobytes, seconds

__all__ = ["alternate", "plain"]

_PRO_HEAD = (
    "Job id            Name             User              Time Use S Queue\n"
    "----------------  ---------------- ----------------  -------- - -----\n"
)
_PRO_WIDE = (
    "Job id                         Name            User            Time Use S Queue\n"
    "------------------------------ --------------- --------------- -------- - ---------------\n"
)
_TORQUE_HEAD = (
    "Job ID                    Name             User            Time Use S Queue\n"
    "------------------------- ---------------- --------------- -------- - -----\n"
)
_PRO_ALTERNATE = (
    "                                                            Req'd  Req'd   Elap\n"
    "Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time\n"
    "--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----\n"
)
_PRO_ALTERNATE_WIDE = (
    "                                                                                "
    "                   Req'd  Req'd   Elap\n"
    "Job ID                         Username        Queue           Jobname         S"
    "essID   NDS  TSK   Memory Time  S Time\n"
    "------------------------------ --------------- --------------- --------------- -"
    "------- ---- ----- ------ ----- - -----\n"
)  # fmt: skip
_TORQUE_ALTERNATE = (
    "                                                                                "
    "  Req'd       Req'd       Elap\n"
    "Job ID                  Username    Queue    Jobname          SessID  NDS   TSK "
    "  Memory      Time    S   Time\n"
    "----------------------- ----------- -------- ---------------- ------ ----- -----"
    "- --------- --------- - ---------\n"
)  # fmt: skip


def plain(views: Sequence[View], *, wide: bool = False) -> str:
    """Write the table of `qstat`; nothing at all without jobs."""
    if not views:
        return ""
    if not views[0].own.is_pro:
        return _TORQUE_HEAD + "".join(map(_torque_row, views))
    head = _PRO_WIDE if wide else _PRO_HEAD
    return head + "".join(_pro_row(view, wide=wide) for view in views)


def _cut(text: str, width: int) -> str:
    return text[:width]


def _pro_row(view: View, *, wide: bool) -> str:
    used = clock(view.row.info.cpu_s) if view.has_run else "0"
    if wide:
        return (
            f"{view.id:<30} {_cut(view.name, 15):<15} {_cut(view.user, 15):<15} {used:>8} "
            f"{view.letter} {_cut(view.queue, 15):<15}\n"
        )
    return (
        f"{view.id:<17} {_cut(view.name, 16):<16} {_cut(view.user, 17):<17} {used:>8} "
        f"{view.letter} {_cut(view.queue, 16):<16}\n"
    )


def _torque_row(view: View) -> str:
    used = clock(view.row.info.cpu_s) if view.has_run else "0"
    name = view.name if len(view.name) <= 16 else "..." + view.name[-13:]
    return (
        f"{view.id:<26} {name:<16} {_cut(view.user, 15):<15} {used:>8} "
        f"{view.letter} {_cut(view.queue, 15):<15}\n"
    )


def alternate(
    views: Sequence[View],
    *,
    nodes: bool = False,
    one_line: bool = False,
    comments: bool = False,
    wide: bool = False,
) -> str:
    """Write the table of `qstat -a` and its relatives."""
    if not views:
        return ""
    own = views[0].own
    head = _TORQUE_ALTERNATE
    if own.is_pro:
        head = _PRO_ALTERNATE_WIDE if wide else _PRO_ALTERNATE
    lines = [f"\n{views[0].host}: \n{head}"]
    for view in views:
        row = _pro_alternate(view, wide=wide) if own.is_pro else _torque_alternate(view)
        host = view.exec_host or " -- "
        lines.append(row + (f" {host}" if nodes and one_line else "") + "\n")
        if nodes and not one_line:
            lines.append(f"   {host}\n")
        if comments:
            lines.append(f"   {view.comment or '--'}\n")
    return "".join(lines)


def _pro_alternate(view: View, *, wide: bool) -> str:
    extra = view.row.extra
    session = f"{view.row.info.pid:>6}" if _has_session(view) else "   -- "
    memory = f"{_short(view.listed.get('mem', '')):>6}" if view.listed.get("mem") else "   -- "
    limit = _hours(view.listed.get("walltime", "")) or "  -- "
    elapsed = _hours(clock(view.used_s)) if view.has_run else "  -- "
    if wide:
        return (
            f"{view.id:<30} {_cut(view.user, 15):<15} {_cut(view.queue, 15):<15} "
            f"{_cut(view.name, 15):<15} {session:>8} {extra.nodes:>4} {extra.cores:>5} {memory} "
            f"{limit} {view.letter} {elapsed}"
        )
    return (
        f"{view.id:<15} {_cut(view.user, 8):<8} {_cut(view.queue, 8):<8} {_cut(view.name, 10):<10} "
        f"{session} {extra.nodes:>3} {extra.cores:>3} {memory} {limit} {view.letter} {elapsed}"
    )


def _torque_alternate(view: View) -> str:
    extra = view.row.extra
    session = f"{view.row.info.pid:>6}" if _has_session(view) else "   -- "
    memory = _short(view.listed.get("mem", "")) or "--"
    limit = view.listed.get("walltime") or "--"
    elapsed = clock(view.used_s) if view.has_run else "--"
    return (
        f"{view.id:<23} {_cut(view.user, 11):<11} {_cut(view.queue, 8):<8} "
        f"{_cut(view.name, 16):<16} {session} {extra.nodes:>5} {extra.cores:>6} "
        f"{memory:>9} {limit:>9} {view.letter} {elapsed:>9}"
    )


def _has_session(view: View) -> bool:
    return view.has_run and bool(view.row.info.pid)


def _hours(text: str) -> str:
    """Write HH:MM of HH:MM:SS."""
    found = seconds(text)
    return "" if found is None else f"{int(found) // 3600:02d}:{int(found) // 60 % 60:02d}"


def _short(text: str) -> str:
    """Write a size in at most six characters."""
    size = kilobytes(text)
    if size is None:
        return ""
    for unit in ("kb", "mb", "gb", "tb"):
        if size < 10000:
            return f"{int(size)}{unit}"
        size /= 1024
    return f"{int(size)}pb"
