"""Where OpenPBS and Torque part: names, numbers of errors, words, usages.

Data, and the one function that turns an error into what a command says.
Numbers are those of the server's error list; a command exits with them modulo 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.emulation.call import Call, Stop

__all__ = ["Flavour", "of", "refuse", "refused", "usage", "warn"]

_PRO_ERRORS = {
    "unknown job": (15001, "Unknown Job Id"),
    "signal": (15013, "Unknown/illegal signal name"),
    "value": (15014, "Illegal attribute or resource value"),
    "running": (15015, "Cannot modify attribute while job running "),
    "state": (15016, "Request invalid for state of job"),
    "queue": (15018, "Unknown queue"),
    "resource": (15035, "Unknown resource"),
    "limit": (15036, "Job violates queue and/or server resource limits"),
    "dependency": (15059, "Invalid dependency"),
    "finished": (15139, "Job has finished"),
    "unsupported": (15082, "Not supported by this emulation"),
    "destination": (15018, "Unknown queue destination"),
}
_TORQUE_ERRORS = {
    "unknown job": (15001, "Unknown Job Id Error"),
    "signal": (15015, "Unknown/illegal signal name"),
    "value": (15016, "Illegal attribute or resource value"),
    "running": (15017, "Cannot modify attribute while job running "),
    "state": (15018, "Request invalid for state of job"),
    "queue": (15020, "Unknown queue MSG=requested queue not found"),
    "resource": (15037, "Unknown resource type "),
    "limit": (15038, "Job exceeds queue resource limits"),
    "dependency": (15061, "Invalid job dependency"),
    "finished": (15018, "Request invalid for state of job MSG=invalid state for job - COMPLETE"),
    "unsupported": (15084, "Not supported by this emulation"),
    "destination": (15020, "Unknown queue destination"),
}

_PRO_USAGES = {
    "qsub": """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version
""",
    "qstat": """\
usage: qstat [-f] [-J] [-p] [-t] [-x] [-E] [-F format] [-D delim] \
[job_identifier... | destination...]
       qstat [-a|-i|-r|-H|-T] [-J] [-t] [-u user_list] [-n] [-s] [-G|-M] [-1] [-w]
       qstat -Q [-f] [-F format] [-D delim] [destination... ]
       qstat -q [-G|-M] [destination... ]
       qstat -B [-f] [-F format] [-D delim] [server_name... ]
       qstat --version
""",
    "qdel": """\
usage:
\tqdel [-W force|suppress_email=X] [-x] job_identifier...
\tqdel --version
""",
    "qselect": """\
usage: qselect [-a [op]date_time] [-A account_string] [-c [op]interval] [-h hold_list] [-H]
\t[-J] [-l resource_list] [-N name] [-p [op]priority] [-P project] [-q destination]
\t[-r y|n] [-s states] [-t subattr[op]date_time] [-T] [-u user_list] [-x]
       qselect --version
""",
}
_TORQUE_USAGES = {
    "qsub": """\
