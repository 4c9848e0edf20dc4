"""Levels, places and looks of messages."""

import io
import logging
import re

import pytest

from cluster import logme
from cluster.errors import OptionsError


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def out():
    return io.StringIO()


def test_a_message_has_a_time_and_its_level(out):
    logme.log("hello", "warn", logfile=out)

    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING --> hello\n", out.getvalue())


def test_a_normal_message_stands_alone(out):
    logme.log("hello", "normal", logfile=out)

    assert out.getvalue() == "hello\n"


def test_the_least_level_is_read_at_each_call(out, monkeypatch):
    logme.log("one", "debug", logfile=out)
    monkeypatch.setattr(logme, "MIN_LEVEL", "debug")
    logme.log("two", "debug", logfile=out)
    monkeypatch.setattr(logme, "MIN_LEVEL", "error")
    logme.log("three", "warn", logfile=out)
    logme.log("four", "warn", logfile=out, min_level="info")

    assert re.findall(r"--> (\w+)", out.getvalue()) == ["two", "four"]


def test_kind_is_another_name_for_level(out):
    logme.log("x", kind="error", logfile=out)

    assert " ERROR --> x" in out.getvalue()


def test_colour_only_on_a_terminal(out, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()

    logme.log("x", "error", logfile=terminal)
    logme.log("x", "error", logfile=out)

    assert "\x1b[31mERROR\x1b[0m" in terminal.getvalue()
    assert "\x1b" not in out.getvalue()


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()

    logme.log("x", "error", logfile=terminal)

    assert "\x1b" not in terminal.getvalue()


def test_a_path_is_appended_to_and_also_write_adds_a_stream(tmp_path, capsys):
    path = tmp_path / "log"

    logme.log("one", logfile=path)
    logme.log("two", logfile=str(path), also_write="stdout")

    assert re.findall(r"--> (\w+)", path.read_text()) == ["one", "two"]
    assert "--> two" in capsys.readouterr().out


def test_also_write_to_the_same_stream_writes_once(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)

    logme.log("x", logfile=stream, also_write="stderr")

    assert stream.getvalue().count("--> x") == 1


def test_a_logger_gets_the_level_and_percent_signs_stay(caplog):
    logme.log("50% %s", "error", logfile=logging.getLogger("mine"))

    assert caplog.record_tuples == [("mine", logging.ERROR, "50% %s")]


def test_a_configured_logging_gets_the_messages(caplog):
    logme.log("x", "warn")

    assert caplog.record_tuples == [("cluster", logging.WARNING, "x")]


def test_without_logging_configured_messages_go_to_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(logging.Logger, "hasHandlers", lambda self: False)

    logme.log("x")

    assert "INFO --> x" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"level": "loud"}, {"also_write": "printer"}])
def test_an_unknown_level_or_place_is_refused(wrong, out):
    with pytest.raises(OptionsError):
        logme.log("x", logfile=out, **wrong)
