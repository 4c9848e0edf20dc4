"""Tasks that an emulated command runs as its own children, as `srun` does.

Executed inside a shim, which gives it `sock`, `send` and `receive`, and calls
`run`.  What is said meanwhile over that socket:

    tasks      ("pids", [pid, ...])                    0: it could not be executed
               ("ended", [(rank, status), ...])        as waitpid gives it
               ("failed", rank, errno, program)
               ("signalled", number)                   sent to this command itself
               ("done", user, system, peak)            s, s and KiB that all of them used
    emulation  ("signal", number)                      to all tasks
               ("end", seconds)                        SIGTERM, then SIGKILL after so long
               ("write", fd, bytes)                    as outside

A request is a dict; `tasks` in it has a dict for each rank: argv, env, stdin,
stdout, stderr (a path, None for our own).
"""

# mypy: ignore-errors

import os
import select
import signal
import sys
import time
from contextlib import suppress

TOGETHER_S = 0.03  # what ends within this of another is told with it
FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Tasks:
    def __init__(self, request):
        self.request = request
        self.tasks = request["tasks"]
        self.files = {}
        self.pids = [0] * len(self.tasks)
        self.live = {}  # pid -> rank
        self.ended = []
        self.told_at = 0.0
        self.kill_at = 0.0
        self.outputs = {}  # reading end -> (fd to write to, prefix, rest of a line)
        self.inputs = []  # writing ends that our standard input is copied to
        self.poll = select.poll()
        self.poll.register(sock.fileno(), select.POLLIN)  # noqa: F821
        self.wake_r, self.wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.poll.register(self.wake_r, select.POLLIN)
        self.reads_stdin = False
        self.used = [0.0, 0.0, 0]

    # -------------------------------------------------------------- start

    def start(self):
        signal.set_wakeup_fd(self.wake_w, warn_on_full_buffer=False)
        caught = (signal.SIGCHLD, *FORWARDED, *ENDING)
        for number in (*caught, *([] if self.request["shares_terminal"] else [signal.SIGINT])):
            signal.signal(number, lambda *_: None)
        if self.request["shares_terminal"]:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.request["cpus"]:
            with suppress(OSError, AttributeError, ValueError):
                os.sched_setaffinity(0, self.request["cpus"])
        for folder in (self.request["cwd"], b"/tmp"):
            try:
                os.chdir(folder)
                break
            except OSError:
                pass
        for rank, task in enumerate(self.tasks):
            self.start_one(rank, task)
        for fd in self.files.values():
            os.close(fd)
        send(sock, ("pids", self.pids))  # noqa: F821
        if self.inputs:
            self.poll.register(0, select.POLLIN | select.POLLHUP)
            self.reads_stdin = True

    def start_one(self, rank, task):
        actions, ours, others = [], [], []
        if not task["argv"]:
            self.fail(rank, 2, b"")
            return
        if task["stdin"] is not None:
            path = task["stdin"]
            if path == b"-":  # a copy of ours
                r, w = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(w, False)
                actions.append((os.POSIX_SPAWN_DUP2, r, 0))
                others.append(r)
                self.inputs.append(w)
            else:
                actions.append((os.POSIX_SPAWN_OPEN, 0, path, os.O_RDONLY, 0))
        for fd, path in ((1, task["stdout"]), (2, task["stderr"])):
            if path is None and not self.request["label"]:
                continue
            if path is None:
                r, w = os.pipe2(os.O_CLOEXEC)
                actions.append((os.POSIX_SPAWN_DUP2, w, fd))
                others.append(w)
                ours.append((r, fd))
                continue
            try:
                actions.append((os.POSIX_SPAWN_DUP2, self.open(path), fd))
            except OSError as error:
                self.fail(rank, error.errno, path)
                return
        self.spawn(rank, task, actions)
        for fd in others:
            os.close(fd)
        for r, fd in ours:
            width = len(str(len(self.tasks) - 1))
            self.outputs[r] = [fd, b"%*d: " % (width, rank), b""]
            self.poll.register(r, select.POLLIN | select.POLLHUP)

    def open(self, path):
        if path not in self.files:
            how = os.O_APPEND if self.request["append"] else os.O_TRUNC | os.O_APPEND
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how
            self.files[path] = os.open(path, flags, 0o666)
        return self.files[path]

    def spawn(self, rank, task, actions):
        argv, env = task["argv"], task["env"]
        more = {} if self.request["shares_terminal"] else {"setpgroup": 0}
        error = 2
        for path in candidates(argv[0], env):
            try:
                pid = os.posix_spawn(
                    path, argv, env, file_actions=actions, setsigmask=(),
                    setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ), **more,
                )  # fmt: skip
            except OSError as failure:
                if failure.errno != 2 or b"/" in argv[0]:
                    error = failure.errno
                continue
            self.pids[rank] = pid
            self.live[pid] = rank
            return
        self.fail(rank, error, argv[0])

    def fail(self, rank, number, program):
        send(sock, ("failed", rank, number, program))  # noqa: F821
        self.ended.append((rank, (number & 255) << 8))

    # -------------------------------------------------------------- run

    def run(self):
        while self.live or self.ended or self.outputs:
            timeout = None
            if self.ended:
                self.told_at = self.told_at or time.monotonic() + TOGETHER_S
                if not self.live or time.monotonic() >= self.told_at:
                    send(sock, ("ended", self.ended))  # noqa: F821
                    self.ended, self.told_at = [], 0.0
                    continue
                timeout = self.told_at - time.monotonic()
            if self.kill_at:
                left = self.kill_at - time.monotonic()
                if left <= 0:
                    self.kill(signal.SIGKILL)
                    left = 1.0
                    self.kill_at = time.monotonic() + left
                timeout = left if timeout is None else min(timeout, left)
            for fd, _ in self.poll.poll(None if timeout is None else max(0, timeout) * 1000):
                self.serve(fd)
        for w in self.inputs:
            os.close(w)
        return ("done", *self.used)

    def serve(self, fd):
        if fd == self.wake_r:
            self.woken()
        elif fd == sock.fileno():  # noqa: F821
            self.obey(*receive(sock))  # noqa: F821
        elif fd in self.outputs:
            self.copy_out(fd)
        elif fd == 0:
            self.copy_in()

    def woken(self):
        try:
            numbers = os.read(self.wake_r, 512)
        except BlockingIOError:
            return
        for number in set(numbers) - {signal.SIGCHLD}:
            if number in FORWARDED:
                self.kill(number)
            else:
                send(sock, ("signalled", number))  # noqa: F821
        while self.live:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self.add(used)
            rank = self.live.pop(pid, None)
            if rank is not None:
                self.ended.append((rank, status))

    def add(self, used):
        user, system, peak = self.used
        unit = 1024 if sys.platform == "darwin" else 1  # bytes there
        peak = max(peak, used.ru_maxrss // unit)
        self.used = [user + used.ru_utime, system + used.ru_stime, peak]

    def obey(self, verb, value, data=b""):
        if verb == "write":
            while data:
                data = data[os.write(value, data) :]
        elif verb == "signal":
            self.kill(value)
        elif verb == "end":
            self.kill(signal.SIGTERM)
            self.kill(signal.SIGCONT)
            self.kill_at = time.monotonic() + value

    def kill(self, number):
        for pid in self.live:
            try:
                if self.request["shares_terminal"]:
                    os.kill(pid, number)
                else:
                    os.killpg(pid, number)
            except OSError:
                pass

    # -------------------------------------------------------------- streams

    def copy_out(self, fd):
        to, prefix, rest = self.outputs[fd]
        data = os.read(fd, 65536)
        lines = (rest + data).split(b"\n")
        if data:
            self.outputs[fd][2] = lines.pop()
        else:
            if not lines[-1]:
                lines.pop()
            self.poll.unregister(fd)
            os.close(fd)
            del self.outputs[fd]
        text = b"".join(prefix + line + b"\n" for line in lines)
        while text:
            text = text[os.write(to, text) :]

    def copy_in(self):
        try:
            data = os.read(0, 65536)
        except OSError:
            data = b""
        for w in list(self.inputs):
            try:
                os.set_blocking(w, True)
                left = data
                while left:
                    left = left[os.write(w, left) :]
            except OSError:  # that task reads no more
                self.inputs.remove(w)
                os.close(w)
        if not data or not self.inputs:
            self.poll.unregister(0)
            for w in self.inputs:
                os.close(w)
            self.inputs = []


def candidates(program, env):
    if b"/" in program:
        return [program]
    folders = env.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin").split(b":")
    found = [(folder or b".") + b"/" + program for folder in folders]
    return [path for path in found if os.path.isfile(path)]


def run(request):
    tasks = Tasks(request)
    tasks.start()
    return tasks.run()
