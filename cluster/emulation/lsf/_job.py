"""What runs a job of the emulated LSF: as sbatchd does, it starts the command and reports.

Stands alone: a copy is run by `python -IS`, as the first process of each job.
It keeps what the command writes until its end, then puts LSF's report and the
output into the files of -o and -e; without -o, output goes to the queue, as LSF
would mail it.  It enforces the limits of -W, -M and -t, and ends the job on
request: SIGINT, SIGTERM, SIGKILL in turn, LSF's way.

    python -IS job.py key=value ... -- command ...
"""

# mypy: ignore-errors
# ruff: noqa: SIM105  contextlib costs each job a millisecond

import _signal
import os
import select
import sys
import time

INTERVAL_S = 5.0  # between SIGINT, SIGTERM and SIGKILL; JOB_TERMINATE_INTERVAL is 10 s
AFTER_LIMIT_S = 600.0  # from SIGUSR2 to SIGKILL, as LSF has it
MEASURE_S = 0.25
USR2 = _signal.SIGUSR2
CAUSES = {
    "TERM_OWNER": "job killed by owner",
    "TERM_RUNLIMIT": "job killed after reaching LSF run time limit",
    "TERM_MEMLIMIT": "job killed after reaching LSF memory usage limit",
    "TERM_CPULIMIT": "job killed after reaching LSF CPU usage limit",
    "TERM_DEADLINE": "job killed after deadline expires",
}
LINE = "-" * 60


