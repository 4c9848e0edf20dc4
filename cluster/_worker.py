"""What a warm worker of an executor runs in its job: one call after the other.

It travels by value and uses the standard library alone.  All workers take calls
from one socket, each as soon as it is free; the kernel gives a call to one of
them.  Each has a connection of its own for what it says.

    calls       number, function's number, flag | pickled (args, kwargs), or the file they are in
    functions   size, number | pickled function              on the worker's own connection
    answers     kind, number of the call, size | body        on the worker's own connection
"""

from __future__ import annotations

from typing import Any

__all__ = ["serve"]


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
    import array
    import io
    import os
    import pickle
    import select
    import socket
    import struct
    import sys
    from types import FunctionType

    runner = sys._getframe(1).f_globals  # it called us; a job has no other copy of it
    call_head, function_head = struct.Struct("<QIB"), struct.Struct("<QI")
    answer_head = struct.Struct("<BQQ")
    started, value, raised, unpicklable, leaving = range(5)
    inside = 0xFFFFFFFF  # the function comes with the call
    buffer = bytearray(1 << 17)
    functions: dict[int, Any] = {}
    names = runner["_do_imports"]("\n".join(imports)) if imports else {}

    class Gone(Exception):
        """Whoever asked is not there any more."""

    class ByValue(Exception):
        """Something in the value must travel by value."""

    class ByName(pickle.Pickler):
        def reducer_override(self, part: Any) -> Any:
            if isinstance(part, (type, FunctionType)) and part.__module__ == "__main__":
                raise ByValue
            return NotImplemented

    def exactly(size: int) -> bytes:
        pieces, left = [], size
        while left:
            piece = own.recv(min(left, 1 << 20))
            if not piece:
                raise Gone
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def learn() -> None:
        """Read one function."""
        size, number = function_head.unpack(exactly(function_head.size))
        data = exactly(size)
        try:
            function = pickle.loads(data)
            runner["_stand_in_for_main"](function)
            inner = getattr(function, "func", function)
            for name, module in names.items():
                getattr(inner, "__globals__", {}).setdefault(name, module)
        except BaseException as error:  # a module that is missing, say: each call says so
            function = error
        functions[number] = function

    def next_call() -> memoryview:
        while True:
            try:
                size = calls.recv_into(buffer, 0, socket.MSG_DONTWAIT)
                return memoryview(buffer)[:size]
            except BlockingIOError:
                pass
            ready, _, _ = select.select([calls, own], [], [])
            if own in ready and calls not in ready:
                learn()  # or it is closed

    def make(number: int, message: memoryview) -> Any:
        if number == inside:
            function, args, kwargs = pickle.loads(message)
            return function(*args, **kwargs)
        while number not in functions:
            learn()
        function = functions[number]
        if isinstance(function, BaseException):
            raise function
        args, kwargs = pickle.loads(message)
        return function(*args, **kwargs)

    def body_of(result: Any) -> list[Any]:
        sink = io.BytesIO()
        try:
            ByName(sink, 5).dump(result)
            return [sink.getbuffer()]
        except (ByValue, pickle.PicklingError, AttributeError, TypeError):
            pieces: list[Any] = runner["_pickled"](result)
            return pieces

    def answer(call: int, number: int, message: memoryview) -> tuple[int, list[Any]]:
        try:
            result = make(number, message)
        except BaseException as error:  # sys.exit too
            return raised, [pickle.dumps(runner["describe"](error), 5)]
        try:
            return value, body_of(result)
        except BaseException as error:
            reason = (
                f"its result, of type {type(result).__qualname__}, cannot be pickled: "
                f"{type(error).__name__}: {error}"
            )
            return unpicklable, [reason.encode("utf-8", "backslashreplace")]

    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made = 0
    try:
        own.connect(path)
        own.sendall(token)
        space = socket.CMSG_SPACE(array.array("i").itemsize)
        _, rights, _, _ = own.recvmsg(1, space)
        if not rights:
            return 0
        calls = socket.socket(fileno=array.array("i", rights[0][2][:4])[0])
        while True:
            message = next_call()
            if len(message) < call_head.size:  # told to leave, or nobody is there
                own.sendall(answer_head.pack(leaving, 0, 0))
                break
            call, number, in_file = call_head.unpack_from(message)
            own.sendall(answer_head.pack(started, call, 0))
            view = message[call_head.size :]
            if in_file:
                file = bytes(view)
                with open(file, "rb") as source:
                    view = memoryview(source.read())
                os.unlink(file)
            kind, body = answer(call, number, view)
            size = sum(len(piece) for piece in body)
            head = answer_head.pack(kind, call, size)
            if size < 1 << 16:
                own.sendall(b"".join([head, *body]))
            else:
                own.sendall(head)
                for piece in body:
                    own.sendall(piece)
            made += 1
            if made == max_calls:
                break
    except (Gone, ConnectionError, FileNotFoundError):
        pass  # the executor has gone: its calls interest nobody
    finally:
        own.close()
    return made
