"""The local queue as a scheduler: requests become `JobSpec`s, questions go to its client.

The queue itself is `cluster.local`, which knows no keyword; the keywords end here.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from cluster import config_file
from cluster._option_directives import is_address
from cluster.errors import UnknownJob
from cluster.files import current_umask
from cluster.local.client import Client, environment, get_client
from cluster.local.watching import WatchingClient
from cluster.local.wire import Env
from cluster.payload import Payload
from cluster.schedulers import checks
from cluster.schedulers.base import (
    Call,
    Command,
    Content,
    Ending,
    JobInfo,
    Request,
    Resources,
    Scripts,
)
from cluster.schedulers.environment import DEFAULT_PATH, Changes, changes, reduced
from cluster.spec import ArraySpec, Dependency, JobSpec, Launch

__all__ = ["LocalScheduler", "make_spec"]

RECENT_S = 86400.0  # `jobs` lists what ended in the last day
_encode = msgspec.msgpack.Encoder().encode


class LocalScheduler:
    """The queue of this machine.

    Args:
        state_dir: another queue than the user's own, a private one say.
    """

    qtype = "local"
    needs_files = False

    def __init__(self, state_dir: str | None = None) -> None:
        self._state_dir = state_dir

    @property
    def client(self) -> Client:
        """This thread's connection."""
        return get_client(self._state_dir)

    # ------------------------------------------------------------ making jobs

    def scripts(self, request: Request, *, directory: str, stem: str, suffix: str) -> Scripts:
        """Make the text of the job's files; write none."""
        python = os.fsdecode(_python(request.options))
        request = replace(request, program=_launched(request.program, request.options))
        from cluster.schedulers import local_scripts  # few want files: 1 ms of each first call

        return local_scripts.make(
            request, directory=directory, stem=stem, suffix=suffix, python=python
        )

    def preview(self, request: Request) -> str:
        """Say in text what `submit` would do."""
        spec, _, _ = make_spec(request, payload_file=b"-")
        fields = {
            "name": spec.name, "cores": spec.cores, "memory_mib": spec.memory_mib,
            "gpus": spec.gpus, "walltime_s": spec.walltime_s, "priority": spec.priority,
            "dependencies": [f"{d.type}:{d.job}" for d in spec.dependencies],
        }  # fmt: skip
        asked = "\n".join(f"# {key}: {value}" for key, value in fields.items() if value)
        scripts = self.scripts(request, directory=".", stem="job", suffix="cluster")
        what = scripts.function and f"# calls {request.key}\n"
        return f"# submitted to the queue of this machine\n{asked}\n{what or ''}" + str(
            scripts.submission
        )

    def check(self, request: Request) -> list[str]:
        """Say what of the request cannot work here, each in a sentence."""
        options = request.options
        problems = checks.path_problems(
            request.cwd, {"outfile": request.stdout, "errfile": request.stderr}
        )
        _, env = environment()
        inherited = reduced(options, env)
        base = env if inherited is None else inherited
        changed = changes(options, base)
        path = changed.value(b"PATH", base) or DEFAULT_PATH
        if options.get("launcher"):
            from cluster.schedulers import _launching

            problems += _launching.problems_here(request, path=path)
        elif isinstance(request.program, Command):
            problems += _check_command(request, changed, path, base)
        if not isinstance(request.program, Command):
            problems += _check_call(options)
        if options.get("venv"):
            bin = os.path.join(os.fsencode(options["venv"]), b"bin")
            if not os.path.isdir(os.path.join(request.cwd, bin)):
                problems.append(
                    f"venv {options['venv']!r} is no virtual environment: "
                    "there is no directory 'bin' in it. Check its path."
                )
        array = options.get("array")
        if array is not None and not isinstance(array, ArraySpec):
            problems.append("array needs evenly spaced indices on this machine: '1-10', '0-98:2'.")
        if is_address(options.get("notify", "")) and not config_file.get("notify", "smtp_host"):
            problems.append(
                "notify to a mail address needs a mail server here. Set notify.smtp_host in the "
                "configuration, or give a command."
            )
        return problems

    def submit(
        self, requests: Sequence[Request], scripts: Sequence[Scripts | None] = ()
    ) -> list[str]:
        """Queue jobs, all or none, and give their ids in order."""
        client = self.client
        envs: dict[str, Env] = {}
        specs: list[JobSpec] = []
        written: list[bytes] = []
        before = None
        try:
            for request in requests:
                if request is before:
                    specs.append(specs[-1])
                    continue
                before, file = request, b""
                if request.payload is not None and request.payload.is_large:
                    file = _write_payload(client.state_dir, request.payload)
                    written.append(file)
                spec, hash, env = make_spec(request, payload_file=file)
                envs[hash] = env
                specs.append(spec)
            return client.submit(specs, envs)
        except BaseException:
            for file in written:
                os.unlink(file)
            raise

    def resubmit(self, id: str) -> str:
        """Queue a job like this one, from the queue's own record of it."""
        found = self.client.query([id])
        if not found:
            raise UnknownJob(f"there is no job {id}: it cannot be submitted again.")
        info, launch = found[0], self.client.describe(id)
        if launch.payload_file:
            _keep_for_longer(launch.payload_file, id)
        spec = JobSpec(
            name=info.name,
            kind=info.kind,
            key=launch.calls or info.name,
            cores=info.cores,
            memory_mib=info.memory_mib,
            gpus=info.gpus,
            resources=info.resources,
            priority=info.priority,
            walltime_s=info.walltime_s,
            expect_s=info.expect_s,
            dependencies=tuple(_dependency(text) for text in info.dependencies),
            comment=info.comment,
            namespace=info.namespace,
            launch=msgspec.Raw(_encode(launch)),
        )
        (again,) = self.client.submit([spec])
        return again

    # ------------------------------------------------------------ asking

    def query(self, ids: Sequence[str], *, elements: bool = False) -> list[JobInfo]:
        """Ask for jobs; those the queue never heard of are left out."""
        return self.client.query(ids, elements=elements)

    def jobs(self, *, user: str | None, partition: str | None) -> list[JobInfo]:
        """List the jobs that are not final, and those that became so in the last day.

        The queue belongs to one user and has no partitions: of another user,
        or in a partition, there are none.
        """
        if partition is not None or (user is not None and user not in _own_names()):
            return []
        return self.client.query(since=time.time() - RECENT_S)

    def named(self, pattern: str) -> list[JobInfo]:
        """Give the jobs whose name is like `pattern`."""
        return self.client.query(name=pattern)

    def endings(
        self, ids: Sequence[str], *, timeout: float | None = None, content: bool = False
    ) -> Iterator[Ending]:
        """Give each job as it reaches its final state, until all have."""
        for ended in self.client.wait(ids, timeout=timeout, content=content):
            yield Ending(ended.info, ended.content)

    def watch(self) -> WatchingClient:
        """Give what one thread watches any number of jobs with, over one connection."""
        client = self.client
        return WatchingClient(client.state_dir, request_timeout_s=client.request_timeout_s)

    def content(self, id: str) -> Content:
        """Give what a job wrote so far."""
        return self.client.fetch(id)

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        """Do `verb` to jobs; say what happened to each."""
        return self.client.act(verb, ids, number)

    def resources(self, partition: str | None = None) -> Resources:
        """Say what the queue may use of this machine."""
        self.client.query([])  # a question for the status starts no server, this does
        status = self.client.control("status")
        whole, free = dict(status["capacity"]), dict(status["free"])
        return Resources(
            cores=whole.pop("cores"),
            memory_mib=whole.pop("memory_mib", 0),
            gpus=whole.pop("gpus", 0),
            free_cores=free.get("cores"),
            free_memory_mib=free.get("memory_mib"),
            resources=whole,
        )


