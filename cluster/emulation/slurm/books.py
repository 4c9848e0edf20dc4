"""sacctmgr, sshare, sprio, sstat and the like: what clients ask of a cluster of one user."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from cluster.emulation.call import Call, Stop
from cluster.emulation.slurm import jobs, site, steps
from cluster.emulation.slurm.environment import CLUSTER
from cluster.emulation.slurm.getopt import Options
from cluster.emulation.slurm.indices import BadArray
from cluster.emulation.slurm.jobs import View
from cluster.emulation.slurm.sacct_fields import FIELDS

__all__ = ["nothing", "sacctmgr", "sbcast", "sdiag", "sprio", "sshare", "sstat"]

_Rows = list[dict[str, str]]

_SACCTMGR = Options(
    """
associations s -
help h -
immediate i -
noheader n -
oneliner o -
parsable p -
parsable2 P -
quiet Q -
readonly r -
verbose v -
version V -
"""
)
# entity -> what it shows unless asked otherwise: heading and width, left if negative
_SHOWN: dict[str, tuple[tuple[str, int], ...]] = {
    "account": (("Account", 10), ("Descr", 20), ("Org", 20)),
    "user": (("User", 10), ("Def Acct", 10), ("Admin", 9)),
    "cluster": (("Cluster", 10), ("ControlHost", 15), ("ControlPort", 12), ("RPC", 5),
                ("Share", 9), ("GrpJobs", 7), ("GrpTRES", 13), ("GrpSubmit", 9), ("MaxJobs", 7),
                ("MaxTRES", 13), ("MaxSubmit", 9), ("MaxWall", 11), ("QOS", 20),
                ("Def QOS", 9)),
    "association": (("Cluster", 10), ("Account", 10), ("User", 10), ("Partition", 10),
                    ("Share", 9), ("Priority", 10), ("GrpJobs", 7), ("GrpTRES", 13),
                    ("GrpSubmit", 9), ("GrpWall", 11), ("GrpTRESMins", 13), ("MaxJobs", 7),
                    ("MaxTRES", 13), ("MaxTRESPerNode", 14), ("MaxSubmit", 9), ("MaxWall", 11),
                    ("MaxTRESMins", 13), ("QOS", 20), ("Def QOS", 9), ("GrpTRESRunMins", 13)),
    "qos": (("Name", 10), ("Priority", 10), ("GraceTime", 10), ("Preempt", 10),
            ("PreemptMode", 11), ("Flags", 20), ("UsageFactor", 11), ("MaxWall", 11)),
    "tres": (("Type", 8), ("Name", 15), ("ID", 6)),
    "event": (("Cluster", 10), ("NodeName", 15), ("TimeStart", 19), ("TimeEnd", 19),
              ("State", 6), ("Reason", 30), ("User", 10)),
    "wckey": (("WCKey", 10), ("Cluster", 10), ("User", 10)),
    "reservation": (("Cluster", 10), ("Name", 15), ("TRES", 30), ("TimeStart", 19),
                    ("TimeEnd", 19)),
    "runawayjobs": (("ID", 12), ("Name", 10)),
}  # fmt: skip
# entity, in the order in which they are tried -> how many of its letters are enough
_ENOUGH = {"accounts": 2, "associations": 2, "clusters": 2, "configuration": 2, "events": 1,
           "qos": 1, "reservations": 4, "runawayjobs": 2, "tres": 2, "users": 1,
           "wckeys": 1}  # fmt: skip
_PLAIN = ("qos", "tres", "runawayjobs", "configuration")
_NAMES = {"defaultaccount": "Def Acct", "defacct": "Def Acct", "adminlevel": "Admin",
          "description": "Descr", "organization": "Org", "defaultqos": "Def QOS",
          "fairshare": "Share", "qoslevel": "QOS"}  # fmt: skip


def sacctmgr(call: Call) -> int:
    """List what the books know; nothing can be changed."""
    typed, words = site.options(call, _SACCTMGR)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    if not words:
        return 0
    verb, *rest = words
    if verb.lower() in ("add", "create", "modify", "delete", "remove", "update"):
        if call.settings.strict:
            site.fail(call, "the accounts of an emulated cluster cannot be changed")
        call.out(" Nothing new added.\n" if verb.lower() in ("add", "create") else "")
        return 0
    if verb.lower() not in ("show", "list"):
        raise Stop(f"invalid keyword: {verb}\n", 1)
    entity = _entity(rest[0].lower()) if rest else ""
    if entity == "configuration":
        call.out("SLURM_VERSION           = 22.05.8\nTrackWCKey              = No\n")
        return 0
    if entity not in _SHOWN:
        raise Stop(
            "No valid entity in list command\n"
            'Input line must include "Account", "Association", "Cluster", "Configuration",\n'
            '"Event", "Federation", "Problem", "QOS", "Resource", "Reservation",\n'
            '"RunAwayJobs", "Stats", "Transaction", "TRES", "User", or "WCKey"\n',
            1,
        )
    call.out(_table(call, entity, rest[1:], given))
    return 0


def _entity(word: str) -> str:
    for name, enough in _ENOUGH.items():
        if len(word) >= enough and name.startswith(word):
            return name if name in _PLAIN else name.removesuffix("s")
    return {"assocs": "association"}.get(word, word)


def _table(call: Call, entity: str, words: Sequence[str], given: Mapping[str, str]) -> str:
    conditions = _conditions(words)
    shown = list(_SHOWN[entity])
    widths = {name.lower(): (name, width) for table in _SHOWN.values() for name, width in table}
    if "format" in conditions:
        shown = []
        for word in conditions.pop("format").split(","):
            name, _, width = word.partition("%")
            heading = _NAMES.get(name.lower(), name).lower()
            found, own = widths.get(heading, (name, 10))
            shown.append((found, int(width) if width.lstrip("-").isdigit() else own))
    rows = [row for row in _content(call, entity) if _holds(row, conditions)]
    heads = [name for name, _ in shown]
    cells = [[row.get(name, "") for name in heads] for row in rows]
    if given.keys() & {"parsable", "parsable2"}:
        last = "|" if "parsable" in given and "parsable2" not in given else ""
        lines = [*([] if "noheader" in given else [heads]), *cells]
        return "".join("|".join(line) + last + "\n" for line in lines)
    return _printed(heads, [width for _, width in shown], cells, "noheader" not in given)


def _printed(
    heads: Sequence[str], widths: Sequence[int], cells: Sequence[Sequence[str]], heading: bool
) -> str:
    lines = []
    if heading:
        lines.append(_line(heads, widths))
        lines.append(" ".join("-" * abs(width) for width in widths) + " ")
    lines += [_line(row, widths) for row in cells]
    return "".join(line + "\n" for line in lines)


def _line(values: Sequence[str], widths: Sequence[int]) -> str:
    cells = []
    for value, width in zip(values, widths, strict=True):
        size = abs(width)
        cut = value if len(value) <= size else value[: size - 1] + "+"
        cells.append(cut.ljust(size) if width < 0 else cut.rjust(size))
    return " ".join(cells) + " "


def _conditions(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equal, value = word.partition("=")
        if equal:
            found[{"users": "user", "names": "name"}.get(name.lower(), name.lower())] = value
        elif name.lower() not in ("where", "withassoc", "withdeleted", "tree", "wolimits"):
            found.setdefault("name", word)
    return found


def _holds(row: Mapping[str, str], conditions: Mapping[str, str]) -> bool:
    fields = {"user": "User", "account": "Account", "cluster": "Cluster"}
    for name, value in conditions.items():
        if name == "name":
            key = next(iter(row))
        elif name in fields and fields[name] in row:
            key = fields[name]
        else:
            continue
        if row[key] not in value.split(","):
            return False
    return True


def _accounts(call: Call) -> list[str]:
    """The user's own account, and those that jobs named."""
    names = [row.extra.account for row in call.machine.rows(limit=200)]
    return list(dict.fromkeys([call.machine.user, *(name for name in names if name)]))


