"""Calls that go out, envelopes that come back, and what people see when either cannot."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from cluster import payload, runner
from cluster.errors import JobFailed, PayloadError


def _call(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Load what `dump` made, as a job would, and call it."""
    loaded, loaded_args, loaded_kwargs = runner.load_call(payload.dump(function, args, kwargs).data)
    return loaded(*loaded_args, **loaded_kwargs)


def _envelope(tmp_path: Path, function: Any, *args: Any) -> payload.Envelope:
    """Run a call in this process and read its envelope."""
    result = str(tmp_path / "res")
    runner.run_call(payload.dump(function, args).data, result, job=7, attempt=2)
    return payload.load_envelope(result)


class Picky(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


# ---------------------------------------------------------------- dump


def test_closures_and_lambdas_travel_by_value() -> None:
    offset = 10

    assert _call(lambda x, *, y: x + y + offset, 1, y=2) == 13


def test_a_payload_says_what_it_calls_and_who_made_it() -> None:
    import cloudpickle

    made = payload.dump(os.path.join, ("a", "b"))

    assert made.calls == "posixpath.join"
    assert made.python_version == sys.version_info[:2]
    assert made.cloudpickle_version == cloudpickle.__version__


def test_a_module_named_by_value_need_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    only_here = importlib.import_module("only_here")
    by_value = payload.dump(only_here.answer, by_value=["only_here"]).data
    by_name = payload.dump(only_here.answer).data
    monkeypatch.delitem(sys.modules, "only_here")
    (tmp_path / "only_here.py").unlink()
    importlib.invalidate_caches()

    function, _, _ = runner.load_call(by_value)

    assert function() == 42
    with pytest.raises(ModuleNotFoundError, match="only_here"):
        runner.load_call(by_name)


def test_a_module_travels_by_value_though_another_call_with_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "for_both.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    for_both = importlib.import_module("for_both")
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self) -> Any:
            begun.set()
            go_on.wait(10)
            return int, ()

    class Overtaken:
        def __reduce__(self) -> Any:
            go_on.set()
            first.join()
            return int, ()

    first = threading.Thread(target=lambda: payload.dump(print, (Slow(),), by_value=["for_both"]))
    first.start()
    begun.wait(10)
    made = payload.dump(print, (Overtaken(), for_both.answer), by_value=["for_both"]).data
    monkeypatch.delitem(sys.modules, "for_both")
    (tmp_path / "for_both.py").unlink()
    importlib.invalidate_caches()

    _, (_, answer), _ = runner.load_call(made)

    assert answer() == 42


