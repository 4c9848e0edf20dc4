"""What a warm worker of an executor runs in its job: one call after the other.

All of this module travels by value (a node may have nothing of this package) and
uses the standard library alone.  All workers take calls from one socket, each
as soon as it is free; the kernel gives a call to one of them.  Each has a
connection of its own for what it says.

    calls       number, function's number, flag | pickled (args, kwargs), or the file they are in
    functions   size, number | pickled function              on the worker's own connection
    answers     kind, number of the call, size | body        on the worker's own connection
"""

from __future__ import annotations

import array
import io
import os
import pickle
import select
import socket
import struct
import sys
from types import FunctionType
from typing import Any

__all__ = ["serve"]

# Formats, not `Struct`s: those cannot be pickled.
CALL, FUNCTION, ANSWER = "<QIB", "<QI", "<BQQ"
STARTED, VALUE, RAISED, UNPICKLABLE, LEAVING = range(5)  # kinds of answers
INSIDE = 0xFFFFFFFF  # number of a function that comes with its call
_CALL_BYTES, _FUNCTION_BYTES = struct.calcsize(CALL), struct.calcsize(FUNCTION)
_MESSAGE_BYTES = 1 << 17  # no call is larger: beyond half of it, it is in a file
_TOGETHER_BYTES = 1 << 16  # an answer below it is one message; a larger one is not copied
_PIECE_BYTES = 1 << 20  # read at once


def serve(path: str, token: bytes, max_calls: int, imports: tuple[str, ...]) -> int:
    """Serve calls until told to leave, or until whoever asked is gone.

    Args:
        path: of the executor's socket.
        token: says which worker this is.
        max_calls: leave after so many; 0 is no limit.
        imports: as the keyword.

    Returns:
        How many calls were made.
    """
    runner = sys._getframe(1).f_globals  # it called us; a job has no other copy of it
    names = runner["_do_imports"]("\n".join(imports)) if imports else {}
    made = 0
    with _Executor() as executor:
        try:
            if not executor.greet(path, token):
                return 0
            caller = _Caller(executor, runner, names)
            while caller.serve_one():
                made += 1
                if made == max_calls:
                    break
        except (_Gone, ConnectionError, FileNotFoundError):
            pass  # the executor has gone: its calls interest nobody
    return made


class _Gone(Exception):
    """Whoever asked is not there any more."""


class _Executor:
    """The executor, as a worker sees it: two sockets."""

    def __init__(self) -> None:
        self._own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._calls: socket.socket | None = None
        self._buffer = bytearray(_MESSAGE_BYTES)

    def __enter__(self) -> _Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()
        if self._calls is not None:
            self._calls.close()

    def greet(self, path: str, token: bytes) -> bool:
        """Connect and get the socket with the calls; False: it wants no such worker."""
        self._own.connect(path)
        self._own.sendall(token)
        space = socket.CMSG_SPACE(array.array("i").itemsize)
        _, rights, _, _ = self._own.recvmsg(1, space)
        if rights:
            self._calls = socket.socket(fileno=array.array("i", rights[0][2][:4])[0])
        return bool(rights)

    def next_call(self) -> memoryview | None:
        """Take the next message with a call; None: a function is there, to be learnt first."""
        assert self._calls is not None
        while True:
            try:
                size = self._calls.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
                return memoryview(self._buffer)[:size]
            except BlockingIOError:  # another worker was faster
                ready, _, _ = select.select([self._calls, self._own], [], [])
            if self._calls not in ready:
                return None  # or it is closed, which who reads it is told

    def next_function(self) -> tuple[int, bytes]:
        """Read a function: its number, its pickle.

        Raises:
            _Gone: the executor.
        """
        size, number = struct.unpack(FUNCTION, self._exactly(_FUNCTION_BYTES))
        return number, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        pieces, left = [], size
        while left:
            piece = self._own.recv(min(left, _PIECE_BYTES))
            if not piece:
                raise _Gone
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def say(self, kind: int, call: int = 0, body: Any = ()) -> None:
        """Send an answer; its body is a list of pieces."""
        size = sum(len(piece) for piece in body)
        head = struct.pack(ANSWER, kind, call, size)
        if size < _TOGETHER_BYTES:
            self._own.sendall(b"".join([head, *body]))
        else:
            self._own.sendall(head)
            for piece in body:
                self._own.sendall(piece)


class _Caller:
    """Makes the calls of an executor.

    Args:
        executor: asks for them.
        runner: names of the runner.
        names: what functions find among their globals, from `imports`.
    """

    def __init__(self, executor: _Executor, runner: dict[str, Any], names: dict[str, Any]) -> None:
        self._executor, self._runner, self._names = executor, runner, names
        self._functions: dict[int, Any] = {}

    def serve_one(self) -> bool:
        """Make the next call and answer it; False: leave."""
        message = self._executor.next_call()
        while message is None:
            self._learn()
            message = self._executor.next_call()
        if len(message) < _CALL_BYTES:  # told to leave, or nobody is there
            self._executor.say(LEAVING)
            return False
        call, number, is_in_file = struct.unpack_from(CALL, message)
        self._executor.say(STARTED, call)
        arguments = message[_CALL_BYTES:]
        if is_in_file:
            arguments = _taken(bytes(arguments))
        kind, body = self._answer(number, arguments)
        self._executor.say(kind, call, body)
        return True

    def _learn(self) -> None:
        number, data = self._executor.next_function()
        try:
            function = pickle.loads(data)
            self._runner["_stand_in_for_main"](function)
            inner = getattr(function, "func", function)
            for name, module in self._names.items():
                getattr(inner, "__globals__", {}).setdefault(name, module)
        except BaseException as error:  # a module that is missing, say: each call says so
            function = error
        self._functions[number] = function

    def _answer(self, number: int, arguments: memoryview) -> tuple[int, list[Any]]:
        """Make a call: what became of it, and the pieces of the body that says more."""
        try:
            result = self._make(number, arguments)
        except BaseException as error:  # sys.exit too
            return RAISED, [pickle.dumps(self._runner["describe"](error), 5)]
        try:
            return VALUE, self._body_of(result)
        except BaseException as error:
            reason = (
                f"its result, of type {type(result).__qualname__}, cannot be pickled: "
                f"{type(error).__name__}: {error}"
            )
            return UNPICKLABLE, [reason.encode("utf-8", "backslashreplace")]

    def _make(self, number: int, arguments: memoryview) -> Any:
        if number == INSIDE:
            function, args, kwargs = pickle.loads(arguments)
            return function(*args, **kwargs)
        while number not in self._functions:
            self._learn()
        function = self._functions[number]
        if isinstance(function, BaseException):
            raise function
        args, kwargs = pickle.loads(arguments)
        return function(*args, **kwargs)

    def _body_of(self, result: Any) -> list[Any]:
        sink = io.BytesIO()
        try:
            _ByName(sink, 5).dump(result)
            return [sink.getbuffer()]
        except (_ByValue, pickle.PicklingError, AttributeError, TypeError):
            pieces: list[Any] = self._runner["_pickled"](result)
            return pieces


def _taken(path: bytes) -> memoryview:
    """Read a file that nobody needs after us."""
    with open(path, "rb") as source:
        data = source.read()
    os.unlink(path)
    return memoryview(data)


class _ByValue(Exception):
    """Something in the value must travel by value."""


class _ByName(pickle.Pickler):
    """Fast, and refuses what only the job's script has."""

    def reducer_override(self, part: Any) -> Any:
        if isinstance(part, (type, FunctionType)) and part.__module__ == "__main__":
            raise _ByValue
        return NotImplemented