def _dependency(text: str) -> Dependency:
    kind, _, job = text.partition(":")
    return Dependency(job, kind)


def _own_names() -> set[str]:
    import getpass

    return {getpass.getuser(), str(os.getuid())}


# ---------------------------------------------------------------- checks


def _check_command(request: Request, changed: Changes, path: bytes, base: Env) -> list[str]:
    program = request.program
    assert isinstance(program, Command)
    argv = _argv(program, request.options)
    problems = checks.program_problems(argv[0], path=path, cwd=request.cwd)
    shell_decides = any(request.options.get(key) for key in ("modules", "prologue", "shell"))
    if not program.text and not shell_decides and argv[0] != program.argv[0]:
        problems += checks.program_problems(program.argv[0], path=path, cwd=request.cwd)
    inherited = 0
    if sum(map(len, argv)) + sum(map(len, changed.set.values())) > checks.MAX_STRING // 2:
        inherited = sum(len(key) + len(value) + 10 for key, value in base.items())
    return problems + checks.oversized(argv, changed.set, inherited)


def _check_call(options: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key} needs a command: a function starts without a shell here. "
        "Set variables with env=, or submit a command."
        for key in ("prologue", "epilogue", "shell")
        if options.get(key)
    ]
    python = _python(options)
    if not os.access(python, os.X_OK):
        problems.append(
            f"interpreter {checks.show(python)} does not exist or is not executable. "
            "Give another with python=."
        )
    return problems


# ---------------------------------------------------------------- the spec


def _keep_for_longer(payload_file: bytes, id: str) -> None:
    """Let the large arguments of a job count as new, or say that they are gone."""
    try:
        os.utime(payload_file)
    except OSError:
        raise UnknownJob(
            f"the arguments of job {id} were large and are cleared by now: it cannot be submitted "
            f"again. Submit the function anew; `retention.outputs_days` says how long they stay."
        ) from None