def _content(call: Call, entity: str) -> _Rows:
    user = call.machine.user
    if entity == "account":
        return [{"Account": name, "Descr": name, "Org": name} for name in _accounts(call)]
    if entity == "user":
        level = "Administrator" if os.getuid() == 0 else "None"
        return [{"User": user, "Def Acct": user, "Admin": level, "Account": name,
                 "Cluster": CLUSTER, "QOS": "normal"} for name in _accounts(call)[:1]]  # fmt: skip
    if entity == "cluster":
        return [{"Cluster": CLUSTER, "ControlHost": "127.0.0.1", "ControlPort": "6817",
                 "RPC": "9728", "Share": "1", "QOS": "normal"}]  # fmt: skip
    if entity == "association":
        both = [(name, who) for name in _accounts(call) for who in ("", user)]
        return [{"Cluster": CLUSTER, "Account": name, "User": who, "Partition": "",
                 "Share": "1", "QOS": "normal"} for name, who in both]  # fmt: skip
    if entity == "qos":
        return [{"Name": "normal", "Priority": "0", "GraceTime": "00:00:00",
                 "PreemptMode": "cluster", "UsageFactor": "1.000000"}]  # fmt: skip
    if entity == "tres":
        kinds = (("cpu", ""), ("mem", ""), ("energy", ""), ("node", ""), ("billing", ""),
                 ("fs", "disk"), ("vmem", ""), ("pages", ""))  # fmt: skip
        return [{"Type": kind, "Name": name, "ID": str(at)}
                for at, (kind, name) in enumerate(kinds, 1)]  # fmt: skip
    return []


