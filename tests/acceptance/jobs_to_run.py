"""Functions that run as jobs; a module next to the script, with the standard library alone."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any


def surroundings(*args: Any) -> dict[str, Any]:
    """Tell what this process is made of."""
    mask = os.umask(0)
    os.umask(mask)
    fds = []
    for fd in (int(name) for name in os.listdir("/proc/self/fd")):
        try:
            os.fstat(fd)
        except OSError:
            continue
        fds.append(fd)
    return {
        "args": args,
        "cwd": os.getcwdb(),
        "env": dict(os.environb),
        "umask": mask,
        "fds": sorted(fds),
        "stdin": os.readlink("/proc/self/fd/0"),
        "pid": os.getpid(),
        "sid": os.getsid(0),
        "pgid": os.getpgrp(),
        "ppid": os.getppid(),
        "cpus": sorted(os.sched_getaffinity(0)),
    }


def add(a: int, b: int = 1) -> int:
    return a + b


def fail(text: str = "lost") -> None:
    deeper(text)


def deeper(text: str) -> None:
    raise KeyError(text)


def fail_with_cause() -> None:
    try:
        deeper("first")
    except KeyError as error:
        raise RuntimeError("second") from error


class Awkward(Exception):
    """Cannot be rebuilt from its args."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def fail_awkwardly() -> None:
    raise Awkward(1, 2)


def fail_locally() -> None:
    class Hidden(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("no")

    raise Hidden("behind")


class Explosive:
    """Pickles well; whoever unpickles it gets an error."""

    def __reduce__(self) -> Any:
        return explode, ()


def explode() -> None:
    raise ValueError("boom at unpickling")


class Tally:
    """An object with a method, and itself callable."""

    def __init__(self, start: int) -> None:
        self.start = start

    def plus(self, n: int) -> int:
        return self.start + n

    @classmethod
    def of(cls, n: int) -> Tally:
        return cls(n)

    @staticmethod
    def twice(n: int) -> int:
        return 2 * n

    def __call__(self, n: int) -> int:
        return self.start * n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tally) and other.start == self.start


def square(n: int) -> int:
    return n * n


def generator() -> Iterator[int]:
    yield 1


def return_lock() -> Any:
    import threading

    print("printed before", flush=True)
    return threading.Lock()


def exit_with(code: Any) -> None:
    sys.exit(code)


def exit_hard(code: int) -> None:
    os._exit(code)


def segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def kill_self(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def exhaust_recursion() -> int:
    return exhaust_recursion() + 1


def close_everything() -> int:
    os.closerange(0, 256)
    return 7


def with_pool(method: str) -> list[int]:
    import multiprocessing

    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, range(5))


def with_threads() -> list[int]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(square, range(5)))


def with_subprocess() -> tuple[int, str]:
    import subprocess

    done = subprocess.run(["sh", "-c", "echo out; exit 3"], capture_output=True, text=True)
    return done.returncode, done.stdout


def with_asyncio() -> list[int]:
    import asyncio

    async def later(n: int) -> int:
        await asyncio.sleep(0.01)
        return n

    async def all_of_them() -> list[int]:
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0
        return list(await asyncio.gather(later(1), later(2)))

    return asyncio.run(all_of_them())


def allocate(mib: int, seconds: float = 0.0) -> int:
    block = bytearray(mib << 20)
    for at in range(0, len(block), 4096):
        block[at] = 1
    time.sleep(seconds)
    return len(block)


def spin(seconds: float) -> float:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return time.process_time()


def print_both() -> str:
    print("to out")
    print("to err", file=sys.stderr)
    os.system("echo from a child")
    return "value"


def succeed_at_attempt(path: str, wanted: int) -> int:
    with open(path, "a") as file:
        file.write("x\n")
    with open(path) as file:
        attempts = len(file.read().split())
    if attempts < wanted:
        raise RuntimeError(f"attempt {attempts}")
    return attempts


def submit_others(count: int) -> list[int]:
    import cluster

    jobs = [cluster.submit(add, n) for n in range(count)]
    cluster.wait(jobs, timeout=60)
    return [job.get() for job in jobs]


def submit_a_command() -> str:
    import cluster

    result = cluster.submit(["sh", "-c", "echo $CLUSTER_JOB_ID"]).get(timeout=60)
    return str(result.stdout.strip())


def sleep(seconds: float) -> None:
    time.sleep(seconds)