usage: qsub [-a date_time] [-A account_string] [-b secs]
      [-c [ none | { enabled | periodic | shutdown |
      depth=<int> | dir=<path> | interval=<minutes>}... ]
      [-C directive_prefix] [-d path] [-D path]
      [-e path] [-h] [-I] [-j oe|eo|n] [-k {oe}] [-K <kill delay seconds>] [-l resource_list]
      [-m n|{abe}] [-M user_list] [-N jobname] [-o path] [-p priority] [-P proxy_user]
      [-q queue] [-r y|n] [-S path] [-t number_to_submit] [-T type]  [-u user_list] [-w path]
      [-W additional_attributes] [-v variable_list] [-V ] [-x] [-X] [-z] [script]
""",
    "qstat": """\
usage: \
\nqstat [-f [-1]] [-W site_specific] [-x] [ job_identifier... | destination... ]
qstat [-a|-i|-r|-e] [-u user] [-n [-1]] [-s] [-t] [-G|-M] [-R] [job_id... | destination...]
qstat -Q [-f [-1]] [-W site_specific] [ destination... ]
qstat -q [-G|-M] [ destination... ]
qstat -B [-f [-1]] [-W site_specific] [ server_name... ]
""",
    "qdel": "usage: qdel [{ -a | -c | -p | -t | -W delay | -m message}] "
    "[<JOBID>[<JOBID>]|'all'|'ALL']...\n",
    "qselect": """\
usage: qselect [-a [op]date_time] [-A account_string] [-c [op]interval]
\t[-h hold_list] [-l resource_list] [-N name] [-p [op]priority]
\t[-q destination] [-r y|n] [-s states] [-u user_name]
""",
}  # fmt: skip
_USAGES = {
    "qhold": "usage: qhold [-h hold_list] job_identifier...\n",
    "qrls": "usage: qrls [-h hold_list] job_identifier...\n",
    "qsig": "usage: qsig [-s signal] job_identifier...\n",
    "qrerun": "usage: qrerun [-W force] job_identifier...\n",
    "qalter": "usage: qalter [-a date_time] [-A account_string] [-e path] [-h hold_list] [-j y|n]\n"
    "\t[-l resource_list] [-N jobname] [-o path] [-p priority] [-r y|n]"
    " [-W otherattributes=value...] job_identifier...\n",
    "qmove": "usage: qmove destination job_identifier...\n",
    "qmsg": "usage: qmsg [-O] [-E] message_string job_identifier...\n",
    "qorder": "usage: qorder job_identifier job_identifier\n",
    "qrun": "usage: qrun [-a] [-H vnode_specification ] job_identifier_list\n",
    "pbsnodes": "usage:\tpbsnodes { -a | -l } [-s server] [-S] [-j] [-F format] [node ...]\n",
    "tracejob": "usage: tracejob [-a|s|l|m|v] [-n days] job_identifier...\n",
}  # fmt: skip


@dataclass(frozen=True)
class Flavour:
    """One of the two.

    Attributes:
        name: "pbs" or "torque".
        is_pro: it is OpenPBS (PBS Pro).
        version: it says it is.
        banner: what `--version` prints.
        queue: the default one.
        errors: kind -> number and words.
        usages: command -> text.
        keep_s: how long a finished job is listed by plain `qstat` (state C).
    """

    name: str
    is_pro: bool
    version: str
    banner: str
    queue: str
    errors: Mapping[str, tuple[int, str]]
    usages: Mapping[str, str]
    keep_s: float


_PRO = Flavour(
    name="pbs",
    is_pro=True,
    version="23.06.06",
    banner="pbs_version = 23.06.06\n",
    queue="workq",
    errors=_PRO_ERRORS,
    usages={**_USAGES, **_PRO_USAGES},
    keep_s=0.0,
)
_TORQUE = Flavour(
    name="torque",
    is_pro=False,
    version="6.1.2",
    banner="Version: 6.1.2\nCommit: 661e092552de43a785c15d39a3634a541d86898e\n",
    queue="batch",
    errors=_TORQUE_ERRORS,
    usages={**_USAGES, **_TORQUE_USAGES},
    keep_s=300.0,  # keep_completed, as its documentation proposes
)


def of(call: Call) -> Flavour:
    """Give the flavour whose command was called."""
    return _PRO if call.family == "pbs" else _TORQUE


def refused(call: Call, kind: str, detail: str = "") -> int:
    """Say why something was refused, and go on; give the exit code for it."""
    stop = refuse(call, kind, detail)
    call.err(stop.text)
    return stop.code


def refuse(call: Call, kind: str, detail: str = "") -> Stop:
    """Make the end of a call that was refused."""
    flavour = of(call)
    number, words = flavour.errors[kind]
    text = f"{words} {detail}" if detail else words
    if not flavour.is_pro and call.command == "qsub":
        text = f"submit error ({text})"
    return Stop(f"{call.command}: {text}\n", number % 256)


_warned: set[tuple[str, str]] = set()


def warn(call: Call, text: str) -> None:
    """Say once for each queue what is done otherwise than asked."""
    key = (call.machine.state_dir, text)
    if key not in _warned:
        _warned.add(key)
        call.err(f"{call.command}: warning: {text}\n")


def usage(call: Call, complaint: str = "", code: int = 2) -> Stop:
    """Make the end of a call that was not understood."""
    head = f"{call.command}: {complaint}\n" if complaint else ""
    return Stop(head + of(call).usages.get(call.command, ""), code)