# ---------------------------------------------------------------- sshare

_SSHARE = Options(
    """
accounts A =
all a -
clusters M =
cluster - = clusters
format o =
helpformat e -
long l -
noheader n -
noheader2 h - noheader
parsable p -
parsable2 P -
partition m -
users u =
user - = users
Users U -
verbose v -
version V -
"""
)
_SHARES = (("Account", -20), ("User", 10), ("RawShares", 10), ("NormShares", 11),
           ("RawUsage", 11), ("EffectvUsage", 13), ("FairShare", 10))  # fmt: skip


def sshare(call: Call) -> int:
    """List shares: nobody else is here to share with."""
    typed, _ = site.options(call, _SSHARE)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    user = call.machine.user
    usage = {"RawUsage": "0", "EffectvUsage": "0.000000"}
    rows: _Rows = []
    for name in _accounts(call):
        if "Users" not in given:
            rows.append({"Account": name, "Cluster": CLUSTER, **usage})
        indent = "" if "Users" in given else " "
        rows.append({"Account": indent + name, "User": user, "RawShares": "1",
                     "FairShare": "0.000000", "Cluster": CLUSTER, **usage})  # fmt: skip
    wanted = given.get("users", user).split(",")
    rows = [row for row in rows if row.get("User", wanted[0]) in wanted]
    widths = {name.lower(): (name, width) for name, width in (*_SHARES, ("Cluster", 10))}
    names = given["format"].split(",") if "format" in given else [name for name, _ in _SHARES]
    shown = [widths.get(name.partition("%")[0].lower(), (name, 10)) for name in names]
    heads = [name for name, _ in shown]
    cells = [[row.get(name, "") for name in heads] for row in rows]
    if given.keys() & {"parsable", "parsable2"}:
        last = "|" if "parsable" in given else ""
        lines = [*([] if "noheader" in given else [heads]), *cells]
        call.out("".join("|".join(line) + last + "\n" for line in lines))
    else:
        call.out(_printed(heads, [width for _, width in shown], cells, "noheader" not in given))
    return 0


# ---------------------------------------------------------------- sstat and others

_SSTAT = Options(
    """
allsteps a -
format o =
helpformat e -
help h -
jobs j =
noheader n -
noconvert - -
parsable p -
parsable2 P -
pidformat i -
verbose v -
version V -
"""
)
_STATS = "jobid,maxvmsize,avevmsize,maxrss,maxrssnode,maxrsstask,averss,mincpu,avecpu,ntasks"


