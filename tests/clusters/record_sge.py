"""Record anew what a real Grid Engine answers, for `tests/schedulers/test_sge.py`.

    tests/clusters/sge up && sudo -E .venv/bin/python tests/clusters/record_sge.py

Run as root, on a cluster of `tests/clusters/sge` in which nobody works: it submits
jobs as root and as its test user, ends them, and for a moment limits the jobs of
each user.  One file for each command, with the command in its first line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote

from cluster.schedulers.base import Command, Request
from cluster.schedulers.dialect import Answer, Outputs
from cluster.schedulers.sge import Sge
from cluster.spec import ArraySpec, Dependency

GOLDEN = Path(__file__).parents[1] / "schedulers" / "golden" / "sge-8.1.9"
USER = os.environ.get("TEST_USER", "sgeuser")
DEADLINE_S = 60.0
FULL = 40  # jobs of one user; nobody else has so many
SGE = Sge()
CLEAN = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/root",
    "LC_ALL": "C",
    "SGE_ROOT": os.environ.get("SGE_ROOT", "/var/lib/gridengine"),
    "SGE_CELL": os.environ.get("SGE_CELL", "default"),
}
NOBODY_THERE = {"SGE_QMASTER_PORT": "1"}

Words = Sequence[str]


def run(argv: Words, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        env=CLEAN | env,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        cwd="/",
    )


def record(name: str, argv: Words, **env: str) -> str:
    """Run a command, keep what it said, and give its stdout."""
    done = run(argv, **env)
    shown = " ".join([*(f"{key}={value}" for key, value in env.items()), *map(_word, argv)])
    said = "".join(f"[stderr] {line}\n" for line in done.stderr.splitlines())
    text = f"$ {shown}\n{done.stdout}{said}[rc={done.returncode}]\n"
    (GOLDEN / f"{name}.txt").write_text(text, errors="surrogateescape")
    return done.stdout


def _word(word: str) -> str:
    if "\n" not in word:
        return quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{escaped}'"


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"record_sge: not within {DEADLINE_S:g} s: {what}")
        time.sleep(0.1)


class Jobs:
    """Submits scripts as the dialect writes them, in a directory of their own."""

    def __init__(self, directory: str) -> None:
        self.directory, self.ids = directory, dict[str, str]()

    def submit(self, name: str, body: str, *, after: str = "", **options: object) -> str:
        request = Request(
            name=name,
            program=Command((b"bash",)),
            cwd=b"/",
            options=options,
            dependencies=(Dependency(self.ids[after], "afterany"),) if after else (),
        )
        lines = SGE.directives(request, Outputs("", ""), mark=f"cluster-{len(self.ids):016x}")
        path = Path(self.directory, f"{len(self.ids)}.sge")
        path.write_text("#!/bin/bash\n" + "".join(f"#$ {line}\n" for line in lines) + body + "\n")
        done = run(SGE.submit(str(path), ()))
        if done.returncode:
            sys.exit(f"record_sge: {name}: {done.stderr}")
        self.ids[name] = done.stdout.strip().partition(".")[0]
        return self.ids[name]

    def state(self, name: str) -> str:
        """The letters of its state; empty once it has left the queue."""
        rows = (line.split() for line in run(["qstat", "-u", "*"]).stdout.splitlines())
        return next((row[4] for row in rows if row[:1] == [self.ids[name]]), "")

    def settle(self, name: str, *states: str) -> None:
        until(lambda: self.state(name) in states, f"{name} in {states}")


def main() -> None:
    if run(["qconf", "-sss"]).returncode:
        sys.exit("record_sge: no Grid Engine answers; tests/clusters/sge up")
    if run(["qstat", "-u", "*"]).stdout:
        sys.exit("record_sge: somebody has jobs here; wait, or tests/clusters/sge wipe")
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="record-") as directory:
        os.chmod(directory, 0o755)  # the test user submits from here
        jobs = Jobs(directory)
        try:
            _presence()
            _submissions(directory)
            _queue(jobs)
            _steering(jobs)
            _books(jobs)
        finally:
            run(["qdel", *jobs.ids.values()])
            run(["qdel", "-u", USER])
    print(f"record_sge: {len(list(GOLDEN.glob('*.txt')))} files in {GOLDEN}")


def _presence() -> None:
    record("probe", SGE.probe())
    record("probe-down", SGE.probe(), **NOBODY_THERE)
    record("resources", SGE.show_resources(None))
    record("resources-unknown-queue", SGE.show_resources("nosuch.q"))
    record("poll-empty", SGE.poll((), "nobody-here"))
    record("poll-down", SGE.poll((), "root"), **NOBODY_THERE)
    record("find-none", ("qstat", "-xml", "-j", "999999"))
    record("account-unknown", SGE.account(["999999"])[0])
    record("account-unknown-each", ("qacct", "-j", "999999"))


def _submissions(directory: str) -> None:
    script = Path(directory, "true.sh")
    script.write_text("#!/bin/bash\n#$ -h -S /bin/bash -o /dev/null -j y\ntrue\n")

    def qsub(name: str, *arguments: str, **env: str) -> None:
        said = record(f"qsub-{name}", ("qsub", *arguments, str(script)), **env)
        ids = [word.partition(".")[0] for word in said.replace("Your job-array ", "").split()]
        run(["qdel", *(id for id in ids if id.isdigit())])

    qsub("terse", "-terse")
    qsub("terse-array", "-terse", "-t", "1-10:2")
    qsub("words", "-N", "x")
    qsub("words-array", "-t", "1-3")
    qsub("unknown-queue", "-q", "nosuch.q")
    qsub("unknown-environment", "-pe", "nosuch", "2")
    qsub("unknown-resource", "-l", "nosuch=1")
    qsub("too-many-elements", "-t", "1-200000")
    qsub("bad-name", "-N", "a b")
    qsub("bad-option", "-zzz")
    qsub("no-script", "/nonexistent/x.sh")
    qsub("down", **NOBODY_THERE)
    as_user = ("runuser", "-u", USER, "--", "qsub", "-terse")
    record("qsub-positive-priority", (*as_user, "-p", "100", str(script)))
    for _ in range(FULL):
        run([*as_user, str(script)])
    before = run(["qconf", "-sconf", "global"], SGE_SINGLE_LINE="1").stdout
    try:
        _configure(directory, _with_limit(before, FULL))
        record("qsub-full", (*as_user, str(script)))
    finally:
        _configure(directory, before)
    run(["qdel", "-u", USER])


def _with_limit(configuration: str, most: int) -> str:
    lines = [line for line in configuration.splitlines() if not line.startswith("max_u_jobs")]
    return "\n".join([*lines, f"max_u_jobs {most}", ""])


def _configure(directory: str, text: str) -> None:
    path = Path(directory, "global")  # qconf takes the name of the file for that of the host
    path.write_text(text)
    run(["qconf", "-Mconf", str(path)])


def _queue(jobs: Jobs) -> None:
    jobs.submit("running", "sleep 100", cores=2, mem=300, time=90)
    jobs.submit("suspended", "sleep 100")
    jobs.submit("held", "true", hold=True)
    jobs.submit("waiting", "true", after="running")
    jobs.submit("naïve <name> & 'more'", "sleep 100", comment='it\'s <b>, "so"')
    jobs.submit("array", "sleep 100", array=ArraySpec(1, 20, 2, 2))
    jobs.submit("sparse", "true", array=ArraySpec(1, 9, 1), hold=True)
    jobs.submit("broken", "true", extra_directives=["-o /nonexistent/x"])
    jobs.submit("later", "true", extra_directives=["-a 203001010000"])
    jobs.submit("too-wide", "true", cores=999)
    jobs.submit("again", "exit 99")
    for index in (2, 5, 6):
        run(["qdel", f"{jobs.ids['sparse']}.{index}"])
    jobs.settle("suspended", "r")
    run(["qmod", "-sj", jobs.ids["suspended"]])
    jobs.settle("broken", "Eqw")
    jobs.settle("again", "Rq")
    record("poll", SGE.poll((), "root"))
    record("find", SGE.find("", "root"))
    run(["qmod", "-usj", jobs.ids["suspended"]])
    for name in ("again", "broken", "sparse", "later", "too-wide"):
        run(["qdel", jobs.ids[name]])


def _steering(jobs: Jobs) -> None:
    def act(name: str, verb: str, *names: str, prefix: Words = ()) -> None:
        ids = [jobs.ids.get(one, one) for one in names]
        for at, argv in enumerate(SGE.act(verb, ids, 0)):
            record(f"{name}{at or ''}", (*prefix, *argv))

    other = ("runuser", "-u", USER, "--")
    for verb in ("cancel", "hold", "release", "requeue", "suspend", "resume"):
        act(f"{verb}-of-another", verb, "running", prefix=other)
        act(f"{verb}-unknown", verb, "999999")
    act("suspend-pending", "suspend", "waiting", "running")
    act("resume", "resume", "running", "suspended")
    act("hold", "hold", "held", "suspended", "999999")
    act("release", "release", "held", "suspended", "running")
    jobs.submit("restarted", "sleep 100")
    jobs.settle("restarted", "r")
    act("requeue", "requeue", "restarted")
    act("cancel", "cancel", "running", "waiting", "restarted", "999999")
    act("cancel-again", "cancel", "running")
    run(["qdel", *(jobs.ids[name] for name in ("suspended", "naïve <name> & 'more'", "array"))])
    record("cancel-down", SGE.act("cancel", ["1"], 0)[0], **NOBODY_THERE)


def _books(jobs: Jobs) -> None:
    memory = "import time; a = [bytearray(1 << 20) for _ in range(900)]; time.sleep(20)"
    jobs.submit("success", "true")
    jobs.submit("three", "exit 3")
    jobs.submit("code-137", "exit 137")
    jobs.submit("code-100", "exit 100")
    jobs.submit("segv", "kill -SEGV $$")
    jobs.submit("hard-limit", "sleep 100", time=2)
    jobs.submit("soft-limit", "sleep 100", extra_directives=["-l s_rt=2"])
    jobs.submit("cpu-limit", "while :; do :; done", extra_directives=["-l h_cpu=1"])
    jobs.submit("memory", f"python3 -c '{memory}'", mem=300)
    jobs.submit("elements", "exit $((SGE_TASK_ID - 1))", array=ArraySpec(1, 3))
    jobs.submit("no-output", "true", extra_directives=["-o /nonexistent/x"])
    jobs.submit("no-directory", "true", extra_directives=["-wd /nonexistent/x"])
    for name in ("deleted", "forced", "shepherd"):
        jobs.submit(name, "sleep 100")
        jobs.settle(name, "r")
    run(["qdel", jobs.ids["deleted"]])
    run(["qdel", "-f", jobs.ids["forced"]])
    _kill_shepherd(jobs.ids["shepherd"])
    for name in ("code-100", "no-output", "no-directory"):
        jobs.settle(name, "Eqw")
        run(["qdel", jobs.ids[name]])
    for name in jobs.ids:
        jobs.settle(name, "")
    ids = list(jobs.ids.values())
    until(lambda: len(SGE.parse_account(_answer(SGE.account(ids)[0]))) >= 20, "the books")
    record("account", SGE.account([*ids, "999999"])[0])
    record("account-each", ("qacct", "-j", jobs.ids["elements"]))


def _answer(argv: Words) -> Answer:
    done = run(argv)
    return Answer(tuple(argv), done.returncode, done.stdout, done.stderr)


def _kill_shepherd(id: str) -> None:
    places = Path("/var/spool/gridengine/execd").glob(f"*/active_jobs/{id}.1/pid")
    for place in places:
        os.kill(int(place.read_text()), 9)


if __name__ == "__main__":
    main()