class Job:
    def __init__(self, facts, command):
        self.facts, self.command = facts, command
        env = os.environ
        self.id, self.index = env.get("LSB_JOBID", "0"), env.get("LSB_JOBINDEX", "0")
        self.label = f"{self.id}[{self.index}]" if self.index != "0" else self.id
        self.name = facts["name"] + (f"[{self.index}]" if self.index != "0" else "")
        self.home = facts["home"]
        key = f"{self.id}.{self.index}"
        self.cause_file = os.path.join(self.home, "ends", key)
        self.spool = os.path.join(self.home, "lsbatch", key)
        self.cause = ""
        self.child = 0
        self.steps = []  # (when, signal) still to come
        self.began = time.time()
        self.clock = time.monotonic()

    # -------------------------------------------------------- start

    def path(self, key):
        text = self.facts.get(key, "")
        if not text:
            return ""
        values = {"J": self.id, "I": self.index, "%": "%", "U": self.facts["user"]}
        out, at = "", 0
        while at < len(text):
            if text[at] == "%" and text[at + 1 : at + 2] in values:
                out += values[text[at + 1]]
                at += 2
            else:
                out += text[at]
                at += 1
        if out.endswith("/") or os.path.isdir(out):
            out = os.path.join(out, f"{self.id}.{'err' if key == 'err' else 'out'}")
        return out

    def enter(self):
        folder = self.facts.get("cwd", "")
        if folder:
            folder = self.path("cwd") if "%" in folder else folder
            os.makedirs(folder, exist_ok=True)
            os.chdir(folder)
            os.environ["PWD"] = os.environ["LS_EXECCWD"] = os.getcwd()

    def streams(self):
        """Give file actions of the command: where its streams are."""
        new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        source = self.path("in") or "/dev/null"
        if self.direct():
            out, err = self.path("out"), self.path("err")
            how = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        else:
            out = self.spool + ".out"
            err = "" if self.joined() else self.spool + ".err"
            how = new
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, self.facts.get("fd0", source), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, self.facts.get("fd1", out), how, 0o666),
        ]
        err = self.facts.get("fd2", err)
        if err:
            actions.append((os.POSIX_SPAWN_OPEN, 2, err, how, 0o666))
        else:
            actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
        return actions

    def direct(self):
        return "direct" in self.facts and bool(self.facts.get("out"))

    def joined(self):
        return bool(self.facts.get("out")) and not self.facts.get("err")

    def prepare(self):
        """Clear what an earlier attempt left, and name the files for the command."""
        if self.asked() == "REQUEUE":
            os.unlink(self.cause_file)
        for key, name in (("out", "LSB_OUTPUTFILE"), ("err", "LSB_ERRORFILE"),
                          ("in", "LSB_INPUTFILE")):  # fmt: skip
            if self.facts.get(key):
                os.environ[name] = self.path(key)
        for key in ("out", "err"):
            if self.facts.get(key) and self.facts.get(f"over_{key}"):
                with open(self.path(key), "wb"):
                    pass
        os.environ["LS_JOBPID"] = str(os.getpid())

    def start(self):
        os.makedirs(os.path.dirname(self.spool), mode=0o700, exist_ok=True)
        try:
            self.enter()
            self.prepare()
        except OSError as error:
            self.say(f"{error.strerror}: {error.filename}\n")
        try:
            self.child = os.posix_spawnp(
                self.command[0], self.command, os.environ,
                file_actions=self.streams(), setpgroup=0, setsigmask=(),
                setsigdef=(_signal.SIGPIPE, _signal.SIGINT),
            )  # fmt: skip
        except OSError as error:
            where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            self.say(f"{where}{error.strerror}\n")
            return 126
        return None

    def say(self, text):
        """Tell in the job's standard error, which may not be open yet."""
        name = self.spool + (".out" if self.joined() else ".err")
        with open(name, "a", errors="surrogateescape") as file:
            file.write(text)

    # -------------------------------------------------------- while it runs

    def run(self):
        """Start the command; give its exit code once it is over."""
        ready, poke = os.pipe()
        os.set_blocking(poke, False)
        os.set_blocking(ready, False)
        seen = []
        for number in (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP,
                       _signal.SIGUSR1, USR2, _signal.SIGQUIT, _signal.SIGXCPU):  # fmt: skip
            _signal.signal(number, lambda number, frame: seen.append(number))
        _signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        self.plan()
        failed = self.start()
        if failed is not None:
            self.usage = None
            return failed
        while True:
            pid, status, self.usage = os.wait4(self.child, os.WNOHANG)
            if pid:
                return 128 + (status & 0x7F) if status & 0x7F else status >> 8
            if poll.poll(self.timeout() * 1000):
                try:
                    os.read(ready, 512)
                except OSError:
                    pass
            while seen:
                self.heard(seen.pop(0))
            self.look()

    def plan(self):
        limit = float(self.facts.get("runlimit", 0))
        deadline = float(self.facts.get("deadline", 0))
        self.memory = int(self.facts.get("memory", 0))
        if limit:
            self.limit_at(self.clock + limit, "TERM_RUNLIMIT")
        if deadline:
            self.limit_at(self.clock + max(0.0, deadline - time.time()), "TERM_DEADLINE")

    def limit_at(self, when, cause):
        self.steps += [(when, USR2, cause), (when + AFTER_LIMIT_S, _signal.SIGKILL, cause)]
        self.steps.sort()

    def timeout(self):
        now = time.monotonic()
        waits = [step[0] - now for step in self.steps[:1]]
        if self.memory:
            waits.append(MEASURE_S)
        return max(0.0, min([*waits, 3600.0]))

    def heard(self, number):
        if number == _signal.SIGCHLD:
            return
        asked = self.asked()
        if asked and not self.cause:
            self.end(asked, (_signal.SIGINT, _signal.SIGTERM, _signal.SIGKILL))
        elif number == _signal.SIGTERM and not self.cause:
            # The queue ends the job; it does not wait for us for long.
            self.end("TERM_OWNER", (0, 0, _signal.SIGKILL), step_s=1.5)

    def asked(self):
        try:
            with open(self.cause_file) as file:
                return file.read().strip()
        except OSError:
            return ""

    def end(self, cause, signals, step_s=INTERVAL_S):
        self.cause = cause
        now = time.monotonic()
        self.steps = [(now + at * step_s, number, "") for at, number in enumerate(signals)]

    def look(self):
        now = time.monotonic()
        while self.steps and self.steps[0][0] <= now:
            _, number, cause = self.steps.pop(0)
            if cause and not self.cause:
                self.cause = cause
            if number:
                self.send(number)
        if self.memory and not self.cause and self.used_mib() > self.memory:
            self.end("TERM_MEMLIMIT", (_signal.SIGINT, _signal.SIGTERM, _signal.SIGKILL))

    def send(self, number):
        try:
            os.killpg(self.child, number)
        except OSError:
            pass

    def used_mib(self):
        """Add up the resident memory of the command and its children."""
        total, pids = 0, [self.child]
        while pids:
            pid = pids.pop()
            try:
                with open(f"/proc/{pid}/statm") as file:
                    total += int(file.read().split()[1])
                with open(f"/proc/{pid}/task/{pid}/children") as file:
                    pids += [int(word) for word in file.read().split()]
            except (OSError, ValueError, IndexError):
                continue
        return total * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    # -------------------------------------------------------- end

    def finish(self, code):
        if self.cause == "REQUEUE" or self.asked() == "REQUEUE":
            return
        if code == 152 and not self.cause:
            self.cause = "TERM_CPULIMIT"
        self.cause = self.cause or self.asked()
        if self.cause and code:
            os.makedirs(os.path.dirname(self.cause_file), exist_ok=True)
            with open(self.cause_file, "w") as file:
                file.write(self.cause)
        target = self.path("out")
        parts = [] if self.direct() else [self.spool + ".out"]
        report = target and "plain" not in self.facts
        pieces = self.report(code) if report else ("", "")
        if not (target and self.append(target, pieces[0], parts, pieces[1])):
            self.copy(self.spool + ".out", 1)
        if not self.joined() and not self.direct():
            errors = self.path("err")
            if not (errors and self.append(errors, "", [self.spool + ".err"], "")):
                self.copy(self.spool + ".err", 2)
        for end in (".out", ".err"):
            try:
                os.unlink(self.spool + end)
            except OSError:
                pass

    def append(self, path, before, parts, after):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError:
            return False
        try:
            self.write(fd, before)
            for part in parts:
                self.copy(part, fd)
            self.write(fd, after)
        except OSError:
            pass
        finally:
            os.close(fd)
        return True

    def write(self, fd, text):
        data = text.encode("utf-8", "surrogateescape")
        while data:
            data = data[os.write(fd, data) :]

    def copy(self, path, fd):
        try:
            with open(path, "rb") as file:
                while data := file.read(1 << 20):
                    while data:
                        data = data[os.write(fd, data) :]
        except OSError:
            pass

    def report(self, code):
        facts = self.facts
        user, host, queue = facts["user"], facts["host"], facts["queue"]
        slots = int(facts.get("slots", 1))
        hosts = f"<{slots}*{host}>" if slots > 1 else f"<{host}>"
        how = "Exited" if code else "Done"
        cause = ""
        if self.cause and code:
            cause = f"{self.cause}: {CAUSES.get(self.cause, 'job killed')}.\n"
        ended = f"{cause}Exited with exit code {code}.\n" if code else "Successfully completed.\n"
        cpu, memory = 0.0, 0
        if self.usage is not None:
            cpu = self.usage.ru_utime + self.usage.ru_stime
            memory = self.usage.ru_maxrss // (1 if sys.platform == "darwin" else 1024)
        kept = facts.get("script", "")
        text = facts.get("text", "")
        if kept:
            with open(kept, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        head = f"""\
Sender: LSF System <{user}@{host}>
Subject: Job {self.label}: <{self.name}> {how}

Job <{self.name}> was submitted from host <{host}> by user <{user}>.
Job was executed on host(s) {hosts}, in queue <{queue}>, as user <{user}>.
<{os.environ.get("HOME", "/")}> was used as the home directory.
<{os.getcwd()}> was used as the working directory.
Started at {time.ctime(self.began)}
Results reported at {time.ctime()}

Your job looked like:

{LINE}
# LSBATCH: User input
{text}
{LINE}

{ended}
Resource usage summary:

    CPU time   : {cpu:9.2f} sec.
    Max Memory : {memory:9d} MB
    Max Swap   : {memory:9d} MB

    Max Processes  : {1:9d}

The output (if any) follows:

"""
        tail = ""
        if facts.get("err"):
            tail = f"\n\nPS:\n\nRead file <{self.path('err')}> for stderr output of this job.\n\n"
        return head, tail


def main():
    facts, words = {}, sys.argv[1:]
    while words and words[0] != "--":
        key, _, value = words.pop(0).partition("=")
        facts[key] = value
    job = Job(facts, words[1:])
    code = job.run()
    try:
        job.finish(code)
    except OSError as error:
        os.write(2, f"LSF: the job's report could not be written: {error}\n".encode())
    os._exit(code)


if __name__ == "__main__":
    main()
