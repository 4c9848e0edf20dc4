"""Whether a call is the same as it was: a digest of its code and its values.

Unlike the bytes of a pickle, it does not change with the order of sets, the
names of files, line numbers or what the interpreter shares.  It reads source
files of modules and writes nothing.  What it cannot take apart it digests by
its pickle: then a call may seem new that is not, never the other way round.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import os
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

__all__ = ["digest", "module_sources"]

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_EXACT = frozenset(_ATOMS)
_OF_NO_MEANING = frozenset(  # of a class, for what it does; some come only when it is used
    (
        "__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__slotnames__",
        "__static_attributes__", "__annotations_cache__", "__annotate_func__", "_abc_impl",
    )
)  # fmt: skip
# Code of these is not looked into: an update of Python makes no result wrong.
_NOT_USERS = ("cluster", "cloudpickle", "builtins", "numpy", "pandas")


def digest(value: Any, *, stand_in: Callable[[Any], Any] = lambda value: value) -> str:
    """Give a text that is equal for equal values, in every process.

    Functions and classes of the user count by their code and by the names that
    the code uses, those of installed packages by their names.

    Args:
        value: whatever may be the argument of a job.
        stand_in: gives what is looked at in place of a value; the value itself
            if nothing is.
    """
    return _Digest(stand_in).of(value).hex()


def module_sources(modules: Iterable[str | ModuleType]) -> dict[str, str]:
    """Give a digest of the source of each module, of a package with all below it."""
    found = {}
    for each in modules:
        module = sys.modules.get(each) if isinstance(each, str) else each
        if module is None:
            from importlib import import_module

            module = import_module(str(each))
        found[module.__name__] = _source_digest(module)
    return found


def _source_digest(module: ModuleType) -> str:
    hasher = hashlib.sha256()
    for file in _files_of(module):
        hasher.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return hasher.hexdigest()


def _files_of(module: ModuleType) -> Iterator[Path]:
    for folder in getattr(module, "__path__", ()):
        yield from sorted(Path(folder).rglob("*.py"))
    file = getattr(module, "__file__", None)
    if file and not hasattr(module, "__path__") and os.path.isfile(file):
        yield Path(file)


@functools.cache
def _installed() -> tuple[str, ...]:
    """Where Python and installed packages are."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    paths = {sysconfig.get_paths().get(kind, "") for kind in kinds}
    return tuple(os.path.join(os.path.realpath(path), "") for path in paths if path)


def _is_users(name: str | None) -> bool:
    """Whether a module is the user's own, which may change from one run to the next."""
    if name == "__main__" or name is None or name not in sys.modules:
        return True
    if name.partition(".")[0] in _NOT_USERS:
        return False
    file = getattr(sys.modules[name], "__file__", None)
    return bool(file) and not os.path.realpath(str(file)).startswith(_installed())