def make_spec(request: Request, *, payload_file: bytes = b"") -> tuple[JobSpec, str, Env]:
    """Turn a request into what the local queue takes.

    Args:
        request: checked.
        payload_file: where the payload was written, if it is a large one.

    Returns:
        The spec, and the environment that it names, with its hash.
    """
    options = request.options
    hash, env = environment()
    inherited = reduced(options, env)
    if inherited is not None:
        hash, env = environment(inherited)
    launch = _launch(request, changes(options, env), hash, payload_file)
    get = options.get
    begin = get("begin")
    array = get("array")
    spec = JobSpec(
        name=request.name,
        kind="command" if isinstance(request.program, Command) else "function",
        key=request.key,
        cores=get("cores", 1) * get("tasks", 1),
        memory_mib=get("mem", 0),
        gpus=get("gpus", 0),
        resources=get("resources", {}),
        priority=get("priority", 0) - get("nice", 0),
        hold=get("hold", False),
        begin=begin.timestamp() if begin else 0.0,
        walltime_s=get("time", 0.0),
        expect_s=get("expect", 0.0),
        dependencies=request.dependencies,
        on_unsatisfiable=get("on_unsatisfiable", "cancel"),
        retries=get("retries", 0),
        requeue=get("requeue", False),
        array=array if isinstance(array, ArraySpec) else None,
        comment=get("comment", ""),
        launch=msgspec.Raw(_encode(launch)),
    )
    return spec, hash, env


def _launch(request: Request, changed: Changes, hash: str, payload_file: bytes) -> Launch:
    options = request.options
    warn_signal, warn_before_s = options.get("signal", (0, 0.0))
    mask = options.get("umask")
    common: dict[str, Any] = {
        "cwd": request.cwd,
        "umask": current_umask() if mask is None else mask,
        "env": hash,
        "env_set": _threads(options) | changed.set,
        "env_unset": changed.unset,
        "stdout": request.stdout,
        "stderr": request.stderr,
        "append": options.get("append", False),
        "grace_s": options.get("grace"),
        "warn_signal": warn_signal,
        "warn_before_s": warn_before_s,
    }
    if isinstance(request.program, Command):
        return Launch(argv=_argv(_launched(request.program, options), options), **common)
    payload = request.payload
    assert payload is not None
    return Launch(
        payload=b"" if payload_file else payload.data,
        payload_file=payload_file,
        calls=payload.calls,
        python=_python(options),
        python_version=payload.python_version,
        cloudpickle_version=payload.cloudpickle_version,
        sys_path=_sys_path(options),
        **common,
    )


Program = TypeVar("Program", Command, Command | Call)


def _launched(program: Program, options: Mapping[str, Any]) -> Program:
    if not options.get("launcher") or not isinstance(program, Command):
        return program
    from cluster.schedulers import _launching

    return _launching.launched(program, options, shared=True)


def _threads(options: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Give each rank as many threads as it has cores; the queue would give it all of the job's."""
    if not options.get("launcher"):
        return {}
    from cluster.schedulers.cluster_scripts import THREADS

    count = str(options.get("cores", 1)).encode()
    return {name.encode(): count for name in THREADS}


def _argv(program: Command, options: Mapping[str, Any]) -> tuple[bytes, ...]:
    """Give what is executed; a shell is in it only where the user's words need one."""
    wrapped = any(options.get(key) for key in ("modules", "prologue", "epilogue", "shell"))
    if not program.text and not wrapped:
        return program.argv
    shell = [os.fsencode(word) for word in shlex.split(options.get("shell") or "/bin/bash")]
    from cluster.schedulers import local_scripts

    text = os.fsencode(local_scripts.shell_text(program, options, arguments=True))
    # The first word behind the text is the shell's $0.
    behind = (os.path.basename(shell[0]), *program.argv) if program.argv else ()
    return (*shell, b"-c", text, *behind)


def _python(options: Mapping[str, Any]) -> bytes:
    if options.get("python"):
        return os.path.abspath(os.fsencode(options["python"]))
    if options.get("venv"):
        return os.path.join(os.path.abspath(os.fsencode(options["venv"])), b"bin", b"python")
    return os.fsencode(sys.executable or "")


_known_path: tuple[list[str], tuple[bytes, ...]] = ([], ())


def _sys_path(options: Mapping[str, Any]) -> tuple[bytes, ...]:
    global _known_path
    before, encoded = _known_path
    if before != sys.path or "" in before:
        encoded = tuple(os.fsencode(p or os.getcwd()) for p in sys.path if isinstance(p, str))
        _known_path = (list(sys.path), encoded)
    mine = options.get("syspaths") or ()
    return (*(os.path.abspath(os.fsencode(path)) for path in mine), *encoded)


def _write_payload(state_dir: str, payload: Payload) -> bytes:
    folder = os.path.join(os.fsencode(state_dir), b"payloads")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, os.urandom(12).hex().encode())
    payload.write(path)
    return path
