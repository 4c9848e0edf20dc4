"""When a call counts as the same call."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
import threading
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from cluster._fingerprint import digest, module_sources

LOCK = threading.Lock()
SCALE = 2


def made(source: str, name: str = "f", **names: Any) -> FunctionType:
    """Make a function of source text, as if the user had written it so."""
    space: dict[str, Any] = {"__name__": "__main__", **names}
    exec(compile(source, "script.py", "exec"), space)
    function = space[name]
    assert isinstance(function, FunctionType)
    return function


@dataclasses.dataclass
class Point:
    x: int
    y: list[int]


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: int) -> None:
        self.a = a


def locked() -> int:
    with LOCK:
        return SCALE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [1, 2]),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (Point(1, [2]), Point(1, [2])),
        (Slotted(1), Slotted(1)),
        (Path("/a/b"), Path("/a/b")),
        (functools.partial(max, 1), functools.partial(max, 1)),
        (bytearray(b"x"), bytearray(b"x")),
        (range(3), range(3)),
    ],
)
def test_equal_values_count_as_the_same(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        (b"a", "a"),
        ([1, 2], [2, 1]),
        ([1, 2], (1, 2)),
        ([[1], 2], [1, [2]]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1}, {"a": 2}),
        (Point(1, [2]), Point(1, [3])),
        (Slotted(1), Slotted(2)),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (max, min),
        ([].append, [1].append),
        (None, ...),
        (0.0, -0.0),
    ],
)
def test_other_values_count_as_others(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_a_value_that_holds_itself_has_a_digest() -> None:
    one: list[Any] = [1]
    one.append(one)
    other: list[Any] = [2]
    other.append(other)

    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    '''Another text.'''\n    return x + 1",
        "\n\n# a comment\ndef f(x):\n    return x + 1  # more",
        "def f(x):\n    return (x +\n        1)",
    ],
)
def test_comments_lines_and_docstrings_are_not_code(source: str) -> None:
    assert digest(made(source)) == digest(made("def f(x):\n    return x + 1"))


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    return x + 2",
        "def f(x):\n    return x - 1",
        "def f(x, y=0):\n    return x + 1",
        "def f(x):\n    return x.a + 1",
    ],
)
def test_other_code_is_another_function(source: str) -> None:
    assert digest(made(source)) != digest(made("def f(x):\n    return x + 1"))


def test_the_globals_that_code_reads_count_and_others_do_not() -> None:
    source = "def f(x):\n    return x.b + A"

    assert digest(made(source, A=1, b=1)) == digest(made(source, A=1, b=2))
    assert digest(made(source, A=1)) != digest(made(source, A=2))


def test_the_code_of_functions_that_it_calls_counts() -> None:
    def calling(inner: str) -> FunctionType:
        return made(f"def g(x):\n    return {inner}\ndef f(x):\n    return [g(y) for y in x]")

    assert digest(calling("x")) == digest(calling("x"))
    assert digest(calling("x")) != digest(calling("x + 1"))


def test_what_a_closure_holds_counts() -> None:
    def adder(n: int) -> Any:
        return lambda x: x + n

    assert digest(adder(1)) == digest(adder(1))
    assert digest(adder(1)) != digest(adder(2))


def test_the_code_behind_a_cached_function_counts() -> None:
    def cached(body: str) -> Any:
        return functools.lru_cache(made(f"def f(x):\n    return {body}"))

    assert digest(cached("x")) == digest(cached("x"))
    assert digest(cached("x")) != digest(cached("2 * x"))


def test_the_methods_of_a_class_count() -> None:
    def kind(body: str) -> type:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(f"class C:\n    def m(self):\n        return {body}", space)
        found = space["C"]
        assert isinstance(found, type)
        return found

    assert digest(kind("1")) == digest(kind("1"))
    assert digest(kind("1")) != digest(kind("2"))


def test_pickling_an_instance_does_not_change_its_class() -> None:
    import pickle

    before = digest(Slotted)
    pickle.dumps(Slotted(1), 5)

    assert digest(Slotted) == before


def test_a_lock_that_a_function_uses_does_not_make_it_new_each_time() -> None:
    assert digest(locked) == digest(locked)


def test_an_installed_function_counts_by_its_name() -> None:
    import textwrap

    assert digest(textwrap.dedent) == digest(textwrap.dedent)
    assert digest(textwrap.dedent) != digest(textwrap.indent)


def test_something_else_can_be_looked_at_in_place_of_a_value() -> None:
    def seen(text: str) -> str:
        marker = object()

        def stand_in(value: Any) -> Any:
            return text if value is marker else value

        return digest({"k": [marker, 1]}, stand_in=stand_in)

    assert seen("here") == seen("here")
    assert seen("here") != seen("there")


@pytest.mark.slow
def test_the_digest_is_the_same_in_every_process() -> None:
    code = (
        "from cluster._fingerprint import digest\n"
        "def f(x):\n    return x in {'a', 'b', 'c', 'd'}\n"
        "print(digest((f, {'x', 'y', 'z'}, {'k': 1.5}, lambda: f)))"
    )

    def run(seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, text=True,
            capture_output=True, check=True,
        ).stdout  # fmt: skip

    assert run("1") == run("2")


def test_the_source_of_a_package_counts_with_all_that_is_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "somepackage" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "deep.py").write_text("A = 1")
    monkeypatch.syspath_prepend(tmp_path)

    before = module_sources(["somepackage"])
    (package / "deep.py").write_text("A = 2")

    assert list(before) == ["somepackage"]
    assert module_sources(["somepackage"]) != before
    monkeypatch.delitem(sys.modules, "somepackage")