class _Digest:
    """One look at a value; what is met twice is looked at once."""

    def __init__(self, stand_in: Callable[[Any], Any]) -> None:
        self._stand_in = stand_in
        self._known: dict[int, tuple[bytes, Any]] = {}  # the value is kept, so is its id
        self._open: dict[int, int] = {}  # being looked at, and how deep

    def of(self, value: Any) -> bytes:
        value = self._stand_in(value)
        if type(value) in _EXACT:
            return _mix(
                type(value).__name__.encode(), repr(value).encode(errors="backslashreplace")
            )
        if id(value) in self._known:
            return self._known[id(value)][0]
        if id(value) in self._open:  # it holds itself
            return _mix(b"above", b"%d" % (len(self._open) - self._open[id(value)]))
        self._open[id(value)] = len(self._open)
        try:
            made = self._look(value)
        finally:
            del self._open[id(value)]
        self._known[id(value)] = made, value
        return made

    def _all(self, kind: str, values: Iterable[Any]) -> bytes:
        return _mix(kind.encode(), *map(self.of, values))

    def _look(self, value: Any) -> bytes:
        kind = type(value)
        if kind in (list, tuple):
            if _EXACT.issuperset(map(type, value)):  # a long list of numbers: at once
                return _mix(kind.__name__.encode(), repr(value).encode(errors="backslashreplace"))
            return self._all(kind.__name__, value)
        if kind in (set, frozenset):
            return _mix(kind.__name__.encode(), *sorted(map(self.of, value)))
        if kind in (dict, MappingProxyType):
            return self._all("dict", (part for pair in value.items() for part in pair))
        if kind in _LOOKS:
            return _LOOKS[kind](self, value)
        if isinstance(value, type):
            return self._class(value)
        if kind is pickle.PickleBuffer:
            return _mix(b"buffer", _bytes_of(value))
        if kind in (bytearray, memoryview):
            return _mix(b"bytes", bytes(value))
        return self._object(value)

    # ------------------------------------------------------------ code

    def _function(self, function: FunctionType) -> bytes:
        name = f"{function.__module__}.{function.__qualname__}"
        if not _is_users(function.__module__):
            return _mix(b"function", name.encode())
        code = function.__code__
        used = {
            name: function.__globals__[name]
            for name in sorted(_names_in(code))
            if name in function.__globals__ and not name.startswith("__")
        }
        cells = [_content(cell) for cell in function.__closure__ or ()]
        parts = (code, function.__defaults__, function.__kwdefaults__, cells, used)
        return self._all(f"function {function.__qualname__}", parts)

    def _code(self, code: CodeType) -> bytes:
        shape = (
            code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags,
            code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars,
        )  # fmt: skip
        exceptions = getattr(code, "co_exceptiontable", b"")
        consts = code.co_consts
        if consts and code.co_flags & 2 and isinstance(consts[0], str):
            consts = (None, *consts[1:])  # a docstring does nothing
        return self._all("code", (shape, code.co_code, exceptions, consts))

    def _class(self, kind: type) -> bytes:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if not _is_users(kind.__module__):
            return _mix(b"class", name.encode())
        body = {
            key: item
            for key, item in sorted(vars(kind).items())
            if key not in _OF_NO_MEANING and not _is_slot(item)
        }
        return self._all(f"class {kind.__qualname__}", (kind.__bases__, body))

    def _module(self, module: ModuleType) -> bytes:
        source = _source_digest(module) if _is_users(module.__name__) else ""
        return _mix(b"module", module.__name__.encode(), source.encode())

    def _method(self, method: MethodType) -> bytes:
        return self._all("method", (method.__func__, method.__self__))

    def _builtin(self, function: BuiltinFunctionType) -> bytes:
        owner = function.__self__
        held = None if owner is None or isinstance(owner, ModuleType) else owner
        return self._all("builtin", (function.__module__, function.__qualname__, held))

    def _wrapped(self, method: Any) -> bytes:
        return self._all(type(method).__name__, (method.__func__,))

    def _property(self, item: property) -> bytes:
        return self._all("property", (item.fget, item.fset, item.fdel))

    # ------------------------------------------------------------ other objects

    def _object(self, value: Any) -> bytes:
        try:
            reduced = _reduce(value)
        except Exception:  # pickle cannot; cloudpickle perhaps, else submitting says so
            return self._pickle(value)
        if isinstance(reduced, str):  # a name; behind that of a cached function is its code
            inner = getattr(value, "__wrapped__", None)
            return self._all("global", (type(value).__module__, reduced, inner))
        maker, args, state, items, pairs = (*reduced, None, None, None)[:5]
        lists = list(items) if items is not None else None
        table = [tuple(pair) for pair in pairs] if pairs is not None else None
        if isinstance(state, Mapping):
            state = dict(sorted(state.items(), key=lambda pair: str(pair[0])))
        return self._all("object", (type(value), maker, args, state, lists, table))

    def _pickle(self, value: Any) -> bytes:
        import cloudpickle

        try:
            return _mix(b"pickle", cloudpickle.dumps(value, 5))
        except Exception:  # a lock of a module, say; as an argument, submitting refuses it
            return _mix(b"unknown", f"{type(value).__module__}.{type(value).__qualname__}".encode())


def _reduce(value: Any) -> Any:
    special = copyreg.dispatch_table.get(type(value))
    return special(value) if special is not None else value.__reduce_ex__(5)


def _bytes_of(buffer: pickle.PickleBuffer) -> bytes:
    try:
        return hashlib.sha256(buffer.raw()).digest()
    except BufferError:  # not contiguous
        return hashlib.sha256(memoryview(buffer).tobytes()).digest()


def _mix(*parts: bytes) -> bytes:
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little") + part)
    return hasher.digest()


def _names_in(code: CodeType) -> set[str]:
    """List the global names that code reads, that of functions in it too."""
    names = {
        str(step.argval)
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names |= _names_in(const)
    return names


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_slot(item: Any) -> bool:
    return isinstance(item, MemberDescriptorType | GetSetDescriptorType)


_LOOKS: dict[type, Callable[[_Digest, Any], bytes]] = {
    FunctionType: _Digest._function,
    CodeType: _Digest._code,
    ModuleType: _Digest._module,
    MethodType: _Digest._method,
    BuiltinFunctionType: _Digest._builtin,
    staticmethod: _Digest._wrapped,
    classmethod: _Digest._wrapped,
    property: _Digest._property,
}
