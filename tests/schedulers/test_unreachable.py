"""What the programs of each family say when they reach nobody: never a refusal, never an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster.errors import QueueError, ServerUnavailable
from cluster.schedulers.dialect import Answer, Dialect
from cluster.schedulers.lsf import Lsf
from cluster.schedulers.sge import Sge
from cluster.schedulers.slurm import Slurm
from cluster.schedulers.torque import Torque

# (family, code, standard error): seen, or as the family's documents and users report them.
NOT_CONFIGURED = [
    (Slurm, 1, "{}: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
     "{}: error: fetch_config: DNS SRV lookup failed\n"
     "{}: error: _establish_config_source: failed to fetch config\n"
     "{}: fatal: Could not establish a configuration source\n"),
    (Slurm, 1, "{}: error: s_p_parse_file: cannot stat file /nonexistent/slurm.conf: No such file "
     "or directory, retrying in 1sec up to 60sec\n{}: error: ClusterName needs to be specified\n"
     "{}: fatal: Unable to process configuration file\n"),
    (Slurm, 1, "{}: error: get_addr_info: getaddrinfo() failed: Name or service not known\n"
     '{}: error: slurm_set_addr: Unable to resolve "no.such.host.invalid"\n'
     "{}: error: Unable to establish control machine address\n"
     "{}: error: Batch job submission failed: No error\n"),
    (Sge, 1, '\nUnable to initialize environment because of error: SGE_ROOT directory "/none" '
     "doesn't exist\nExiting.\n"),
    (Sge, 1, 'error: SGE_ROOT directory "/none" doesn\'t exist\n'),
    (Sge, 1, 'error: cell directory "/var/lib/gridengine/none" doesn\'t exist\n'),
    (Sge, 1, "critical error: Please set the environment variable SGE_ROOT.\n"),
    (Torque, 1, "{}: cannot connect to server (errno=15008) no default server name\n"),
    (Torque, 153, "Unknown Host.\n{}: cannot connect to server pbs1 (errno=15008)\n"),
    (Torque, 1, "pbsconf error: pbs conf variables not found: PBS_SERVER PBS_EXEC\n"
     "{}: cannot connect to server (null) (errno=15134)\n"),
    (Lsf, 255, "ls_initdebug: Unable to open file lsf.conf\n"),
    (Lsf, 255, "Failed in an LSF library call: Unable to open file lsf.conf. Job not submitted.\n"),
]  # fmt: skip

NOT_REACHED = [
    (Slurm, 1, "{}: error: Batch job submission failed: Unable to contact slurm controller "
     "(connect failure)\n"),
    (Slurm, 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"),
    (Slurm, 1, "{}: error: Batch job submission failed: Socket timed out on send/recv operation\n"),
    (Slurm, 1, '{}: error: If munged is up, restart with --num-threads=10\n{}: error: Munge encode '
     'failed: Failed to access "/run/munge/munge.socket.2": No such file or directory\n'
     "{}: error: authentication: Invalid authentication credential\n"),
    (Slurm, 1, "{}: error: Munge decode failed: Socket timed out\n"
     "{}: error: Batch job submission failed: Protocol authentication error\n"),
    (Slurm, 1, "slurm_load_jobs error: Slurm backup controller in standby mode\n"),
    (Slurm, 1, "slurm_load_jobs error: Zero Bytes were transmitted or received\n"),
    (Slurm, 1, "{}: error: slurm_persist_conn_open_without_init: failed to open persistent "
     "connection to host:db:6819: Connection refused\n"
     "{}: error: Problem talking to the database: Connection refused\n"),
    (Sge, 1, "error: commlib error: got select error (Connection refused)\nUnable to run job: "
     'unable to send message to qmaster using port 6444 on host "vm": got send error\nExiting.\n'),
    (Sge, 1, 'error: unable to contact qmaster using port 6444 on host "vm"\n'),
    (Sge, 1, 'error: commlib error: got read error (closing "vm/qmaster/1")\n'
     'error: failed receiving gdi request response for mid=1 (got syncron message receive '
     "timeout error).\n"),
    (Sge, 1, "error: commlib error: can't resolve hostname (can't resolve host name)\n"),
    (Sge, 1, 'Unable to run job: denied: host "vm2" is neither submit nor admin host.\nExiting.\n'),
    (Torque, 1, "Connection refused\n{}: cannot connect to server vm (errno=111)\n"),
    (Torque, 171, "{}: cannot connect to server vm (errno=15010) Access from host not allowed\n"),
    (Torque, 1, "socket_connect_unix failed: 15137\n{}: cannot connect to server (null) "
     "(errno=15137) could not connect to trqauthd\n"),
    (Torque, 1, "pbs_iff: cannot connect to host\npbs_iff: all reserved ports in use\n"
     "{}: Invalid credential\n"),
    (Torque, 1, "Unable to communicate with vm(10.0.0.1)\nCommunication failure.\n"
     "{}: cannot connect to server vm (errno=15096) Error getting connection to socket\n"),
    (Torque, 1, "{}: End of File\n"),
    (Torque, 1, "{}: Batch protocol error\n"),
    (Lsf, 255, "LSF is down. Please wait ...\n"),
    (Lsf, 255, "Cannot connect to LSF. Please wait ...\n"),
    (Lsf, 255, "batch system daemon not responding ... still trying\n"),
    (Lsf, 255, "Failed in an LSF library call: LIM is down; try later. Job not submitted.\n"),
    (Lsf, 255, "Failed in an LSF library call: Communication time out. Job not submitted.\n"),
    (Lsf, 255, "Request from non-LSF host rejected. Job not submitted.\n"),
]  # fmt: skip

PROGRAMS: dict[str, dict[type[Any], str]] = {
    "submit": {Slurm: "sbatch", Sge: "qsub", Torque: "qsub", Lsf: "bsub"},
    "poll": {Slurm: "squeue", Sge: "qstat", Torque: "qstat", Lsf: "bjobs"},
    "account": {Slurm: "sacct", Sge: "qacct", Torque: "qstat", Lsf: "bhist"},
    "act": {Slurm: "scancel", Sge: "qdel", Torque: "qdel", Lsf: "bkill"},
    "resources": {Slurm: "sinfo", Sge: "qstat", Torque: "pbsnodes", Lsf: "bhosts"},
}
READERS: dict[str, Callable[[Dialect, Answer], object]] = {
    "submit": lambda dialect, answer: dialect.parse_submit(answer),
    "poll": lambda dialect, answer: dialect.parse_poll(answer),
    "account": lambda dialect, answer: dialect.parse_account(answer),
    "act": lambda dialect, answer: dialect.parse_act("cancel", answer),
    "resources": lambda dialect, answer: dialect.parse_resources(answer, None),
}


def error_of(question: str, family: type[Any], code: int, words: str) -> QueueError:
    program = PROGRAMS[question][family]
    answer = Answer((program, "x"), code, "", words.replace("{}", program))
    with pytest.raises(QueueError) as caught:
        READERS[question](family(), answer)
    return caught.value


@pytest.mark.parametrize("question", READERS)
@pytest.mark.parametrize(("family", "code", "words"), NOT_CONFIGURED)
def test_programs_without_their_configuration_say_what_to_set(question, family, code, words):
    error = error_of(question, family, code, words)

    assert isinstance(error, ServerUnavailable)  # so it is not tried again, nor looked for
    assert "Load the site's module" in str(error)
    assert "qtype='local'" in str(error)


@pytest.mark.parametrize("question", READERS)
@pytest.mark.parametrize(("family", "code", "words"), NOT_REACHED)
def test_a_controller_that_was_not_reached_is_asked_again_and_named(question, family, code, words):
    error = error_of(question, family, code, words)

    assert not isinstance(error, ServerUnavailable)
    assert "could not be asked" in str(error) or "could not ask" in str(error)
    assert "whether it" in str(error)