def test_a_spawned_process_sends_what_its_script_has(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "from cluster import _item_pickle, payload\n"
        "class Item:\n"
        "    pass\n"
        "def call(item):\n"
        "    return Item\n"
        "def child():\n"
        "    open('call', 'wb').write(payload.dump(call, (Item(),)).data)\n"
        "    open('item', 'wb').write(_item_pickle.dumps(Item()))\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child)\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)

    function, (item,), _ = runner.load_call((tmp_path / "call").read_bytes())

    assert function(item).__name__ == "Item"
    assert type(pickle.loads((tmp_path / "item").read_bytes())).__name__ == "Item"


def test_imports_are_there_for_the_function() -> None:
    made = payload.dump(
        eval("lambda: (json.dumps([]), P('a').name)", {}),
        imports=["json", "from pathlib import Path as P"],
    )

    function, _, _ = runner.load_call(made.data)

    assert function() == ("[]", "a")


def test_a_large_array_is_written_without_a_copy_and_comes_back_writable(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(200_000, dtype="f8")
    made = payload.dump(len, (array,))
    file = str(tmp_path / "call")

    made.write(file)
    _, (loaded,), _ = runner.load_call(file)

    assert made.is_large
    assert any(
        isinstance(piece, memoryview) and numpy.shares_memory(numpy.frombuffer(piece), array)
        for piece in made.pieces
    )
    assert (loaded == array).all()
    assert loaded.ctypes.data % runner.ALIGN == 0
    loaded[0] = 5
    assert os.listdir(tmp_path) == ["call"]
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_a_small_array_is_writable_too() -> None:
    numpy = pytest.importorskip("numpy")

    def change(a: Any) -> Any:
        a[0] = 7
        return a.tolist()

    assert _call(change, numpy.zeros(2)) == [7, 0]


# ---------------------------------------------------------------- what cannot be pickled


def test_an_unpicklable_argument_is_named_with_the_object_to_blame() -> None:
    with pytest.raises(PayloadError) as raised:
        payload.dump(print, (1, {"a": [1, threading.Lock()]}))

    assert str(raised.value) == (
        "argument 2: its ['a'][1], of type _thread.lock, cannot be pickled (TypeError: cannot "
        "pickle '_thread.lock' object); pass what it is made from, or make it inside the function"
    )


def test_an_unpicklable_keyword_is_named() -> None:
    with pytest.raises(PayloadError, match=r"keyword 'x', of type generator, cannot be pickled"):
        payload.dump(print, kwargs={"x": (n for n in range(3))})


def test_an_attribute_deep_in_an_object_is_named() -> None:
    class Holder:
        def __init__(self) -> None:
            self.guard = threading.Lock()

    with pytest.raises(PayloadError, match=r"argument 1: its \.guard, of type _thread\.lock"):
        payload.dump(print, (Holder(),))


def test_a_closure_over_something_unpicklable_is_named() -> None:
    lock = threading.Lock()

    with pytest.raises(PayloadError, match=r"the function: its closure variable 'lock', of type"):
        payload.dump(lambda: lock)


def test_a_list_that_is_nested_too_deeply_is_a_payload_error() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]

    with pytest.raises(PayloadError, match=r"argument 1, of type list, .* nested too deeply"):
        payload.dump(print, (deep,))


# ---------------------------------------------------------------- envelopes


def test_a_header_is_read_without_its_value(tmp_path: Path) -> None:
    _envelope(tmp_path, len, "abc")

    header = payload.read_header((tmp_path / "res").read_bytes())

    assert header == payload.Header(runner.VALUE, attempt=2, job=7, reason="")


@pytest.mark.parametrize("size", [0, 3, 20, 32])
def test_an_envelope_that_was_cut_short_is_recognised(tmp_path: Path, size: int) -> None:
    _envelope(tmp_path, len, "abc")
    data = (tmp_path / "res").read_bytes()[:size]

    assert payload.read_header(data) is None
    with pytest.raises(PayloadError, match=f"not a whole result \\({size} bytes\\)"):
        payload.load_envelope(data)


def test_an_envelope_that_others_may_write_is_not_read(tmp_path: Path) -> None:
    _envelope(tmp_path, len, "abc")
    (tmp_path / "res").chmod(0o666)

    with pytest.raises(PayloadError, match="others can write"):
        payload.load_envelope(str(tmp_path / "res"))


def test_an_exception_keeps_cause_context_and_traceback(tmp_path: Path) -> None:
    def fail() -> None:
        try:
            dict[str, int]()["key"]
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as raised:
        payload.value(_envelope(tmp_path, fail))

    text = "".join(traceback.format_exception(raised.value))
    assert isinstance(raised.value.__cause__, KeyError)
    assert raised.value.__context__ is raised.value.__cause__
    assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "fail"
    assert traceback.extract_tb(raised.value.__cause__.__traceback__)[-1].name == "fail"
    assert "in the job:\nTraceback (most recent call last):" in text
    assert str(runner.__file__) not in text.partition("in the job:")[2].partition("direct cause")[0]


def test_an_exception_raised_while_handling_another_keeps_it(tmp_path: Path) -> None:
    def fail() -> None:
        try:
            dict[str, int]()["key"]
        except KeyError:
            raise ValueError("outer")  # noqa: B904

    with pytest.raises(ValueError, match="outer") as raised:
        payload.value(_envelope(tmp_path, fail))

    text = "".join(traceback.format_exception(raised.value))
    assert isinstance(raised.value.__context__, KeyError)
    assert raised.value.__cause__ is None
    assert "During handling of the above exception" in text
    assert "in the job:" in text


def test_raise_from_none_stays_so(tmp_path: Path) -> None:
    def fail() -> None:
        try:
            dict[str, int]()["key"]
        except KeyError:
            raise ValueError("outer") from None

    with pytest.raises(ValueError, match="outer") as raised:
        payload.value(_envelope(tmp_path, fail))

    assert isinstance(raised.value.__context__, KeyError)
    assert raised.value.__suppress_context__


def test_an_exception_that_cannot_be_rebuilt_is_a_job_failed_with_its_text(tmp_path: Path) -> None:
    def fail() -> None:
        raise Picky(1, 2)

    with pytest.raises(JobFailed, match="it raised Picky: 1 and 2\nTraceback") as raised:
        payload.value(_envelope(tmp_path, fail), id="17_3", name="fit")

    assert raised.value.id == "17_3"
    assert raised.value.exitcode == 1


def test_an_exception_that_holds_a_lock_is_a_job_failed_with_its_text(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError(threading.Lock())

    with pytest.raises(JobFailed, match=r"ValueError: <unlocked _thread\.lock"):
        payload.value(_envelope(tmp_path, fail))


def test_a_keyboard_interrupt_there_is_none_here(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(JobFailed, match="it raised KeyboardInterrupt"):
        payload.value(_envelope(tmp_path, fail))


def test_a_deep_recursion_comes_back_with_a_short_traceback(tmp_path: Path) -> None:
    def fail(n: int) -> int:
        return fail(n + 1)

    with pytest.raises(RecursionError) as raised:
        payload.value(_envelope(tmp_path, fail, 0))

    assert len(traceback.extract_tb(raised.value.__traceback__)) <= runner.MAX_ROWS + 5


def test_a_value_of_a_missing_module_names_the_module() -> None:
    body = b"cnot_installed_here\nthing\n."
    data = b"".join(runner.envelope(runner.VALUE, 1, 1, "", [body]))

    with pytest.raises(PayloadError, match="needs the module 'not_installed_here'"):
        payload.value(payload.load_envelope(data))


def test_a_class_of_main_comes_back_as_the_same_class(tmp_path: Path) -> None:
    class Point:
        pass

    assert type(payload.value(_envelope(tmp_path, Point))) is Point


def test_reading_an_envelope_unpickles_nothing(tmp_path: Path) -> None:
    bomb = pickle.dumps(os._exit)[:-1] + b"(K*tR."

    envelope = payload.load_envelope(b"".join(runner.envelope(0, 1, 1, "", [bomb])))

    assert envelope.header.status == runner.VALUE
