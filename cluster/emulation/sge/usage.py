"""What the commands say of themselves; programs look for the version in its first line."""

from __future__ import annotations

from cluster.emulation.sge.site import VERSION

__all__ = ["text"]

_OPERANDS = {
    "qsub": "[options] [script|- [arguments]]",
    "qstat": "[options]",
    "qalter": "[options] job_task_list",
    "qdel": "[options] job_task_list",
    "qhold": "[options] job_task_list",
    "qrls": "[options] job_task_list",
    "qresub": "[options] job_id_list",
    "qmod": "[options] job_task_list",
}
_HELP: dict[str, str] = {
    "qsub": "-a -ac -A -ar -b -binding -c -ckpt -clear -cwd -C -dc -dl -e -h -hard -help -hold_jid "
    "-hold_jid_ad -i -j -js -jsv -l -m -masterq -M -N -notify -now -o -ot -p -P -pe -q -r -R "
    "-sc -shell -soft -sync -S -t -tc -terse -v -verify -V -w -wd -@",
    "qstat": "-ext -explain -f -F -g -help -j -l -ne -ncb -pe -pri -q -qs -r -s -t -u -U -urg -xml",
    "qalter": "-a -ac -A -cwd -dc -e -h -hold_jid -i -j -l -m -M -N -notify -o -p -P -pe -q -r -R "
    "-S -t -tc -u -v -V -wd",
    "qdel": "-f -help -u -t",
    "qhold": "-h -help -u -t",
    "qrls": "-h -help -u -t",
    "qacct": "-A -b -d -e -E -f -g -h -help -j -l -o -P -pe -q -slots -t",
    "qhost": "-F -h -help -j -l -ncb -q -u -xml",
    "qmod": "-cj -cq -d -e -f -help -rj -rq -sj -sq -usj -usq",
    "qresub": "-help",
    "qselect": "-help -l -pe -q -qs -s -U",
    "qquota": "-help -h -l -P -pe -q -u -xml",
    "qconf": "-help -sc -scal -scall -sconf -sconfl -se -sel -sh -shgrp -shgrpl -sm -so -sp -spl "
    "-sprj -sprjl -sq -sql -ss -ssconf -sss -su -sul -suser -suserl",
    "qrsh": "-b -cwd -inherit -l -N -noshell -nostdin -now -P -pe -pty -q -v -V -verbose",
    "qlogin": "-cwd -l -N -now -P -pe -pty -q -v -V",
}


def text(command: str) -> str:
    """Give the version, how a command is called, and which options it knows."""
    operands = _OPERANDS.get(command, "[options]")
    lines = "".join(f"   [{option}]\n" for option in _HELP.get(command, "").split())
    return f"{VERSION}\nusage: {command} {operands}\n{lines}"
