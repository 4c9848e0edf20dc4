"""The program of the job that tells how another one ended: a command, or a mail.

python -m cluster._notifier ID QTYPE DIRECTORY WISH
"""

from __future__ import annotations

import os
import subprocess
import sys
from email.message import EmailMessage
from typing import Any

from cluster import config_file
from cluster._option_directives import is_address
from cluster.errors import ConfigError
from cluster.job import Job

__all__ = ["main", "message", "send", "variables"]

PATIENCE_S = 600.0  # a cluster's books may be late
_SMTP_S = 60.0


def main(id: str, qtype: str, directory: str, wish: str) -> int:
    """Tell how a job ended; give the exit code of the job that does so.

    Args:
        id, qtype: of the job that ended.
        directory: where the command runs.
        wish: the command, or the address.
    """
    job = Job.load(id, qtype)
    job.wait(PATIENCE_S, progress=False)
    if is_address(wish):
        send(message(job, wish))
        return 0
    environ = os.environ | variables(job)
    return subprocess.run(
        ["/bin/bash", "-c", wish], cwd=directory, env=environ, check=False
    ).returncode


def variables(job: Job) -> dict[str, str]:
    """Give what a command finds in its environment."""
    return {
        "CLUSTER_ENDED_ID": str(job.id),
        "CLUSTER_ENDED_NAME": job.name,
        "CLUSTER_ENDED_STATE": str(job.state),
        "CLUSTER_ENDED_EXITCODE": "" if job.exitcode is None else str(job.exitcode),
        "CLUSTER_ENDED_REASON": job.reason,
    }


def message(job: Job, address: str) -> EmailMessage:
    """Write the mail."""
    mail = EmailMessage()
    name = " ".join(job.name.split())
    mail["Subject"] = f"job {job.id} ({name}) is {job.state}"
    mail["To"] = address
    mail["From"] = config_file.get("notify", "sender") or address
    lines = job.stderr.splitlines()[-20:]
    told = "\n".join([str(job), *(["", "the end of stderr:", *lines] if lines else [])])
    mail.set_content(told.encode("utf-8", "replace").decode())
    return mail


def send(mail: EmailMessage) -> None:
    """Hand a mail to the server of the configuration.

    Raises:
        ConfigError: there is none.
        OSError: it does not take the mail.
    """
    import smtplib

    def setting(name: str) -> Any:
        return config_file.get("notify", name)

    if not setting("smtp_host"):
        raise ConfigError(
            "no mail server is known. Set one: cluster config set notify.smtp_host mail.example.org"
        )
    kind = smtplib.SMTP_SSL if setting("smtp_security") == "ssl" else smtplib.SMTP
    with kind(setting("smtp_host"), setting("smtp_port"), timeout=_SMTP_S) as server:
        if setting("smtp_security") == "starttls":
            server.starttls()
        if setting("smtp_user"):
            with open(os.path.expanduser(setting("smtp_password_file")), encoding="utf-8") as file:
                server.login(setting("smtp_user"), file.readline().rstrip("\n"))
        server.send_message(mail)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