def sstat(call: Call) -> int:
    """List what steps that run use."""
    typed, words = site.options(call, _SSTAT, hint=False)
    given = dict(typed)
    if "version" in given:
        call.out(site.VERSION + "\n")
        return 0
    wanted = ",".join(filter(None, [given.get("jobs", ""), *words]))
    if not wanted:
        site.fail(call, "You didn't give me any jobs to stat.")
    names = [name.partition("%")[0].lower() for name in given.get("format", _STATS).split(",")]
    for name in names:
        if name not in FIELDS:
            site.fail(call, f'Invalid field requested: "{name}"')
    shown = [FIELDS[name] for name in names]
    cells = [[row.get(name, "") for name in names] for row in _stats(call, wanted, given)]
    heads = [column.name for column in shown]
    if given.keys() & {"parsable", "parsable2"}:
        last = "|" if "parsable" in given else ""
        lines = [*([] if "noheader" in given else [heads]), *cells]
        call.out("".join("|".join(line) + last + "\n" for line in lines))
    else:
        widths = [column.width for column in shown]
        call.out(_printed(heads, widths, cells, "noheader" not in given))
    return 0


def _stats(call: Call, wanted: str, given: Mapping[str, str]) -> _Rows:
    found: _Rows = []
    for word in wanted.split(","):
        id, _, only = word.partition(".")
        try:
            rows = jobs.find(call.machine, [id])
        except BadArray:
            rows = []
        running = [row for row in rows if row.info.state == "RUNNING"]
        if not running:
            call.err(f"sstat: error: couldn't get steps for job {word}\n")
        for row in running:
            view = View(row, now=time.time())
            live = steps.live(call.machine.state_dir, view.raw, row.info.attempt)
            parts = [(str(step.number), step.tasks) for step in live]
            if "allsteps" in given or only == "batch" or not parts:
                parts.append(("batch", 1))
            peak = f"{int(row.info.peak_memory_mib * 1024)}K"
            for name, tasks in parts:
                if not only or only == name:
                    found.append({
                        "jobid": f"{row.id}.{name}", "maxrss": peak, "averss": peak,
                        "maxvmsize": peak, "avevmsize": peak, "ntasks": str(tasks),
                        "avecpu": "00:00:00", "mincpu": "00:00:00", "maxrsstask": "0",
                        "maxrssnode": call.machine.host,
                    })  # fmt: skip
    return found


def sprio(call: Call) -> int:
    """Say that priorities are not computed from factors."""
    call.err(
        "You are not running a supported priority plugin\n(priority/basic).\n"
        "Only 'priority/multifactor' is supported.\n"
    )
    return 1


def sdiag(call: Call) -> int:
    """Give the counts that mean something here."""
    now = time.time()
    rows = call.machine.rows(states=jobs.LIVE)
    count = sum(row.info.state in ("RUNNING", "SUSPENDED") for row in rows)
    stars = "*" * 55
    stamp = time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(now))
    call.out(
        f"{stars}\nsdiag output at {stamp} ({int(now)})\n{stars}\n"
        "Server thread count:  1\nAgent queue size:     0\nAgent count:          0\n\n"
        f"Jobs pending:   {len(rows) - count}\nJobs running:   {count}\n"
    )
    return 0


def sbcast(call: Call) -> int:
    """Copy a file to the node, which is this one."""
    words = [word for word in call.argv if not word.startswith("-")]
    if not call.variable("SLURM_JOB_ID"):
        site.fail(
            call,
            "Need a job id to run this command.  Run from within a Slurm job or use the "
            "--jobid option.",
        )
    if len(words) != 2:
        site.fail(call, f"Need two file names, have {len(words)}")
    try:
        data = call.read_file(call.path(words[0]))
        fd = os.open(call.path(words[1]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755)
        with open(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        site.fail(call, f"{error.strerror}: {os.fsdecode(error.filename or words[1])}")
    return 0


def nothing(call: Call) -> int:
    """Have nothing to say, as strigger and sattach without anything to report."""
    if call.argv[:1] in (["-V"], ["--version"]):
        call.out(site.VERSION + "\n")
    return 0
